import asyncio

import pytest

from peerd.errors import UsageError
from peerd.sim.chance import Chance
from peerd.sim.faults import Faults
from peerd.sim.network import DatagramSocket, Network


class _Lan:
    """Hosts 0, 1, 2 and what each received."""

    def __init__(self, loop, **faults) -> None:
        self.network = Network(loop, Chance(1), Faults(**faults))
        self.received = [[], [], []]
        self.interfaces = [self.network.attach(index, (f"10.0.0.{index}", 7433)) for index in range(3)]
        for interface in self.interfaces:
            interface.start()
        self.sockets = [
            DatagramSocket(self.network, interface, lambda data, _, index=index: self.received[index].append(data))
            for index, interface in enumerate(self.interfaces)
        ]

    def send(self, source, target, data=b"x"):
        self.sockets[source].send(data, self.interfaces[target].address)


def _lan(run, act, **faults):
    async def work(loop):
        lan = _Lan(loop, **faults)
        act(lan)
        await asyncio.sleep(10)
        return lan

    return run(work)


def test_a_datagram_takes_its_links_latency(run):
    async def work(loop):
        lan = _Lan(loop, latency_ms=10, spread=0.5, jitter_ms=0)
        came = []
        lan.interfaces[1].receive = lambda *_: came.append(loop.time())
        lan.send(0, 1)
        await asyncio.sleep(1)
        lan.send(0, 1)
        await asyncio.sleep(1)
        return came

    first, second = run(work)
    assert 0.005 <= first <= 0.015
    assert second - 1 == pytest.approx(first, abs=1e-6)


def test_loss_and_duplicates_come_in_their_shares(run):
    def act(lan):
        for _ in range(10_000):
            lan.send(0, 1)

    lan = _lan(run, act, loss=0.1, duplicate=0.2)
    assert lan.network.counts["lost"] == pytest.approx(1000, rel=0.15)
    assert len(lan.received[1]) == pytest.approx(9000 * 1.2, rel=0.05)


def test_held_datagrams_are_overtaken(run):
    def act(lan):
        for number in range(100):
            lan.send(0, 1, number.to_bytes(1, "big"))

    lan = _lan(run, act, reorder=0.2, jitter_ms=0)
    assert sorted(lan.received[1]) != lan.received[1]
    assert len(lan.received[1]) == 100


def test_islands_reach_each_other_again_once_healed(run):
    def act(lan):
        lan.network.part([lan.interfaces[:2], lan.interfaces[2:]])
        lan.send(0, 1)
        lan.send(0, 2)
        lan.network.loop.call_at(5, lan.network.heal)
        lan.network.loop.call_at(6, lan.send, 0, 2, b"healed")

    lan = _lan(run, act)
    assert lan.received == [[], [b"x"], [b"healed"]]


def test_a_cut_stops_what_is_under_way(run):
    def act(lan):
        lan.send(0, 1)
        lan.network.loop.call_at(0.01, lan.network.cut, lan.interfaces[0], lan.interfaces[1])

    assert _lan(run, act, latency_ms=100).received[1] == []


def test_a_one_way_cut_lets_the_other_way_through(run):
    def act(lan):
        lan.network.cut(lan.interfaces[0], lan.interfaces[1])
        lan.send(0, 1)
        lan.send(1, 0)

    assert _lan(run, act).received == [[b"x"], [], []]


def test_what_was_sent_to_an_earlier_life_of_a_host_is_not_delivered(run):
    def act(lan):
        lan.send(0, 1)
        lan.sockets[1].close()
        lan.interfaces[1].stop()
        lan.interfaces[1].start()
        lan.sockets[1] = DatagramSocket(lan.network, lan.interfaces[1], lambda data, _: lan.received[1].append(data))

    assert _lan(run, act).received[1] == []


def test_bandwidth_queues_what_leaves_a_host(run):
    async def work(loop):
        lan = _Lan(loop, latency_ms=0, jitter_ms=0, bandwidth_mbit=1)
        came = []
        lan.interfaces[1].receive = lambda *_: came.append(loop.time())
        for _ in range(10):
            lan.send(0, 1, bytes(1250))
        await asyncio.sleep(1)
        return came

    assert run(work) == pytest.approx([0.01 * number for number in range(1, 11)], abs=1e-6)


def test_an_address_is_bound_once(run):
    def act(lan):
        with pytest.raises(UsageError):
            DatagramSocket(lan.network, lan.interfaces[0], lambda *_: None)
        with pytest.raises(UsageError):
            lan.network.attach(3, lan.interfaces[0].address)

    _lan(run, act)
