"""Contacts that others named and where nobody answered: for a minute nobody is waited for there again.

Who invents contacts makes us wait once for each, not in every look-up and every exchange of members. Of a peer that was
ever met nothing is noted here: it has its place among the members while it is silent. A true peer at a false address
is found at its true one.
"""

from collections import OrderedDict

from peerd.ids import PeerId
from peerd.kad.contact import Address

ABSENT_S = 60.0
# An answer names 20 at most; who invents without end pushes out what it invented before.
ABSENT_MAX = 4096


class Absent:
    """Where nobody was found of late."""

    def __init__(self) -> None:
        self._since: OrderedDict[tuple[PeerId, Address], float] = OrderedDict()
        self._uncounted: set[tuple[PeerId, Address]] = set()

    def note(self, peer: PeerId, address: Address, now: float) -> None:
        """Nobody answered there."""
        where = peer, address
        if where not in self._since:
            self._uncounted.add(where)
        self._since[where] = now
        self._since.move_to_end(where)
        if len(self._since) > ABSENT_MAX:
            self._forget(next(iter(self._since)))

    def counts(self, peer: PeerId, address: Address) -> bool:
        """Return whether that nobody is there counts against who named it: once, however often it is named."""
        where = peer, address
        counts = where in self._uncounted
        self._uncounted.discard(where)
        return counts

    def has(self, peer: PeerId, address: Address, now: float) -> bool:
        """Return whether nobody answered there a moment ago."""
        since = self._since.get((peer, address))
        if since is None:
            return False
        if since > now - ABSENT_S:
            return True
        self._forget((peer, address))
        return False

    def heard(self, peer: PeerId, address: Address) -> None:
        """It was met there."""
        self._forget((peer, address))

    def _forget(self, where: tuple[PeerId, Address]) -> None:
        self._since.pop(where, None)
        self._uncounted.discard(where)
