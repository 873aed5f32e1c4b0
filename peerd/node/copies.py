"""Who is known to have which version of a record kept here: from receipts, and from what reconciliation compared.

A memory that saves work and counts copies; lost at a restart, never a promise. Who was away is asked anew: a copy that
comes back is counted again, and what it lacks shows when it is compared.
"""

from collections.abc import Iterable

from peerd.ids import Key, PeerId

# Keys remembered; of more the oldest are forgotten, and then asked for again.
COPIES_MAX = 200_000
DIGEST_BYTES = 16

NOBODY: frozenset[PeerId] = frozenset()


class Copies:
    """For each key one version, and the peers that have it, ourselves left out."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[bytes, frozenset[PeerId]]] = {}

    def of(self, key: Key, digest: bytes) -> frozenset[PeerId] | None:
        """Return who has this version (by its digest), None where nobody was ever asked."""
        known = self._known.get(key)
        return known[1] if known is not None and known[0] == digest[:DIGEST_BYTES] else None

    def note(self, key: Key, digest: bytes, peers: Iterable[PeerId]) -> None:
        """These have this version: they said so in a receipt, or showed it."""
        digest = digest[:DIGEST_BYTES]
        known = self._known.get(key)
        before = known[1] if known is not None and known[0] == digest else NOBODY
        have = before.union(peers)
        if known is None and len(self._known) >= COPIES_MAX:
            self._known.pop(next(iter(self._known)))
        self._known[key] = (digest, have)

    def lost(self, key: Key, peer: PeerId) -> None:
        """This peer turned out not to have it."""
        known = self._known.get(key)
        if known is not None and peer in known[1]:
            self._known[key] = (known[0], known[1] - {peer})

    def forget(self, peer: PeerId) -> None:
        """This peer was away: what it had then it has to show again, its store may be another."""
        for key, (digest, have) in self._known.items():
            if peer in have:
                self._known[key] = (digest, have - {peer})

    def drop(self, key: Key) -> None:
        """The record is kept here no more."""
        self._known.pop(key, None)

    def clear(self) -> None:
        """Forget everything: all is to be counted anew."""
        self._known.clear()
