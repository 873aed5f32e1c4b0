"""A block that very many want at one moment is given to some of them, who are sources for the others at once.

Only content of one block: of larger content each has some of the blocks soon, and gives those. Who is told "not here"
asks the other sources, and after a moment looks for new ones; by then who was given it has announced that. In each
moment twice as many are given it as in the one before: as fast as the number of sources grows where all keep what they
get, and where nobody does all have it soon. Not here: how many blocks are sent at a time, and to whom first.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from peerd.ids import PeerId

FIRST_GIVEN = 4
"""Peers that are given the same block in the first moment."""

MOMENT_S = 1.5
"""About as long as it takes, on a wide network, to fetch a block, to say so and to be found."""

CALM_S = 2 * MOMENT_S
"""Where a block was given to nobody for so long, the next begin anew."""

GIVEN_MAX = 256
BLOCKS_MAX = 256
"""Peers that were given one block, and blocks, that are remembered: what is beyond is given to all."""


@dataclass(slots=True)
class _Crowd:
    began_at: float
    given_at: float
    given: set[PeerId] = field(default_factory=set)


class Turns:
    """Who was given what of late."""

    def __init__(self) -> None:
        self._crowds: OrderedDict[bytes, _Crowd] = OrderedDict()

    def is_turn(self, cid: bytes, peer: PeerId, now: float) -> bool:
        """Return whether a peer is among those that are given a block by now."""
        crowd = self._crowds.get(cid)
        if crowd is None or peer in crowd.given or now >= crowd.given_at + CALM_S or len(crowd.given) >= GIVEN_MAX:
            return True
        moments = int((now - crowd.began_at) / MOMENT_S)
        return len(crowd.given) < FIRST_GIVEN * ((2 << moments) - 1)

    def gave(self, cid: bytes, peer: PeerId, now: float) -> None:
        """Note that a peer was given a block."""
        crowd = self._crowds.get(cid)
        if crowd is None or now >= crowd.given_at + CALM_S:
            crowd = self._crowds[cid] = _Crowd(now, now)
        crowd.given_at = now
        if len(crowd.given) < GIVEN_MAX:
            crowd.given.add(peer)
        self._crowds.move_to_end(cid)
        if len(self._crowds) > BLOCKS_MAX:
            self._crowds.popitem(last=False)
