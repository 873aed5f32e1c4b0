"""Sessions and requests, datagram by datagram: who answered what, and what comes of loss, restarts, moves and lies."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from peerd.errors import RefusedError, UnreachableError
from peerd.identity import STAND_IN, Identity
from peerd.ids import NetworkId, PeerId
from peerd.io.environment import Environment
from peerd.kad.contact import Address, Contact
from peerd.node import endpoint as endpoint_module
from peerd.node.endpoint import Endpoint
from peerd.node.handshakes import ATTEMPTS_MAX, HANDSHAKE_TIMEOUT_S
from peerd.node.tasks import Tasks
from peerd.trust.admission import Admission
from peerd.wire import envelope, messages
from peerd.wire.messages import Done, FindNode, Nodes, Ping, Pong, Refused, Reply, Request, Store
from peerd.wire.session import Session

NETWORK, OTHER_NETWORK = NetworkId(bytes(32)), NetworkId(b"\x01" * 32)
LATENCY_S = 0.001
TARGET = bytes(32)

Pass = Callable[[bytes, Address, Address], float | None]


class LoopClock:
    """Virtual time, as both of a host's clocks."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.monotonic()


def few(*, handshakes_per_s: float = 400, group_handshakes_per_s: float = 20, requests_per_s: float = 256) -> Admission:
    """Return an admission; what is not said is as in the settings."""
    return Admission(
        handshakes_per_s=handshakes_per_s,
        group_handshakes_per_s=group_handshakes_per_s,
        requests_per_s=requests_per_s,
    )


@dataclass
class End:
    """One endpoint, what it heard, and its place on the wire."""

    wire: "Wire"
    identity: Identity
    address: Address
    seed: int
    asked: list[Request] = field(default_factory=list)
    proven: list[tuple[PeerId, Address, bool]] = field(default_factory=list)
    silent: list[PeerId] = field(default_factory=list)
    mute: bool = False
    admission: Admission = field(default_factory=few)
    spare: set[PeerId] = field(default_factory=set)
    known: set[PeerId] = field(default_factory=set)
    answer: Callable[[Request], Reply] = field(default=lambda request: Pong(request.rid, bytes(8)))
    endpoint: Endpoint = field(init=False)

    def start(self) -> None:
        """Begin anew, knowing nothing but the own key."""
        self.seed += 1000
        chance = random.Random(self.seed)
        environment = Environment(
            clock=LoopClock(),
            rng=chance,
            entropy=chance.randbytes,
            suite=STAND_IN,
            transports=cast(Any, None),
            offload=cast(Any, None),
        )
        self.endpoint = Endpoint(
            self.identity,
            environment,
            Tasks(),
            handler=self._handle,
            proven=lambda peer, address, initiated: self.proven.append((peer, address, initiated)),
            heard=lambda peer: None,
            spoke=lambda peer: None,
            unanswered=self.silent.append,
            digest=lambda: bytes(8),
            sessions_max=8,
            admission=self.admission,
            spare=self.spare,
            is_known=lambda peer, address: peer in self.known,
        )
        self.endpoint.attach(self)
        self.wire.ends[self.address] = self

    def _handle(self, peer: PeerId, address: Address, request: Request) -> Reply | None:
        self.asked.append(request)
        return None if self.mute else self.answer(request)

    @property
    def peer(self) -> PeerId:
        return self.identity.peer

    @property
    def contact(self) -> Contact:
        return Contact.of(NETWORK, self.peer, self.address)

    @property
    def addresses(self) -> list[Address]:
        return [self.address]

    def send(self, data: bytes, address: Address) -> None:
        self.wire.carry(data, self.address, address)

    def close(self) -> None:
        pass

    def move(self, address: Address) -> None:
        """Be reachable at another address only; nobody is told."""
        del self.wire.ends[self.address]
        self.address = address
        self.wire.ends[address] = self

    def session_with(self, other: "End") -> Session:
        """The session that it sends in."""
        session = self.endpoint.sessions.of(other.peer)
        assert session is not None
        return session

    def rto_s(self, other: "End") -> float:
        """After how long it counts the other as silent."""
        return self.endpoint.roundtrips.rto_s(other.peer)

    async def ask(self, other: "End", kind: Callable[..., Request] = Ping, *fields: object, **options: Any) -> Reply:
        return await self.endpoint.ask(other.contact, kind, *fields, **options)


