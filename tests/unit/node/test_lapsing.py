"""Deleted content leaves caches soon, wherever they are; what another claim keeps, or a liar calls deleted, stays."""

import asyncio

import pytest
from msgspec.structs import replace as with_settings

from peerd.content.cid import Cid
from peerd.errors import NotFoundError, TimedOutError
from peerd.node.providing import CACHE, announce, find_providers
from peerd.node.results import PutOptions
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.messages import Release
from tests.unit.node.hosts import add, by_distance, contact_of, core, eventually, get, joined, key_of, put

DATA = bytes(range(256)) * 16
# Some looks, each after a longer pause, and the time to tell.
GONE_S = 5.0


async def cached(world: World, name: str = "a", count: int = 12) -> tuple[list[Host], Cid, list[Host]]:
    """A network with content under a name, the content, and those that have a cached copy of it and nothing else."""
    hosts = by_distance(await joined(world, count), key_of(world.living[0], name))
    cid = Cid.parse((await put(hosts[0], name, DATA)).cid)
    await asyncio.sleep(1)
    kept = [host for host in hosts if await _class(host, cid) is None]
    readers = kept[-3:]
    for host in readers:
        assert await get(host, cid.text) == DATA
    await asyncio.sleep(1)
    assert [await _class(host, cid) for host in readers] == ["cache"] * 3
    return hosts, cid, readers


async def _class(host: Host, cid: Cid) -> str | None:
    root = await host.store.root(cid.to_bytes())
    return root.class_ if root is not None else None


async def remove(host: Host, target: str) -> None:
    assert host.peer is not None
    await host.peer.remove(target, PutOptions())


async def test_what_was_deleted_leaves_the_caches_of_all(world: World) -> None:
    hosts, cid, readers = await cached(world)

    await remove(hosts[0], "a")

    async def gone() -> bool:
        return all([await _class(host, cid) is None for host in readers])

    await eventually(gone, within_s=GONE_S)
    assert not (await find_providers(core(hosts[5]), cid)).providers


async def test_what_was_replaced_leaves_the_caches_of_all(world: World) -> None:
    hosts, cid, readers = await cached(world)

    await put(hosts[1], "a", DATA[::-1])

    async def gone() -> bool:
        return all([await _class(host, cid) is None for host in readers])

    await eventually(gone, within_s=GONE_S)


async def test_what_another_name_keeps_stays_cached(world: World) -> None:
    hosts, cid, readers = await cached(world)
    await put(hosts[2], "b", DATA)
    await asyncio.sleep(1)

    await remove(hosts[0], "a")
    await asyncio.sleep(2 * GONE_S)

    assert [await _class(host, cid) for host in readers] == ["cache"] * 3


async def test_what_is_pinned_stays(world: World) -> None:
    hosts, cid, readers = await cached(world)
    assert readers[0].peer is not None
    await readers[0].peer.pin(cid.text)

    await remove(hosts[0], "a")
    await asyncio.sleep(2 * GONE_S)

    assert await _class(readers[0], cid) == "pinned"
    assert await get(readers[0], cid.text) == DATA


async def test_who_says_that_content_is_deleted_which_is_not_ends_no_cached_copy(world: World) -> None:
    hosts, cid, readers = await cached(world)

    for mallory in hosts[:8]:
        if mallory is not readers[0]:
            await core(mallory).endpoint.ask(contact_of(readers[0]), Release, cid.to_bytes(), b"")
    await asyncio.sleep(2 * GONE_S)

    assert await _class(readers[0], cid) == "cache"


async def test_one_that_was_away_hears_of_it_when_it_announces_its_copy(world: World) -> None:
    hosts, cid, readers = await cached(world)
    await readers[0].crash(power=False)
    await remove(hosts[0], "a")
    await asyncio.sleep(GONE_S)
    await readers[0].start()
    await asyncio.sleep(1)
    await announce(core(readers[0]), cid, CACHE)

    async def gone() -> bool:
        return await _class(readers[0], cid) is None

    await eventually(gone, within_s=GONE_S)


async def test_after_the_grace_what_was_deleted_is_found_nowhere(world: World) -> None:
    world._settings = with_settings(world._settings, unclaimed_grace_s=20.0)
    hosts, cid, readers = await cached(world)
    await remove(hosts[0], "a")
    await asyncio.sleep(40)

    for host in (hosts[0], hosts[6], readers[0]):
        with pytest.raises((NotFoundError, TimedOutError)):
            await get(host, cid.text)


async def test_what_its_adder_withdrew_leaves_the_caches(world: World) -> None:
    hosts = await joined(world, 8)
    cid = Cid.parse((await add(hosts[0], DATA)).cid)
    await asyncio.sleep(1)
    reader = [host for host in hosts if await _class(host, cid) is None][-1]
    await get(reader, cid.text)
    await asyncio.sleep(1)

    await remove(hosts[0], cid.text)

    async def gone() -> bool:
        return await _class(reader, cid) is None

    await eventually(gone, within_s=GONE_S)


async def test_what_is_put_again_is_cached_again(world: World) -> None:
    hosts, cid, readers = await cached(world)
    await remove(hosts[0], "a")
    await asyncio.sleep(GONE_S)
    await put(hosts[0], "a", DATA)
    await asyncio.sleep(1)

    await get(readers[0], cid.text)
    await asyncio.sleep(2 * GONE_S)

    assert await _class(readers[0], cid) == "cache"
