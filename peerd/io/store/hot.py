"""What is known of records without I/O: the ones lately used, and of every other key whether it is absent.

Held by the event loop alone. One process owns the store, so the set of keys is exact but for its prefixes: two keys
with the same first 8 bytes make an absent one look possible, never a present one absent.
"""

from array import array
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable

from peerd.ids import Key
from peerd.io.store.interface import MISS, Miss

HOT_RECORDS_MAX = 8_192
HOT_BYTES_MAX = 8 * 1024 * 1024

_PREFIX_BYTES = 8
_SHARD_BITS = 12
_SHARD_SHIFT = 8 * _PREFIX_BYTES - _SHARD_BITS
_EMPTY = array("Q")
_ENTRY_BYTES = 200


class KeySet:
    """The 8-byte prefixes of all keys: sorted arrays by their first 12 bits, so that adding one moves little.

    An array is made with its first key: thousands of empty ones are a megabyte.
    """

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        self._shards: dict[int, array[int]] = {}
        self._count = 0
        for key in keys:
            self.add(key)

    def __len__(self) -> int:
        return self._count

    def add(self, key: bytes) -> None:
        """Add a key that is not in; a prefix is kept as often as keys have it."""
        prefix = _prefix_of(key)
        insort(self._shards.setdefault(prefix >> _SHARD_SHIFT, array("Q")), prefix)
        self._count += 1

    def discard(self, key: bytes) -> None:
        """Take out a key that was added."""
        prefix = _prefix_of(key)
        shard = self._shards.get(prefix >> _SHARD_SHIFT, _EMPTY)
        at = bisect_left(shard, prefix)
        if at < len(shard) and shard[at] == prefix:
            del shard[at]
            self._count -= 1

    def may_hold(self, key: bytes) -> bool:
        """Say False only where the key is not in."""
        prefix = _prefix_of(key)
        shard = self._shards.get(prefix >> _SHARD_SHIFT, _EMPTY)
        at = bisect_left(shard, prefix)
        return at < len(shard) and shard[at] == prefix


def _prefix_of(key: bytes) -> int:
    return int.from_bytes(key[:_PREFIX_BYTES].ljust(_PREFIX_BYTES, b"\x00"), "big")


class HotRecords:
    """The records lately read or written, and the keys of all; bounded in number and bytes."""

    def __init__(self, keys: KeySet, *, records_max: int = HOT_RECORDS_MAX, bytes_max: int = HOT_BYTES_MAX) -> None:
        self._keys = keys
        self._hot: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._reading: dict[Key, object] = {}

    def __len__(self) -> int:
        return len(self._hot)

    @property
    def count(self) -> int:
        """How many records the store holds, hot or not."""
        return len(self._keys)

    def peek(self, key: Key) -> bytes | Miss | None:
        """Return the record, None where there is none, MISS where only the disk knows."""
        record = self._hot.get(key)
        if record is not None:
            self._hot.move_to_end(key)
            return record
        return MISS if self._keys.may_hold(key) else None

    def written(self, key: Key, record: bytes, *, is_new: bool) -> None:
        """Note a record that is on disk now."""
        self._reading.pop(key, None)
        if is_new:
            self._keys.add(key)
        self._keep(key, record)

    def dropped(self, key: Key) -> None:
        """Note that a record that was on disk is gone."""
        self._reading.pop(key, None)
        self._keys.discard(key)
        record = self._hot.pop(key, None)
        if record is not None:
            self._bytes -= len(record) + _ENTRY_BYTES

    def begin_read(self, key: Key) -> object:
        """Return a ticket for `end_read`; a write in between makes it void."""
        ticket = object()
        self._reading[key] = ticket
        return ticket

    def end_read(self, key: Key, ticket: object, record: bytes | None) -> None:
        """Keep what a read found, unless it was overtaken."""
        if self._reading.get(key) is not ticket:
            return
        del self._reading[key]
        if record is not None:
            self._keep(key, record)

    def _keep(self, key: Key, record: bytes) -> None:
        before = self._hot.pop(key, None)
        if before is not None:
            self._bytes -= len(before) + _ENTRY_BYTES
        self._hot[key] = record
        self._bytes += len(record) + _ENTRY_BYTES
        while self._hot and (len(self._hot) > self._records_max or self._bytes > self._bytes_max):
            _, oldest = self._hot.popitem(last=False)
            self._bytes -= len(oldest) + _ENTRY_BYTES
