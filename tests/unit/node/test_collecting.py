"""Collecting garbage: what may go goes, what is claimed, pinned, coming in or being put stays."""

import asyncio
import random

import pytest
from msgspec.structs import replace as with_settings

from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.errors import NotFoundError
from peerd.node.collecting import collect, collect_aged, expire_records
from peerd.node.providing import REPLICA, announce, find_providers
from peerd.node.results import Collected, GetOptions, PutOptions
from peerd.sim.host import Host

from .hosts import World, blocks_of, core, get, joined, kept, once, put

DATA = random.Random(7).randbytes(2**21 + 5)
OTHER = DATA[::-1]


async def used(host: Host) -> int:
    return (await host.store.usage()).used_bytes


async def removed(host: Host, name: str) -> None:
    assert host.peer is not None
    await host.peer.remove(name, PutOptions())
    await asyncio.sleep(2)


async def test_what_was_removed_is_freed_everywhere(world: World) -> None:
    hosts = await joined(world, 3)
    cid = Cid.parse((await put(hosts[0], "a", DATA)).cid)
    await removed(hosts[0], "a")
    for host in hosts:
        freed = await collect(core(host))
        assert (freed.roots, freed.blocks) == (1, 4)
        assert freed.freed_bytes > len(DATA)
        assert await host.store.root(cid.to_bytes()) is None
        assert await collect(core(host)) == Collected(freed_bytes=0, roots=0, blocks=0, records=0)


async def test_what_was_freed_everywhere_is_not_found_though_it_was_announced(world: World) -> None:
    hosts = await joined(world, 4)
    cid = Cid.parse((await put(hosts[0], "a", DATA)).cid)
    await removed(hosts[0], "a")
    for host in hosts:
        await collect(core(host))
    await announce(core(hosts[0]), cid, REPLICA)  # as one whose end was not heard
    assert (await find_providers(core(hosts[1]), cid)).providers
    for host in hosts:
        with pytest.raises(NotFoundError):
            await get(host, cid.text)


async def test_what_is_claimed_or_pinned_stays(world: World) -> None:
    hosts = await joined(world, 4)
    cid = Cid.parse((await put(hosts[0], "a", DATA)).cid)
    for host in hosts:
        if (await host.store.root(cid.to_bytes())) is None:
            assert host.peer is not None
            await host.peer.pin("a")
    for host in hosts:
        await collect(core(host))
    promised = [root.class_ for host in hosts if (root := await host.store.root(cid.to_bytes()))]
    assert sorted(promised).count("replica") == 3
    for host in hosts:
        assert await get(host, "a") == DATA


async def test_unclaimed_content_goes_by_itself_after_the_grace_and_fetched_copies_stay(world: World) -> None:
    world._settings = with_settings(world._settings, unclaimed_grace_s=60.0)
    hosts = await joined(world, 5)
    unclaimed = Cid.parse((await put(hosts[0], "a", DATA)).cid).to_bytes()
    fetched = Cid.parse((await put(hosts[0], "b", OTHER)).cid).to_bytes()
    reader, *_ = [host for host in hosts[1:] if await host.store.root(fetched) is None]
    assert await get(reader, "b") == OTHER
    holders = [host for host in hosts if await host.store.root(unclaimed)]
    await removed(hosts[0], "a")
    for host in holders:
        assert (await collect_aged(core(host))).roots == 0
    await asyncio.sleep(hosts[0].settings.unclaimed_grace_s + 1)
    for host in holders:
        await collect_aged(core(host))
        root = await host.store.root(unclaimed)
        assert root is None or root.copies > 0
    await collect_aged(core(reader))
    assert await reader.store.root(fetched) is not None


async def test_what_an_interrupted_put_left_is_freed_at_once_when_asked(world: World) -> None:
    (alone,) = await joined(world, 1)
    before = await used(alone)
    await core(alone).room.put_blocks([Block(cid, data) for cid, data in blocks_of(DATA).items()])
    await asyncio.sleep(1)
    freed = await collect(core(alone))
    assert (freed.blocks, freed.roots) == (4, 0)
    assert await used(alone) == before


async def test_records_whose_life_is_over_are_counted(world: World) -> None:
    (alone,) = await joined(world, 1)
    await put(alone, "a", b"short", ttl_s=1)
    await put(alone, "b", b"long")
    await asyncio.sleep(2)
    assert await expire_records(core(alone)) == 1
    assert await kept(alone, "a") is None
    assert await kept(alone, "b") is not None


async def test_collecting_leaves_what_a_put_under_way_counts_on(world: World) -> None:
    """The blocks of a removed file are put again: they are here already, and go from under the put."""
    (alone,) = await joined(world, 1)
    await put(alone, "a", DATA)
    await removed(alone, "a")
    go_on = asyncio.Event()

    class slowly(once):
        async def __anext__(self) -> bytes:
            try:
                return await super().__anext__()
            except StopAsyncIteration:
                await go_on.wait()
                raise

    assert alone.peer is not None
    putting = asyncio.ensure_future(alone.peer.put("b", slowly(DATA), form="file", options=PutOptions()))
    await asyncio.sleep(1)
    assert (await collect(core(alone))).roots == 1
    go_on.set()
    cid = Cid.parse((await putting).cid)
    await collect(core(alone))
    assert all(await alone.store.has_blocks(list(blocks_of(DATA))))
    root = await alone.store.root(cid.to_bytes())
    assert root is not None
    assert root.complete
    assert await get(alone, "b") == DATA


async def test_what_is_being_read_stays_until_it_was_read(world: World) -> None:
    (alone,) = await joined(world, 1)
    cid = (await put(alone, "a", DATA)).cid
    await removed(alone, "a")
    assert alone.peer is not None
    opened = await alone.peer.open(cid, GetOptions())
    body = opened.body()
    got = await anext(body)
    assert (await collect(core(alone))).roots == 0
    got += b"".join([piece async for piece in body])
    assert got == DATA
    assert (await collect(core(alone))).roots == 1
