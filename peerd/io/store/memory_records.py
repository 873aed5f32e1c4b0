"""The store's calls on records, in memory."""

import bisect
from collections.abc import Callable
from typing import Any

from peerd.ids import Key
from peerd.io.store import bounds
from peerd.io.store.interface import ANY, Anything, HistoryRow, RecordRow
from peerd.io.store.memory_base import MemoryBase


class MemoryRecords(MemoryBase):
    """See `Store`."""

    def __init__(self, *arguments: Any, **hooks: Any) -> None:
        super().__init__(*arguments, **hooks)
        self._records: dict[Key, tuple[bytes, RecordRow]] = {}
        self._keys: list[Key] = []
        self._by_cid: dict[bytes, dict[Key, None]] = {}
        self._history: dict[Key, list[HistoryRow]] = {}
        self._sequences: dict[Key, int] = {}
        self._registers: dict[Key, bytes] = {}
        self._watching: Callable[[Key], None] = _nobody

    def watch(self, changed: Callable[[Key], None]) -> None:
        """See `Store.watch`."""
        self._watching = changed

    def peek_record(self, key: Key) -> bytes | None:
        """See `Store.peek_record`; memory always knows."""
        kept = self._records.get(key)
        return None if kept is None else kept[0]

    async def record(self, key: Key) -> bytes | None:
        """See `Store.record`."""
        self._check("record")
        return self.peek_record(key)

    async def put_record(
        self, key: Key, record: bytes, *, row: RecordRow, only_if: bytes | Anything | None = ANY
    ) -> bool:
        """See `Store.put_record`."""
        bounds.check_sequence(row.sequence)
        await self._sync("put_record")
        before = self._records.get(key)
        if only_if is not ANY and only_if != (before[0] if before else None):
            return False
        cost = len(record) - len(before[0]) if before else len(record) + bounds.RECORD_ROW_BYTES
        freed, grown = self._superseded_bytes(key, deleted=row.deleted), self._history_cost(key, row)
        full = self._used() + cost + grown - freed > bounds.limit_bytes(self.quota_bytes, reserve=True)
        if row.deleted and full:  # what was before is forgotten, so that a deletion takes no room
            grown = (1 - len(self._history.get(key, ()))) * bounds.HISTORY_ROW_BYTES
        self._require_room(cost + grown - freed, reserve=row.deleted)
        if row.deleted and full:
            self._history.pop(key, None)
        cost += grown
        self._metadata_bytes += cost
        if before is None:
            bisect.insort(self._keys, key)
        else:
            self._unindex(key, before[1])
        self._records[key] = (record, row)
        self._superseded(key, deleted=row.deleted)
        if row.cid is not None:
            self._by_cid.setdefault(row.cid, {})[key] = None
        self._note_version(key, HistoryRow(row, conflict=False))
        self._watching(key)
        return True

    def _superseded_bytes(self, key: Key, *, deleted: bool) -> int:
        """What a new record of a key frees (`memory_floors`)."""
        return 0

    def _superseded(self, key: Key, *, deleted: bool) -> None:
        """A key has a new record: what is known of an earlier tombstone is over (`memory_floors`)."""

    def _forgotten(self, key: Key) -> None:
        """A key's record goes: so does what is known of it as a tombstone (`memory_floors`)."""

    async def add_history(self, key: Key, row: RecordRow, *, conflict: bool) -> None:
        """See `Store.add_history`."""
        bounds.check_sequence(row.sequence)
        await self._sync("add_history")
        self._charge(self._history_cost(key, row), reserve=True)
        self._note_version(key, HistoryRow(row, conflict))

    def _history_cost(self, key: Key, row: RecordRow) -> int:
        rows = self._history.get(key, ())
        grows = len(rows) < bounds.HISTORY_MAX and all(known.row.version != row.version for known in rows)
        return bounds.HISTORY_ROW_BYTES if grows else 0

    def _note_version(self, key: Key, noted: HistoryRow) -> None:
        rows = [known for known in self._history.get(key, ()) if known.row.version != noted.row.version]
        rows.append(noted)
        rows.sort(key=lambda known: known.row.version, reverse=True)
        self._history[key] = rows[: bounds.HISTORY_MAX]

    async def history(self, key: Key) -> list[HistoryRow]:
        """See `Store.history`."""
        self._check("history")
        return list(self._history.get(key, ()))

    async def records(self, after: Key | None, limit: int) -> list[tuple[Key, bytes]]:
        """See `Store.records`."""
        self._check("records")
        start = 0 if after is None else bisect.bisect_right(self._keys, after)
        return [(key, self._records[key][0]) for key in self._keys[start : start + limit]]

    async def damaged_records(self, limit: int) -> list[Key]:
        """See `Store.damaged_records`: memory does not rot."""
        self._check("damaged_records")
        return []

    async def expired_records(self, now: float, limit: int) -> list[Key]:
        """See `Store.expired_records`."""
        self._check("expired_records")
        ends = ((row.expires, key) for key, (_, row) in self._records.items() if row.expires is not None)
        return [key for _, key in sorted(end for end in ends if end[0] <= now)[:limit]]

    async def drop_record(self, key: Key) -> None:
        """See `Store.drop_record`."""
        await self._sync("drop_record")
        self._drop_row(key)

    def _drop_row(self, key: Key) -> None:
        self._forgotten(key)
        self._metadata_bytes -= len(self._history.pop(key, ())) * bounds.HISTORY_ROW_BYTES
        before = self._records.pop(key, None)
        if before is None:
            return
        self._metadata_bytes -= len(before[0]) + bounds.RECORD_ROW_BYTES
        del self._keys[bisect.bisect_left(self._keys, key)]
        self._unindex(key, before[1])
        self._watching(key)

    def _unindex(self, key: Key, row: RecordRow) -> None:
        if row.cid is None:
            return
        keys = self._by_cid[row.cid]
        del keys[key]
        if not keys:
            del self._by_cid[row.cid]

    async def record_count(self) -> int:
        """See `Store.record_count`."""
        self._check("record_count")
        return len(self._records)

    async def record_with_cid(self, cid: bytes) -> bytes | None:
        """See `Store.record_with_cid`."""
        self._check("record_with_cid")
        keys = self._by_cid.get(cid)
        return self._records[min(keys)][0] if keys else None

    async def reserve_sequence(self, key: Key, at_least: int) -> int:
        """See `Store.reserve_sequence`."""
        await self._sync("reserve_sequence")
        last = self._sequences.get(key)
        sequence = at_least if last is None else max(last + 1, at_least)
        bounds.check_sequence(sequence)
        if last is None:
            self._charge(bounds.SEQUENCE_ROW_BYTES, reserve=True)
        self._sequences[key] = sequence
        return sequence

    def may_have_register(self, key: Key) -> bool:
        """See `Store.may_have_register`."""
        return key in self._registers

    async def register(self, key: Key) -> bytes | None:
        """See `Store.register`."""
        self._check("register")
        return self._registers.get(key)

    async def put_register(self, key: Key, state: bytes, *, only_if: bytes | None) -> bool:
        """See `Store.put_register`."""
        await self._sync("put_register")
        before = self._registers.get(key)
        if before != only_if:
            return False
        row = 0 if before is not None else bounds.REGISTER_ROW_BYTES
        self._charge(row + len(state) - len(before or b""), reserve=True)
        self._registers[key] = state
        return True

    async def registers(self, after: Key | None, limit: int) -> list[tuple[Key, bytes]]:
        """See `Store.registers`."""
        self._check("registers")
        return [(key, self._registers[key]) for key in sorted(self._registers) if key > (after or b"")][:limit]


def _nobody(key: Key) -> None:
    """Nobody watches."""
