"""All chance of a run, from one seed: a generator of its own for everything that draws.

Each is named by a path, so that one more draw in one place changes nothing in another.
"""

import hashlib
import random

from peerd.clock import Entropy


class Chance:
    """The root of all generators of a run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def rng(self, *path: str | int) -> random.Random:
        """Return the generator that `path` names, from its beginning; independent of Python's hash seed."""
        text = "/".join(map(str, (self.seed, *path)))
        return random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311  it must be foretold

    def entropy(self, *path: str | int) -> Entropy:
        """Return a source of bytes that only a simulated peer may take for secret."""
        return self.rng(*path, "entropy").randbytes
