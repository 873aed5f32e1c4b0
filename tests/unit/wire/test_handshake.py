"""The handshake proves key and address of both, to these two, now, in this network; and nothing else passes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import WireError
from peerd.identity import ED25519, STAND_IN, Identity
from peerd.wire import envelope, limits
from peerd.wire.handshake import Established, Initiator, Responder, is_session_id, mac_key, new_session_id
from tests.unit.wire.judge import layout, shake_hands
from tests.vectors.cast import ALICE_ADDRESS, BOB_ADDRESS, NOW, OPEN, PRIVATE, Stream, identity, seed
from tests.vectors.rejected import with_mac

MALLORY_ADDRESS = ("198.51.100.66", 7433)


class Two:
    """alice, who begins, and bob; each datagram is taken from one and given to the other by the test."""

    def __init__(self, *, expected: str | None = "bob", certificate: bytes = b"") -> None:
        self.alice = Initiator(
            identity("alice", PRIVATE),
            Stream("alice"),
            expected=identity(expected).peer if expected is not None else None,
            certificate=certificate,
        )
        self.bob = Responder(identity("bob", PRIVATE), Stream("bob"), certificate=certificate)

    def challenge(self, *, now: float = NOW, address: tuple[str, int] = ALICE_ADDRESS) -> bytes:
        return self.bob.on_hello(self.alice.hello_bytes(), address, now)[1]

    def finish(self) -> bytes:
        return self.alice.on_challenge(envelope.parse_challenge(self.challenge()))

    def accept(
        self, finish: bytes, *, now: float = NOW, address: tuple[str, int] = ALICE_ADDRESS
    ) -> tuple[Established, bytes]:
        return self.bob.on_finish(finish, address, now, first=b"first")


@pytest.fixture
def two() -> Two:
    return Two()


def reason(attempt: object) -> str:
    assert callable(attempt)
    with pytest.raises(WireError) as caught:
        attempt()
    return caught.value.reason


def test_both_sides_end_with_the_other_proven_and_a_session_that_works_both_ways(two: Two) -> None:
    finish = two.finish()
    at_bob, accept = two.accept(finish)
    at_alice = two.alice.on_accept(envelope.parse_accept(accept))

    assert at_alice.session.peer == identity("bob").peer
    assert at_bob.session.peer == identity("alice").peer
    assert at_alice.first == b"first"
    assert at_bob.session.open(at_alice.session.seal(b"ask")) == b"ask"
    assert at_alice.session.open(at_bob.session.seal(b"answer")) == b"answer"
    assert (
        at_alice.session.remote_id == at_bob.session.local_id != at_alice.session.local_id == at_bob.session.remote_id
    )


def test_the_certificates_of_both_arrive() -> None:
    two = Two(certificate=b"c" * limits.CERTIFICATE_MAX_BYTES)
    at_bob, accept = two.accept(two.finish())
    assert len(accept) <= limits.DATAGRAM_MAX_BYTES
    at_alice = two.alice.on_accept(envelope.parse_accept(accept))
    assert at_bob.certificate == at_alice.certificate == b"c" * limits.CERTIFICATE_MAX_BYTES


def test_who_knows_only_an_address_learns_who_lives_there() -> None:
    two = Two(expected=None)
    _, accept = two.accept(two.finish())
    assert two.alice.on_accept(envelope.parse_accept(accept)).session.peer == identity("bob").peer


def test_each_handshake_has_keys_of_its_own() -> None:
    sealed = []
    for name in ("one", "two"):
        alice = Initiator(identity("alice"), Stream(name))
        bob = Responder(identity("bob"), Stream("bob " + name))
        _, challenge = bob.on_hello(alice.hello_bytes(), ALICE_ADDRESS, NOW)
        finish = alice.on_challenge(envelope.parse_challenge(challenge))
        session = bob.on_finish(finish, ALICE_ADDRESS, NOW, first=b"")[0].session
        sealed.append(session.seal(b"the same")[envelope.SEALED_HEADER_BYTES :])
    assert sealed[0] != sealed[1]


def test_the_two_directions_have_different_keys() -> None:
    alice, bob = shake_hands()
    bob.session.seal(b"")  # so that both are at the same counter
    ours = alice.session.seal(b"same")[envelope.SEALED_HEADER_BYTES :]
    alice2, bob2 = shake_hands()
    theirs = bob2.session.seal(b"same")[envelope.SEALED_HEADER_BYTES :]
    assert alice2.session.seal(b"same")[envelope.SEALED_HEADER_BYTES :] == ours != theirs


def test_a_responder_signs_nothing_and_keeps_nothing_before_the_cookie_comes_back(two: Two) -> None:
    class NoKey:
        public = identity("bob").peer

        def sign(self, message: bytes) -> bytes:
            raise AssertionError("signed for a stranger")

    bob = Responder(Identity(NoKey(), PRIVATE, ED25519), Stream("bob"))
    before = dict(vars(bob))
    for port in range(1, 50):
        bob.on_hello(two.alice.hello_bytes(), ("192.0.2.1", port), NOW)
    assert vars(bob) == before


def test_a_challenge_is_never_longer_than_what_asked_for_it(two: Two) -> None:
    assert len(two.challenge()) == envelope.CHALLENGE_BYTES <= len(two.alice.hello_bytes())


def test_a_stranger_without_the_secret_gets_silence(two: Two) -> None:
    stranger = Initiator(identity("mallory", OPEN), Stream("mallory"))
    assert reason(lambda: two.bob.on_hello(stranger.hello_bytes(), ALICE_ADDRESS, NOW)) == "network"
    sealed = envelope.SEALED_HEADER + Stream("guess")(100)
    assert reason(lambda: two.bob.challenge(sealed[3:11], ALICE_ADDRESS, NOW)) == "unknown_session"


def test_a_forgotten_session_is_answered_by_a_challenge_that_opens_a_new_one(two: Two) -> None:
    at_bob, _ = two.accept(two.finish())
    reborn = Responder(identity("bob", PRIVATE), Stream("bob again"))
    challenge = reborn.challenge(at_bob.session.local_id, ALICE_ADDRESS, NOW)
    again = Initiator(identity("alice", PRIVATE), Stream("again"), expected=identity("bob").peer)
    finish = again.on_challenge(envelope.parse_challenge(challenge))
    _, accept = reborn.on_finish(finish, ALICE_ADDRESS, NOW, first=b"back")
    assert again.on_accept(envelope.parse_accept(accept)).first == b"back"


def test_a_cookie_holds_for_ten_seconds_and_no_longer(two: Two) -> None:
    finish = two.finish()
    two.accept(finish, now=NOW + limits.COOKIE_LIFE_S)
    assert reason(lambda: two.accept(finish, now=NOW + limits.COOKIE_LIFE_S + 1)) == "cookie"
    assert reason(lambda: two.accept(finish, now=NOW - 1)) == "cookie"


@pytest.mark.parametrize("now", [0.0, 1e6, 2**32 - 0.5, 2**33 + 0.1])
def test_a_cookie_is_good_whatever_the_clock_of_its_maker_says(now: float) -> None:
    two = Two()
    finish = two.alice.on_challenge(envelope.parse_challenge(two.challenge(now=now)))
    assert two.accept(finish, now=now + 5)[0].session.peer == identity("alice").peer


@pytest.mark.parametrize("address", [MALLORY_ADDRESS, (ALICE_ADDRESS[0], 1), (BOB_ADDRESS[0], ALICE_ADDRESS[1])])
def test_a_cookie_proves_one_address_and_port(two: Two, address: tuple[str, int]) -> None:
    finish = two.finish()
    assert reason(lambda: two.accept(finish, address=address)) == "cookie"


def test_a_cookie_is_good_only_at_the_process_that_made_it(two: Two) -> None:
    finish = two.finish()
    reborn = Responder(identity("bob", PRIVATE), Stream("another secret"))
    assert reason(lambda: reborn.on_finish(finish, ALICE_ADDRESS, NOW, first=b"")) == "cookie"


def test_a_cookie_is_for_the_hello_it_answers() -> None:
    two, other = Two(), Two()
    other.alice = Initiator(identity("alice", PRIVATE), Stream("other alice"))
    own, foreign = envelope.parse_challenge(two.challenge()), envelope.parse_challenge(other.challenge())
    finish, _, _ = envelope.parse_finish(two.alice.on_challenge(own))
    mixed = envelope.Finish(**{name: getattr(finish, name) for name in finish.__slots__} | {"cookie": foreign.cookie})
    assert reason(lambda: two.accept(with_mac(mixed.body()))) == "cookie"


def test_a_finish_signed_for_mallory_cannot_be_passed_on_to_bob() -> None:
    """Alice dials mallory, who fetches a cookie from bob for herself and has alice sign it."""
    alice = Initiator(identity("alice", PRIVATE), Stream("alice"), expected=identity("mallory").peer)
    bob = Responder(identity("bob", PRIVATE), Stream("bob"))
    _, bobs = bob.on_hello(alice.hello_bytes(), MALLORY_ADDRESS, NOW)
    challenge = envelope.parse_challenge(bobs)
    assert reason(lambda: alice.on_challenge(challenge)) == "other_peer"

    forged = with_mac(envelope.Challenge(challenge.echo, identity("mallory").peer, challenge.cookie).body())
    finish = alice.on_challenge(envelope.parse_challenge(forged))
    assert reason(lambda: bob.on_finish(finish, MALLORY_ADDRESS, NOW, first=b"")) == "signature"


def test_who_challenged_must_accept() -> None:
    """Mallory, on the way, lets bob challenge and accepts in her own name."""
    two = Two(expected=None)
    finish = two.finish()
    parsed, _, _ = envelope.parse_finish(finish)
    mallory = Responder(identity("mallory", PRIVATE), Stream("mallory"))
    mallory._check_cookie = lambda *args: None  # type: ignore[method-assign]
    mallory._identity = Identity(identity("mallory").key, PRIVATE, _Believing())
    _, accept = mallory.on_finish(finish, ALICE_ADDRESS, NOW, first=b"")
    assert envelope.parse_accept(accept).echo == parsed.session
    assert reason(lambda: two.alice.on_accept(envelope.parse_accept(accept))) == "unasked"


class _Believing:
    """A suite that takes any signature, as a liar's would."""

    ephemeral = staticmethod(ED25519.ephemeral)
    exchange = staticmethod(ED25519.exchange)

    @staticmethod
    def verify(peer: bytes, message: bytes, signature: bytes) -> bool:
        return True


