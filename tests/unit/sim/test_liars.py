"""Liars in the simulator: drawn by the seed, put in when it is time, neither asked nor judged; and the kit itself."""

import asyncio
import inspect
import json
from typing import ClassVar

import pytest

from peerd.errors import UsageError
from peerd.ids import NetworkId, PeerId, distance, node_id
from peerd.sim.liars import Casting
from peerd.sim.loop import VirtualLoop
from peerd.sim.scenario import Liars, Scenario
from peerd.sim.world import World
from tests.hostile import content, gossip, lookups, mixtures, records, repair
from tests.hostile.base import Liar
from tests.hostile.clan import Clan

JOIN = {"do": "join", "at_s": 0, "over_s": 1}
PUT = {"do": "put", "at_s": 3, "over_s": 1, "keys": 10}
CONTENT = {**PUT, "first": 100, "keys": 2, "value_bytes": 3000}
GET = {"do": "get", "at_s": 5, "over_s": 1, "count": 60}
NETWORK = NetworkId(bytes(32))


class Marked(Liar):
    """Notes that it was put in, and when."""

    installed: ClassVar[list[float]] = []

    def begin(self):
        self.installed.append(asyncio.get_running_loop().time())


@pytest.fixture(autouse=True)
def nobody_marked():
    Marked.installed.clear()


def _liars(plugin, **fields):
    return [{"plugin": f"tests.unit.sim.test_liars:{plugin}", **fields}]


def test_as_many_lie_as_the_scenario_says_from_when_it_says(simulate):
    report = simulate(peers=20, step=[JOIN], liars=_liars("Marked", share=0.3, from_s=2.0), settle_s=3)
    assert report.violations == []
    assert report.liars == len(Marked.installed) == 6
    assert set(Marked.installed) == {2.0}
    assert "20 peers of whom 6 lie" in report.text()


def test_who_is_started_again_lies_again(simulate):
    crash = {"do": "crash", "at_s": 3, "count": 4}
    simulate(peers=4, step=[JOIN, crash, {"do": "restart", "at_s": 8}], liars=_liars("Marked", count=2), settle_s=1)
    assert len(Marked.installed) == 4
    assert len([instant for instant in Marked.installed if instant >= 8]) == 2


@pytest.mark.slow
def test_only_the_honest_are_asked_and_counted(simulate):
    """Liars that deny everything would fail each read that were asked of them."""
    silent = [{"plugin": "tests.hostile.lookups:Drop", "count": 3}]
    report = simulate(peers=10, step=[JOIN, PUT, CONTENT, GET], liars=silent, settle_s=8)
    honest = simulate(peers=10, step=[JOIN, PUT, CONTENT, GET], liars=[{"count": 3}], settle_s=8)
    assert report.violations == honest.violations == []
    assert report.get.ok + report.get.failed.get("timed_out", 0) == honest.get.ok == 60
    assert report.honest_messages["FindValue"] > 0
    assert sum(honest.honest_messages.values()) < honest.messages["sent"]
    assert honest.honest_streamed_bytes > 0


def test_who_others_are_configured_with_is_honest_where_there_are_enough_others(run):
    async def cast(loop):
        world = World(loop, seed=1, expected=20, signed=False)
        drawn = Casting(world, Scenario(peers=20, liars=[Liars(count=15)]))
        all_lie = Casting(world, Scenario(peers=4, liars=[Liars(count=4)]))
        return [
            [index for index in range(20) if drawn.outfit(index) is not None],
            [index for index in range(20) if all_lie.outfit(index) is not None],
        ]

    assert run(cast) == [list(range(5, 20)), list(range(4))]


@pytest.mark.parametrize(
    ("liars", "wrong"),
    [
        ({"count": 1, "share": 0.1}, "either a count or a share"),
        ({}, "either a count or a share"),
        ({"count": 101}, "101 liars among 100 peers"),
        ({"count": 1, "plugin": "tests.hostile.nobody:Liar"}, "no plug-in"),
        ({"count": 1, "plugin": "tests.hostile.base:Nobody"}, "no plug-in"),
        ({"count": 1, "plugin": "tests.hostile.base"}, "no plug-in"),
    ],
)
def test_a_scenario_with_liars_that_cannot_be_is_refused(simulate, liars, wrong):
    with pytest.raises(UsageError, match=wrong):
        simulate(peers=100, liars=[liars])


def test_an_address_and_a_key_may_be_chosen(run):
    async def add(loop):
        world = World(loop, seed=1, expected=2, signed=False)
        chosen = world.add(address=("44.1.2.3", 9), seed=bytes(32))
        again = World(loop, seed=2, expected=2, signed=False).add(seed=bytes(32))
        return chosen.address, chosen.identity.peer == again.identity.peer, world.add().address

    assert run(add) == (("44.1.2.3", 9), True, ("10.0.0.1", 7433))


def test_a_liar_never_knows_the_simulator():
    for module in (content, gossip, lookups, mixtures, records, repair):
        assert "peerd.sim" not in inspect.getsource(module), module.__name__


def _peer(number):
    return PeerId(bytes([number]) * 32)


def test_a_clan_names_those_of_it_that_are_nearest():
    clan = Clan()
    for number in range(100):
        clan.enrol(_peer(number), ("10.0.0.1", 1 + number))
    target = bytes([77] * 32)
    every = sorted((_peer(number) for number in range(100)), key=lambda p: distance(node_id(NETWORK, p), target))
    assert [contact.peer for contact in clan.nearest(NETWORK, target, 8)] == every[:8]


def test_a_clan_in_several_processes_is_one_file(tmp_path):
    path = tmp_path / "clan.json"
    alice, bob = Clan(path=path), Clan(path=path)
    alice.enrol(_peer(1), ("10.0.0.1", 1))
    bob.enrol(_peer(2), ("10.0.0.2", 2))
    assert _peer(2) in alice
    assert not bob.lies_to(_peer(1))
    assert bob.lies_to(_peer(3))
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"victims": [_peer(4).hex()], "keys": [bytes(32).hex()]}))
    assert not alice.lies_to(_peer(3))
    assert alice.lies_to(_peer(4))
    assert alice.wants(bytes(32)) and not alice.wants(bytes([1] * 32))


def test_the_kit_is_loaded_on_the_loop_of_the_simulator(run):
    """A liar at work, and the same after a restart."""

    async def work(loop: VirtualLoop):
        world = World(loop, seed=1, expected=3, signed=False)
        shared: dict[str, object] = {}
        host = world.add(outfit=Marked.outfit(shared))
        await host.start()
        await host.crash(power=True)
        await host.start()
        left = await world.lights_out()
        return left, len(Marked.installed), host.identity.peer in shared["clan"], world.honest

    assert run(work) == ([], 2, True, [])
