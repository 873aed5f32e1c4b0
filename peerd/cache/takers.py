"""To whom a record was given to be cached, and until when: they are told where a newer one comes.

Bounded for each key, for each taker and in all. Who finds no place here is not noted, and may not keep what it was
given: nobody caches what it would not be told of. A callback, as AFS had it (Howard et al. 1988), with an end, as a
lease has (Gray and Cheriton 1989). Not here: telling anybody.
"""

from collections import Counter

PER_KEY_MAX = 64
"""Takers of one record: so many are told of a change at once. Further ones are served by those."""

ALL_MAX = 16_384
"""Notes in all."""

SWEPT_EACH_S = 1.0
"""So rarely is it looked for what has ended: a full table costs no walk through it for each request."""

TAKER_PARTS = 16
"""One taker has one part of all notes in so many: who asks for everything leaves others their place."""


class Takers:
    """Who has what from here."""

    def __init__(self, *, all_max: int = ALL_MAX) -> None:
        self._all_max = all_max
        self._until: dict[bytes, dict[bytes, float]] = {}
        self._count: Counter[bytes] = Counter()
        self._total = 0
        self._swept_at = float("-inf")

    def __len__(self) -> int:
        return self._total

    def note(self, key: bytes, taker: bytes, until: float, now: float) -> bool:
        """Note that `taker` has the record of `key` until then; return False where there is no place for that."""
        of_key = self._until.get(key)
        if of_key is not None and taker in of_key:
            of_key[taker] = max(of_key[taker], until)
            return True
        if of_key is not None and len(of_key) >= PER_KEY_MAX:
            self._drop_ended(key, now)
            of_key = self._until.get(key)
        if (of_key is not None and len(of_key) >= PER_KEY_MAX) or not self._has_place(taker, now):
            return False
        self._until.setdefault(key, {})[taker] = until
        self._count[taker] += 1
        self._total += 1
        return True

    def of(self, key: bytes, now: float) -> dict[bytes, float]:
        """Return who has the record of a key from here, with the end of each."""
        return {taker: until for taker, until in self._until.get(key, {}).items() if until > now}

    def drop(self, key: bytes, taker: bytes) -> None:
        """Forget that somebody has a record."""
        of_key = self._until.get(key)
        if of_key is None or of_key.pop(taker, None) is None:
            return
        if not of_key:
            del self._until[key]
        self._total -= 1
        self._count[taker] -= 1
        if not self._count[taker]:
            del self._count[taker]

    def _has_place(self, taker: bytes, now: float) -> bool:
        part = max(1, self._all_max // TAKER_PARTS)
        full = self._total >= self._all_max or self._count[taker] >= part
        if full and now >= self._swept_at + SWEPT_EACH_S:
            self._swept_at = now
            self._sweep(now)
        return self._total < self._all_max and self._count[taker] < part

    def _sweep(self, now: float) -> None:
        for key in list(self._until):
            self._drop_ended(key, now)

    def _drop_ended(self, key: bytes, now: float) -> None:
        ended = [taker for taker, until in self._until[key].items() if until <= now]
        for taker in ended:
            self.drop(key, taker)
