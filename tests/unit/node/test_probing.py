"""Who is thought dead and who is not: pauses, deaths, cuts one way, partial partitions, returns; what that costs."""

import asyncio
from collections import defaultdict
from itertools import pairwise

import pytest
from msgspec.structs import replace

from peerd.errors import NotFoundError, UsageError
from peerd.ids import PeerId, peer_id_text
from peerd.kad.contact import Address
from peerd.node.forgetting import forget
from peerd.records.life import Forgotten, Life, forgotten_notices, lives
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.messages import Relay, Vouched
from tests.unit.node.hosts import answering, contact_of, core, joined, meshed, until


def states(host: Host, *others: Host) -> list[str]:
    return [core(host).members.all[other.identity.peer].state for other in others]


def is_dead(host: Host, other: Host) -> bool:
    return states(host, other) == ["dead"]


def sent_to(world: World) -> dict[Address, list[float]]:
    """When datagrams are sent to each address, from now on."""
    times: dict[Address, list[float]] = defaultdict(list)
    honest = world.network.send

    def send(source: object, data: bytes, address: Address) -> None:
        times[address].append(world.loop.time())
        honest(source, data, address)  # type: ignore[arg-type]

    world.network.send = send  # type: ignore[method-assign, assignment]
    return times


def apart(world: World, here: Host, there: Host) -> None:
    world.network.cut(here.interface, there.interface)
    world.network.cut(there.interface, here.interface)


@pytest.mark.parametrize("count", [2, 3, 6])
async def test_a_silence_of_five_seconds_buries_nobody(world: World, count: int) -> None:
    hosts = await joined(world, count)
    epochs = [core(host).members.epoch for host in hosts]
    world.network.part([[hosts[0].interface], [host.interface for host in hosts[1:]]])
    await asyncio.sleep(5)
    assert any(core(host).members.doubted for host in hosts)
    world.network.heal()
    await meshed(hosts)
    for host in hosts:
        assert states(host, *(other for other in hosts if other is not host)) == ["alive"] * (count - 1)
        assert len(core(host).members.known()) == count - 1
    assert [core(host).members.epoch for host in hosts] != epochs  # copies are looked at: it may have missed something


@pytest.mark.parametrize("count", [2, 3, 10])
async def test_a_death_is_noticed_by_all_within_twenty_seconds(world: World, count: int) -> None:
    hosts = await joined(world, count)
    await hosts[0].crash(power=False)
    assert await until(lambda: all(is_dead(host, hosts[0]) for host in hosts[1:]), within_s=20) > 8


async def test_what_others_take_to_look_for_the_dead_is_not_measured_as_the_way_to_them(world: World) -> None:
    hosts = await joined(world, 8)
    dead, living = hosts[:3], hosts[3:]
    for host in dead:
        await host.crash(power=False)
    for _ in range(40):
        await asyncio.sleep(0.5)
        roundtrips = [core(host).endpoint.roundtrips for host in living]
        others = [core(other).peer for other in living]
        assert max(each.rto_s(peer) for each in roundtrips for peer in others) < 0.1
        assert max(each.rto_s(PeerId(bytes(32))) for each in roundtrips) < 0.1  # where nothing was measured


async def test_shorter_intervals_notice_a_death_sooner(world: World) -> None:
    for _ in range(5):
        host = world.add()
        host.settings = replace(host.settings, probe_interval_s=0.2, suspect_timeout_s=1.0)
        await host.start()
    hosts = world.living
    await meshed(hosts)
    await asyncio.sleep(2)
    await hosts[0].crash(power=False)
    await until(lambda: all(is_dead(host, hosts[0]) for host in hosts[1:]), within_s=4)


async def test_a_cut_one_way_expels_nobody(world: World) -> None:
    hosts = await joined(world, 5)
    alice, bob = hosts[:2]
    world.network.cut(alice.interface, bob.interface)
    for _ in range(120):
        await asyncio.sleep(1)
        assert not any("dead" in states(host, *(o for o in hosts if o is not host)) for host in hosts)
    assert bob.identity.peer in core(alice).members.doubted  # not asked first
    assert alice.identity.peer in core(bob).members.doubted
    assert not any(core(host).members.doubted for host in hosts[2:])
    world.network.heal()
    await until(lambda: not core(alice).members.doubted and not core(bob).members.doubted, within_s=10)


async def test_a_partial_partition_expels_nobody(world: World) -> None:
    hosts = await joined(world, 7)
    for here in hosts[:2]:
        for there in hosts[2:4]:
            apart(world, here, there)
    for _ in range(120):
        await asyncio.sleep(1)
        assert not any("dead" in states(host, *(o for o in hosts if o is not host)) for host in hosts)


