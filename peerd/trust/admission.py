"""Who is let in when many want to be: token buckets by whoever asks, and sets with a bound that no crowd can fill.

Pure: `now` is an argument. Who asks is a key that the caller chooses: an address group for strangers, whose names cost
nothing, a peer id for members. A bucket that was forgotten comes back full, so that forgetting locks nobody out; the
bucket for all together bounds what is gained by that. Source: token buckets as in WireGuard's rate limiter
(`ratelimiter.c`); departs from it in that its groups are the overlay's address groups, and its bound evicts.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

# Buckets at a time, some 150 B each: whoever comes from more groups than these is met by the bucket for all.
BUCKETS_MAX = 4096


class Buckets:
    """Token buckets by key: `per_s` tokens a second each, at most `burst` saved up."""

    def __init__(self, per_s: float, burst: float, *, most: int = BUCKETS_MAX) -> None:
        self._per_s = per_s
        self._burst = burst
        self._most = most
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """Tokens left and when that was counted, the longest untouched first."""

    def __len__(self) -> int:
        """Return how many keys are told apart now."""
        return len(self._left)

    def take(self, key: Hashable, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens of a key; False, and nothing taken, where it has not as many."""
        left, at = self._left.get(key, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - at) * self._per_s)
        taken = left >= cost
        self._left[key] = (left - cost if taken else left, now)
        self._left.move_to_end(key)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return taken


class Crowd(Generic[T]):
    """At most `most` things, each of a group; above that the largest group gives one up, the one it had longest.

    So whoever comes from one place, however often, only pushes out itself; the single ones of other places stay.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._groups: dict[bytes, OrderedDict[T, None]] = {}
        self._group_of: dict[T, bytes] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._group_of)

    def __contains__(self, thing: T) -> bool:
        """Return whether it is among them."""
        return thing in self._group_of

    def add(self, thing: T, group: bytes) -> T | None:
        """Add a thing, or put it last in its group; return what has to go for it, which may be itself."""
        self.remove(thing)
        self._groups.setdefault(group, OrderedDict())[thing] = None
        self._group_of[thing] = group
        if len(self._group_of) <= self.most:
            return None
        largest = max(self._groups.values(), key=len)
        out = next(iter(largest))
        self.remove(out)
        return out

    def remove(self, thing: T) -> None:
        """Take a thing out; nothing where it is not there."""
        group = self._group_of.pop(thing, None)
        if group is None:
            return
        members = self._groups[group]
        del members[thing]
        if not members:
            del self._groups[group]
