"""Strong reads and writes (INTERFACE.md): conditions hold, a side without a majority refuses, nothing is doubled."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace as with_settings

from peerd.config import HostPort
from peerd.errors import ConflictError, NotFoundError, StoreError, TimedOutError
from peerd.ids import PeerId
from peerd.node import agreeing, holding
from peerd.node.holding import Outdone
from peerd.node.results import PutOptions
from peerd.sim.host import Host
from peerd.trust.register import Ballot, State, decode_acceptor
from peerd.wire.messages import Accept, Prepare, Request

from .hosts import (
    Answer,
    World,
    answering,
    by_distance,
    core,
    eventually,
    get,
    joined,
    kept,
    key_of,
    meshed,
    mute,
    opened,
    put,
    until,
    version,
)

STRONG = {"consistency": "strong"}


def brisk(world: World) -> World:
    """The world with short intervals, so that the dead are buried and replaced soon."""
    world._settings = with_settings(world._settings, suspect_timeout_s=2.0, repair_interval_s=5.0)
    return world


async def remove(host: Host, name: str, **options: Any) -> None:
    assert host.peer is not None
    await host.peer.remove(name, PutOptions(**options))


async def state_of(host: Host, name: str) -> State | None:
    return decode_acceptor(await host.store.register(key_of(host, name)), host.store.store_id).state


@pytest.mark.parametrize("count", [1, 2, 3, 10])
async def test_what_was_written_strongly_is_read_by_all(world: World, count: int) -> None:
    hosts = await joined(world, count)
    result = await put(hosts[0], "a", b"hello", **STRONG)
    assert result.copies == min(8, count)
    for host in hosts:
        assert await get(host, "a", **STRONG) == b"hello"
        assert await get(host, "a") == b"hello"
    record = await kept(by_distance(hosts, key_of(hosts[0], "a"))[0], "a")
    assert record is not None
    assert record.body.strong


async def test_a_condition_that_does_not_hold_is_a_conflict_and_changes_nothing(world: World) -> None:
    hosts = await joined(world, 5)
    first = await put(hosts[0], "a", b"one", if_version="none")
    with pytest.raises(ConflictError):
        await put(hosts[1], "a", b"other", if_version="none")
    second = await put(hosts[1], "a", b"two", if_version=first.version)
    with pytest.raises(ConflictError):
        await put(hosts[2], "a", b"three", if_version=first.version)
    assert await get(hosts[3], "a", **STRONG) == b"two"
    assert second.version != first.version


async def incremented(host: Host, name: str, times: int) -> int:
    """Add one to a counter again and again, as a script would; return how often it was not told whether it had."""
    unknown = 0
    done = 0
    while done < times:
        try:
            found = await opened(host, name, **STRONG)
        except TimedOutError:
            continue
        assert found.inline is not None
        try:
            await put(host, name, b"%d" % (int(found.inline) + 1), if_version=found.info.version)
        except ConflictError:
            continue
        except TimedOutError:
            unknown += 1
        done += 1
    return unknown


@pytest.mark.slow
async def test_many_writers_of_one_counter_lose_and_double_nothing(world: World) -> None:
    hosts = await joined(world, 10)
    await put(hosts[0], "counter", b"0", if_version="none")
    work = [incremented(hosts[i % 10], "counter", 5) for i in range(20)]
    unknown = sum(await asyncio.gather(*work))
    # Who finds more than ten new versions at each look does not learn what became of its own; it is told so.
    assert unknown <= 1
    assert 100 - unknown <= int(await get(hosts[3], "counter", **STRONG)) <= 100


@pytest.mark.slow
async def test_a_counter_loses_and_doubles_nothing_while_holders_die_and_join(world: World) -> None:
    hosts = await joined(brisk(world), 10)
    await put(hosts[0], "counter", b"0", if_version="none")
    near = by_distance(hosts, key_of(hosts[0], "counter"))
    work = [asyncio.ensure_future(incremented(near[-1 - i % 4], "counter", 6)) for i in range(20)]
    for dying in near[:3]:
        await asyncio.sleep(1.0)
        await dying.crash(power=True)
        await world.join()
    unknown = sum(await asyncio.gather(*work))
    value = int(await get(near[-1], "counter", **STRONG))
    assert 120 - unknown <= value <= 120
    assert unknown <= 2


async def test_the_dead_are_replaced_in_the_list_and_the_state_goes_on(world: World) -> None:
    hosts = await joined(brisk(world), 10)
    await put(hosts[0], "a", b"hello", **STRONG)
    near = by_distance(hosts, key_of(hosts[0], "a"))
    for dead in near[:2]:
        await dead.crash(power=True)
    living = near[2:]

    async def replaced() -> bool:
        states = [await state_of(host, "a") for host in living]
        wanted = {host.identity.peer for host in living}
        return all(state is not None and set(state.holders) == wanted and not state.previous for state in states)

    await eventually(replaced, within_s=60)
    for dead in living[:3]:  # five are a majority of the eight, not of the eight before
        await dead.crash(power=True)
    assert await get(living[-1], "a", **STRONG) == b"hello"
    assert (await put(living[-1], "a", b"again", **STRONG)).version


async def test_after_a_disk_that_could_not_be_read_for_a_while_the_dead_are_replaced_as_before(world: World) -> None:
    hosts = await joined(brisk(world), 10)
    near = by_distance(hosts, key_of(hosts[0], "a"))
    await put(near[9], "a", b"one", **STRONG)

    def fail(operation: str) -> None:
        if operation == "registers":
            raise StoreError("input/output error")

    for host in hosts:
        host.store.fault = fail
    await asyncio.sleep(3 * hosts[0].settings.repair_interval_s)
    for host in hosts:
        host.store.fault = None
    dead = near[0].identity.peer
    await near[0].crash(power=True)

    async def replaced() -> bool:
        state = await state_of(near[1], "a")
        return state is not None and dead not in state.peers and len(state.holders) == 8

    await eventually(replaced, within_s=60)


async def test_a_side_without_a_majority_refuses_and_the_other_goes_on(world: World) -> None:
    hosts = await joined(brisk(world), 5)
    first = await put(hosts[0], "a", b"one", if_version="none")
    sides = hosts[:2], hosts[2:]
    world.network.part([[host.interface for host in side] for side in sides])
    await put(sides[1][0], "a", b"two", if_version=first.version)
    for host in sides[0]:
        with pytest.raises(TimedOutError):
            await put(host, "a", b"three", if_version=first.version)
        with pytest.raises(TimedOutError):
            await get(host, "a", **STRONG)
    assert await get(sides[1][1], "a", **STRONG) == b"two"
    world.network.heal()
    await asyncio.sleep(30)
    assert [await get(host, "a", **STRONG) for host in hosts] == [b"two"] * 5


async def test_the_silent_count_until_they_are_forgotten(world: World) -> None:
    hosts = await joined(brisk(world), 3)
    first = await put(hosts[0], "a", b"one", if_version="none")
    for host in hosts[1:]:
        await host.crash(power=True)
    alone = hosts[0]
    assert alone.peer is not None
    await until(lambda: core(alone).members.alive_count() == 0)
    with pytest.raises(TimedOutError):
        await put(alone, "a", b"two", if_version=first.version)
    for host in hosts[1:]:
        await alone.peer.forget(host.id_text)
    assert await get(alone, "a", **STRONG) == b"one"
    await put(alone, "a", b"two", if_version=first.version)
    await asyncio.sleep(30)
    for _ in range(2):
        newcomer = world.add()
        newcomer.settings = with_settings(newcomer.settings, bootstrap=(HostPort(*alone.address),))  # not the dead
        await newcomer.start()
    await meshed(world.living)
    await asyncio.sleep(3)
    assert [await get(host, "a", **STRONG) for host in world.living] == [b"two"] * 3


@pytest.mark.parametrize("reads_first", [True, False])
async def test_parts_of_a_list_that_forgot_each_other_agree_when_they_meet(world: World, reads_first: bool) -> None:
    hosts = await joined(brisk(world), 5)
    await put(hosts[0], "a", b"first", **STRONG)
    few, many = hosts[:2], hosts[2:]
    world.network.part([[host.interface for host in side] for side in (few, many)])
    await until(lambda: core(few[0]).members.alive_count() == 1 and core(many[0]).members.alive_count() == 2)
    for value in (b"one", b"two"):
        await put(many[0], "a", value, **STRONG)
    for _ in range(4):  # higher ballots than those of the others, without any version
        with pytest.raises(TimedOutError):
            await put(few[0], "a", b"refused", **STRONG)
    assert few[0].peer is not None
    for host in many:
        await few[0].peer.forget(host.id_text)
    await put(few[0], "a", b"forgetful", **STRONG)
    world.network.heal()
    await meshed(hosts)
    if reads_first:
        assert [await get(host, "a", **STRONG) for host in hosts] == [b"two"] * 5
        assert [await get(host, "a") for host in hosts] == [b"two"] * 5
    await put(few[0], "a", b"new", **STRONG)
    assert [await get(host, "a", **STRONG) for host in hosts] == [b"new"] * 5
    assert [await get(host, "a") for host in hosts] == [b"new"] * 5


async def test_a_plain_key_becomes_strong_from_its_newest_version_and_stays_so(world: World) -> None:
    hosts = await joined(world, 5)
    plain = await put(hosts[0], "a", b"plain")
    with pytest.raises(ConflictError):
        await put(hosts[1], "a", b"no", if_version="none")
    assert await get(hosts[2], "a", **STRONG) == b"plain"
    assert not any(host.store.may_have_register(key_of(host, "a")) for host in hosts)
    await put(hosts[1], "a", b"strong", if_version=plain.version)
    later = await put(hosts[3], "a", b"plainly")
    record = await kept(hosts[0], "a")
    assert record is not None
    assert record.body.strong
    assert record.version.text == later.version


async def test_a_delete_is_a_version_too(world: World) -> None:
    hosts = await joined(world, 3)
    with pytest.raises(NotFoundError):
        await remove(hosts[0], "a", **STRONG)
    first = await put(hosts[0], "a", b"one", if_version="none")
    with pytest.raises(ConflictError):
        await remove(hosts[1], "a", if_version="other")
    await remove(hosts[1], "a", if_version=first.version)
    with pytest.raises(NotFoundError):
        await get(hosts[2], "a", **STRONG)
    await put(hosts[2], "a", b"two", if_version="none")
    assert await get(hosts[0], "a") == b"two"


async def test_the_tombstone_of_a_strong_key_stays_beyond_the_grace(world: World) -> None:
    world._settings = with_settings(world._settings, tombstone_grace_s=20.0, repair_interval_s=5.0)
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"one", **STRONG)
    await remove(hosts[1], "a", **STRONG)
    await put(hosts[0], "b", b"one")
    await remove(hosts[1], "b")
    await eventually(lambda: gone(hosts, "b"), within_s=120)
    records = [await kept(host, "a") for host in hosts]
    assert all(record is not None and record.deleted for record in records)


async def gone(hosts: list[Host], name: str) -> bool:
    return not any([await kept(host, name) for host in hosts])


async def test_a_plain_write_by_who_cannot_know_that_a_key_is_strong_loses_and_is_shown(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"strong", **STRONG)
    rival = version(hosts[1], "a", 50, b"plain")
    outcome = await holding.keep_record(core(hosts[1]), rival, None)
    assert isinstance(outcome, Outdone)
    assert await get(hosts[2], "a") == b"strong"
    assert hosts[1].peer is not None
    assert rival.version.text in {each.version for each in (await hosts[1].peer.stat("a")).conflicts}


async def test_a_chosen_version_whose_writer_died_before_storing_it_is_stored_by_a_holder(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = await joined(brisk(world), 3)
    await put(hosts[0], "a", b"one", **STRONG)

    async def dies(*arguments: object, **options: object) -> list[PeerId]:
        raise TimedOutError("the writer died")

    monkeypatch.setattr(agreeing, "store_chosen", dies)
    with pytest.raises(TimedOutError):
        await put(hosts[0], "a", b"two", **STRONG)
    monkeypatch.undo()
    assert await get(hosts[1], "a") == b"one"  # what is only accepted is no record

    async def stored() -> bool:
        return [await get(host, "a") for host in hosts] == [b"two"] * 3

    await eventually(stored, within_s=60)


async def test_two_overlays_that_wrote_the_same_strong_key_agree_when_they_meet(world: World) -> None:
    brisk(world)
    hosts = [world.add() for _ in range(6)]
    sides = hosts[:3], hosts[3:]
    for side in sides:
        for host in side:
            host.settings = with_settings(host.settings, bootstrap=(HostPort(*side[0].address),))
    world.network.part([[host.interface for host in side] for side in sides])
    for host in hosts:
        await host.start()
    for side in sides:
        await meshed(side)
    await put(sides[0][0], "a", b"left", **STRONG)
    for value in (b"right one", b"right two"):
        await put(sides[1][0], "a", value, **STRONG)
    world.network.heal()
    assert sides[0][0].peer is not None
    sides[0][0].peer.offer(None, sides[1][0].address, "bootstrap")

    await meshed(hosts)
    assert [await get(host, "a", **STRONG) for host in hosts] == [b"right two"] * 6  # also before the lists are one

    async def agreed() -> bool:
        states = [await state_of(host, "a") for host in hosts]
        return all(one is not None and len(one.holders) == 6 and not one.previous for one in states)

    await eventually(agreed, within_s=120)
    assert [await get(host, "a", **STRONG) for host in hosts] == [b"right two"] * 6
    assert [await get(host, "a") for host in hosts] == [b"right two"] * 6
    await put(sides[0][1], "a", b"both", **STRONG)
    assert [await get(host, "a", **STRONG) for host in hosts] == [b"both"] * 6


async def test_a_strong_value_with_a_life_ends_and_may_be_created_anew(world: World) -> None:
    hosts = await joined(world, 3)
    first = await put(hosts[0], "a", b"short", ttl_s=20, **STRONG)
    with pytest.raises(ConflictError):
        await put(hosts[1], "a", b"other", if_version="none")
    await asyncio.sleep(40)
    with pytest.raises(NotFoundError):
        await get(hosts[1], "a", **STRONG)
    second = await put(hosts[1], "a", b"new", if_version="none")
    assert await get(hosts[2], "a", **STRONG) == b"new"
    assert int(second.version.partition("-")[0]) > int(first.version.partition("-")[0])  # type: ignore[union-attr]


async def test_who_leaves_has_another_take_its_place_in_the_list(world: World) -> None:
    hosts = await joined(brisk(world), 9)
    await put(hosts[0], "a", b"one", **STRONG)
    near = by_distance(hosts, key_of(hosts[0], "a"))
    await asyncio.sleep(10)  # all are there for good
    await near[0].stop()
    state = await state_of(near[1], "a")
    assert state is not None
    assert {host.identity.peer for host in near[1:]} == set(state.holders)


async def test_a_change_of_the_list_that_broke_off_at_its_first_holder_is_finished(world: World) -> None:
    alice = await brisk(world).join()
    await put(alice, "a", b"one", **STRONG)
    await asyncio.sleep(10)
    bob = await world.join()
    mute(bob, Accept)
    await meshed([alice, bob])

    async def half_changed() -> bool:
        state = await state_of(alice, "a")
        return state is not None and bool(state.previous)

    await eventually(half_changed, within_s=60)
    assert await state_of(bob, "a") is None
    await bob.crash(power=True)
    await asyncio.sleep(20)  # nothing is under way any more
    await bob.start()
    await meshed([alice, bob])
    await put(bob, "a", b"two", **STRONG)
    assert [await get(host, "a", **STRONG) for host in (alice, bob)] == [b"two"] * 2


async def test_two_overlays_in_the_middle_of_a_change_of_their_lists_agree(world: World) -> None:
    hosts = [world.add() for _ in range(2)]
    world.network.part([[host.interface] for host in hosts])
    for host in hosts:
        await host.start()
    await put(hosts[0], "a", b"left", **STRONG)
    for value in (b"right one", b"right two"):
        await put(hosts[1], "a", value, **STRONG)
    for host in hosts:  # each began to take the other in, alone
        raw, acceptor = await core(host).registers.load(key_of(host, "a"))
        assert acceptor.state is not None
        joint = acceptor.state.joint([other.identity.peer for other in hosts])
        changed = acceptor.accept(core(host).peer, Ballot(1 << 60, core(host).peer), joint)
        assert changed is not None
        assert await core(host).registers.keep(key_of(host, "a"), changed, over=raw)
    world.network.heal()
    assert hosts[0].peer is not None
    hosts[0].peer.offer(None, hosts[1].address, "bootstrap")
    await meshed(hosts)
    await put(hosts[0], "a", b"both", **STRONG)
    assert [await get(host, "a", **STRONG) for host in hosts] == [b"both"] * 2


async def test_a_write_without_a_rival_takes_one_round(world: World) -> None:
    hosts = await joined(world, 9)
    near = by_distance(hosts, key_of(hosts[0], "a"))
    await put(near[0], "a", b"one", **STRONG)
    ballots: set[tuple[PeerId, int]] = set()

    def count(peer: PeerId, request: Request, honest: Callable[[], Answer]) -> Answer:
        if isinstance(request, Prepare) and request.counter:
            ballots.add((peer, request.counter))
        return honest()

    for host in hosts:
        answering(host, count)
    await put(near[0], "a", b"two", **STRONG)
    assert len(ballots) == 1
    started = world.loop.time()
    await put(near[8], "a", b"three", **STRONG)  # who is no holder has to hear of the ballots that there were
    assert len(ballots) <= 3
    assert world.loop.time() - started < 1.0
