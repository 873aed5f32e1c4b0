"""How often keys were used of late, in a few kilobytes: a count-min sketch that ages, behind a doorkeeper.

TinyLFU (Einziger, Friedman, Manes 2017): small counters, raised conservatively (only the least of a key's, Estan and
Varghese 2002), all halved after a sample of uses; a Bloom filter takes the first use of each key in a sample, so that
what is used once fills no counters. The places of a key hang on a seed that nobody else knows: whoever could compute
them could raise another's counters with keys of his own.
"""

from hashlib import blake2b

ROWS = 4
COUNT_MAX = 15
"""Counters end here: what was used more often is all alike popular, and is forgotten within four halvings."""

SAMPLE_USES = 10
"""The sample is so many times the number of keys that are kept."""

SEED_BYTES = 16


class Sketch:
    """Estimates of how often each key was used; never too low within a sample, rarely too high."""

    def __init__(self, keys: int, seed: bytes) -> None:
        assert keys > 0
        assert len(seed) == SEED_BYTES
        width = 1 << (keys - 1).bit_length()
        self._mask = width - 1
        self._seed = seed
        self._rows = [bytearray(width) for _ in range(ROWS)]
        self._door = bytearray(width)
        self.sample = SAMPLE_USES * keys
        """After so many uses all counts are halved."""
        self._uses = 0

    def add(self, key: bytes) -> None:
        """Count one use."""
        places = self._places(key)
        if self._opens(places):
            least = min(row[at] for row, at in zip(self._rows, places, strict=True))
            if least < COUNT_MAX:
                for row, at in zip(self._rows, places, strict=True):
                    if row[at] == least:
                        row[at] = least + 1
        self._uses += 1
        if self._uses >= self.sample:
            self._halve()

    def count(self, key: bytes) -> int:
        """Return about how often `key` was used of late."""
        places = self._places(key)
        least = min(row[at] for row, at in zip(self._rows, places, strict=True))
        return least + self._was_seen(places)

    def _opens(self, places: list[int]) -> bool:
        """Return whether the doorkeeper knows a key, and make it known."""
        known = self._was_seen(places)
        if not known:
            for bit, at in enumerate(places):
                self._door[at] |= 1 << bit
        return known

    def _was_seen(self, places: list[int]) -> bool:
        return all(self._door[at] >> bit & 1 for bit, at in enumerate(places))

    def _halve(self) -> None:
        halves = bytes(each >> 1 for each in range(256))
        self._rows = [row.translate(halves) for row in self._rows]
        self._door = bytearray(len(self._door))
        self._uses //= 2

    def _places(self, key: bytes) -> list[int]:
        whole = int.from_bytes(blake2b(key, digest_size=4 * ROWS, key=self._seed).digest(), "big")
        return [whole >> 32 * row & self._mask for row in range(ROWS)]
