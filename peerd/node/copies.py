"""Who is known to have which version of a record kept here: from receipts, and from what reconciliation compared.

A memory that saves work and counts copies; lost at a restart, never a promise. Who was away is asked anew: a copy that
comes back is counted again, and what it lacks shows when it is compared.
"""

from collections.abc import Iterable

from peerd.ids import Key, PeerId

# Keys remembered; of more the oldest are forgotten, and then asked for again.
COPIES_MAX = 200_000
# Peers of whom anything is remembered, and those of one key, four times those that should have it.
PEERS_MAX = 8_192
PEERS_PER_KEY_MAX = 32
DIGEST_BYTES = 16


class _Stay:
    """One time of a peer's being here: what it showed then counts until it was away.

    Keys refer to stays and not to peers, so that a peer is forgotten at once, however many keys it has.
    """

    __slots__ = ("peer",)

    def __init__(self, peer: PeerId) -> None:
        self.peer = peer


class Copies:
    """For each key one version, and the peers that have it, ourselves left out."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[bytes, tuple[_Stay, ...]]] = {}
        self._stays: dict[PeerId, _Stay] = {}

    def of(self, key: Key, digest: bytes) -> frozenset[PeerId] | None:
        """Return who has this version (by its digest), None where nobody was ever asked."""
        known = self._known.get(key)
        if known is None or known[0] != digest[:DIGEST_BYTES]:
            return None
        return frozenset(stay.peer for stay in self._lasting(known[1]))

    def note(self, key: Key, digest: bytes, peers: Iterable[PeerId]) -> None:
        """These have this version: they said so in a receipt, or showed it."""
        digest = digest[:DIGEST_BYTES]
        known = self._known.get(key)
        new = dict.fromkeys(map(self._stay, peers))
        before = self._lasting(known[1]) if known is not None and known[0] == digest else ()
        have = (*(stay for stay in before if stay not in new), *new)
        if known is None and len(self._known) >= COPIES_MAX:
            self._known.pop(next(iter(self._known)))
        self._known[key] = (digest, have[-PEERS_PER_KEY_MAX:])

    def lost(self, key: Key, peer: PeerId) -> None:
        """It has not what it had under this key."""
        known = self._known.get(key)
        if known is not None:
            self._known[key] = (known[0], tuple(stay for stay in known[1] if stay.peer != peer))

    def forget(self, peer: PeerId) -> None:
        """This peer was away: what it had then it has to show again, its store may be another."""
        self._stays.pop(peer, None)

    def drop(self, key: Key) -> None:
        """The record is kept here no more."""
        self._known.pop(key, None)

    def clear(self) -> None:
        """Forget everything: all is to be counted anew."""
        self._known.clear()
        self._stays.clear()

    def _stay(self, peer: PeerId) -> _Stay:
        stay = self._stays.get(peer)
        if stay is None:
            if len(self._stays) >= PEERS_MAX:
                self._stays.pop(next(iter(self._stays)))
            stay = self._stays[peer] = _Stay(peer)
        return stay

    def _lasting(self, stays: tuple[_Stay, ...]) -> tuple[_Stay, ...]:
        return tuple(stay for stay in stays if self._stays.get(stay.peer) is stay)