async def test_who_is_reached_by_others_and_then_dies_is_buried_by_all(world: World) -> None:
    hosts = await joined(world, 5)
    apart(world, *hosts[:2])
    await asyncio.sleep(60)
    await hosts[1].crash(power=False)
    await until(lambda: all(is_dead(host, hosts[1]) for host in [hosts[0], *hosts[2:]]), within_s=40)


async def test_a_liar_keeps_no_dead_peer_alive(world: World) -> None:
    hosts = await joined(world, 4)
    alice, bob = hosts[:2]
    signed = lives.sign(bob.identity, Life(format=1, peer=bob.identity.peer, stamp=0, nonce=b"12345678"))
    for mallory in hosts[2:]:
        answering(
            mallory,
            lambda peer, request, honest: Vouched(request.rid, signed) if isinstance(request, Relay) else honest(),
        )
    await bob.crash(power=False)
    await until(lambda: is_dead(alice, bob), within_s=20)
    assert core(alice).counts.rejected["vouch"] > 0


@pytest.mark.parametrize("count", [2, 4])
async def test_the_dead_are_sent_one_datagram_in_ten_seconds_by_all_together(world: World, count: int) -> None:
    hosts = await joined(world, count)
    dead = hosts[0]
    await dead.crash(power=False)
    await asyncio.sleep(75)
    times = sent_to(world)[dead.address]
    for _ in range(240):
        for host in hosts[1:]:
            assert host.peer is not None
            host.peer.offer(dead.identity.peer, dead.address, "mdns")
            host.peer.offer(None, dead.address, "bootstrap")
        await asyncio.sleep(0.5)
    assert len(times) >= 120 / 13 - 2
    assert len(times) <= 120 / 10


async def test_other_addresses_of_the_dead_are_not_tried_for_ever(world: World) -> None:
    hosts = await joined(world, 3)
    dead, elsewhere = hosts[0].identity.peer, ("10.9.9.9", 7433)
    await hosts[0].crash(power=False)
    await asyncio.sleep(20)
    times = sent_to(world)[elsewhere]
    for _ in range(280):
        for host in hosts[1:]:
            assert host.peer is not None
            host.peer.offer(dead, elsewhere, "mdns")
        await asyncio.sleep(0.5)
    assert times
    assert max(times) < world.loop.time() - 60


async def test_other_addresses_of_a_member_die_with_it(world: World) -> None:
    hosts = await joined(world, 3)
    dead, elsewhere = hosts[0].identity.peer, ("10.9.9.9", 7433)
    for host in hosts[1:]:
        assert host.peer is not None
        host.peer.offer(dead, elsewhere, "mdns")
    await hosts[0].crash(power=False)
    await asyncio.sleep(80)
    times = sent_to(world)[elsewhere]
    for host in hosts[1:]:
        assert host.peer is not None
        host.peer.offer(dead, elsewhere, "mdns")
    await asyncio.sleep(10)
    assert not times


async def test_without_hints_the_dead_hear_of_one_of_many(world: World) -> None:
    hosts = await joined(world, 8)
    await hosts[3].crash(power=False)
    await asyncio.sleep(75)
    times = sent_to(world)[hosts[3].address]
    await asyncio.sleep(120)
    assert 8 <= len(times) <= 12
    assert min(later - earlier for earlier, later in pairwise(times)) >= 10


async def test_a_healed_partition_is_found_within_fifteen_seconds(world: World) -> None:
    hosts = await joined(world, 6)
    world.network.part([[host.interface for host in hosts[:2]], [host.interface for host in hosts[2:]]])
    await asyncio.sleep(150)
    assert core(hosts[0]).members.alive_count() == 1
    assert core(hosts[5]).members.alive_count() == 3
    world.network.heal()
    await until(lambda: all(core(host).members.alive_count() == 5 for host in hosts), within_s=15)


@pytest.mark.parametrize("after_s", [95, 97, 99, 101, 103, 105])
async def test_who_comes_back_is_found_at_once(world: World, after_s: float) -> None:
    """Also in the seconds after it was tried in vain."""
    hosts = await joined(world, 5)
    await hosts[4].crash(power=False)
    await asyncio.sleep(after_s)
    await hosts[4].start()
    await until(lambda: all(core(host).members.alive_count() == 4 for host in hosts), within_s=5)


async def test_a_configured_peer_that_nobody_met_is_found_also_in_company(world: World) -> None:
    configured = world.add()
    hosts = await joined(world, 2)
    await asyncio.sleep(90)
    await configured.start()  # knows nobody
    await until(lambda: all(core(host).members.alive_count() == 2 for host in [configured, *hosts]), within_s=15)


async def test_who_left_is_left_to_those_too_that_the_goodbye_did_not_reach(world: World) -> None:
    hosts = await joined(world, 5)
    world.network.cut(hosts[0].interface, hosts[1].interface)
    await hosts[0].stop()
    await until(lambda: states(hosts[1], hosts[0]) == ["left"], within_s=20)


