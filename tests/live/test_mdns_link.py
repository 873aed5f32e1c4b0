"""Two links on the loopback: what each hears of the other, packet by packet. No root, no namespaces."""

import asyncio
import os
import random
import threading

import pytest

from peerd.io.interfaces import choose, read_interfaces
from peerd.io.mdns_budget import Allowance
from peerd.io.mdns_link import KEPT_RECORDS_MAX, SERVICE_TYPE, Link, Service
from tests.hostile.mdns import PTR, SERVICE, Attacks, name, packet, service

# Longer than zeroconf holds back an answer that it has just sent (RFC 6762 section 14), and drops a packet alike.
SETTLE_S = 1.1
SOON_S = 0.3


# Others may use the loopback too: daemons of other tests, the same test in another process.
RUN = f"test-{os.getpid()}"
ALICE, BOB = f"{RUN}-alice", f"{RUN}-bob"


class Ear:
    """A link and what it has heard of this run's links, in order."""

    def __init__(self, name, port):
        self.heard, self.impostors = [], 0
        interface = choose(read_interfaces(), ["127.0.0.1"])[0]
        self.link = Link(
            interface,
            Service(name, port, {"id": name, "v": "1"}),
            heard=lambda _, *service, speaker: self.note(*service),
            gone=lambda _, name, speaker: self.note(name, "gone"),
            impostor=self.count_impostor,
        )

    def count_impostor(self, interface):
        self.impostors += 1

    def take(self, *packets, speaker="10.0.0.66"):
        """Let packets come in, as by the socket; as many as there are."""
        gate = self.link._zeroconf.zeroconf.engine.readers[0].transport.get_protocol()
        for each in packets:
            self.link.allowance = gate._allowance = Allowance()
            gate.datagram_received(each, (speaker, 5353))

    @property
    def kept(self):
        cache = self.link._zeroconf.zeroconf.cache
        return sum(len(cache.entries_with_name(name)) for name in cache.names())

    def note(self, name, *rest):
        if name.startswith(RUN):
            self.heard.append((name.split(".")[0], *rest))

    @property
    def names(self):
        return [each[0] for each in self.heard]


@pytest.fixture
async def pair():
    alice, bob = Ear(ALICE, 7001), Ear(BOB, 7002)
    alice.threads = set(threading.enumerate())
    await alice.link.open()
    await bob.link.open()
    yield alice, bob
    await alice.link.close(goodbye=False)
    await bob.link.close(goodbye=False)


async def test_an_announcement_is_heard_whole_and_by_its_sender_too(pair):
    alice, bob = pair
    alice.link.announce()
    await asyncio.sleep(SOON_S)
    # Somebody else on the loopback may have asked who is there meanwhile: then both have answered as well.
    assert ALICE in bob.names and set(bob.names) == {ALICE}
    assert bob.heard[0] == (ALICE, {b"id": ALICE.encode(), b"v": b"1"}, ["127.0.0.1"], 7001)
    assert ALICE not in alice.names and not alice.link.silent
    assert set(threading.enumerate()) <= alice.threads, "it needs no thread"


async def test_a_question_is_answered_by_all_or_only_by_those_it_does_not_name(pair):
    _, bob = pair
    bob.link.ask(everybody=True)
    await asyncio.sleep(SOON_S)
    assert set(bob.names) == {ALICE}
    bob.heard.clear()
    await asyncio.sleep(SETTLE_S)
    bob.link.ask(everybody=False)
    await asyncio.sleep(SOON_S)
    assert bob.heard == []
    bob.link.ask(everybody=True)
    await asyncio.sleep(SOON_S)
    assert set(bob.names) == {ALICE}


async def test_a_goodbye_is_the_last_that_is_heard_although_an_answer_was_on_its_way(pair):
    alice, bob = pair
    alice.link.announce()
    await asyncio.sleep(SETTLE_S)
    bob.link.ask(everybody=True)
    await asyncio.sleep(0.005)  # the answer waits in a queue, to be joined with others
    await alice.link.close(goodbye=True)
    await asyncio.sleep(SOON_S)
    assert bob.heard[-1] == (ALICE, "gone")
    assert len(bob.heard) >= 2


async def test_closing_without_a_goodbye_says_nothing(pair):
    alice, bob = pair
    alice.link.announce()
    await asyncio.sleep(SOON_S)
    await alice.link.close(goodbye=False)
    await asyncio.sleep(SOON_S)
    assert bob.names == [ALICE] and bob.heard[-1][-1] == 7001


def announced(instance, number=1, peer=b"x", port=7001, life=120):
    return packet(service(instance.encode(), peer, "0123456789abcdef", port, [f"127.0.0.{number}"], life=life))


async def test_what_is_kept_of_others_is_bounded_and_each_is_heard_all_the_same(pair):
    alice, _ = pair
    count = KEPT_RECORDS_MAX
    names = [f"{RUN}-{number}" for number in range(count)]
    most = 0
    for each in names:
        alice.take(announced(each))
        most = max(most, alice.kept)
    assert set(alice.names) >= set(names)
    assert most <= KEPT_RECORDS_MAX + 10


async def test_who_speaks_in_our_name_is_noticed_and_our_own_echo_is_not(pair):
    alice, bob = pair
    alice.link.announce()
    bob.link.announce()
    await asyncio.sleep(SOON_S)
    assert (alice.impostors, bob.impostors) == (0, 0)
    alice.take(announced(ALICE, peer=b"mallory"))
    assert alice.impostors == 1
    alice.take(announced(ALICE, peer=ALICE.encode(), port=9))
    assert alice.impostors == 2
    alice.take(announced(ALICE, peer=b"mallory", life=0))
    assert alice.impostors == 3
    assert [each for each in alice.heard if each[0] == ALICE and each[-1] == 7001] == []


async def test_where_another_speaks_in_our_name_is_heard(pair):
    alice, _ = pair
    alice.take(announced(ALICE, 9, peer=ALICE.encode()))
    assert [each[2] for each in alice.heard if each[0] == ALICE] == [["127.0.0.9"]]


async def test_nothing_is_asked_of_services_that_are_not_ours(pair):
    alice, _ = pair
    elsewhere = (b"printer", b"local")
    alice.take(packet([(SERVICE, PTR, 1, 120, name(*elsewhere)), (SERVICE, PTR, 1, 120, name(b"part", *SERVICE))]))
    assert list(alice.link._partial) == [f"part.{SERVICE_TYPE}"]


async def test_hostile_packets_end_in_nothing_but_what_they_name(pair, seed):
    alice, _ = pair
    attacks = Attacks(random.Random(seed), "0123456789abcdef", "127.0.0.9", 9, [ALICE])
    failed = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    packets = attacks.packets()
    for number in range(3000):
        alice.take(next(packets))
        if number % 20 == 19:
            await asyncio.sleep(0)
    await asyncio.sleep(SOON_S)
    assert failed == []
    assert alice.kept <= 2 * KEPT_RECORDS_MAX
    assert [name for name in alice.link._partial if not name.lower().endswith(SERVICE_TYPE)] == []
    bob = pair[1]
    bob.link.announce()
    await asyncio.sleep(SOON_S)
    assert BOB in alice.names
