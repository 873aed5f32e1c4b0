"""What the core is given instead of reading it: the time, chance and entropy.

The real ones are in io.system, the simulated ones in sim.
"""

from collections.abc import MutableSequence
from typing import Any, Protocol


class Clock(Protocol):
    """Time as one host sees it."""

    def monotonic(self) -> float:
        """Seconds since some instant; never steps. For durations, lives, deadlines."""

    def wall(self) -> float:
        """Unix seconds, possibly wrong or stepping. Only to show."""

    def boot(self) -> tuple[str, float]:
        """Which start of the host this is (empty: nobody knows), and the seconds since it, those asleep included.

        Lets what was kept across a restart of the process count the time between.
        """


class Rng(Protocol):
    """Chance that needs no secrecy: jitter, samples. `random.Random` is one."""

    def random(self) -> float:
        """A float in [0, 1)."""

    def uniform(self, a: float, b: float, /) -> float:
        """A float between a and b."""

    def randrange(self, stop: int, /) -> int:
        """An integer in [0, stop)."""

    def shuffle(self, x: MutableSequence[Any], /) -> None:
        """Shuffle in place."""


class Entropy(Protocol):
    """Bytes nobody can guess: keys, nonces, ids."""

    def __call__(self, count: int, /) -> bytes:
        """Return `count` random bytes."""
