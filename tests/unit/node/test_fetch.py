"""Fetching from many at once, while some lie, lack, stall and die: right bytes or a clear error, never wrong ones."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from loguru import logger

from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.errors import IntegrityError, NotFoundError, StoreError, TimedOutError
from peerd.ids import PeerId
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node.fetch import Fetcher
from peerd.sim.faults import Faults
from peerd.sim.host import Host
from peerd.swarm.schedule import LATE_MIN_S

from .hosts import World, blocks_of, contact_of, core, get, joined, opened, put, serving

CONTENT = random.Random(1).randbytes(5 * 2**20 + 3)  # six leaves and a root
BLOCKS = blocks_of(CONTENT)
*LEAVES, ROOT = BLOCKS


async def holding(world: World, count: int) -> tuple[Host, list[Host]]:
    """A reader without the content, and `count` holders that have all of it."""
    reader, *holders = await joined(world, count + 1)
    for holder in holders:
        await holder.store.put_blocks([_block(cid) for cid in BLOCKS])
        await core(reader).bulk.get(contact_of(holder))
    return reader, holders


def _block(cid: Cid) -> Block:
    return Block(cid, BLOCKS[cid])


def found(*holders: Host) -> Callable[[], Awaitable[list[Contact]]]:
    async def find() -> list[Contact]:
        return [contact_of(holder) for holder in holders]

    return find


async def fetch_all(reader: Host, *holders: Host) -> bytes:
    async with Fetcher(core(reader), found(*holders)) as fetcher:
        return b"".join(await asyncio.gather(*(fetcher.get(cid) for cid in LEAVES)))


def wrong(data: bytes | None) -> bytes | None:
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data


async def test_all_sources_take_a_share(world: World) -> None:
    reader, holders = await holding(world, 3)
    asked = [serving(holder, lambda cid, data: data) for holder in holders]
    world.set_faults(Faults(bandwidth_mbit=80.0))
    assert await fetch_all(reader, *holders) == CONTENT
    assert sum(len(each) for each in asked) == len(LEAVES), "nothing was asked twice"
    assert all(asked)


async def test_what_is_here_is_asked_of_nobody(world: World) -> None:
    reader, holders = await holding(world, 1)
    asked = serving(holders[0], lambda cid, data: data)
    await reader.store.put_blocks([_block(cid) for cid in LEAVES[:4]])
    assert await fetch_all(reader, *holders) == CONTENT
    assert sorted(asked) == sorted(cid.to_bytes() for cid in LEAVES[4:])


async def test_a_liar_is_named_counted_and_dropped_and_the_bytes_are_right(world: World) -> None:
    reader, (bob, mallory) = await holding(world, 2)
    asked = serving(mallory, lambda cid, data: wrong(data))
    told: list[str] = []
    sink = logger.add(
        lambda message: told.append(message.record["extra"].get("peer", "")), level="WARNING", format="{message}"
    )
    try:
        assert await fetch_all(reader, bob, mallory) == CONTENT
    finally:
        logger.remove(sink)
    assert core(reader).counts.rejected["wrong_block"] == 1
    assert core(reader).trust.faults_of(mallory.identity.peer) == {"wrong_block": 1}
    assert core(reader).trust.shunned(mallory.identity.peer)
    assert short(PeerId(mallory.identity.peer)) in told
    assert len(asked) <= 6
    assert await reader.store.has_blocks(list(BLOCKS)) == [False] * len(BLOCKS)


@pytest.mark.parametrize(
    "lie",
    [wrong, lambda data: b"", lambda data: data + b"\x00", lambda data: BLOCKS[LEAVES[0]]],
    ids=["changed", "empty", "longer", "another block"],
)
async def test_where_all_lie_it_is_an_integrity_error(
    world: World, lie: Callable[[bytes | None], bytes | None]
) -> None:
    reader, holders = await holding(world, 2)
    for holder in holders:
        serving(holder, lambda cid, data: lie(data))
    with pytest.raises(IntegrityError):
        async with Fetcher(core(reader), found(*holders)) as fetcher:
            await fetcher.get(LEAVES[-1])


async def test_a_source_that_lacks_blocks_leaves_them_to_the_other(world: World) -> None:
    reader, (bob, carol) = await holding(world, 2)
    serving(bob, lambda cid, data: data if Cid.from_bytes(cid) in LEAVES[::2] else None)
    serving(carol, lambda cid, data: data if Cid.from_bytes(cid) in LEAVES[1::2] else None)
    started = world.loop.time()
    assert await fetch_all(reader, bob, carol) == CONTENT
    assert world.loop.time() - started < 1.0


async def test_a_block_that_every_source_lacks_ends_at_once(world: World) -> None:
    reader, holders = await holding(world, 2)
    for holder in holders:
        serving(holder, lambda cid, data: None if cid == LEAVES[3].to_bytes() else data)
    started = world.loop.time()
    with pytest.raises(TimedOutError):
        await fetch_all(reader, *holders)
    assert world.loop.time() - started < 1.0


async def test_without_any_source_it_ends_at_once(world: World) -> None:
    (reader,) = await joined(world, 1)
    with pytest.raises(TimedOutError):
        await fetch_all(reader)


async def test_a_source_that_dies_in_the_middle_loses_its_share_to_the_other(world: World) -> None:
    reader, (bob, carol) = await holding(world, 2)
    world.set_faults(Faults(bandwidth_mbit=80.0))
    fetching = asyncio.create_task(fetch_all(reader, bob, carol))
    await asyncio.sleep(0.2)
    await bob.crash(power=True)
    assert await fetching == CONTENT


async def test_a_source_that_stalls_is_overtaken_by_the_other_without_waiting_for_its_end(world: World) -> None:
    reader, (bob, carol) = await holding(world, 2)
    core(bob).bulk._handler.block = lambda cid: asyncio.sleep(3600)  # type: ignore[method-assign]
    started = world.loop.time()
    assert await fetch_all(reader, bob, carol) == CONTENT
    assert world.loop.time() - started < 5.0


async def test_a_source_whose_host_went_dark_is_overtaken_too(world: World) -> None:
    reader, (bob, carol) = await holding(world, 2)
    await bob.crash(power=False)
    started = world.loop.time()
    assert await fetch_all(reader, bob, carol) == CONTENT
    assert world.loop.time() - started < 5.0


async def test_where_the_only_source_stands_still_it_is_not_known_in_time(world: World) -> None:
    reader, (bob,) = await holding(world, 1)
    core(bob).bulk._handler.block = lambda cid: asyncio.sleep(3600)  # type: ignore[method-assign]
    started = world.loop.time()
    with pytest.raises(TimedOutError):
        await fetch_all(reader, bob)
    assert world.loop.time() - started < 2 * world._settings.transfer_timeout_s


async def test_sources_that_cannot_be_found_are_an_error_and_no_hang(world: World) -> None:
    (reader,) = await joined(world, 1)

    async def find() -> list[Contact]:
        raise StoreError("the disk failed")

    async with Fetcher(core(reader), find) as fetcher:
        async with asyncio.timeout(60):
            with pytest.raises((StoreError, TimedOutError)):
                await fetcher.get(ROOT)


async def test_one_that_gives_up_does_not_take_the_block_from_another_that_waits(world: World) -> None:
    reader, (bob,) = await holding(world, 1)
    async with Fetcher(core(reader), found(bob)) as fetcher:
        first = asyncio.create_task(fetcher.get(LEAVES[0]))
        second = asyncio.create_task(fetcher.get(LEAVES[0]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(60):
            assert await second == BLOCKS[LEAVES[0]]


async def test_a_fetch_that_is_cancelled_leaves_nothing_running(world: World) -> None:
    reader, holders = await holding(world, 2)
    world.set_faults(Faults(bandwidth_mbit=1.0))
    fetching = asyncio.create_task(fetch_all(reader, *holders))
    await asyncio.sleep(1)
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    assert not [task for task in asyncio.all_tasks() if "Fetcher" in repr(task.get_coro())]


# The whole way, from a name.


async def test_a_get_survives_one_liar_among_the_holders(world: World) -> None:
    hosts = await joined(world, 6)
    result = await put(hosts[0], "a", CONTENT)
    liar = next(host for host in hosts if host.id_text in result.holders)
    serving(liar, lambda cid, data: wrong(data))
    for host in hosts:
        if host.id_text not in result.holders and host is not hosts[0]:
            assert await get(host, "a", cache=False) == CONTENT


async def test_a_get_from_liars_alone_delivers_nothing_wrong(world: World) -> None:
    hosts = await joined(world, 6)
    result = await put(hosts[0], "a", CONTENT)
    for host in hosts:
        serving(host, lambda cid, data: wrong(data))
    reader = next(host for host in hosts if host.id_text not in result.holders and host is not hosts[0])
    delivered = b""
    with pytest.raises(IntegrityError):
        async for piece in (await opened(reader, "a")).body():
            delivered += piece
    assert CONTENT.startswith(delivered)


async def test_an_interrupted_get_goes_on_where_it_stopped(world: World) -> None:
    hosts = await joined(world, 6)
    result = await put(hosts[0], "a", CONTENT * 2)
    reader = next(host for host in hosts if host.id_text not in result.holders and host is not hosts[0])
    body = (await opened(reader, "a")).body()
    got = 0
    async for piece in body:
        got += len(piece)
        if got > 8 * 2**20:
            break
    await body.aclose()  # type: ignore[attr-defined]
    asked = [serving(host, lambda cid, data: data) for host in hosts]
    assert await get(reader, "a") == CONTENT * 2
    assert sum(len(each) for each in asked) < 9


async def test_content_that_nobody_has_is_not_found(world: World) -> None:
    hosts = await joined(world, 5)
    with pytest.raises(NotFoundError):
        await get(hosts[0], ROOT.text)


async def test_content_whose_holders_are_silent_is_not_said_not_to_exist(world: World) -> None:
    hosts = await joined(world, 5)
    for host in hosts[2:]:
        await host.crash(power=False)
    await asyncio.sleep(20)
    with pytest.raises(TimedOutError):
        await get(hosts[0], ROOT.text)


def slowly(host: Host, delay_s: float) -> None:
    """Let a host send each block so late."""
    handler = core(host).bulk._handler
    honest = handler.block

    async def block(*asked: Any) -> bytes | None:
        await asyncio.sleep(delay_s)
        return await honest(*asked)

    handler.block = block  # type: ignore[method-assign]


async def timed(world: World, reader: Host, holders: list[Host]) -> float:
    """How long a get in order takes, as a reader does it: some blocks ahead, waiting for the first."""
    started = world.loop.time()
    async with Fetcher(core(reader), found(*holders)) as fetcher:
        ahead = [asyncio.ensure_future(fetcher.get(cid)) for cid in (ROOT, *LEAVES)]
        assert b"".join([await each for each in ahead][1:]) == CONTENT
    return world.loop.time() - started


async def test_one_that_drips_costs_a_get_no_more_than_its_time_again(world: World) -> None:
    reader, holders = await holding(world, 4)
    world.set_faults(Faults(latency_ms=20.0, bandwidth_mbit=80.0))
    honest_s = await timed(world, reader, holders)
    slowly(holders[0], 2.0)
    assert await timed(world, reader, holders) <= 2 * honest_s
    await asyncio.sleep(LATE_MIN_S + 0.01)
    assert core(reader).trust.faults_of(holders[0].identity.peer) == {"dripped": 1}
    assert not any(core(reader).trust.faults_of(host.identity.peer) for host in holders[1:])


async def test_where_all_but_one_drip_the_blocks_come_of_that_one_after_a_moment(world: World) -> None:
    reader, holders = await holding(world, 8)
    world.set_faults(Faults(latency_ms=20.0, bandwidth_mbit=80.0))
    alone_s = await timed(world, reader, holders[-1:])
    for mallory in holders[:-1]:
        slowly(mallory, 2.0)
    assert await timed(world, reader, holders) <= alone_s + 4 * LATE_MIN_S


async def test_one_that_is_slow_and_has_it_alone_delivers_it_all(world: World) -> None:
    reader, holders = await holding(world, 4)
    for denier in holders[:3]:
        serving(denier, lambda cid, data: None)
    slowly(holders[3], 5.0)
    assert await fetch_all(reader, *holders) == CONTENT


async def test_sources_that_fail_or_deny_leave_their_places_to_those_found_after_them(world: World) -> None:
    reader, holders = await holding(world, 14)
    for mallory in holders[:9]:
        serving(mallory, lambda cid, data: None)
    for mallory in holders[9:13]:
        core(mallory).bulk.cut = lambda peer: True
        core(reader).bulk.drop(PeerId(mallory.identity.peer))
    assert await fetch_all(reader, *holders) == CONTENT


async def test_who_is_out_is_asked_for_nothing(world: World) -> None:
    reader, (bob, mallory) = await holding(world, 2)
    asked = serving(mallory, lambda cid, data: data)
    core(reader).trust.put_out(mallory.identity.peer, "convicted")
    assert await fetch_all(reader, mallory, bob) == CONTENT
    assert not asked