def test_a_peer_does_not_shake_hands_with_itself() -> None:
    alice = Initiator(identity("alice", PRIVATE), Stream("alice"))
    mirror = Responder(identity("alice", PRIVATE), Stream("mirror"))
    _, challenge = mirror.on_hello(alice.hello_bytes(), ALICE_ADDRESS, NOW)
    assert reason(lambda: alice.on_challenge(envelope.parse_challenge(challenge))) == "ourselves"


def test_an_accept_before_a_finish_or_to_another_hello_was_not_asked_for(two: Two) -> None:
    _, accept = two.accept(two.finish())
    other = Two().alice
    assert reason(lambda: other.on_accept(envelope.parse_accept(accept))) == "unasked"


def test_an_accept_of_an_earlier_handshake_opens_no_second_one(two: Two) -> None:
    _, accept = two.accept(two.finish())
    later = Initiator(identity("alice", PRIVATE), Stream("later"), expected=identity("bob").peer)
    _, challenge = two.bob.on_hello(later.hello_bytes(), ALICE_ADDRESS, NOW)
    later.on_challenge(envelope.parse_challenge(challenge))
    old = envelope.parse_accept(accept[:3] + later.session_id + accept[11:])
    assert reason(lambda: later.on_accept(old)) == "signature"


def test_a_member_of_another_network_with_the_same_key_cannot_finish() -> None:
    two = Two()
    finish = two.finish()
    twin = Identity(ED25519.signing_key(seed("alice")), OPEN, ED25519)
    parsed, _, _ = envelope.parse_finish(finish)
    signature = twin.sign(b"peerd/1 handshake finish\x00", identity("bob").peer + parsed.unsigned())
    forged = envelope.Finish(**{name: getattr(parsed, name) for name in parsed.__slots__} | {"signature": signature})
    assert reason(lambda: two.accept(with_mac(forged.body()))) == "signature"


