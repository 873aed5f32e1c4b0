"""Small overlays whole: everybody knows everybody, deaths lose nothing that was acknowledged, islands become one."""

import asyncio
from itertools import combinations

import msgspec
import pytest

from peerd.config import HostPort
from peerd.errors import NotFoundError, RefusedError, StoreError
from peerd.node import holding
from peerd.node.results import PeerInfo, PutOptions
from peerd.records.notice import LeaveNotice, leave_notices
from peerd.sim.host import Host
from peerd.wire.messages import Leave

from .hosts import (
    World,
    add,
    blocks_of,
    by_distance,
    contact_of,
    core,
    eventually,
    get,
    joined,
    kept,
    key_of,
    meshed,
    put,
    until,
    version,
)

BIG = bytes(range(256)) * 8000  # 2 MB: three blocks


async def test_twenty_peers_all_know_each_other(world: World) -> None:
    hosts = [await world.join() for _ in range(20)]
    took_s = await until(lambda: all(core(host).members.alive_count() == 19 for host in hosts))
    assert took_s < 5.0
    assert len({core(host).members.digest() for host in hosts}) == 1
    for host in hosts:
        assert {contact.peer for contact in core(host).members.alive()} == {
            other.identity.peer for other in hosts if other is not host
        }


async def test_peers_that_start_at_once_all_know_each_other(world: World) -> None:
    hosts = [world.add() for _ in range(10)]
    await asyncio.gather(*(host.start() for host in hosts))
    await meshed(hosts)


@pytest.mark.parametrize("count", [3, 5])
async def test_losing_any_two_peers_loses_nothing_acknowledged(world: World, count: int) -> None:
    hosts = await joined(world, count)
    big, small = await put(hosts[0], "big", BIG), await put(hosts[1], "small", b"hello")
    added = await add(hosts[2], BIG + b"other")
    assert (big.copies, added.copies, small.copies) == (3, 3, min(8, count))
    pairs = list(combinations(range(count), 2))
    for pair in pairs if count == 3 else [pairs[each] for each in (0, 4, 7)]:
        lost = [hosts[number] for number in pair]
        for host in lost:
            await host.crash(power=False)
        for host in hosts:
            if host not in lost:
                assert await get(host, "small") == b"hello"
                assert await get(host, "big", cache=False) == BIG
                assert await get(host, added.cid, cache=False) == BIG + b"other"
        for host in lost:
            await host.start()
        await meshed(hosts)


@pytest.mark.parametrize("count", [2, 3, 5])
async def test_one_survivor_has_every_value_that_rides_in_a_record(world: World, count: int) -> None:
    hosts = await joined(world, count)
    await put(hosts[0], "a", b"hello")
    await asyncio.sleep(1)
    for host in hosts[:-1]:
        await host.crash(power=False)
    assert await get(hosts[-1], "a") == b"hello"


async def test_lost_copies_are_restored_on_others(world: World) -> None:
    hosts = await joined(world, 6)
    result = await put(hosts[0], "a", BIG)
    cid = next(reversed(blocks_of(BIG)))
    assert cid.text == result.cid
    lost = [host for host in hosts if host.id_text in result.holders][:2]
    for host in lost:
        await host.crash(power=False)
    left = [host for host in hosts if host not in lost]

    async def restored() -> bool:
        roots = [await host.store.root(cid.to_bytes()) for host in left]
        return sum(1 for root in roots if root and root.complete and root.class_ == "replica") >= 3

    assert await eventually(restored, within_s=90) > 0
    for host in [host for host in left if host.id_text in result.holders]:
        await host.crash(power=False)
    survivor = next(host for host in left if host.lives)
    assert await get(survivor, "a") == BIG


async def test_a_new_peer_receives_the_records_it_should_hold(world: World) -> None:
    hosts = await joined(world, 3)
    for number in range(20):
        await put(hosts[0], f"key-{number}", bytes([number]))
    (late,) = await joined(world, 1)

    async def has_all() -> bool:
        return all([await kept(late, f"key-{number}") is not None for number in range(20)])

    await eventually(has_all)


