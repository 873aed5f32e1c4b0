"""What a peer knows, as items in key order, with fingerprints of any range of them: what reconciliation compares.

An item is a key (32 bytes) and a mark (24 bytes) that says which version is known of it. The fingerprint of a range is
the SHA-256 of the number of its items and of the sum modulo 2^256 of their hashes, cut to 16 bytes (as negentropy does;
Meyer 2022, 3.2 asks for such a monoid). Items stand in chunks with a sum each and a Fenwick tree above them: a
fingerprint costs a logarithm and at most two chunks, a change one chunk.

Why a sum, and how hard it is to fool: a sum of hashes can be changed in place and has no order. Whoever may choose
many items can look for sets of equal sums; by Wagner's generalised birthday (2002) 128 bits would fall to some 2^22
work, 256 bits take some 2^32, and a multitude of items in one range. Sessions begin at cuts that chance chooses
(ranges.cut), so such a set would have to fit between cuts that nobody knows before.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from peerd.wire.frames import KEY_BYTES
from peerd.wire.reconcile import MARK_BYTES

FINGERPRINT_BYTES = 16
END = b""
"""As the upper bound of a range: above every key."""

# A chunk is parted in two above this.
CHUNK_ITEMS = 64

_SUM_BYTES = 32
_MODULUS = 1 << (8 * _SUM_BYTES)


class ItemSet:
    """Items by key, one mark for each key."""

    def __init__(self) -> None:
        self._chunks: list[list[bytes]] = []
        self._firsts: list[bytes] = []
        self._sums: list[int] = []
        self._count = 0
        self._tree: _Tree | None = None
        """The Fenwick tree over the chunks, None while it must be made anew."""

    def __len__(self) -> int:
        return self._count

    def mark(self, key: bytes) -> bytes | None:
        """Return the mark of a key, None where it is not in."""
        at = self._chunk_of(key)
        if at is None:
            return None
        chunk = self._chunks[at]
        place = bisect_left(chunk, key)
        if place < len(chunk) and chunk[place].startswith(key):
            return chunk[place][KEY_BYTES:]
        return None

    def put(self, key: bytes, mark: bytes) -> None:
        """Set the mark of a key."""
        assert len(key) == KEY_BYTES, "keys are of one length"
        assert len(mark) == MARK_BYTES, "marks are of one length"
        item = key + mark
        if not self._chunks:
            self._chunks, self._firsts, self._sums = [[]], [b""], [0]
            self._tree = None
        at = bisect_right(self._firsts, key) - 1
        chunk = self._chunks[at]
        place = bisect_left(chunk, key)
        if place < len(chunk) and chunk[place].startswith(key):
            before = chunk[place]
            if before != item:
                chunk[place] = item
                self._changed(at, _hash(item) - _hash(before), 0)
            return
        chunk.insert(place, item)
        self._changed(at, _hash(item), 1)
        if len(chunk) > CHUNK_ITEMS:
            self._part(at)

    def discard(self, key: bytes) -> None:
        """Take a key out, where it is in."""
        at = self._chunk_of(key)
        if at is None:
            return
        chunk = self._chunks[at]
        place = bisect_left(chunk, key)
        if place == len(chunk) or not chunk[place].startswith(key):
            return
        item = chunk.pop(place)
        self._changed(at, -_hash(item), -1)
        if not chunk and len(self._chunks) > 1:
            del self._chunks[at], self._firsts[at], self._sums[at]
            self._firsts[0] = b""
            self._tree = None

    def count(self, low: bytes, high: bytes) -> int:
        """Return how many keys are in [low, high); bounds may be shorter than keys, END as `high` is above all."""
        return max(0, self._below(high)[0] - self._before(low)[0])

    def fingerprint(self, low: bytes, high: bytes) -> bytes:
        """Return what stands for the items in [low, high): equal for equal sets (16 bytes)."""
        below, sum_below = self._before(low)
        until, sum_until = self._below(high)
        count = max(0, until - below)
        total = (sum_until - sum_below) % _MODULUS if count else 0
        head = count.to_bytes(8, "big") + total.to_bytes(_SUM_BYTES, "big")
        return hashlib.sha256(head).digest()[:FINGERPRINT_BYTES]

    def items(self, low: bytes, high: bytes) -> Iterator[bytes]:
        """Yield the items (key and mark, joined) in [low, high) in order of key; the set must not change meanwhile."""
        at, place = self._position(low)
        while at < len(self._chunks):
            chunk = self._chunks[at]
            for item in chunk[place:]:
                if high != END and item[:KEY_BYTES] >= high:
                    return
                yield item
            at, place = at + 1, 0

    def bounds(self, low: bytes, high: bytes, parts: int) -> list[bytes]:
        """Return the upper bounds of at most `parts` ranges of about equal counts that make up [low, high).

        The last is `high`; the others are the shortest that part two neighbours.
        """
        first, count = self._before(low)[0], self.count(low, high)
        parts = min(parts, count)
        found: list[bytes] = []
        for part in range(1, parts):
            here = first + count * part // parts
            bound = _shortest_between(self._key_at(here - 1), self._key_at(here))
            if bound > (found[-1] if found else low):
                found.append(bound)
        return [*found, high]

    # Chunks.

    def _chunk_of(self, key: bytes) -> int | None:
        """Return the chunk a key is in or would be put into."""
        return bisect_right(self._firsts, key) - 1 if self._chunks else None

    def _position(self, bound: bytes) -> tuple[int, int]:
        """Return (chunk, place in it) of the first item at or above a bound."""
        at = max(0, bisect_right(self._firsts, bound) - 1)
        return (at, bisect_left(self._chunks[at], bound)) if self._chunks else (0, 0)

    def _before(self, low: bytes) -> tuple[int, int]:
        """Return the same as `_below` of a lower bound, of which b"" is below every key."""
        return self._below(low) if low else (0, 0)

    def _below(self, bound: bytes) -> tuple[int, int]:
        """Return the number and the sum of hashes of all items below a bound."""
        tree = self._whole_tree()
        if bound == END or not self._chunks:
            return tree.below(len(self._chunks))
        at, place = self._position(bound)
        count, total = tree.below(at)
        chunk = self._chunks[at]
        if place * 2 <= len(chunk):
            return count + place, total + sum(map(_hash, chunk[:place]))
        return count + place, total + self._sums[at] - sum(map(_hash, chunk[place:]))

    def _key_at(self, rank: int) -> bytes:
        at, before = self._whole_tree().find(rank)
        return self._chunks[at][rank - before][:KEY_BYTES]

    def _changed(self, at: int, amount: int, count: int) -> None:
        self._sums[at] += amount
        self._count += count
        if self._tree is not None:
            self._tree.add(at, count, amount)

    def _part(self, at: int) -> None:
        chunk = self._chunks[at]
        upper = chunk[len(chunk) // 2 :]
        del chunk[len(chunk) // 2 :]
        moved = sum(map(_hash, upper))
        self._sums[at] -= moved
        self._chunks.insert(at + 1, upper)
        self._firsts.insert(at + 1, upper[0][:KEY_BYTES])
        self._sums.insert(at + 1, moved)
        self._tree = None

    def _whole_tree(self) -> "_Tree":
        if self._tree is None:
            self._tree = _Tree([len(chunk) for chunk in self._chunks], self._sums)
        return self._tree


class _Tree:
    """Counts and sums of chunks, and of all chunks before one (Fenwick 1994)."""

    def __init__(self, counts: list[int], sums: list[int]) -> None:
        self._counts, self._sums = [0, *counts], [0, *sums]
        for at in range(1, len(self._counts)):
            above = at + (at & -at)
            if above < len(self._counts):
                self._counts[above] += self._counts[at]
                self._sums[above] += self._sums[at]

    def add(self, chunk: int, count: int, amount: int) -> None:
        """Change one chunk."""
        at = chunk + 1
        while at < len(self._counts):
            self._counts[at] += count
            self._sums[at] += amount
            at += at & -at

    def below(self, chunk: int) -> tuple[int, int]:
        """Return count and sum of all chunks before one."""
        count = total = 0
        at = chunk
        while at:
            count += self._counts[at]
            total += self._sums[at]
            at -= at & -at
        return count, total

    def find(self, rank: int) -> tuple[int, int]:
        """Return the chunk with the item of that rank, and how many items are before it."""
        at, before = 0, 0
        step = 1 << (len(self._counts).bit_length())
        while step:
            following = at + step
            if following < len(self._counts) and before + self._counts[following] <= rank:
                at, before = following, before + self._counts[following]
            step >>= 1
        return at, before


def _hash(item: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(item, digest_size=_SUM_BYTES).digest(), "big")


def _shortest_between(lower: bytes, upper: bytes) -> bytes:
    """Return the shortest bound above `lower` and not above `upper`, which is the greater."""
    for length in range(1, len(upper)):
        if upper[:length] > lower:
            return upper[:length]
    return upper
