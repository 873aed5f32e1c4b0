"""What a read promises (DESIGN.md 6): the newest of a majority, mended, and "not found" only where that is known."""

import asyncio
from contextlib import suppress

import msgspec
import pytest

from peerd.errors import NotFoundError, RefusedError, StoreError, TimedOutError
from peerd.node import holding
from peerd.node.reading import READ_TIMEOUT_S
from peerd.node.results import PutOptions
from peerd.records.record import Record
from peerd.sim.host import Host
from peerd.wire.messages import FindValue, Store, Value

from .hosts import (
    World,
    answering,
    by_distance,
    contact_of,
    core,
    damaged,
    get,
    joined,
    kept,
    key_of,
    late,
    mute,
    opened,
    put,
    version,
)

# After so many reads, of each of which half ask it, a peer was asked.
ALL_MET = 40


async def give(host: Host, record: Record) -> None:
    """Put a version on one host's disk, as if only it had heard of it."""
    await holding.keep_record(core(host), record, None)


async def test_every_peer_reads_what_any_peer_wrote(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"hello")
    assert [await get(host, "a") for host in hosts] == [b"hello"] * 5


async def test_a_read_takes_the_newest_of_a_majority(world: World) -> None:
    hosts = await joined(world, 5)
    for host in hosts[:3]:
        await give(host, version(hosts[0], "a", 2, b"new"))
    for host in hosts[3:]:
        await give(host, version(hosts[0], "a", 1, b"old"))
    assert [await get(host, "a") for host in hosts] == [b"new"] * 5


async def test_a_version_that_few_hold_is_written_back_to_a_majority_before_it_is_returned(world: World) -> None:
    hosts = await joined(world, 5)
    newest = version(hosts[0], "a", 2, b"new")
    await give(hosts[0], newest)
    for host in hosts[1:]:
        await give(host, version(hosts[0], "a", 1, b"old"))
    assert await get(hosts[0], "a") == b"new"
    have = [host for host in hosts if (record := await kept(host, "a")) and record.version == newest.version]
    assert len(have) >= 3
    for host in hosts:
        assert await get(host, "a") == b"new"


async def test_a_stale_holder_that_is_outvoted_is_mended_by_a_read_that_meets_it(world: World) -> None:
    hosts = await joined(world, 5)
    newest = version(hosts[0], "a", 2, b"new")
    for host in hosts[:4]:
        await give(host, newest)
    await give(hosts[4], version(hosts[0], "a", 1, b"old"))
    for host in hosts[1:4]:
        late(host, 0.005, FindValue)
    for _ in range(ALL_MET):
        assert await get(hosts[0], "a") == b"new"
        await asyncio.sleep(1)
    assert await kept(hosts[4], "a") == newest


@pytest.mark.parametrize("fault", ["stale", "empty", "mute", "late"])
async def test_where_some_of_the_majority_that_is_asked_fail_or_differ_the_others_are_asked_at_once(
    world: World, fault: str
) -> None:
    hosts = by_distance(await joined(world, 12), key_of(world.hosts[0], "a"))
    *holders, reader = hosts[:8] + hosts[-1:]
    for host in holders:
        await give(host, version(hosts[0], "a", 2, b"new"))
    shown = version(hosts[0], "a", 1, b"old").raw if fault == "stale" else b""
    for host in holders[:3]:
        if fault == "mute":
            mute(host, FindValue)
        elif fault == "late":
            late(host, 2.0, FindValue)
        else:
            answering(
                host,
                lambda peer, request, honest: (
                    Value(request.rid, shown, None, b"") if isinstance(request, FindValue) else honest()
                ),
            )
    for _ in range(5):
        started = world.loop.time()
        assert await get(reader, "a") == b"new"
        assert world.loop.time() - started < 0.5


async def test_a_reader_that_holds_an_older_version_is_mended_by_its_own_read(world: World) -> None:
    hosts = await joined(world, 5)
    newest = version(hosts[0], "a", 2, b"new")
    for host in hosts[:4]:
        await give(host, newest)
    assert await get(hosts[4], "a") == b"new"
    await asyncio.sleep(1)
    assert await kept(hosts[4], "a") == newest


async def test_a_key_that_nobody_has_is_not_found(world: World) -> None:
    hosts = await joined(world, 3)
    with pytest.raises(NotFoundError):
        await get(hosts[0], "a")


async def test_a_lone_peer_knows_that_it_has_nothing(world: World) -> None:
    (alice,) = await joined(world, 1)
    with pytest.raises(NotFoundError):
        await get(alice, "a")