class Wire:
    """What lies between: `passes` says how long a datagram takes, None where it is lost."""

    def __init__(self) -> None:
        self.ends: dict[Address, End] = {}
        self.sent: list[tuple[bytes, Address, Address]] = []
        self.passes: Pass = lambda data, source, target: LATENCY_S

    def add(self, number: int, network: NetworkId = NETWORK) -> End:
        identity = Identity(STAND_IN.signing_key(bytes([number])), network, STAND_IN)
        end = End(self, identity, (f"10.0.0.{number}", 7433), number)
        end.start()
        return end

    def carry(self, data: bytes, source: Address, target: Address) -> None:
        self.sent.append((data, source, target))
        delay_s = self.passes(data, source, target)
        if delay_s is not None:
            asyncio.get_running_loop().call_later(delay_s, self._arrive, data, source, target)

    def _arrive(self, data: bytes, source: Address, target: Address) -> None:
        end = self.ends.get(target)
        if end is not None:
            end.endpoint.receive(data, source)

    def lose(self, count: int, *, kind: int, source: End) -> None:
        """Lose the next datagrams of a kind from somebody."""
        left = count

        def passes(data: bytes, sender: Address, target: Address) -> float | None:
            nonlocal left
            if left and sender == source.address and data[2] == kind:
                left -= 1
                return None
            return LATENCY_S

        self.passes = passes

    def count(self, kind: int, source: End) -> int:
        return sum(1 for data, sender, _ in self.sent if sender == source.address and data[2] == kind)


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def alice(wire: Wire) -> End:
    return wire.add(1)


@pytest.fixture
async def bob(wire: Wire) -> End:
    return wire.add(2)


@pytest.fixture
async def carol(wire: Wire) -> End:
    return wire.add(3)


def now() -> float:
    return asyncio.get_running_loop().time()


async def acquainted(*pairs: tuple[End, End]) -> None:
    """Give each of these a session with the other, with a measured round trip."""
    for one, other in pairs:
        for _ in range(3):
            await one.ask(other)
            await other.ask(one)
        one.asked.clear()
        other.asked.clear()
        one.wire.sent.clear()


# Handshake and request.


async def test_a_request_to_a_stranger_shakes_hands_and_is_answered(alice: End, bob: End) -> None:
    assert isinstance(await alice.ask(bob), Pong)
    assert alice.proven == [(bob.peer, bob.address, True)]
    assert bob.proven == [(alice.peer, alice.address, False)]
    assert len(bob.asked) == 1


