"""Sealed messages: each opens once, in any order within the window, and only as it was sealed."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import WireError
from peerd.ids import PeerId
from peerd.wire import envelope, limits, messages
from peerd.wire.codec import encode
from peerd.wire.session import Session

ALICE_ID, BOB_ID = b"alice___", b"bob_____"
TO_BOB, TO_ALICE = b"\x01" * 32, b"\x02" * 32
W = limits.REPLAY_WINDOW


def pair() -> tuple[Session, Session]:
    peer = PeerId(bytes(32))
    alice = Session(peer=peer, local_id=ALICE_ID, remote_id=BOB_ID, send_key=TO_BOB, receive_key=TO_ALICE)
    bob = Session(peer=peer, local_id=BOB_ID, remote_id=ALICE_ID, send_key=TO_ALICE, receive_key=TO_BOB)
    return alice, bob


def refusal(session: Session, datagram: bytes) -> str:
    with pytest.raises(WireError) as caught:
        session.open(datagram)
    return caught.value.reason


def test_a_datagram_says_whose_it_is_and_hides_the_message() -> None:
    alice, _ = pair()
    datagram = alice.seal(b"secret message")
    assert datagram[:3] == b"P\x01\x05"
    assert datagram[3:11] == BOB_ID
    assert b"secret" not in datagram
    assert len(datagram) == envelope.SEALED_HEADER_BYTES + len(b"secret message") + envelope.TAG_BYTES


def test_the_longest_message_fills_a_datagram_exactly() -> None:
    alice, bob = pair()
    datagram = alice.seal(bytes(envelope.PLAINTEXT_MAX_BYTES))
    assert len(datagram) == limits.DATAGRAM_MAX_BYTES
    assert bob.open(datagram) == bytes(envelope.PLAINTEXT_MAX_BYTES)


def test_the_same_message_is_never_sealed_into_the_same_bytes() -> None:
    alice, _ = pair()
    assert len({alice.seal(b"same") for _ in range(100)}) == 100


def test_messages_open_in_any_order() -> None:
    for order in permutations(range(5)):
        alice, bob = pair()
        sealed = [alice.seal(bytes([n])) for n in range(5)]
        assert [bob.open(sealed[n]) for n in order] == [bytes([n]) for n in order]


def test_a_message_opens_once() -> None:
    alice, bob = pair()
    sealed = [alice.seal(bytes([n])) for n in range(5)]
    for datagram in sealed:
        bob.open(datagram)
    assert [refusal(bob, datagram) for datagram in sealed] == ["replayed"] * 5


def test_the_window_ends_where_the_page_says() -> None:
    alice, bob = pair()
    sealed = [alice.seal(b"x") for _ in range(W + 1)]
    bob.open(sealed[W])
    assert refusal(bob, sealed[0]) == "replayed"  # 1,024 below the highest
    bob.open(sealed[1])  # 1,023 below
    assert refusal(bob, sealed[1]) == "replayed"
    assert refusal(bob, sealed[W]) == "replayed"


@pytest.mark.parametrize("jump", [1, W - 1, W, W + 1, 3 * W])
def test_after_a_jump_what_was_seen_is_still_known(jump: int) -> None:
    alice, bob = pair()
    first = alice.seal(b"x")
    bob.open(first)
    between = [alice.seal(b"x") for _ in range(jump - 1)]
    last = alice.seal(b"x")
    bob.open(last)
    assert refusal(bob, first) == refusal(bob, last) == "replayed"
    for datagram in between[-(W - 1) :]:
        bob.open(datagram)
        assert refusal(bob, datagram) == "replayed"


def test_a_forged_counter_does_not_move_the_window() -> None:
    alice, bob = pair()
    one, two = alice.seal(b"1"), alice.seal(b"2")
    forged = one[:11] + (2**63).to_bytes(8, "big") + one[19:]
    assert refusal(bob, forged) == "unauthentic"
    assert (bob.open(two), bob.open(one)) == (b"2", b"1")


def test_a_datagram_is_bound_to_its_session_and_direction() -> None:
    alice, bob = pair()
    datagram = alice.seal(b"x")
    assert refusal(alice, datagram) == "unauthentic"
    assert refusal(bob, datagram[:3] + ALICE_ID + datagram[11:]) == "unauthentic"


def test_every_altered_byte_and_every_cut_is_refused_and_the_whole_still_opens() -> None:
    alice, bob = pair()
    datagram = alice.seal(b"message")
    for at in range(len(datagram)):
        for bit in (1, 0x80):
            assert refusal(bob, datagram[:at] + bytes([datagram[at] ^ bit]) + datagram[at + 1 :]) == "unauthentic"
    for end in range(limits.DATAGRAM_MIN_BYTES, len(datagram)):
        assert refusal(bob, datagram[:end]) == "unauthentic"
    assert refusal(bob, datagram + b"\x00") == "unauthentic"
    assert bob.open(datagram) == b"message"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3 * W), max_size=60))
def test_no_order_of_arrival_opens_a_message_twice_or_loses_one_within_the_window(order: list[int]) -> None:
    alice, bob = pair()
    sealed = {}
    for counter in set(order):
        alice._next = counter
        sealed[counter] = alice.seal(b"x")
    opened: set[int] = set()
    for counter in order:
        try:
            bob.open(sealed[counter])
        except WireError:
            assert counter in opened or counter <= max(opened) - W
        else:
            assert counter not in opened
            opened.add(counter)


def test_a_session_is_worn_by_what_was_sent_and_by_what_was_read() -> None:
    alice, bob = pair()
    alice._next = limits.SESSION_MESSAGES_MAX - 1
    assert not alice.worn and not bob.worn
    alice.seal(b"")
    assert alice.worn and not bob.worn
    bob.open(alice.seal(b""))
    assert bob.worn


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_a_member_seals_ends_in_a_message_or_a_wire_error(plaintext: bytes) -> None:
    alice, bob = pair()
    opened = bob.open(alice.seal(plaintext))
    assert opened == plaintext
    try:
        message = messages.decode(opened)
    except WireError as error:
        assert error.reason == "malformed"
    else:
        assert messages.decode(encode(message)) == message