def test_the_handshake_is_the_same_with_the_simulators_suite() -> None:
    alice, bob = (Identity(STAND_IN.signing_key(seed(name)), PRIVATE, STAND_IN) for name in ("alice", "bob"))
    initiator, responder = Initiator(alice, Stream("a"), expected=bob.peer), Responder(bob, Stream("b"))
    _, challenge = responder.on_hello(initiator.hello_bytes(), ALICE_ADDRESS, NOW)
    finish = initiator.on_challenge(envelope.parse_challenge(challenge))
    _, accept = responder.on_finish(finish, ALICE_ADDRESS, NOW, first=b"first")
    assert initiator.on_accept(envelope.parse_accept(accept)).first == b"first"


def test_members_know_each_others_session_ids_and_nobody_can_invent_one() -> None:
    entropy, key = Stream("ids"), mac_key(PRIVATE)
    made = {new_session_id(entropy, key) for _ in range(200)}
    assert len(made) == 200
    assert all(is_session_id(each, key) for each in made)
    assert not any(is_session_id(each, mac_key(OPEN)) for each in made)
    assert not any(is_session_id(entropy(8), key) for _ in range(2000))


_TWO = Two()
_HELLO = _TWO.alice.hello_bytes()
_CHALLENGE = _TWO.challenge()
_FINISH = _TWO.alice.on_challenge(envelope.parse_challenge(_CHALLENGE))
_, _ACCEPT = _TWO.accept(_FINISH)


