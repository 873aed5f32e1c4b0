"""What those who fetch one root have of it, and which block to give to whom: the rarest first (Cohen 2003).

Whoever gives chooses. The others say what they have and that they would take one more block (a credit); the choice is
made when there is room to send, by what is known then. So one who has all gives each block once before any twice, which
is as fast as a crowd can get it ("super-seeding" without lies), and a source that is slow, dead or lying has nothing
that the receiver waits for: it is bound to no block before it begins to send it.

A receiver says that it has a block as soon as that begins to come, so that nobody else sends it too.

Not here: connections, slots, time (node.sharing).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from peerd.clock import Rng
from peerd.ids import PeerId

# Blocks looked at for one choice: of very large content not all, so that a choice costs no more.
LOOKED_AT_MAX = 256
# So many blocks apart are those who give in order to one receiver.
APART_MAX = 16
# Credits of one peer kept: more would let it have all slots of a slow moment wait for it.
CREDITS_MAX = 16


@dataclass(slots=True)
class Sharer:
    """One other peer that shares the root."""

    has: set[bytes] = field(default_factory=set)
    """What it has, or is about to; of one that needs nothing not kept up."""
    whole: bool = False
    credits: int = 0
    asked_first: bool = True
    """Whether it is to be asked before a block is sent."""
    first: int = 0
    """All blocks before this one, in order, it has."""


class Sharing:
    """The blocks of one root, the sharers, and what is here. CIDs are 36 bytes."""

    def __init__(self, blocks: Sequence[bytes], rng: Rng) -> None:
        self._order = list(blocks)
        self._known = set(self._order)
        self._rng = rng
        self._here: set[bytes] = set()
        self._sharers: dict[PeerId, Sharer] = {}
        self._had_by: Counter[bytes] = Counter()
        self._given: Counter[bytes] = Counter()

    @property
    def whole(self) -> bool:
        """Whether every block is here."""
        return len(self._here) == len(self._known)

    @property
    def here(self) -> set[bytes]:
        """The blocks that are here; not to be changed."""
        return self._here

    @property
    def sharers(self) -> dict[PeerId, Sharer]:
        """Those who share the root; not to be changed."""
        return self._sharers

    def is_of_root(self, cid: bytes) -> bool:
        """Say whether that is a block of the root."""
        return cid in self._known

    def missing(self) -> list[bytes]:
        """Return what is not here, in order."""
        return [cid for cid in self._order if cid not in self._here]

    def add(self, peer: PeerId) -> None:
        """A peer shares the root from now on."""
        self._sharers.setdefault(peer, Sharer())

    def drop(self, peer: PeerId) -> None:
        """A peer is gone."""
        sharer = self._sharers.pop(peer, None)
        if sharer is not None:
            self._had_by.subtract(sharer.has)

    def needs_nothing(self, peer: PeerId) -> None:
        """A peer takes no more."""
        sharer = self._sharers.get(peer)
        if sharer is not None:
            sharer.whole = True
            sharer.credits = 0

    def heard(self, peer: PeerId, cids: Iterable[bytes]) -> None:
        """A peer says that it has blocks; what is no block of the root is ignored."""
        sharer = self._sharers.get(peer)
        if sharer is None:
            return
        for cid in cids:
            if cid in self._known and cid not in sharer.has:
                sharer.has.add(cid)
                self._had_by[cid] = self._had_by.get(cid, 0) + 1

    def arrived(self, cids: Iterable[bytes]) -> None:
        """Blocks are here now."""
        self._here.update(cid for cid in cids if cid in self._known)

    def lost(self, cid: bytes) -> None:
        """A block is here no more."""
        self._here.discard(cid)

    def credit(self, peer: PeerId, *, asked_first: bool) -> None:
        """A peer would take one more block."""
        sharer = self._sharers.get(peer)
        if sharer is not None and not sharer.whole:
            sharer.credits = min(CREDITS_MAX, sharer.credits + 1)
            sharer.asked_first = asked_first

    def may_give(self, peer: PeerId) -> bool:
        """Say whether there is something to give to a peer that would take it."""
        sharer = self._sharers.get(peer)
        if sharer is None or sharer.whole or not sharer.credits:
            return False
        return len(self._here) > len(sharer.has) or not self._here <= sharer.has

    def choose(self, peer: PeerId) -> bytes | None:
        """Return the block to give to a peer now, noted as one it has; None where there is nothing that it wants.

        The one that the fewest have, then the one given least. Where all is here they go in order, so that who reads
        while it fetches finds them in memory; who chooses beside another begins some blocks further on, by chance.
        """
        if not self.may_give(peer):
            return None
        sharer = self._sharers[peer]
        begin = self._begin(sharer) if self.whole else self._rng.randrange(len(self._order))
        wanted = (
            cid
            for at in range(len(self._order))
            if (cid := self._order[(begin + at) % len(self._order)]) in self._here and cid not in sharer.has
        )
        had_by, given = self._had_by.get, self._given.get
        best = min(islice(wanted, LOOKED_AT_MAX), key=lambda cid: (had_by(cid, 0), given(cid, 0)), default=None)
        if best is None:
            return None
        sharer.has.add(best)
        self._had_by[best] += 1
        return best

    def _begin(self, sharer: Sharer) -> int:
        """Return where to look from in what is given in order."""
        while sharer.first < len(self._order) and self._order[sharer.first] in sharer.has:
            sharer.first += 1
        return sharer.first + (self._rng.randrange(APART_MAX) if sharer.asked_first else 0)

    def lacks(self, peer: PeerId, cid: bytes) -> None:
        """A peer that was to get a block did not."""
        sharer = self._sharers.get(peer)
        if sharer is not None and cid in sharer.has:
            sharer.has.discard(cid)
            sharer.first = 0
            self._had_by[cid] -= 1

    def gives(self, peer: PeerId, cid: bytes) -> None:
        """The block is sent."""
        self._given[cid] += 1
        sharer = self._sharers.get(peer)
        if sharer is not None:
            sharer.credits = max(0, sharer.credits - 1)
