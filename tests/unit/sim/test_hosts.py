"""What befalls hosts: they stand still, their clocks are wrong, their disks sick, their stores old."""

import asyncio

import pytest

from peerd.errors import NoRoomError, StoreError
from peerd.node.results import PutOptions
from peerd.sim.disk import FAILED, FULL, SLOW_SYNC_S
from peerd.sim.host import Host
from peerd.sim.world import World


async def _once(value):
    yield value


def _world(run, act, *, peers=2, **options):
    """Let `act(world, hosts)` happen among peers that know each other."""

    async def work(loop):
        world = World(loop, seed=1, expected=peers, signed=False, **options)
        hosts = [await world.join() for _ in range(peers)]
        await asyncio.sleep(2)
        try:
            return await act(world, hosts)
        finally:
            assert await world.lights_out() == []

    return run(work)


def test_nothing_runs_on_a_host_that_stands_still_and_what_waited_comes_after(run):
    async def act(world: World, hosts: list[Host]):
        loop, bob = world.loop, hosts[1]
        ticks = []

        async def tick():
            for _ in range(5):
                await asyncio.sleep(1)
                ticks.append(loop.time() - began_s)

        began_s = loop.time()
        bob.run(tick(), "tick")
        await asyncio.sleep(1.5)
        bob.stand_still()
        ping = asyncio.ensure_future(hosts[0].peer.ping(bob.id_text))
        await asyncio.sleep(1)
        assert not ping.done()
        assert bob.lives
        assert not bob.answers
        bob.go_on()
        await ping
        await asyncio.sleep(10)
        return ticks

    assert _world(run, act) == pytest.approx([1, 2.5, 3.5, 4.5, 5.5], abs=0.1)


def test_a_host_that_stands_still_can_crash_and_come_back(run):
    async def act(_: World, hosts: list[Host]):
        hosts[1].stand_still()
        await asyncio.sleep(1)
        await hosts[1].crash(power=True)
        await hosts[1].start()
        return hosts[1].answers

    assert _world(run, act)


def test_two_stand_still_and_go_on_apart(run):
    async def act(world: World, hosts: list[Host]):
        for host in hosts[1:]:
            host.stand_still()
        hosts[2].go_on()
        assert (await hosts[0].peer.ping(hosts[2].id_text)).rtt_ms > 0
        hosts[1].go_on()
        assert (await hosts[0].peer.ping(hosts[1].id_text)).rtt_ms > 0
        return world.answering

    assert len(_world(run, act, peers=3)) == 3


def test_a_clock_drifts_without_a_jump(run):
    async def act(world: World, hosts: list[Host]):
        clock = hosts[0].clock
        before = clock.monotonic()
        clock.drift(0.1)
        assert clock.monotonic() == pytest.approx(before)
        await asyncio.sleep(10)
        assert clock.monotonic() == pytest.approx(before + 11)
        clock.drift(-0.1)
        await asyncio.sleep(10)
        assert clock.monotonic() == pytest.approx(before + 20)

    _world(run, act)


@pytest.mark.parametrize(("fault", "error", "said"), [("full", NoRoomError, FULL), ("failing", StoreError, FAILED)])
def test_a_sick_disk_takes_nothing_and_goes_on_reading(run, fault, error, said):
    async def act(world: World, hosts: list[Host]):
        (alice,) = hosts
        put = alice.peer.put("a", _once(b"one"), form="file", options=PutOptions())
        await put
        alice.disk.attach(alice.store, fault)
        with pytest.raises(error, match=said):
            await alice.store.remember_peers([])
        assert len(await alice.store.records(None, 10)) == 1
        alice.disk.attach(alice.store)
        await alice.store.remember_peers([])

    _world(run, act, peers=1)


def test_a_slow_disk_takes_its_time(run):
    async def act(world: World, hosts: list[Host]):
        hosts[0].disk.attach(hosts[0].store, "slow")
        began_s = world.loop.time()
        await hosts[0].store.remember_peers([])
        return world.loop.time() - began_s

    assert _world(run, act, peers=1) == SLOW_SYNC_S


def test_a_store_that_is_put_back_has_what_it_had_and_another_id(run):
    async def act(world: World, hosts: list[Host]):
        (alice,) = hosts
        await alice.peer.put("a", _once(b"one"), form="file", options=PutOptions())
        alice.copy_store()
        copied_s, store_id = world.loop.time(), alice.store.store_id
        await asyncio.sleep(1)
        await alice.peer.put("b", _once(b"two"), form="file", options=PutOptions())
        written_s = world.loop.time()
        await alice.crash(power=False)
        alice.put_back()
        await alice.start()
        assert len(await alice.store.records(None, 10)) == 1
        assert alice.store.store_id != store_id
        assert alice.has_lost(written_s)
        assert not alice.has_lost(copied_s - 1)
        return (await alice.store.usage()).records

    assert _world(run, act, peers=1) == 1


def test_who_is_killed_just_after_it_met_others_knows_them_when_it_is_back(run):
    async def act(world: World, hosts: list[Host]):
        await asyncio.sleep(0.5)
        await hosts[1].crash(power=False)
        hosts[1].store.reopen()
        return [remembered.peer for remembered in await hosts[1].store.remembered_peers(10)] == [hosts[0].identity.peer]

    assert _world(run, act)
