"""Work for strangers and members is bounded: handshakes by address, sessions by address, requests by member."""

import asyncio

import pytest

from peerd.errors import RefusedError, UnreachableError
from peerd.node import handshakes
from peerd.node.endpoint import cost_of
from peerd.wire import envelope
from peerd.wire.messages import Ping, Pong, Tell

from .wires import End, Wire, acquainted, few, now


def crowd(wire: Wire, count: int, *, host: str | None = None) -> list[End]:
    """Peers that all live at one host, or each at one of its own."""
    made = []
    for number in range(count):
        end = wire.add(100 + number)
        end.move((host, 1000 + number) if host is not None else (f"10.9.0.{number}", 7433))
        made.append(end)
    return made


async def connects(source: End, target: End, timeout_s: float = 0.3) -> bool:
    try:
        await source.endpoint.connect(target.address, target.peer, timeout_s=timeout_s)
    except UnreachableError:
        return False
    return True


async def test_one_address_has_so_many_handshakes_and_others_still_have_theirs(
    wire: Wire, alice: End, bob: End
) -> None:
    alice.admission = few(group_handshakes_per_s=5)
    alice.start()
    got = await asyncio.gather(*(connects(each, alice) for each in crowd(wire, 30, host="10.9.9.9")))

    assert 10 <= sum(got) <= 12
    assert alice.endpoint.counts.rejected["busy"] > 0
    assert await connects(bob, alice)


async def test_a_handshake_that_was_too_many_is_done_a_little_later(wire: Wire, alice: End) -> None:
    alice.admission = few(group_handshakes_per_s=5)
    alice.start()

    got = await asyncio.gather(*(connects(each, alice, 4.0) for each in crowd(wire, 20, host="10.9.9.9")))

    assert all(got)


async def test_no_signature_is_checked_of_what_is_too_many(
    wire: Wire, alice: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.admission = few(group_handshakes_per_s=1)
    alice.start()
    checked = []
    honest = type(alice.identity).verify
    monkeypatch.setattr(
        type(alice.identity), "verify", lambda self, *args: (checked.append(self.peer), honest(self, *args))[1]
    )

    await asyncio.gather(*(connects(each, alice) for each in crowd(wire, 20, host="10.9.9.9")))

    assert checked.count(alice.peer) == 2


async def test_members_are_let_in_while_strangers_of_many_addresses_want_more_than_there_is(
    wire: Wire,
    alice: End,
    bob: End,
) -> None:
    alice.admission = few(handshakes_per_s=5)
    alice.known.add(bob.peer)
    alice.start()
    strangers = crowd(wire, 60)
    got = await asyncio.gather(*(connects(each, alice) for each in strangers), connects(bob, alice))

    assert sum(got[:-1]) <= 12
    assert got[-1]


@pytest.mark.parametrize("kept", [0, 512])
async def test_a_finish_makes_one_session_also_when_its_answer_was_forgotten(
    wire: Wire,
    alice: End,
    bob: End,
    kept: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshakes, "ACCEPTS_MAX", max(1, kept))
    await bob.ask(alice)
    (finish,) = {data for data, source, _ in wire.sent if source == bob.address and data[2] == envelope.FINISH}
    if not kept:
        await wire.add(3).ask(alice)
        alice.endpoint._handshakes._accepts.clear()
    session, proven = alice.session_with(bob), len(alice.proven)

    for _ in range(30):
        wire.carry(finish, bob.address, alice.address)
        await asyncio.sleep(0.1)

    assert alice.session_with(bob) is session
    assert len(alice.proven) == proven
    assert wire.count(envelope.ACCEPT, alice) <= 2 + handshakes.TRIES_MAX


async def test_used_finishes_are_forgotten_once_their_cookie_is_worth_nothing(wire: Wire, alice: End, bob: End) -> None:
    await bob.ask(alice)
    assert len(alice.endpoint._handshakes._used) == 1
    await asyncio.sleep(15)
    await wire.add(3).ask(alice)
    assert len(alice.endpoint._handshakes._used) == 1


async def test_many_keys_of_one_address_push_out_no_session_of_others(wire: Wire, alice: End, bob: End) -> None:
    await acquainted((alice, bob))
    for each in crowd(wire, 20, host="10.9.9.9"):
        await each.ask(alice)

    assert bob.peer in alice.endpoint.sessions
    assert isinstance(await alice.ask(bob), Pong)


async def test_keys_of_many_addresses_push_out_no_member_of_the_table(wire: Wire, alice: End, bob: End) -> None:
    alice.spare.add(bob.peer)
    await acquainted((alice, bob))
    for each in crowd(wire, 20):
        await each.ask(alice)

    assert bob.peer in alice.endpoint.sessions


async def test_a_member_that_asks_for_more_than_its_share_is_told_so_and_others_are_answered(
    wire: Wire,
    alice: End,
    bob: End,
) -> None:
    alice.admission = few(requests_per_s=1)
    alice.start()
    carol = wire.add(3)
    await acquainted((alice, bob), (alice, carol))
    wire.sent.clear()
    asked = [bob.endpoint.ask(alice.contact, Ping, timeout_s=0.5, tries_max=1) for _ in range(100)]
    ended = await asyncio.gather(*asked, return_exceptions=True)

    answered = sum(isinstance(each, Pong) for each in ended)
    refused = [each for each in ended if isinstance(each, RefusedError)]
    assert 20 <= answered <= 40
    assert [each.reason for each in refused] == ["busy"]
    assert alice.endpoint.counts.rejected["busy"] >= 60
    assert isinstance(await carol.ask(alice), Pong)


async def test_what_each_member_has_in_any_case_is_not_used_up_by_all_others_together(wire: Wire, alice: End) -> None:
    alice.admission = few(requests_per_s=2)
    alice.start()
    others = [wire.add(10 + number) for number in range(6)]
    for each in others:
        await each.ask(alice)
    greedy = [
        each.endpoint.ask(alice.contact, Ping, timeout_s=0.5, tries_max=1) for each in others[1:] for _ in range(80)
    ]
    began = now()
    assert isinstance(await others[0].ask(alice), Pong)
    assert now() - began < 0.2
    await asyncio.gather(*greedy, return_exceptions=True)


def test_news_costs_what_checking_each_item_does() -> None:
    assert cost_of(Tell(1, (b"x",) * 5)) == 5
    assert cost_of(Ping(1)) == 1
