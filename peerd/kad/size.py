"""How many peers a network has, told so that a crowd at one place does not count.

Where all are known: places are hashes, so every sixteenth of the space holds about as many. A crowd round a key or two
fills one or two sixteenths, which are left out. Of few peers that says some too few, by a fifth of 20, a tenth of 60:
regions then are a little larger (crowd).

Where not all are known: from look-ups for places of chance, each an estimate without bias of its own. Who crowds some
of them moves their median little (Trautwein et al. 2024, on estimating the size of Kademlia networks).
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median

from peerd.ids import ID_BITS

CELL_BITS = 4
FULLEST_LEFT_OUT = 2
"""Cells of the space that a crowd may fill without being counted."""

SAMPLES_MAX = 16
SAMPLES_MIN = 3
"""Look-ups of which the median is taken, and below which nothing is said."""

NEAREST_MIN = 4
"""A look-up that found fewer says nothing: the error of one is about 1 / sqrt(found - 2)."""

STEPS = 4
"""Sizes are told apart in steps of 2^(1/4), so that what follows from them does not change with every newcomer."""

STEP_KEPT = 0.75
"""So many steps from the present one is the next taken; half a step would swing with who comes and goes."""


def trimmed(places: Iterable[int]) -> float:
    """Return about how many peers there are, by the places of all, ours among them: the fullest cells are left out."""
    cells = [0] * (1 << CELL_BITS)
    shift = ID_BITS - CELL_BITS
    for place in places:
        cells[place >> shift] += 1
    cells.sort()
    counted = len(cells) - FULLEST_LEFT_OUT
    return sum(cells[:counted]) * len(cells) / counted


class Samples:
    """What look-ups for places of chance showed of the size."""

    def __init__(self) -> None:
        self._sizes: deque[float] = deque(maxlen=SAMPLES_MAX)
        self.size: float | None = None
        """The median; None while there are too few."""

    def note(self, distances: Sequence[int]) -> None:
        """Take the distances, in order, of the nearest that a look-up found."""
        if len(distances) >= NEAREST_MIN and distances[-1]:
            self._sizes.append((len(distances) - 1) * 2.0**ID_BITS / distances[-1])
            self.size = median(self._sizes) if len(self._sizes) >= SAMPLES_MIN else None


class Stepped:
    """A size that changes by whole steps, and only where it clearly did."""

    def __init__(self) -> None:
        self._step: int | None = None

    def take(self, size: float) -> float:
        """Take a new estimate; return the size to reckon with, a power of 2^(1/4)."""
        exact = STEPS * math.log2(max(1.0, size))
        if self._step is None or abs(exact - self._step) > STEP_KEPT:
            self._step = round(exact)
        return math.pow(2.0, self._step / STEPS)
