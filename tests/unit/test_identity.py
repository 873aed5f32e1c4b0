"""A signature counts for one signer, one purpose, one network and one body."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.identity import ED25519, EPHEMERAL_BYTES, SIGNATURE_BYTES, STAND_IN, Identity, Suite
from peerd.ids import PeerId
from tests.vectors.cast import OPEN, PRIVATE, Stream, identity, seed

TAG, OTHER_TAG = b"peerd/1 one\x00", b"peerd/1 other\x00"

# RFC 8032 7.1, test 2.
RFC_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


@pytest.fixture(params=[ED25519, STAND_IN], ids=["ed25519", "stand-in"])
def suite(request: pytest.FixtureRequest) -> Iterator[Suite]:
    yield request.param


def peer_of(name: str, suite: Suite, network: bytes = OPEN) -> Identity:
    return Identity(suite.signing_key(seed(name)), network, suite)  # type: ignore[arg-type]


def test_the_signatures_are_those_of_rfc_8032() -> None:
    key = ED25519.signing_key(RFC_SEED)
    assert key.public == RFC_PUBLIC
    assert key.sign(b"\x72") == RFC_SIGNATURE
    assert ED25519.verify(PeerId(RFC_PUBLIC), b"\x72", RFC_SIGNATURE)


def test_a_signature_counts_for_its_signer_purpose_network_and_body_alone(suite: Suite) -> None:
    alice, bob = peer_of("alice", suite), peer_of("bob", suite)
    signature = alice.sign(TAG, b"body")
    assert len(signature) == SIGNATURE_BYTES
    assert bob.verify(alice.peer, TAG, b"body", signature)
    assert not bob.verify(bob.peer, TAG, b"body", signature)
    assert not bob.verify(alice.peer, OTHER_TAG, b"body", signature)
    assert not bob.verify(alice.peer, TAG, b"bodx", signature)
    assert not peer_of("bob", suite, PRIVATE).verify(alice.peer, TAG, b"body", signature)


def test_every_altered_bit_of_a_signature_is_seen(suite: Suite) -> None:
    alice = peer_of("alice", suite)
    signature = alice.sign(TAG, b"body")
    for bit in range(8 * SIGNATURE_BYTES):
        altered = (int.from_bytes(signature, "big") ^ (1 << bit)).to_bytes(SIGNATURE_BYTES, "big")
        assert not alice.verify(alice.peer, TAG, b"body", altered)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_key_and_signature_is_true_or_false_and_nothing_else(peer: bytes, signature: bytes) -> None:
    assert identity("bob").verify(PeerId(peer), TAG, b"body", signature) is False


def test_two_sides_share_a_secret_that_a_third_has_not(suite: Suite) -> None:
    entropy = Stream("ephemeral")
    (a, a_public), (b, b_public), (c, c_public) = (suite.ephemeral(entropy) for _ in range(3))
    assert len(a_public) == EPHEMERAL_BYTES
    assert suite.exchange(a, b_public) == suite.exchange(b, a_public)
    assert suite.exchange(a, b_public) != suite.exchange(a, c_public)
    assert suite.exchange(c, b_public) != suite.exchange(a, b_public)


# RFC 7748 6.1 and the orders of curve25519: 0, 1, and a point of order 8.
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
]


@pytest.mark.parametrize("public", LOW_ORDER, ids=["zero", "one", "order-8"])
def test_a_public_key_that_leaves_no_secret_is_refused(public: bytes) -> None:
    private, _ = ED25519.ephemeral(Stream("ephemeral"))
    with pytest.raises(ValueError):
        ED25519.exchange(private, public)
