"""How many bytes of requests of others wait here at a time: bounded for each peer and for all, shared fairly."""

from collections import Counter

from peerd.ids import PeerId

# Of one peer: above what an honest one has under way at a time (node.bulk.ASKED_MAX), with its longest frames.
PEER_MAX_BYTES = 1024 * 1024
# Of all: members who send the longest requests there are, and many of them, fill no memory.
ALL_MAX_BYTES = 16 * 1024 * 1024


class Inflow:
    """Bytes of requests that wait, by the peer they are of."""

    def __init__(self) -> None:
        self._waiting: Counter[PeerId] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        """Return the bytes of all."""
        return self._total

    def add(self, peer: PeerId, size: int) -> bool:
        """Count a request in; False, and nothing counted, where it is more than the peer may have wait.

        Where all together are at the bound, those go on that have less than their share of it.
        """
        own, total = self._waiting[peer] + size, self._total + size
        fair = ALL_MAX_BYTES // (len(self._waiting) + (peer not in self._waiting))
        if own > PEER_MAX_BYTES or (total > ALL_MAX_BYTES and own > fair) or total > 2 * ALL_MAX_BYTES:
            return False
        self._waiting[peer] = own
        self._total = total
        return True

    def remove(self, peer: PeerId, size: int) -> None:
        """Count a request out that was served, or will not be."""
        self._total -= size
        self._waiting[peer] -= size
        if not self._waiting[peer]:
            del self._waiting[peer]