def _all_mutations(data: bytes) -> list[bytes]:
    flipped = [data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :] for at in range(len(data)) for bit in (1, 0x80)]
    return flipped + [data[:end] for end in range(len(data))] + [data + b"\x00", data + data]


@pytest.mark.parametrize("name", ["hello", "challenge", "finish", "accept"])
def test_every_altered_or_cut_byte_of_a_handshake_is_refused(name: str) -> None:
    data, take = {
        "hello": (_HELLO, lambda d: _TWO.bob.on_hello(d, ALICE_ADDRESS, NOW)),
        "challenge": (_CHALLENGE, lambda d: _TWO.alice.on_challenge(envelope.parse_challenge(d))),
        "finish": (_FINISH, lambda d: _TWO.bob.on_finish(d, ALICE_ADDRESS, NOW, first=b"")),
        "accept": (_ACCEPT, lambda d: _TWO.alice.on_accept(envelope.parse_accept(d))),
    }[name]
    take(data)
    for altered in _all_mutations(data):
        with pytest.raises(WireError):
            if envelope.kind_of(altered) != data[2]:
                raise WireError("kind")  # another reader's
            layout(altered)
            take(altered)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([_HELLO, _CHALLENGE, _FINISH, _ACCEPT]), st.data())
def test_any_bytes_end_in_a_value_or_a_wire_error(data: bytes, draw: st.DataObject) -> None:
    changed = bytearray(data)
    for at in draw.draw(st.lists(st.integers(3, len(data) - 1), max_size=8)):
        changed[at] = draw.draw(st.integers(0, 255))
    cut = bytes(changed[: draw.draw(st.integers(0, len(changed)))]) + draw.draw(st.binary(max_size=40))
    for take in (
        layout,
        lambda d: _TWO.bob.on_hello(d, ALICE_ADDRESS, NOW),
        lambda d: _TWO.bob.on_finish(d, ALICE_ADDRESS, NOW, first=b""),
        lambda d: _TWO.alice.on_challenge(envelope.parse_challenge(d)),
        lambda d: _TWO.alice.on_accept(envelope.parse_accept(d)),
    ):
        try:
            take(cut)
        except WireError as error:
            assert error.reason.isidentifier()
