"""Who is let in when many want to be: token buckets by whoever asks, and sets with a bound that no crowd can fill.

Pure: `now` is an argument. Who asks is a key that the caller chooses: an address group for strangers, whose names cost
nothing, a peer id for members. A bucket that was forgotten comes back full, so that forgetting locks nobody out; the
bucket for all together bounds what is gained by that. Source: token buckets as in WireGuard's rate limiter
(`ratelimiter.c`); departs from it in that its groups are the overlay's address groups, and its bound evicts.
"""

from collections import OrderedDict
from collections.abc import Container, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

# Buckets at a time, some 150 B each: whoever comes from more groups than these is met by the bucket for all.
BUCKETS_MAX = 4096
# So long may be saved up: a crowd that comes at once, as after a cut, is not told to come again.
SAVED_S = 2.0
# What one member may have of this peer's time while others want none of it, and all together, beyond what is each one's
# in any case: as multiples of that.
MOST_TIMES = 16
COMMON_TIMES = 32
_ALL = b"all"


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

    def add(self, thing: T, group: bytes, *, spare: Container[T] = ()) -> T | None:
        """Add a thing, or put it last in its group; return what has to go for it, which may be itself.

        What is in `spare` goes last.
        """
        self.remove(thing)
        self._groups.setdefault(group, OrderedDict())[thing] = None
        self._group_of[thing] = group
        if len(self._group_of) <= self.most:
            return None
        largest = max(self._groups.values(), key=len)
        out = next((each for each in largest if each not in spare), None)
        if out is None:
            by_size = sorted(self._groups.values(), key=len, reverse=True)
            out = next((each for members in by_size for each in members if each not in spare), next(iter(largest)))
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


class Admission:
    """What one running peer does for others in a second: handshakes by address group, requests by member."""

    def __init__(self, *, handshakes_per_s: float, group_handshakes_per_s: float, requests_per_s: float) -> None:
        self._group_handshakes = Buckets(group_handshakes_per_s, SAVED_S * group_handshakes_per_s)
        self._strangers = Buckets(handshakes_per_s, SAVED_S * handshakes_per_s, most=1)
        self._reserve = Buckets(handshakes_per_s / 2, SAVED_S * handshakes_per_s / 2, most=1)
        self._surely = Buckets(requests_per_s, SAVED_S * requests_per_s)
        self._most = Buckets(MOST_TIMES * requests_per_s, SAVED_S * MOST_TIMES * requests_per_s)
        self._common = Buckets(COMMON_TIMES * requests_per_s, SAVED_S * COMMON_TIMES * requests_per_s, most=1)
        self._told = Buckets(1.0, 1.0)

    def handshake(self, group: bytes, now: float, *, known: bool) -> bool:
        """Return whether to check the signature of somebody who has proven an address.

        `known` is for members where they were met: what strangers use up, however many groups they come from, leaves
        them a reserve.
        """
        if not self._group_handshakes.take(group, now):
            return False
        return (known and self._reserve.take(_ALL, now)) or self._strangers.take(_ALL, now)

    def request(self, peer: bytes, cost: float, now: float) -> bool:
        """Return whether to do `cost` look-ups' worth of work for a member.

        So much a second each has in any case; more while there is more for all, up to a bound for each.
        """
        if self._surely.take(peer, now, cost):
            return True
        return self._most.take(peer, now, cost) and self._common.take(_ALL, now, cost)

    def tells(self, peer: bytes, now: float) -> bool:
        """Return whether a member is to be told that it was refused: once a second."""
        return self._told.take(peer, now)
