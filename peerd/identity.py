"""Who a peer is: a signing key, and the suite of public-key operations it belongs to.

Two suites exist: `ED25519`, which every real peer speaks, and `STAND_IN`, keyed hashes of the same sizes that let the
simulator run thousands of peers (DESIGN.md 11). The stand-in protects nothing; no daemon can be made to use it.
A signature covers a domain tag, the network id and the bytes that travelled: none counts elsewhere (DESIGN.md 5).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from peerd.clock import Entropy
from peerd.ids import NetworkId, PeerId

SEED_BYTES = 32
SIGNATURE_BYTES = 64
EPHEMERAL_BYTES = 32


class SigningKey(Protocol):
    """A private key that signs; `public` is the peer's id."""

    @property
    def public(self) -> PeerId:
        """Return the public half."""

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The public-key operations, in one place so that the simulator can put cheap ones there.

    `ephemeral` makes (private, public); `exchange` gives the shared secret, 32 bytes, or raises ValueError on a
    public key that is no good (RFC 7748 6.1: the all-zero secret).
    """

    name: str
    signing_key: Callable[[bytes], SigningKey]
    verify: Callable[[PeerId, bytes, bytes], bool]
    ephemeral: Callable[[Entropy], tuple[object, bytes]]
    exchange: Callable[[object, bytes], bytes]


@dataclass(frozen=True, slots=True)
class Identity:
    """A peer's own key in one network."""

    key: SigningKey
    network: NetworkId
    suite: Suite

    @property
    def peer(self) -> PeerId:
        """Return our own peer id."""
        return self.key.public

    def sign(self, tag: bytes, body: bytes) -> bytes:
        """Return our signature of `body` for the purpose that `tag` names, in this network."""
        return self.key.sign(tag + self.network + body)

    def verify(self, peer: PeerId, tag: bytes, body: bytes, signature: bytes) -> bool:
        """Return whether `peer` signed `body` for the purpose that `tag` names, in this network."""
        return self.suite.verify(peer, tag + self.network + body, signature)


class _Ed25519Key:
    """An Ed25519 key (RFC 8032) from its 32-byte seed."""

    __slots__ = ("_private", "_public")

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = PeerId(self._private.public_key().public_bytes_raw())

    @property
    def public(self) -> PeerId:
        return self._public

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


def _verify_ed25519(peer: PeerId, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(peer).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _ephemeral_x25519(entropy: Entropy) -> tuple[object, bytes]:
    private = X25519PrivateKey.from_private_bytes(entropy(EPHEMERAL_BYTES))
    return private, private.public_key().public_bytes_raw()


def _exchange_x25519(private: object, public: bytes) -> bytes:
    assert isinstance(private, X25519PrivateKey)
    return private.exchange(X25519PublicKey.from_public_bytes(public))


ED25519 = Suite(
    name="ed25519",
    signing_key=_Ed25519Key,
    verify=_verify_ed25519,
    ephemeral=_ephemeral_x25519,
    exchange=_exchange_x25519,
)


class _StandInKey:
    """A key whose signature anybody could make: a hash under the public key."""

    __slots__ = ("_public",)

    def __init__(self, seed: bytes) -> None:
        self._public = PeerId(hashlib.sha256(b"stand-in public" + seed).digest())

    @property
    def public(self) -> PeerId:
        return self._public

    def sign(self, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=self._public).digest()


def _verify_stand_in(peer: PeerId, message: bytes, signature: bytes) -> bool:
    return hashlib.blake2b(message, key=peer).digest() == signature


def _ephemeral_stand_in(entropy: Entropy) -> tuple[object, bytes]:
    public = entropy(EPHEMERAL_BYTES)
    return public, public


def _exchange_stand_in(private: object, public: bytes) -> bytes:
    assert isinstance(private, bytes)
    low, high = sorted((private, public))
    return hashlib.sha256(low + high).digest()


STAND_IN = Suite(
    name="stand-in",
    signing_key=_StandInKey,
    verify=_verify_stand_in,
    ephemeral=_ephemeral_stand_in,
    exchange=_exchange_stand_in,
)
