"""Identities ground to stand nearest to a key deny, lie or say nothing; what is put there is found all the same.

Honest peers know nothing of who is honest. Signatures are stand-ins, so that grinding and joining cost little.
"""

import asyncio
import inspect
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import wraps
from typing import Any

import pytest
from loguru import logger
from msgspec.structs import replace

from peerd.config import HostPort
from peerd.errors import IntegrityError, NotFoundError, TimedOutError
from peerd.identity import Identity
from peerd.ids import PeerId
from peerd.node import remembering
from peerd.sim.host import Host
from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from peerd.wire.handshake import Initiator
from peerd.wire.messages import Request
from tests.hostile.base import Answer, Honest, Liar
from tests.hostile.grind import ground, spaced
from tests.hostile.lookups import Drop, Hijack
from tests.hostile.records import Alters, Denies, Floors
from tests.unit.node.hosts import by_distance, core, get, joined, key_of, meshed, put, until

HONEST = 40
SYBILS = 24
READS = 120
# Nearer than all honest ones, and among the 8 nearest of them.
AT_THE_KEY, AMONG_8 = 2.0**-12, 8 / HONEST


@pytest.fixture(autouse=True)
def quiet() -> None:
    logger.remove()  # lies are warned of


def simulated(scene: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a world of its own, on virtual time."""

    @wraps(scene)
    def run(**arguments: Any) -> None:
        loop = VirtualLoop()

        async def play() -> None:
            world = World(loop, seed=5, expected=HONEST, signed=False)
            await scene(world, **arguments)
            assert await world.lights_out() == []

        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(play())

    signature = inspect.signature(scene)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[each for name, each in signature.parameters.items() if name != "world"]
    )
    return run


async def crowded(world: World, name: str, liar: type[Liar], reach: float, count: int = SYBILS) -> list[Host]:
    """Let identities join that stand near the key of a name."""
    rng = random.Random(f"{name} {reach}")
    key = key_of(world.hosts[0], name)
    seeds = ground(world.suite, world.overlay, key, count, reach=reach, rng=rng)
    return await sybils(world, seeds, liar)


async def sybils(world: World, seeds: Sequence[bytes], liar: type[Liar]) -> list[Host]:
    outfit = liar.outfit({})
    hosts = [world.add(outfit=outfit, seed=seed) for seed in seeds]
    for host in hosts:
        await host.start()
    await meshed(world.living)
    await asyncio.sleep(5)
    return hosts


async def reads(
    world: World, name: str, wanted: bytes, *, older: Sequence[bytes] = (), count: int = READS
) -> Counter[str]:
    """What came of reading a name again and again, by chance from all honest peers.

    With `one` an older value is right too: who once was a holder answers with what it has.
    """
    rng = random.Random(7)
    outcomes: Counter[str] = Counter()
    for number in range(count):
        consistency = "one" if number % 2 else "quorum"
        try:
            read = await get(rng.choice(world.honest), name, consistency=consistency)
        except (IntegrityError, NotFoundError, TimedOutError) as error:
            outcomes[type(error).__name__] += 1
            continue
        right = read == wanted or (consistency == "one" and read in older)
        outcomes["right" if right else "wrong"] += 1
    return outcomes


class Fickle(Liar):
    """Lies in the way of the day; who is one of its clan changes it for all."""

    ways: Mapping[str, type[Liar]] = {"denies": Denies, "alters": Alters, "floors": Floors, "drops": Drop}

    def begin(self) -> None:
        self._parts = {name: kind() for name, kind in self.ways.items()}
        for part in self._parts.values():
            part.core, part.clan, part.rng = self.core, self.clan, self.rng

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        return self._parts[DAY["way"]].answer(peer, request, honest)


DAY = {"way": "denies"}


@pytest.mark.parametrize("reach", [AT_THE_KEY, AMONG_8])
@simulated
async def test_what_is_put_where_a_crowd_stands_is_read_and_outlives_the_crowd(world: World, reach: float) -> None:
    await joined(world, HONEST)
    await put(world.hosts[3], "wanted", b"before they came")
    DAY["way"] = "denies"
    crowd = await crowded(world, "wanted", Fickle, reach)
    outcomes = await reads(world, "wanted", b"before they came", count=READS // 4)
    older = [b"before they came"]
    for way in Fickle.ways:
        DAY["way"] = way
        await put(world.hosts[5], "wanted", way.encode())
        outcomes += await reads(world, "wanted", way.encode(), older=older, count=READS // 4)
        older.append(way.encode())
    assert outcomes["right"] >= 0.99 * outcomes.total(), outcomes
    for host in crowd:
        await host.crash(power=False)
    await asyncio.sleep(60)
    assert await reads(world, "wanted", b"drops", older=older, count=20) == {"right": 20}


@simulated
async def test_a_crowd_costs_no_more_than_three_times_the_messages(world: World) -> None:
    await joined(world, HONEST)
    await crowded(world, "wanted", Denies, AT_THE_KEY)
    assert await _sent(world, "wanted") <= 3 * await _sent(world, "another")


async def _sent(world: World, name: str) -> int:
    """How many datagrams a put and some reads cost, beside those of the time that they take."""
    before = world.network.counts["sent"]
    await asyncio.sleep(10)
    idle_each_s = (world.network.counts["sent"] - before) / 10
    before, began = world.network.counts["sent"], asyncio.get_running_loop().time()
    await put(world.hosts[5], name, b"the value")
    assert (await reads(world, name, b"the value", count=60))["right"] == 60
    took_s = asyncio.get_running_loop().time() - began
    return int(world.network.counts["sent"] - before - idle_each_s * took_s)


@simulated
async def test_where_a_crowd_denies_a_key_it_is_not_said_to_be_absent_unless_all_say_so(world: World) -> None:
    await joined(world, HONEST)
    await crowded(world, "wanted", Denies, AT_THE_KEY)
    with pytest.raises(NotFoundError):
        await get(world.hosts[2], "wanted")
    honest = by_distance(world.honest, key_of(world.hosts[0], "wanted"))[0]
    honest.stand_still()
    with pytest.raises(TimedOutError):
        await get(world.hosts[2] if honest is not world.hosts[2] else world.hosts[4], "wanted")
    honest.go_on()


@simulated
async def test_eight_spaced_as_if_by_chance_do_not_hide_a_key(world: World) -> None:
    """Each stands a little nearer than chance puts an honest peer: no crowd, half of the holders at most."""
    await joined(world, HONEST)
    await put(world.hosts[3], "wanted", b"the value")
    key = key_of(world.hosts[0], "wanted")
    reaches = [(number + 1) / HONEST for number in range(8)]
    await sybils(world, spaced(world.suite, world.overlay, key, reaches, random.Random(3)), Denies)
    assert (await reads(world, "wanted", b"the value"))["right"] >= 0.99 * READS


@simulated
async def test_where_not_all_are_known_a_crowd_is_looked_beside(world: World) -> None:
    world._settings = replace(world._settings, members_max=8)
    for _ in range(60):
        await world.join()
    await until(lambda: all(core(host).members.samples.size is not None for host in world.hosts), within_s=800)
    assert not core(world.hosts[3]).members.complete
    outfit = Denies.outfit({})
    key = key_of(world.hosts[0], "wanted")
    for seed in ground(world.suite, world.overlay, key, SYBILS, reach=AT_THE_KEY, rng=random.Random(1)):
        await world.add(outfit=outfit, seed=seed).start()
    await asyncio.sleep(60)
    await put(world.hosts[5], "wanted", b"the value")
    assert (await reads(world, "wanted", b"the value", count=60))["right"] >= 59


# Address groups.


async def spread_out(world: World, count: int) -> list[Host]:
    """Honest peers, each in a network of addresses of its own."""
    hosts = [world.add(address=(f"62.{number}.7.1", 7433)) for number in range(count)]
    for host in hosts:
        await host.start()
    await meshed(hosts)
    return hosts


def of_group(host: Host, prefix: str) -> int:
    return sum(1 for contact in core(host).members.alive() if contact.address[0].startswith(prefix))


@simulated
async def test_of_many_identities_in_one_network_of_addresses_a_table_takes_ten(world: World) -> None:
    honest = await spread_out(world, 30)
    outfit = Hijack.outfit({})
    for number in range(25):
        await world.add(outfit=outfit, address=(f"44.1.2.{number + 1}", 7433)).start()
    await asyncio.sleep(30)
    for host in honest:
        assert of_group(host, "44.1.2.") <= 10
        assert of_group(host, "62.") == len(honest) - 1
    await put(honest[3], "wanted", b"the value")
    assert (await reads(world, "wanted", b"the value", count=40))["right"] == 40


@simulated
async def test_hellos_without_a_proof_lock_nobody_of_their_group_out(world: World) -> None:
    [victim, *_] = await spread_out(world, 5)
    for number in range(100):
        stranger = Identity(world.suite.signing_key(bytes([number]) * 32), world.overlay, world.suite)
        hello = Initiator(stranger, random.Random(number).randbytes).hello_bytes()
        core(victim).endpoint.receive(hello, (f"44.1.2.{number + 1}", 7433))
    await asyncio.sleep(1)
    late = [world.add(address=(f"44.1.2.{number + 201}", 7433)) for number in range(5)]
    for host in late:
        await host.start()
    await meshed(world.living)
    assert of_group(victim, "44.1.2.") == 5


@simulated
async def test_who_starts_again_after_a_flood_finds_the_honest_again(world: World) -> None:
    """60 liars in three networks of addresses meet the victim just before; they name nobody but themselves."""
    honest = await spread_out(world, 40)
    victim = honest[7]
    await asyncio.sleep(120)
    outfit = Hijack.outfit({})
    liars = [world.add(outfit=outfit, address=(f"44.1.{number % 3}.{number + 1}", 7433)) for number in range(60)]
    for liar in liars:
        liar.settings = replace(liar.settings, bootstrap=(HostPort(*victim.address),))
        await liar.start()
    await asyncio.sleep(30)
    victim.settings = replace(victim.settings, bootstrap=())
    await victim.stop()
    await asyncio.sleep(5)
    await victim.start()
    friends = {host.identity.peer for host in honest}

    def half_are_honest() -> bool:
        met = [contact.peer for contact in core(victim).members.alive()]
        return len(met) >= 20 and 2 * sum(peer in friends for peer in met) >= len(met)

    assert await until(half_are_honest, within_s=300) < 300
    await asyncio.sleep(20)
    assert half_are_honest()
    for number in range(10):
        await put(honest[number], f"name {number}", b"the value")
    outcomes: Counter[str] = Counter()
    for number in range(100):
        try:
            outcomes[(await get(victim, f"name {number % 10}")).decode()] += 1
        except (IntegrityError, NotFoundError, TimedOutError) as error:
            outcomes[type(error).__name__] += 1
    assert outcomes["the value"] >= 99, outcomes


@simulated
async def test_who_starts_again_among_liars_of_six_networks_has_all_the_honest_in_its_table(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries fewer than the liars are, and they, who were there last, name nobody but themselves."""
    monkeypatch.setattr(remembering, "REMEMBERED_ASKED_MAX", 20)
    honest = await spread_out(world, 20)
    victim = honest[7]
    await asyncio.sleep(30)
    outfit = Hijack.outfit({})
    liars = [world.add(outfit=outfit, address=(f"44.1.{number % 6}.{number + 1}", 7433)) for number in range(36)]
    for liar in liars:
        liar.settings = replace(liar.settings, bootstrap=(HostPort(*victim.address),))
        await liar.start()
    await asyncio.sleep(10)
    for liar in liars:
        core(victim).members.heard(liar.identity.peer)  # they have spoken last
    victim.settings = replace(victim.settings, bootstrap=())
    await victim.stop()
    await asyncio.sleep(2)
    await victim.start()
    await asyncio.sleep(10)
    assert of_group(victim, "44.1.") >= len(liars) // 2, "they are there as well"
    assert of_group(victim, "62.") == len(honest) - 1
