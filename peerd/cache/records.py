"""Small records cached for those who ask: a bounded table, with a life for each, and a fair part for each giver.

Everything has an end that was set when it came, and is gone then. In a full table what is new gets in only where it was
asked for more often than what would go (admission); but who gave more than its part of it gives one of its own up
first, so that nobody's gifts push out those of others. Not here: whether a record is what it says, who is told of
changes (takers), how long it may live (lives).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from peerd.cache.admission import Admission

T = TypeVar("T")

GIVER_PARTS = 8
"""Of a full table one giver keeps one part in so many against others."""


@dataclass(slots=True)
class Cached(Generic[T]):
    """One thing, who gave it, since when it counts (as old as it is), until when, when it came; monotonic instants."""

    value: T
    giver: bytes
    budget: bytes
    """Whose part of the table it uses."""
    since: float
    until: float
    from_holder: bool
    """Given by who should hold it: it may be given on."""
    came_at: float = 0.0


class CachedRecords(Generic[T]):
    """At most `most` things by key."""

    def __init__(self, most: int, seed: bytes) -> None:
        self._most = most
        self._admission = Admission(most, entries_max=most, seed=seed)
        self._entries: dict[bytes, Cached[T]] = {}
        self._of: dict[bytes, OrderedDict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> Cached[T] | None:
        """Return what is there under a key and has not ended."""
        found = self._entries.get(key)
        if found is not None and found.until <= now:
            self.drop(key)
            return None
        return found

    def asked(self, key: bytes) -> None:
        """Count that a key was asked for, here or by another, whatever is there."""
        self._admission.used(key)

    def put(self, key: bytes, entry: Cached[T]) -> bool:
        """Keep something in place of what is there under that key; return whether it is kept."""
        self.drop(key)
        if len(self._entries) >= self._most:
            largest = max(self._of, key=lambda budget: len(self._of[budget]))
            part = self._most // GIVER_PARTS
            count = len(self._of[largest])
            if count > part and len(self._of.get(entry.budget, ())) < count - 1:
                self.drop(next(iter(self._of[largest])))
            elif not self._admission.admits(key, 1):
                return False
        self._admission.add(key, 1)
        self._entries[key] = entry
        self._of.setdefault(entry.budget, OrderedDict())[key] = None
        for out in self._admission.excess():
            self._forget(out)
        return key in self._entries

    def drop(self, key: bytes) -> None:
        """Let go of what is there under a key."""
        if key in self._entries:
            self._admission.gone(key)
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        entry = self._entries.pop(key)
        its = self._of[entry.budget]
        del its[key]
        if not its:
            del self._of[entry.budget]
