"""Identities made to stand near a place: seeds are tried until their peer does.

A stand-in key costs some microseconds a try, an Ed25519 key sixty: 24 among the nearest of 40 are 20,000 tries.
"""

import random
from collections.abc import Iterator

from peerd.identity import Suite
from peerd.ids import ID_BITS, NetworkId, distance, node_id


def ground(
    suite: Suite, network: NetworkId, target: bytes, count: int, *, reach: float, rng: random.Random
) -> list[bytes]:
    """Return seeds of peers that stand nearer to `target` than the share `reach` of the space, as if by chance."""
    found = (seed for seed, near in _tried(suite, network, target, rng) if near < reach)
    return [next(found) for _ in range(count)]


def spaced(suite: Suite, network: NetworkId, target: bytes, reaches: list[float], rng: random.Random) -> list[bytes]:
    """Return seeds of one peer up to each of these shares of the space, each nearer than its reach and beyond half."""
    tried = _tried(suite, network, target, rng)
    return [next(seed for seed, near in tried if reach / 2 < near < reach) for reach in reaches]


def _tried(suite: Suite, network: NetworkId, target: bytes, rng: random.Random) -> Iterator[tuple[bytes, float]]:
    while True:
        seed = rng.randbytes(32)
        yield seed, distance(node_id(network, suite.signing_key(seed).public), target) / 2**ID_BITS