@pytest.mark.parametrize(("here", "there"), [(1, 1), (2, 3)])
async def test_two_overlays_that_meet_exchange_what_they_hold(world: World, here: int, there: int) -> None:
    ours, theirs = await joined(world, here), await apart(world, there)
    await put(ours[0], "ours", b"of ours")
    await put(theirs[0], "theirs", b"of theirs")
    with pytest.raises(NotFoundError):
        await get(ours[0], "theirs")
    await put(ours[0], "both", b"older")
    await put(theirs[0], "both", b"old")
    await put(theirs[0], "both", b"newer")
    big = await put(ours[0], "big", BIG)
    assert ours[0].peer is not None
    ours[0].peer.offer(None, theirs[0].address, "mdns")
    everybody = [*ours, *theirs]
    await meshed(everybody)
    for host in everybody:
        assert await get(host, "ours") == b"of ours"
        assert await get(host, "theirs") == b"of theirs"
        assert await get(host, "both") == b"newer"
        assert await get(host, big.cid) == BIG

    async def spread() -> bool:
        return all([await kept(host, name) for host in everybody for name in ("ours", "theirs", "both")])

    await eventually(spread)


@pytest.mark.parametrize("deleted", [True, False])
@pytest.mark.parametrize("nearest_is", ["fresh", "stale"])
async def test_what_one_side_of_a_cut_wrote_reaches_every_holder_of_the_other(
    world: World, nearest_is: str, deleted: bool
) -> None:
    hosts = await joined(world, 4)
    await put(hosts[0], "a", b"old")
    order = by_distance(hosts, key_of(hosts[0], "a"))
    near, far = order[:2], order[2:]
    fresh, stale = (near, far) if nearest_is == "fresh" else (far, near)
    world.network.part([[host.interface for host in near], [host.interface for host in far]])
    await asyncio.sleep(10)
    assert fresh[0].peer is not None
    if deleted:
        await fresh[0].peer.remove("a", PutOptions())
    else:
        await put(fresh[0], "a", b"new")
    assert await get(stale[0], "a") == b"old"
    newest = await kept(fresh[0], "a")
    world.network.heal()
    await meshed(hosts)

    async def everywhere() -> bool:
        return [await kept(host, "a") == newest for host in hosts] == [True] * 4

    await eventually(everywhere)


@pytest.mark.parametrize("fresh_at", [0, 1, 3])
async def test_a_version_that_one_holder_alone_has_reaches_all_when_copies_are_checked(
    world: World, fresh_at: int
) -> None:
    hosts = await joined(world, 4)
    order = by_distance(hosts, key_of(hosts[0], "a"))
    newest = version(hosts[0], "a", 2, b"new")
    for place, host in enumerate(order):
        record = newest if place == fresh_at else version(hosts[0], "a", 1, b"old")
        await holding.keep_record(core(host), record, None)
    hosts += await joined(world, 1)

    async def everywhere() -> bool:
        return [await kept(host, "a") == newest for host in hosts] == [True] * 5

    await eventually(everywhere)


async def test_both_sides_of_a_cut_go_on_and_the_higher_version_wins_after(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"before")
    world.network.part([[host.interface for host in hosts[:2]], [host.interface for host in hosts[2:]]])
    await asyncio.sleep(10)
    await put(hosts[0], "a", b"few")
    await put(hosts[4], "a", b"many 1")
    await put(hosts[4], "a", b"many 2")
    assert await get(hosts[1], "a") == b"few"
    world.network.heal()
    await meshed(hosts)
    await asyncio.sleep(5)
    assert {await get(host, "a") for host in hosts} == {b"many 2"}


async def test_a_returned_peer_with_an_old_version_serves_the_new_one(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"old")
    await hosts[2].crash(power=False)
    await asyncio.sleep(20)
    await put(hosts[0], "a", b"new")
    await hosts[2].start()
    await meshed(hosts)
    assert await get(hosts[2], "a") == b"new"