async def test_a_minority_that_is_silent_does_not_hinder_not_found(world: World) -> None:
    hosts = await joined(world, 5)
    for host in hosts[3:]:
        await host.crash(power=False)
    with pytest.raises(NotFoundError):
        await get(hosts[0], "a")


@pytest.mark.parametrize("after_s", [0.0, 3.0, 60.0])
async def test_where_a_majority_is_silent_nothing_is_known_whether_they_are_suspect_or_dead(
    world: World, after_s: float
) -> None:
    hosts = await joined(world, 5)
    for host in hosts[2:]:
        await host.crash(power=False)
    await asyncio.sleep(after_s)
    started = world.loop.time()
    with pytest.raises(TimedOutError):
        await get(hosts[0], "a")
    assert world.loop.time() - started <= READ_TIMEOUT_S + 0.1


async def test_those_that_left_are_no_holders_any_more(world: World) -> None:
    hosts = await joined(world, 5)
    for host in hosts[2:]:
        await host.stop()
    await asyncio.sleep(1)
    with pytest.raises(NotFoundError):
        await get(hosts[0], "a")


async def test_after_the_grace_the_dead_are_no_holders_any_more(world: World) -> None:
    world._settings = msgspec.structs.replace(world._settings, tombstone_grace_s=60.0)
    hosts = await joined(world, 3)
    for host in hosts[1:]:
        await host.crash(power=False)
    await asyncio.sleep(30)
    with pytest.raises(TimedOutError):
        await get(hosts[0], "a")
    await asyncio.sleep(40)
    with pytest.raises(NotFoundError):
        await get(hosts[0], "a")


async def test_what_one_holder_has_is_found_though_the_others_deny_it(world: World) -> None:
    hosts = await joined(world, 5)
    await give(hosts[4], version(hosts[4], "a", 1, b"hello"))
    assert await get(hosts[4], "a") == b"hello"


async def test_reads_go_on_when_most_holders_die_at_once(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"hello")
    for host in hosts[1:4]:
        await host.crash(power=False)
    started = world.loop.time()
    assert await get(hosts[4], "a") == b"hello"
    assert world.loop.time() - started < 1.0


@pytest.mark.parametrize("consistency", ["one", "quorum"])
@pytest.mark.parametrize("reader", [0, 8, 11])
async def test_eight_that_come_at_once_and_are_silent_hide_nothing(world: World, reader: int, consistency: str) -> None:
    hosts = by_distance(await joined(world, 12), key_of(world.hosts[0], "a"))
    for host in hosts[:8]:
        if host is not hosts[reader]:
            mute(host, FindValue)
    for host in hosts[8:10]:
        await give(host, version(hosts[0], "a", 1, b"hello"))
    started = world.loop.time()
    assert await get(hosts[reader], "a", consistency=consistency) == b"hello"
    assert world.loop.time() - started < 1.0


async def test_a_tombstone_wins_over_what_older_holders_show(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"hello")
    assert hosts[1].peer is not None
    await hosts[1].peer.remove("a", PutOptions())
    old = version(hosts[0], "a", 1, b"hello")
    answering(
        hosts[2],
        lambda peer, request, honest: (
            Value(request.rid, old.raw, None, b"") if isinstance(request, FindValue) else honest()
        ),
    )
    for host in (hosts[0], hosts[3], hosts[4]):
        with pytest.raises(NotFoundError):
            await get(host, "a")


async def test_a_tombstone_hides_nothing_that_was_written_above_it_where_most_had_no_room(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"hello")
    assert hosts[0].peer is not None
    await hosts[0].peer.remove("a", PutOptions())
    for host in hosts[:2]:
        host.store.quota_bytes = 1
    result = await put(hosts[0], "a", b"hello again")
    assert result.holders == [hosts[2].id_text]
    late(hosts[2], 0.005, FindValue)
    for host in hosts:
        assert await get(host, "a") == b"hello again"


async def test_no_read_is_older_than_what_this_peer_has_seen(world: World) -> None:
    hosts = await joined(world, 5)
    newest = version(hosts[0], "a", 2, b"new")
    await give(hosts[0], newest)
    for host in hosts[1:]:
        await give(host, version(hosts[0], "a", 1, b"old"))
        mute(host, Store)
    assert await get(hosts[0], "a", consistency="one") == b"new"
    assert await get(hosts[0], "a") == b"new"


