"""Sessions and requests, datagram by datagram: who answered what, and what comes of loss, restarts, moves and lies."""

import asyncio
import random
from collections.abc import Callable

import pytest

from peerd.errors import RefusedError, UnreachableError
from peerd.node import endpoint as endpoint_module
from peerd.node.handshakes import ATTEMPTS_MAX, HANDSHAKE_TIMEOUT_S
from peerd.wire import envelope, messages
from peerd.wire.messages import Done, FindNode, Nodes, Ping, Pong, Refused, Request, Store

from .wires import LATENCY_S, OTHER_NETWORK, TARGET, End, Wire, acquainted, now

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
