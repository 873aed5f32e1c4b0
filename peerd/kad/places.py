"""Contacts by place, so that the nearest to any target are found exactly and at a cost that does not grow.

Places are kept sorted as integers. Those that share a prefix with the target are nearer to it by XOR than all others
(Kademlia 2.1), and in sorted order they are neighbours: so one slice holds the nearest, and only it is sorted by XOR.

Not here: buckets, and who is to be in (table).
"""

from bisect import bisect_left, insort
from collections.abc import Collection

from peerd.ids import ID_BITS, NodeId, PeerId
from peerd.kad.contact import Contact


class Places:
    """A set of contacts, at most one at a place."""

    __slots__ = ("_contacts", "_order")

    def __init__(self) -> None:
        self._order: list[int] = []
        self._contacts: dict[int, Contact] = {}

    def put(self, contact: Contact) -> None:
        """Add a contact, or replace the one at its place."""
        place = int.from_bytes(contact.place, "big")
        if place not in self._contacts:
            insort(self._order, place)
        self._contacts[place] = contact

    def discard(self, place: NodeId) -> None:
        """Remove the contact at `place`, if there is one."""
        number = int.from_bytes(place, "big")
        if self._contacts.pop(number, None) is not None:
            del self._order[bisect_left(self._order, number)]

    def all(self) -> list[Contact]:
        """Return all contacts in order of place."""
        return [self._contacts[place] for place in self._order]

    def closest(self, target: bytes, count: int, exclude: Collection[PeerId]) -> list[Contact]:
        """Return the contacts nearest to `target` but for those of `exclude`, nearest first, at most `count`."""
        point = int.from_bytes(target, "big")
        contacts = self._contacts
        distances = sorted([place ^ point for place in self._block(point, max(count + len(exclude), 1))])
        if not exclude:
            return [contacts[distance ^ point] for distance in distances[:count]]
        found: list[Contact] = []
        for distance in distances:
            if len(found) >= count:
                break
            contact = contacts[distance ^ point]
            if contact.peer not in exclude:
                found.append(contact)
        return found

    def __len__(self) -> int:
        return len(self._order)

    def _block(self, point: int, wanted: int) -> list[int]:
        """Return the places of an aligned block round `point` that holds at least `wanted`, or all there are.

        Its size is guessed from how many places there are, and doubled until it holds enough.
        """
        order = self._order
        if wanted >= len(order):
            return order
        shift = min(ID_BITS + 1 - (len(order) // (2 * wanted)).bit_length(), ID_BITS)
        while True:
            low = bisect_left(order, point >> shift << shift)
            high = bisect_left(order, ((point >> shift) + 1) << shift, low)
            if high - low >= wanted:
                return order[low:high]
            shift += 1