async def test_a_holder_that_stops_hands_over_first(world: World) -> None:
    world._settings = msgspec.structs.replace(world._settings, copies=1)
    hosts = await joined(world, 4)
    result = await put(hosts[0], "a", BIG)
    holder = next(host for host in hosts if host.id_text in result.holders)
    await holder.stop()
    left = [host for host in hosts if host is not holder]
    for host in left:
        await host.store.evict_cache(10**9)
    assert await get(left[-1], "a") == BIG


@pytest.mark.parametrize("failing", ["providers", "claims", "records", "roots", "remember_peers"])
async def test_a_peer_whose_disk_fails_ends_all_the_same(world: World, failing: str) -> None:
    hosts = await joined(world, 4)
    await put(hosts[0], "a", BIG)
    await put(hosts[0], "b", b"hello")

    def fail(operation: str) -> None:
        if operation == failing:
            raise StoreError("the disk failed")

    for host in hosts[:2]:
        host.store.fault = fail
        await host.stop()
    await asyncio.sleep(2)
    assert [info.state for info in await _peers(hosts[2])] == ["alive", "left", "left"]


async def test_a_peer_that_stops_while_the_others_are_dark_does_not_wait_for_them(world: World) -> None:
    hosts = await joined(world, 4)
    await put(hosts[0], "a", BIG)
    for host in hosts[1:]:
        await host.crash(power=False)
    started = world.loop.time()
    await hosts[0].stop()
    assert world.loop.time() - started < hosts[0].settings.leave_timeout_s + 1.5


async def test_many_goodbyes_of_one_member_cost_one(world: World) -> None:
    alice, mallory = await joined(world, 2)
    before = len(core(alice).tasks._tasks)
    for stamp in range(1, 50):
        notice = leave_notices.sign(
            mallory.identity, LeaveNotice(format=1, peer=mallory.identity.peer, stamp=2**50 + stamp)
        )
        await core(mallory).endpoint.ask(contact_of(alice), Leave, notice)
    assert len(core(alice).tasks._tasks) <= before + 2


async def test_nobody_says_goodbye_for_another(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    notice = leave_notices.sign(
        mallory.identity, LeaveNotice(format=1, peer=mallory.identity.peer, stamp=2**50)
    ).replace(mallory.identity.peer, bob.identity.peer)
    with pytest.raises(RefusedError):
        await core(mallory).endpoint.ask(contact_of(alice), Leave, notice)
    assert {info.state for info in await _peers(alice)} == {"alive"}


async def _peers(host: Host) -> list[PeerInfo]:
    assert host.peer is not None
    return sorted(await host.peer.peers(), key=lambda info: info.state)


@pytest.mark.parametrize("named", [True, False])
async def test_content_is_acknowledged_by_as_many_as_live_though_one_died_just_now(world: World, named: bool) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "warm", BIG)
    await hosts[2].crash(power=False)
    content = BIG + b"more"
    result = await (put(hosts[0], "a", content) if named else add(hosts[0], content))
    assert set(result.holders) == {hosts[0].id_text, hosts[1].id_text}
    assert result.copies_wanted == 2


@pytest.mark.parametrize("named", [True, False])
async def test_a_holder_of_content_that_died_costs_a_put_no_fixed_seconds(world: World, named: bool) -> None:
    hosts = await joined(world, 6)
    content = BIG + b"more"
    *_, cid = blocks_of(content)
    order = by_distance(hosts, cid.digest)
    writer = order[-1]
    await put(writer, "warm", b"up")
    await order[1].crash(power=False)
    started = world.loop.time()
    result = await (put(writer, "a", content) if named else add(writer, content))
    assert result.copies == 3
    assert world.loop.time() - started < 2.0


async def apart(world: World, count: int) -> list[Host]:
    """More hosts, which know each other and are told of nobody else."""
    hosts: list[Host] = []
    for _ in range(count):
        host = world.add()
        told = tuple(HostPort(*each.address) for each in hosts[:1])
        host.settings = msgspec.structs.replace(host.settings, bootstrap=told)
        hosts.append(host)
        await host.start()
    await meshed(hosts)
    return hosts