async def test_the_next_request_is_one_datagram_each_way(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    started = now()
    await alice.ask(bob)
    assert len(wire.sent) == 2
    assert now() - started == pytest.approx(2 * LATENCY_S)


async def test_who_lives_at_an_address_is_told_by_the_handshake(alice: End, bob: End) -> None:
    assert await alice.endpoint.connect(bob.address) == bob.peer


async def test_somebody_else_than_expected_is_nobody(alice: End, bob: End, carol: End) -> None:
    with pytest.raises(UnreachableError):
        await alice.endpoint.connect(bob.address, carol.peer)
    assert alice.proven == []
    assert bob.peer not in alice.endpoint.sessions
    assert now() < 1.0


async def test_strangers_to_the_network_get_silence(wire: Wire, alice: End) -> None:
    stranger = wire.add(9, OTHER_NETWORK)
    with pytest.raises(UnreachableError):
        await stranger.endpoint.connect(alice.address)
    assert wire.count(envelope.CHALLENGE, alice) == wire.count(envelope.ACCEPT, alice) == 0
    assert alice.endpoint.counts.rejected["network"] >= 1


@pytest.mark.parametrize("kind", [envelope.HELLO, envelope.FINISH])
async def test_a_lost_datagram_of_the_handshake_is_sent_again(wire: Wire, alice: End, bob: End, kind: int) -> None:
    wire.lose(1, kind=kind, source=alice)
    await alice.ask(bob)
    assert now() < 0.5


@pytest.mark.parametrize("kind", [envelope.CHALLENGE, envelope.ACCEPT])
async def test_a_lost_answer_of_the_handshake_is_sent_again(wire: Wire, alice: End, bob: End, kind: int) -> None:
    wire.lose(1, kind=kind, source=bob)
    await alice.ask(bob)
    await bob.ask(alice)
    assert now() < 0.5
    assert len({id(peer) for peer, _, _ in bob.proven}) == 1


async def test_nobody_there_ends_in_time(wire: Wire, alice: End, bob: End) -> None:
    wire.passes = lambda data, source, target: None
    with pytest.raises(UnreachableError):
        await alice.endpoint.connect(bob.address)
    assert now() <= HANDSHAKE_TIMEOUT_S + 0.1
    assert 3 <= wire.count(envelope.HELLO, alice) <= 12


async def test_two_that_wait_for_one_handshake_share_it(wire: Wire, alice: End, bob: End) -> None:
    await asyncio.gather(*(alice.ask(bob) for _ in range(5)))
    assert wire.count(envelope.HELLO, alice) == 1
    assert len(bob.asked) == 5


async def test_a_caller_that_goes_away_does_not_end_the_handshake_of_others(alice: End, bob: End) -> None:
    first = asyncio.create_task(alice.endpoint.connect(bob.address))
    second = asyncio.create_task(alice.endpoint.connect(bob.address))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == bob.peer


# Replies.


async def test_a_reply_from_another_peer_than_asked_is_not_taken(alice: End, bob: End, carol: End) -> None:
    await acquainted((alice, bob), (alice, carol))
    bob.mute = True
    asking = asyncio.ensure_future(alice.ask(bob, timeout_s=0.5))
    await asyncio.sleep(2 * LATENCY_S)
    rid = bob.asked[0].rid
    forged = carol.session_with(alice).seal(messages.encode(Pong(rid, bytes(8))))
    carol.send(forged, alice.address)
    await asyncio.sleep(2 * LATENCY_S)
    assert not asking.done()
    assert alice.endpoint.counts.rejected["unasked"] == 1
    with pytest.raises(UnreachableError):
        await asking


async def test_a_reply_to_nothing_is_counted_and_no_more(alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    bob.send(bob.session_with(alice).seal(messages.encode(Done(4711))), alice.address)
    await asyncio.sleep(1)
    assert alice.endpoint.counts.rejected["unasked"] == 1


async def test_a_refusal_is_an_error_with_its_reason(alice: End, bob: End) -> None:
    bob.answer = lambda request: Refused(request.rid, "no_room")
    with pytest.raises(RefusedError) as refused:
        await alice.ask(bob, Store, b"")
    assert refused.value.reason == "no_room"


async def test_a_lost_request_is_sent_again_after_the_measured_time(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    wire.lose(1, kind=envelope.SEALED, source=alice)
    rto_s = alice.rto_s(bob)
    started = now()
    await alice.ask(bob)
    assert now() - started == pytest.approx(rto_s + 2 * LATENCY_S)
    assert rto_s < 0.1
    assert len(bob.asked) == 1
    assert alice.silent == [bob.peer]


async def test_a_lost_reply_is_asked_for_again(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    wire.lose(1, kind=envelope.SEALED, source=bob)
    assert isinstance(await alice.ask(bob), Pong)
    assert len(bob.asked) == 2
    assert bob.asked[0] == bob.asked[1]


async def test_the_answer_to_a_repeated_request_is_no_measurement(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    before = alice.endpoint.roundtrips.srtt_s(bob.peer)
    late_s = alice.rto_s(bob)
    wire.passes = lambda data, source, target: late_s if source == bob.address else LATENCY_S
    await alice.ask(bob)
    assert wire.count(envelope.SEALED, alice) == 2
    assert alice.endpoint.roundtrips.srtt_s(bob.peer) == before


async def test_retransmissions_back_off_and_end_at_the_deadline(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    bob.mute = True
    started = now()
    with pytest.raises(UnreachableError):
        await alice.ask(bob, timeout_s=2.0)
    assert now() - started == pytest.approx(2.0, abs=0.01)
    assert 4 <= wire.count(envelope.SEALED, alice) <= 9


async def test_a_reply_after_the_deadline_is_not_taken(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    wire.passes = lambda data, source, target: 0.6 if source == bob.address else LATENCY_S
    with pytest.raises(UnreachableError):
        await alice.ask(bob, timeout_s=0.5)
    await asyncio.sleep(1)
    assert alice.endpoint.counts.rejected["unasked"] >= 1


async def test_a_datagram_that_comes_twice_counts_once(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    await alice.ask(bob)
    request = next(data for data, source, _ in wire.sent if source == alice.address)
    bob.endpoint.receive(request, alice.address)
    assert len(bob.asked) == 1
    assert bob.endpoint.counts.rejected["replayed"] == 1


async def test_a_changed_datagram_is_none(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    wire.passes = lambda data, source, target: None
    asking = asyncio.ensure_future(alice.ask(bob, timeout_s=0.01))
    await asyncio.sleep(0)
    data = wire.sent[0][0]
    bob.endpoint.receive(data[:-1] + bytes([data[-1] ^ 1]), alice.address)
    assert bob.asked == []
    assert bob.endpoint.counts.rejected["unauthentic"] == 1
    with pytest.raises(UnreachableError):
        await asking


async def test_what_is_no_message_of_ours_is_counted_and_ignored(alice: End, rng: random.Random) -> None:
    for size in (0, 1, 19, 20, 43, 100, 1024, 1232, 1233, 5000):
        alice.endpoint.receive(rng.randbytes(size), ("10.9.9.9", 1))
        for kind in range(7):
            alice.endpoint.receive(envelope.header(kind) + rng.randbytes(size), ("10.9.9.9", 1))
    assert alice.endpoint.counts.rejected.total() == 80
    assert alice.proven == []
    assert alice.asked == []


# Restarts and moves.


@pytest.mark.parametrize(("kind", "fields"), [(Ping, ()), (FindNode, (TARGET,)), (Store, (bytes(900),))])
async def test_a_session_that_the_other_lost_is_reopened_and_the_request_answered(
    alice: End, bob: End, kind: Callable[..., Request], fields: tuple[object, ...]
) -> None:
    await acquainted((alice, bob))
    bob.start()
    bob.answer = lambda request: Nodes(request.rid, b"")
    started = now()
    assert isinstance(await alice.ask(bob, kind, *fields), Nodes)
    assert now() - started < 0.5
    assert len(bob.asked) == 1
    assert isinstance(await bob.ask(alice), Pong)


async def test_both_restarted_meet_again(alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    alice.start()
    bob.start()
    await asyncio.gather(alice.ask(bob), bob.ask(alice))


async def test_another_peer_at_the_address_of_the_one_that_is_gone_is_not_taken_for_it(
    wire: Wire, alice: End, bob: End, carol: End
) -> None:
    await acquainted((alice, bob))
    gone = bob.contact
    del wire.ends[bob.address]
    carol.move(bob.address)
    with pytest.raises(UnreachableError):
        await alice.endpoint.ask(gone, Ping, timeout_s=1.0)
    assert carol.asked == []


async def test_a_forged_loss_of_a_session_does_not_end_it(wire: Wire, alice: End, bob: End, carol: End) -> None:
    await acquainted((alice, bob))
    session = alice.session_with(bob)
    forged = carol.endpoint._handshakes._responder.challenge(session.remote_id, alice.address, now())
    wire.carry(forged, bob.address, alice.address)
    await asyncio.sleep(1)
    wire.sent.clear()
    assert isinstance(await alice.ask(bob), Pong)
    assert carol.asked == []


async def test_a_moved_peer_is_adopted_at_its_new_address_after_a_handshake(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    alice.proven.clear()
    bob.move(("10.0.7.7", 1))
    await bob.ask(alice)
    await asyncio.sleep(1)
    assert (bob.peer, ("10.0.7.7", 1)) in [(peer, address) for peer, address, _ in alice.proven]
    wire.sent.clear()
    assert isinstance(await alice.ask(bob), Pong)
    assert {target for _, source, target in wire.sent if source == alice.address} == {("10.0.7.7", 1)}


async def test_whoever_repeats_a_peers_datagram_elsewhere_does_not_move_it(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    alice.proven.clear()
    mallory = ("10.6.6.6", 6)
    wire.passes = lambda data, source, target: None if source == bob.address else LATENCY_S
    asking = asyncio.ensure_future(bob.ask(alice, timeout_s=0.01))
    await asyncio.sleep(0)
    wire.carry(wire.sent[0][0], mallory, alice.address)
    await asyncio.gather(asking, return_exceptions=True)
    await asyncio.sleep(1)
    assert alice.proven == []
    to_mallory = sum(len(data) for data, _, target in wire.sent if target == mallory)
    assert to_mallory <= len(wire.sent[0][0]), "nobody is sent more than it can have sent"
    wire.passes = lambda data, source, target: LATENCY_S
    wire.sent.clear()
    assert isinstance(await alice.ask(bob), Pong)
    assert [target for data, source, target in wire.sent if data[2] == envelope.SEALED and source == alice.address] == [
        bob.address
    ]


# Both at once.


@pytest.mark.parametrize("round_", range(40))
async def test_simultaneous_connects_end_with_one_usable_session_both_ways(wire: Wire, round_: int, seed: int) -> None:
    chance = random.Random(f"{seed} {round_}")
    alice, bob = wire.add(chance.randrange(1, 100)), wire.add(chance.randrange(100, 200))
    loss = chance.choice([0.0, 0.1, 0.3])
    slowest_s = chance.choice([0.002, 0.02, 0.2])
    wire.passes = lambda data, source, target: None if chance.random() < loss else chance.uniform(LATENCY_S, slowest_s)
    outcomes = await asyncio.gather(
        alice.endpoint.connect(bob.address),
        bob.endpoint.connect(alice.address),
        return_exceptions=True,
    )
    if loss == 0.0:
        assert list(outcomes) == [bob.peer, alice.peer]
    wire.passes = lambda data, source, target: LATENCY_S
    await asyncio.gather(alice.ask(bob), bob.ask(alice))
    await asyncio.sleep(1)
    wire.sent.clear()
    started = now()
    await alice.ask(bob)
    await bob.ask(alice)
    assert now() - started == pytest.approx(4 * LATENCY_S)
    assert [data[2] for data, _, _ in wire.sent] == [envelope.SEALED] * 4


async def test_finishes_that_cross_leave_a_session_that_both_know(wire: Wire, alice: End, bob: End) -> None:
    # So late and so slow that each answers the other's hello, and each is on its last step when the other's comes.
    wire.passes = lambda data, source, target: 0.2 if now() > 0.5 else None
    await asyncio.gather(alice.endpoint.connect(bob.address), bob.endpoint.connect(alice.address))
    assert wire.count(envelope.FINISH, alice) >= 1
    assert wire.count(envelope.FINISH, bob) >= 1
    wire.passes = lambda data, source, target: LATENCY_S
    await asyncio.sleep(1)
    wire.sent.clear()
    await asyncio.gather(alice.ask(bob), bob.ask(alice))
    assert [data[2] for data, _, _ in wire.sent] == [envelope.SEALED] * 4


# The drop list, bounds, the end.


async def test_nothing_passes_the_drop_list_either_way(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    alice.endpoint.drop_list = frozenset({bob.address})
    with pytest.raises(UnreachableError):
        await alice.ask(bob, timeout_s=0.2)
    assert wire.sent == []
    with pytest.raises(UnreachableError):
        await bob.ask(alice, timeout_s=0.2)
    assert alice.asked == []
    alice.endpoint.drop_list = frozenset()
    await alice.ask(bob)
    await bob.ask(alice)


async def test_sessions_are_bounded_and_the_longest_without_a_new_one_goes(wire: Wire, alice: End) -> None:
    others = [wire.add(number) for number in range(10, 20)]
    for other in others:
        await alice.ask(other)
    assert [other.peer in alice.endpoint.sessions for other in others] == [False] * 2 + [True] * 8
    assert isinstance(await alice.ask(others[0]), Pong)
    assert isinstance(await others[1].ask(alice), Pong)


async def test_who_expects_somebody_else_does_not_get_whoever_answers(alice: End, bob: End, carol: End) -> None:
    whoever = asyncio.create_task(alice.endpoint.connect(bob.address))
    await asyncio.sleep(0)
    with pytest.raises(UnreachableError):
        await alice.endpoint.connect(bob.address, carol.peer)
    assert await whoever == bob.peer


async def test_whoever_waits_for_a_moved_peer_is_not_left_with_its_one_hello(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    bob.move(("10.0.7.7", 1))
    wire.lose(1, kind=envelope.HELLO, source=alice)
    wire.carry(bob.session_with(alice).seal(messages.encode(Ping(1))), bob.address, alice.address)
    await asyncio.sleep(2 * LATENCY_S)
    assert await alice.endpoint.connect(bob.address, bob.peer) == bob.peer
    assert now() < 1.0


async def test_requests_under_way_are_bounded(alice: End, bob: End, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "PENDING_MAX", 8)
    await acquainted((alice, bob))
    bob.mute = True
    asked = [alice.endpoint.ask(bob.contact, Ping, timeout_s=0.5) for _ in range(9)]
    assert [each.done() for each in asked] == [False] * 8 + [True]
    assert all(isinstance(each, UnreachableError) for each in await asyncio.gather(*asked, return_exceptions=True))
    bob.mute = False
    await alice.ask(bob)


async def test_handshakes_under_way_are_bounded(alice: End) -> None:
    tasks = [asyncio.ensure_future(alice.endpoint.connect(("10.5.0.0", port))) for port in range(1, ATTEMPTS_MAX + 1)]
    await asyncio.sleep(0)
    with pytest.raises(UnreachableError, match="too many"):
        await alice.endpoint.connect(("10.5.1.1", 1))
    alice.endpoint.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_stopping_fails_what_waits_at_once(alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    bob.mute = True
    asking = alice.endpoint.ask(bob.contact, Ping)
    connecting = asyncio.ensure_future(alice.endpoint.connect(("10.5.1.1", 1)))
    await asyncio.sleep(0)
    alice.endpoint.close()
    started = now()
    for each in (asking, connecting):
        with pytest.raises(UnreachableError):
            await each
    assert now() == started


async def test_a_cancelled_request_of_a_living_peer_casts_no_doubt_on_it(alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    asking = alice.endpoint.ask(bob.contact, Ping)
    asking.cancel()
    await asyncio.sleep(1)
    assert alice.silent == []
    assert alice.endpoint._pending == {}
