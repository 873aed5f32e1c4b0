"""Another that runs with a copied data directory: both say so; what others merely say of it warns nobody."""

import asyncio

from msgspec.structs import replace

from peerd.config import HostPort
from peerd.kad.contact import Address
from peerd.node.twins import TWIN_LIFE_S, TWINS_MAX
from peerd.sim.host import Host
from peerd.sim.world import World
from tests.unit.node.hosts import core, joined, until

SEED = b"copied with the data directory.."


async def started(world: World, *told: Address, seed: bytes | None = SEED) -> Host:
    """A peer, with this key, that was told so many addresses."""
    host = world.add(seed=seed)
    host.settings = replace(host.settings, bootstrap=tuple(HostPort(*each) for each in told))
    await host.start()
    return host


def reasons(host: Host) -> list[str]:
    assert host.peer is not None
    return [reason for reason in host.peer.degraded if "identity" in reason]


async def test_who_runs_twice_is_told_at_both_places_and_where_the_other_is(world: World) -> None:
    await joined(world, 2)
    first = await started(world, world.hosts[0].address)
    second = await started(world, first.address)
    await until(lambda: bool(reasons(first) and reasons(second)))
    assert HostPort(*second.address).text in reasons(first)[0]
    assert HostPort(*first.address).text in reasons(second)[0]
    assert not any(reasons(host) for host in world.hosts[:2])
    await second.crash(power=False)
    await asyncio.sleep(TWIN_LIFE_S - 60)
    assert reasons(first)
    await asyncio.sleep(120)
    assert not reasons(first)


async def test_what_mdns_says_of_our_own_id_elsewhere_is_looked_at(world: World) -> None:
    first, second = await started(world), await started(world)
    assert first.peer is not None
    first.peer.offer(first.identity.peer, second.address, "mdns")
    await until(lambda: bool(reasons(first) and reasons(second)))


async def test_we_are_not_our_own_twin(world: World) -> None:
    host = await started(world)
    assert host.peer is not None
    host.peer.offer(host.identity.peer, host.address, "mdns")
    host.peer.offer(None, host.address, "bootstrap")
    await asyncio.sleep(10)
    assert core(host).counts.rejected["ourselves"] + core(host).endpoint.counts.rejected["ourselves"] > 0
    assert not reasons(host)


async def test_who_sends_us_back_what_is_ours_is_no_twin(world: World) -> None:
    host, mallory = await started(world), await started(world, seed=None)
    endpoint = core(mallory).endpoint
    endpoint._handshakes.receive = lambda kind, data, address: endpoint._send(data, address)  # type: ignore[method-assign]
    assert host.peer is not None
    host.peer.offer(host.identity.peer, mallory.address, "mdns")
    host.peer.offer(None, mallory.address, "bootstrap")
    await asyncio.sleep(10)
    assert core(host).endpoint.counts.rejected["ourselves"] > 0
    assert not reasons(host)


async def test_as_many_places_as_it_comes_from_are_not_all_remembered(world: World) -> None:
    host = await started(world)
    assert host.peer is not None
    for number in range(100):
        host.peer._twins.noted((f"10.9.0.{number}", 9))
    assert len(host.peer._twins._twins) == TWINS_MAX
    assert len(reasons(host)) == 1
    assert len(reasons(host)[0]) < 250
