"""Fenced locks: never two holders with a valid fence, whatever dies, is cut off or has a wrong clock."""

import asyncio

import pytest
from msgspec.structs import replace as with_settings

from peerd.errors import ConflictError, TimedOutError, UsageError
from peerd.node import results
from peerd.node.results import PutOptions
from peerd.sim.host import Host
from peerd.wire.messages import Accept

from .hosts import World, joined, late, put

LEASE_S = 4.0


def leased(world: World) -> World:
    world._settings = with_settings(world._settings, lock_lease_s=LEASE_S)
    return world


async def lock(host: Host, name: str = "l", timeout_s: float = 1.0) -> results.Lock:
    assert host.peer is not None
    return await host.peer.lock(name, timeout_s)


async def renew(host: Host, held: results.Lock) -> results.Lock:
    assert host.peer is not None
    return await host.peer.renew_lock(held.name, held.fence)


async def unlock(host: Host, held: results.Lock) -> results.Lock:
    assert host.peer is not None
    return await host.peer.unlock(held.name, held.fence)


async def test_a_lock_is_held_by_one_and_handed_on_with_a_higher_fence(world: World) -> None:
    hosts = await joined(leased(world), 3)
    first = await lock(hosts[0])
    assert first.lease_s == LEASE_S
    with pytest.raises(TimedOutError):
        await lock(hosts[1])
    with pytest.raises(TimedOutError):
        await lock(hosts[0])
    await unlock(hosts[0], first)
    second = await lock(hosts[1])
    assert second.fence > first.fence
    with pytest.raises(ConflictError):
        await renew(hosts[0], first)
    with pytest.raises(ConflictError):
        await unlock(hosts[0], first)


async def test_locks_are_no_keys_of_those_that_are_listed(world: World) -> None:
    hosts = await joined(leased(world), 3)
    await put(hosts[0], "lock/l", b"value")
    await lock(hosts[0])
    for host in hosts:
        assert host.peer is not None
        assert [entry.name for entry in await host.peer.list(None)] == ["lock/l"]


async def test_a_lock_that_is_renewed_is_not_taken_over(world: World) -> None:
    hosts = await joined(leased(world), 3)
    held = await lock(hosts[0])
    waiting = asyncio.ensure_future(lock(hosts[1], timeout_s=60))
    for _ in range(10):
        await asyncio.sleep(LEASE_S / 3)
        assert (await renew(hosts[0], held)).fence == held.fence
        assert not waiting.done()
    await unlock(hosts[0], held)
    assert (await waiting).fence > held.fence


async def test_the_lock_of_who_died_is_taken_over_after_its_lease(world: World) -> None:
    hosts = await joined(leased(world), 5)
    held = await lock(hosts[0])
    await hosts[0].crash(power=True)
    started = asyncio.get_running_loop().time()
    taken = await lock(hosts[1], timeout_s=60)
    assert asyncio.get_running_loop().time() - started >= LEASE_S
    assert taken.fence > held.fence


async def test_who_is_cut_off_counts_the_lock_as_lost_before_another_has_it(world: World) -> None:
    hosts = await joined(leased(world), 5)
    held = await lock(hosts[0])
    world.network.part([[hosts[0].interface], [host.interface for host in hosts[1:]]])
    loop = asyncio.get_running_loop()
    taking = asyncio.ensure_future(lock(hosts[1], timeout_s=60))
    lost_at = 0.0
    while not lost_at:
        try:
            await renew(hosts[0], held)
        except ConflictError:
            lost_at = loop.time()
        except TimedOutError:
            continue
        await asyncio.sleep(0.1)
    assert not taking.done()
    assert (await taking).fence > held.fence


@pytest.mark.parametrize(("holder", "contender"), [(-0.1, 0.1), (0.1, -0.1)])
async def test_clocks_that_drift_never_make_two_holders(world: World, holder: float, contender: float) -> None:
    hosts = await joined(leased(world), 3)
    hosts[0].clock.drift(holder)
    hosts[1].clock.drift(contender)
    assert hosts[0].peer is not None
    held = await lock(hosts[0])
    mine = hosts[0].peer._locks._held["l"]
    taking = asyncio.ensure_future(lock(hosts[1], timeout_s=60))
    while hosts[0].clock.monotonic() < mine.until:
        assert not taking.done()
        await asyncio.sleep(0.05)
    assert (await taking).fence > held.fence


async def test_locks_that_all_want_are_held_by_one_at_a_time_while_hosts_die(world: World) -> None:
    hosts = await joined(leased(world), 6)
    inside: list[int] = []
    fences: list[int] = []

    async def work(host: Host) -> None:
        for _ in range(4):
            held = await lock(host, timeout_s=300)
            assert not inside
            inside.append(host.index)
            fences.append(held.fence)
            await asyncio.sleep(0.3)
            inside.remove(host.index)
            await unlock(host, held)

    working = [asyncio.ensure_future(work(host)) for host in hosts[:4]]
    await asyncio.sleep(2)
    await hosts[5].crash(power=True)
    await asyncio.gather(*working)
    assert fences == sorted(set(fences))
    assert len(fences) == 16


async def test_who_stops_waiting_at_whatever_moment_holds_up_nobody(world: World) -> None:
    hosts = await joined(leased(world), 5)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await unlock(hosts[0], await lock(hosts[0]))
    took_s = loop.time() - started
    for step in range(20):
        waiting = asyncio.ensure_future(lock(hosts[0]))
        await asyncio.sleep(took_s * step / 20)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if not waiting.cancelled():
            await unlock(hosts[0], waiting.result())
            continue
        await unlock(hosts[1], await lock(hosts[1], timeout_s=LEASE_S / 2))


async def test_a_lock_that_is_granted_after_it_was_given_up_is_free_again(world: World) -> None:
    hosts = await joined(leased(world), 3)
    for host in hosts[1:]:
        late(host, 0.3, Accept)
    waiting = asyncio.ensure_future(lock(hosts[0]))
    await asyncio.sleep(0.2)
    waiting.cancel()
    await asyncio.sleep(1.0)
    assert await lock(hosts[1], timeout_s=LEASE_S / 2)


async def test_a_lock_that_is_abandoned_is_free_for_others_and_lost_for_its_holder(world: World) -> None:
    hosts = await joined(leased(world), 3)
    held = await lock(hosts[0])
    assert hosts[0].peer is not None
    hosts[0].peer.abandon_lock(held.name, held.fence - 1)
    assert await renew(hosts[0], held)
    hosts[0].peer.abandon_lock(held.name, held.fence)
    with pytest.raises(ConflictError):
        await renew(hosts[0], held)
    assert (await lock(hosts[1], timeout_s=LEASE_S / 2)).fence > held.fence


async def test_no_key_of_a_user_is_a_lock(world: World) -> None:
    (alice,) = await joined(leased(world), 1)
    held = await lock(alice)
    assert alice.peer is not None
    with pytest.raises(UsageError):
        await alice.peer.remove("@lock/l", PutOptions())
    assert await unlock(alice, held)


@pytest.mark.parametrize("name", ["", "x" * 250, "\ud800"])
async def test_a_name_that_cannot_be_a_locks_is_refused(world: World, name: str) -> None:
    (alice,) = await joined(world, 1)
    with pytest.raises(UsageError):
        await lock(alice, name)
