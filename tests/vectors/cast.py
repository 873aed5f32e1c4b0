"""Who appears in the vectors and the tests of the wire, with keys that never change, and entropy that is written down.

Nothing here is secret, and nothing here is random: a seed is the SHA-256 of its owner's name.
"""

import hashlib
from collections import deque

from peerd.identity import ED25519, Identity
from peerd.ids import NetworkId, network_id

NETWORK_NAME = "lab"
NETWORK_SECRET = b"correct horse battery staple"
OPEN = network_id(NETWORK_NAME)
PRIVATE = network_id(NETWORK_NAME, NETWORK_SECRET)

ALICE_ADDRESS = ("192.0.2.1", 7433)
BOB_ADDRESS = ("192.0.2.2", 7433)
CAROL_ADDRESS = ("2001:db8::3", 7433)
NOW = 1000.0


def seed(name: str) -> bytes:
    """The 32 bytes that stand for `name`: a peer's private key, or any other input that would be random."""
    return hashlib.sha256(name.encode()).digest()


def identity(name: str, network: NetworkId = OPEN) -> Identity:
    """The peer called `name`."""
    return Identity(ED25519.signing_key(seed(name)), network, ED25519)


class Script:
    """Entropy that gives what was written down, in that order."""

    def __init__(self, *values: bytes) -> None:
        self._values = deque(values)

    def __call__(self, count: int, /) -> bytes:
        value = self._values.popleft()
        assert len(value) == count, f"asked for {count} bytes, the script has {len(value)}"
        return value


class Stream:
    """Endless entropy from a seed, for tests that do not care which."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def __call__(self, count: int, /) -> bytes:
        self._count += 1
        return hashlib.shake_256(f"{self._name} {self._count}".encode()).digest(count)
