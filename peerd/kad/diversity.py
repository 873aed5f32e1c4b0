"""How many contacts of one address group a routing table takes: identities cost nothing, networks of addresses do.

Counted are proven contacts alone, so that nobody locks others out with addresses that are not its own; not those whom
somebody vouches for (`certified`), nor local addresses, which have no group. Not here: buckets (table).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from peerd.ids import PeerId
from peerd.kad.contact import Contact
from peerd.kad.groups import group

BUCKET_MAX = 2
"""Contacts of one group in a bucket."""

TABLE_MAX = 10
"""Contacts of one group in use, where nothing else is said; of a bucket then as much more or less."""

SHARE_UNKNOWN_MAX = 4
"""Where more than the fourth of all met is left out so, the network is not known whole; fewer do not make it so."""


class Placed(Protocol):
    """What is counted: an entry of a table."""

    contact: Contact
    group: bytes | None


class Diversity:
    """The groups of the contacts in use."""

    def __init__(self, certified: Callable[[PeerId], bool] = lambda peer: False, group_max: int = TABLE_MAX) -> None:
        self._certified = certified
        self._table_max = group_max
        self._bucket_max = max(1, group_max * BUCKET_MAX // TABLE_MAX)
        self._in_use: Counter[bytes] = Counter()

    def group_of(self, contact: Contact) -> bytes | None:
        """Return the group that a contact counts for, None for none."""
        return None if self._certified(contact.peer) else group(contact.address)

    def may_be_used(self, entry: Placed) -> bool:
        """Return whether there is room for an entry in the table."""
        return entry.group is None or self._in_use[entry.group] < self._table_max

    def may_be_among(self, entry: Placed, nodes: Iterable[Placed]) -> bool:
        """Return whether there is room for an entry among those of a bucket."""
        if entry.group is None:
            return True
        return sum(1 for each in nodes if each.group == entry.group) < self._bucket_max

    def used(self, entry: Placed) -> None:
        """An entry is in use from now on."""
        if entry.group is not None:
            self._in_use[entry.group] += 1

    def unused(self, entry: Placed) -> None:
        """An entry is in use no longer."""
        if entry.group is not None:
            self._in_use[entry.group] -= 1
            if not self._in_use[entry.group]:
                del self._in_use[entry.group]
