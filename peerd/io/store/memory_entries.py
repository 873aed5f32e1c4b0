"""The store's calls on entries of build caches, in memory."""

from typing import Any

from peerd.ids import Key
from peerd.io.store import bounds
from peerd.io.store.entries import EntryRow
from peerd.io.store.memory_base import MemoryBase


class MemoryEntries(MemoryBase):
    """See `KeepsEntries`."""

    def __init__(self, *arguments: Any, **hooks: Any) -> None:
        super().__init__(*arguments, **hooks)
        self._entries: dict[Key, EntryRow] = {}

    async def entry(self, key: Key) -> EntryRow | None:
        """See `Store.entry`."""
        self._check("entry")
        return self._entries.get(key)

    async def put_entry(self, key: Key, row: EntryRow) -> None:
        """See `Store.put_entry`."""
        await self._sync("put_entry")
        merged = {known: each for known, each in self._entries.items() if known != key}
        excess = len(merged) + 1 - bounds.entries_max(self.quota_bytes)
        if excess > 0:
            for gone, _ in sorted(merged.items(), key=_by_use)[:excess]:
                del merged[gone]
        merged[key] = row
        self._charge(_cost(merged) - _cost(self._entries), reserve=False)
        self._entries = merged

    async def touch_entry(self, key: Key, used_at: float) -> None:
        """See `Store.touch_entry`."""
        await self._sync("touch_entry")
        if key in self._entries:
            self._entries[key] = self._entries[key]._replace(used_at=used_at)

    async def release_entry(self, key: Key) -> None:
        """See `Store.release_entry`."""
        await self._sync("release_entry")
        if key in self._entries:
            self._entries[key] = self._entries[key]._replace(kept=0)

    async def entry_bytes(self) -> int:
        """See `Store.entry_bytes`."""
        self._check("entry_bytes")
        return sum(row.kept for row in self._entries.values())

    async def idle_entries(self, limit: int) -> list[tuple[Key, EntryRow]]:
        """See `Store.idle_entries`."""
        self._check("idle_entries")
        kept = [(key, row) for key, row in self._entries.items() if row.kept]
        return sorted(kept, key=_by_use)[:limit]

    async def drop_entries(self, now: float, limit: int) -> list[EntryRow]:
        """See `Store.drop_entries`."""
        await self._sync("drop_entries")
        ended = sorted((row.expires, key) for key, row in self._entries.items() if row.expires <= now)[:limit]
        gone = {key: self._entries[key] for _, key in ended}
        self._metadata_bytes -= _cost(gone)
        self._entries = {key: row for key, row in self._entries.items() if key not in gone}
        return list(gone.values())


def _by_use(item: tuple[Key, EntryRow]) -> tuple[float, Key]:
    return item[1].used_at, item[0]


def _cost(entries: dict[Key, EntryRow]) -> int:
    return sum(len(row.statement) + bounds.ENTRY_ROW_BYTES for row in entries.values())