async def test_a_peer_that_is_no_holder_any_more_reads_nothing_older_than_it_has(world: World) -> None:
    hosts = await joined(world, 12)
    *holders, reader = by_distance(hosts, key_of(hosts[0], "a"))
    for host in holders[:8]:
        await give(host, version(hosts[0], "a", 1, b"old"))
    await give(reader, version(hosts[0], "a", 2, b"new"))
    assert await get(reader, "a") == b"new"


@pytest.mark.parametrize("lie", ["other_key", "unsigned", "garbage"])
async def test_a_lie_of_mallory_is_no_answer(world: World, lie: str) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"hello")
    mallory = hosts[4]
    forged = {
        "other_key": version(mallory, "b", 99, b"lie").raw,
        "unsigned": damaged(version(mallory, "a", 99, b"lie").raw),
        "garbage": b"garbage",
    }[lie]
    answering(
        mallory,
        lambda peer, request, honest: (
            Value(request.rid, forged, None, b"") if isinstance(request, FindValue) else honest()
        ),
    )
    for host in hosts[1:4]:
        late(host, 0.005, FindValue)
    core(hosts[0]).changes.leases.off = True
    for _ in range(ALL_MET):
        assert await get(hosts[0], "a") == b"hello"
    assert core(hosts[0]).counts.rejected.total() > 0


async def test_one_takes_the_local_answer_at_once(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"hello")
    for host in hosts[1:]:
        mute(host)
    started = world.loop.time()
    found = await opened(hosts[0], "a", consistency="one")
    assert (found.info.source, found.info.hops) == ("local", 0)
    assert world.loop.time() == started


async def test_one_asks_others_while_the_first_is_silent(world: World) -> None:
    hosts = await joined(world, 12)
    await put(hosts[0], "a", b"hello")
    order = by_distance(hosts, key_of(hosts[0], "a"))
    reader, nearest = order[-1], order[0]
    assert await kept(reader, "a") is None
    await nearest.crash(power=False)
    started = world.loop.time()
    assert await get(reader, "a", consistency="one") == b"hello"
    assert world.loop.time() - started < 0.2


async def test_a_record_without_an_end_gets_none_from_an_older_version_that_had_one(world: World) -> None:
    hosts = await joined(world, 3)
    old = version(hosts[0], "a", 1, b"old", ttl_s=20)
    newest = version(hosts[0], "a", 2, b"new")
    for host in hosts[:2]:
        await give(host, newest)
    await give(hosts[2], old)
    for host in hosts:
        assert await get(host, "a") == b"new"
    await asyncio.sleep(60)
    assert [(await kept(host, "a")) == newest for host in hosts] == [True] * 3


async def test_a_holder_that_is_new_to_a_record_takes_no_shorter_life_for_it(world: World) -> None:
    alice, mallory = await joined(world, 2)
    record = version(mallory, "a", 1, b"hello")
    with suppress(RefusedError):
        await core(mallory).endpoint.ask(contact_of(alice), Store, record.raw, 1)
        await asyncio.sleep(60)
        assert await kept(alice, "a") == record


async def test_no_peer_can_shorten_the_life_of_a_record(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    record = version(alice, "a", 1, b"hello")
    for target in (alice, bob):
        await give(target, record)
        with suppress(RefusedError):
            await core(mallory).endpoint.ask(contact_of(target), Store, record.raw, 1)
    await asyncio.sleep(60)
    assert await kept(alice, "a") == await kept(bob, "a") == record


async def test_a_reader_whose_own_disk_is_full_still_reads(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"new")
    await hosts[2].store.drop_record(key_of(hosts[2], "a"))
    hosts[2].store.quota_bytes = 1
    assert await get(hosts[2], "a") == b"new"


async def test_a_reader_whose_disk_fails_still_reads_what_others_have(world: World, faults_logged: list[str]) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"new")
    await hosts[2].store.drop_record(key_of(hosts[2], "a"))

    def fail(operation: str) -> None:
        if operation == "put_record":
            raise StoreError("the disk failed")

    hosts[2].store.fault = fail
    assert await get(hosts[2], "a") == b"new"


async def test_a_peer_that_is_only_just_started_does_not_deny_what_others_have(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"value")
    newcomer = world.add()
    await newcomer.start()
    assert core(newcomer).members.alive_count() == 0, "it has met nobody yet"
    assert await get(newcomer, "a") == b"value"


async def test_a_peer_alone_denies_at_once(world: World) -> None:
    alone = await world.join()
    began = asyncio.get_running_loop().time()
    with pytest.raises(NotFoundError):
        await get(alone, "a")
    assert asyncio.get_running_loop().time() - began < 1
