"""Two links on the loopback: what each hears of the other, packet by packet. No root, no namespaces."""

import asyncio
import os
import threading

import pytest

from peerd.io.interfaces import choose, read_interfaces
from peerd.io.mdns_link import Link, Service

# Longer than zeroconf holds back an answer that it has just sent (RFC 6762 section 14), and drops a packet alike.
SETTLE_S = 1.1
SOON_S = 0.3


# Others may use the loopback too: daemons of other tests, the same test in another process.
RUN = f"test-{os.getpid()}"
ALICE, BOB = f"{RUN}-alice", f"{RUN}-bob"


class Ear:
    """A link and what it has heard of this run's links, in order."""

    def __init__(self, name, port):
        self.heard = []
        interface = choose(read_interfaces(), ["127.0.0.1"])[0]
        self.link = Link(
            interface,
            Service(name, port, {"id": name, "v": "1"}),
            heard=lambda _, *service, speaker: self.note(*service),
            gone=lambda _, name, speaker: self.note(name, "gone"),
        )

    def note(self, name, *rest):
        if name.startswith(RUN):
            self.heard.append((name.split(".")[0], *rest))

    @property
    def names(self):
        return [each[0] for each in self.heard]


@pytest.fixture
async def pair():
    alice, bob = Ear(ALICE, 7001), Ear(BOB, 7002)
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
    assert threading.active_count() == 1


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
