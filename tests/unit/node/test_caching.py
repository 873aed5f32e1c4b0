"""Cached copies: what is read often stays whatever else is read, and what is promised is nobody's room."""

import asyncio
import random

from msgspec.structs import replace as with_settings

from peerd.content.cid import Cid
from peerd.node.results import PutOptions
from peerd.sim.host import Host

from .hosts import World, core, get, joined, once, put

SIZE = 40_000
CACHE_BYTES = 10 * SIZE


def data_of(number: int) -> bytes:
    return random.Random(number).randbytes(SIZE)


async def scene(world: World, files: int) -> tuple[Host, list[tuple[Cid, bytes]]]:
    """A reader with little room for cached copies, and files of which it holds nothing."""
    writer, *_ = await joined(world, 6)
    reader = world.add()
    reader.settings = with_settings(reader.settings, cache_max_bytes=CACHE_BYTES)
    await reader.start()
    await asyncio.sleep(3)
    found: list[tuple[Cid, bytes]] = []
    number = 0
    while len(found) < files:
        number += 1
        cid = Cid.parse((await put(writer, f"file {number}", data_of(number))).cid)
        if await reader.store.root(cid.to_bytes()) is None:
            found.append((cid, data_of(number)))
    return reader, found


async def read_all(reader: Host, files: list[tuple[Cid, bytes]]) -> None:
    for cid, data in files:
        assert await get(reader, cid.text) == data
        await asyncio.sleep(0.1)


async def kept(reader: Host, files: list[tuple[Cid, bytes]]) -> int:
    return sum([await reader.store.root(cid.to_bytes()) is not None for cid, _ in files])


async def test_a_scan_of_what_is_read_once_leaves_what_is_read_often(world: World) -> None:
    reader, files = await scene(world, 26)
    often, once_read = files[:6], files[6:]
    for _ in range(3):
        await read_all(reader, often)
    await read_all(reader, once_read)
    assert await kept(reader, often) == 6
    usage = await reader.store.usage()
    assert usage.cache_bytes <= CACHE_BYTES
    assert reader.peer is not None
    status = await reader.peer.status()
    assert status.cache.hits == 12
    assert status.cache.declined >= 10
    assert status.cache.kept <= 10


async def test_what_is_read_again_and_again_gets_in(world: World) -> None:
    reader, files = await scene(world, 11)
    await read_all(reader, files[:10])
    late = files[10:]
    for _ in range(4):
        await read_all(reader, late)
    assert await kept(reader, late) == 1


async def test_what_is_pinned_and_promised_is_never_let_go_of_for_a_cached_copy(world: World) -> None:
    reader, files = await scene(world, 12)
    for cid, _ in files[:4]:
        assert reader.peer is not None
        await reader.peer.pin(cid.text)
    promised = [root.cid for root in await reader.store.roots(None, 100) if root.class_ != "cache"]
    for _ in range(2):
        await read_all(reader, files[4:])
    await core(reader).room.free(10**9)
    assert await kept(reader, files) == 4
    for cid in promised:
        assert await reader.store.root(cid) is not None


async def test_copies_from_before_a_restart_go_in_the_order_of_their_last_use(world: World) -> None:
    reader, files = await scene(world, 6)
    await read_all(reader, files)
    await read_all(reader, files[:2])
    await asyncio.sleep(1)
    await reader.crash(power=True)
    await reader.start()
    await asyncio.sleep(1)
    await core(reader).room.free(3 * SIZE)
    assert await kept(reader, files[:2]) == 2
    assert await kept(reader, files[2:5]) == 0


async def test_what_nobody_wants_any_more_goes_first(world: World) -> None:
    reader, files = await scene(world, 4)
    await read_all(reader, files)
    assert reader.peer is not None
    unwanted = await reader.peer.add(once(b"x" * SIZE), form="file", options=PutOptions())
    await reader.peer.remove(unwanted.cid, PutOptions())
    for root in await reader.store.idle_roots(None, 10):
        if root.copies == 0:
            core(reader).room.caching.used(root.cid)
    await core(reader).room.free(SIZE)
    assert await kept(reader, files) == 4