async def test_who_leaves_is_not_taken_for_one_that_is_back_as_somebody_still_names_it(world: World) -> None:
    hosts = await joined(world, 3)
    world.network.cut(hosts[0].interface, hosts[1].interface)
    stopping = asyncio.create_task(hosts[0].stop())  # it waits for the answer that does not come
    await until(lambda: states(hosts[2], hosts[0]) == ["left"])
    assert states(hosts[1], hosts[0]) == ["alive"]
    assert hosts[2].peer is not None
    await hosts[2].peer._joining.exchange(contact_of(hosts[1]))
    await stopping
    assert states(hosts[2], hosts[0]) == ["left"]


@pytest.mark.slow
async def test_membership_at_rest_is_a_ping_and_a_pong_a_second(world: World) -> None:
    hosts = await joined(world, 20)
    before = sum(core(host).endpoint.counts.sent_bytes for host in hosts)
    await asyncio.sleep(60)
    after = sum(core(host).endpoint.counts.sent_bytes for host in hosts)
    assert (after - before) / 60 / len(hosts) < 160


async def test_the_forgotten_are_expected_by_nobody_until_they_show_themselves(world: World) -> None:
    hosts = await joined(world, 5)
    dead = hosts[4]
    await dead.crash(power=False)
    await until(lambda: all(is_dead(host, dead) for host in hosts[:4]), within_s=20)
    assert all(dead.identity.peer in core(host).members.expected_holders(bytes(32), 8) for host in hosts[:4])
    await forget(core(hosts[0]), peer_id_text(dead.identity.peer)[:12])
    assert [core(host).members.forgotten(dead.identity.peer) for host in hosts[:4]] == [True, False, False, False]
    await forget(core(hosts[1]), peer_id_text(dead.identity.peer)[:12])  # one may lie
    for host in hosts[:4]:
        members = core(host).members
        assert members.forgotten(dead.identity.peer)
        assert dead.identity.peer not in members.known()
        assert dead.identity.peer not in members.expected_holders(bytes(32), 8)
    late = (await joined(world, 1))[-1]
    await until(lambda: core(late).members.forgotten(dead.identity.peer), within_s=10)
    await hosts[0].crash(power=False)
    await hosts[0].start()
    assert core(hosts[0]).members.forgotten(dead.identity.peer)  # it is on disk
    await dead.start()
    everybody = [*hosts, late]
    await meshed(everybody)
    assert not any(core(host).members.forgotten(dead.identity.peer) for host in everybody if host is not dead)
    assert [raw for host in everybody if host is not dead for raw in await host.store.forgotten()] == []


async def test_a_word_that_comes_before_the_death_is_noticed_counts_once_it_is(world: World) -> None:
    hosts = await joined(world, 4)
    late, dead = hosts[2], hosts[3]
    said = [
        forgotten_notices.sign(
            core(host).identity, Forgotten(format=1, signer=host.identity.peer, peer=dead.identity.peer, stamp=9)
        )
        for host in (hosts[0], hosts[1])
    ]
    await dead.crash(power=True)
    for notice in said:
        assert not core(late).gossip.on_forgotten(notice), "it is there, as far as is known"
    await until(lambda: core(late).members.contact(dead.identity.peer) is None)
    assert core(late).members.forgotten(dead.identity.peer)


async def test_the_living_are_not_forgotten(world: World) -> None:
    alice, bob = await joined(world, 2)
    with pytest.raises(UsageError) as refused:
        await forget(core(alice), peer_id_text(bob.identity.peer))
    assert refused.value.hint
    with pytest.raises(UsageError):
        await forget(core(alice), peer_id_text(alice.identity.peer))
    with pytest.raises(NotFoundError):
        await forget(core(alice), "zzzz")
    assert states(alice, bob) == ["alive"]


async def test_nobody_believes_that_one_is_gone_for_good_whom_it_sees(world: World) -> None:
    hosts = await joined(world, 4)
    alice, bob, carol = hosts[:3]
    world.network.part([[alice.interface], [host.interface for host in hosts[1:]]])
    await until(lambda: is_dead(alice, bob), within_s=20)
    await forget(core(alice), peer_id_text(bob.identity.peer))
    world.network.heal()
    await meshed(hosts)
    await asyncio.sleep(20)
    assert not any(core(host).members.forgotten(bob.identity.peer) for host in (alice, carol))


async def test_what_was_said_of_a_large_network_does_not_last_in_a_small_one(world: World) -> None:
    hosts = await joined(world, 6)
    for host in hosts[:2]:
        for other in core(host).members.alive():
            core(host).members.size_said(other.peer, large=True)
        assert core(host).members.partial
    await until(lambda: not any(core(host).members.partial for host in hosts), within_s=60)
