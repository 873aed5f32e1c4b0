"""What members tell each other in passing: each item a few times, the least told and newest first (SWIM 4.1).

Not here: what the items say (node.gossip), and when somebody is spoken to.
"""

from collections.abc import Hashable
from dataclasses import dataclass

# An item is told log2 of the members and so many times more: with each telling to somebody else by chance, of those
# that hear it fewer than one in 400 miss it.
TELLINGS_MORE = 2
# The items kept; those told most go first.
ITEMS_MAX = 256


@dataclass(slots=True)
class _Item:
    raw: bytes
    number: int
    told: int = 0


class News:
    """The items that this peer still tells. `key` says what an item is about: a newer one takes its place."""

    def __init__(self) -> None:
        self._items: dict[Hashable, _Item] = {}
        self._number = 0

    def __len__(self) -> int:
        """Return how many items are still told."""
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        """Return whether something about this is still told."""
        return key in self._items

    def add(self, key: Hashable, raw: bytes) -> None:
        """Tell this from now on, in place of what was told of the same."""
        self._number += 1
        self._items[key] = _Item(raw, self._number)
        if len(self._items) > ITEMS_MAX:
            del self._items[max(self._items, key=lambda each: (self._items[each].told, -self._items[each].number))]

    def drop(self, key: Hashable) -> None:
        """Tell this no more."""
        self._items.pop(key, None)

    def drop_all(self, beginning: tuple[Hashable, ...]) -> None:
        """Tell nothing more whose key begins so."""
        size = len(beginning)
        for key in [key for key in self._items if isinstance(key, tuple) and key[:size] == beginning]:
            del self._items[key]

    def take(self, room_bytes: int, at_most: int, members: int) -> list[bytes]:
        """Return what to tell now, at most `at_most` items, each and its 3 bytes of framing within the room."""
        if not self._items:
            return []
        tellings = members.bit_length() + TELLINGS_MORE
        told: list[bytes] = []
        for key, item in sorted(self._items.items(), key=lambda pair: (pair[1].told, -pair[1].number)):
            if len(told) == at_most:
                break
            if len(item.raw) + 3 > room_bytes:
                continue
            room_bytes -= len(item.raw) + 3
            told.append(item.raw)
            item.told += 1
            if item.told >= tellings:
                del self._items[key]
        return told
