"""The store's calls on entries of build caches, on disk. The rows are `entry_table`'s."""

from functools import partial

from peerd.ids import Key
from peerd.io.store import entry_table
from peerd.io.store.entries import EntryRow
from peerd.io.store.handover import Handover


class SqliteEntries(Handover):
    """See `KeepsEntries`."""

    async def entry(self, key: Key) -> EntryRow | None:
        """See `Store.entry`."""
        return await self._read("reading an entry", partial(entry_table.get, key=key))

    async def put_entry(self, key: Key, row: EntryRow) -> None:
        """See `Store.put_entry`."""
        await self._write("writing an entry", partial(entry_table.put, room=self._room, key=key, row=row))

    async def touch_entry(self, key: Key, used_at: float) -> None:
        """See `Store.touch_entry`."""
        await self._write("noting a use", partial(entry_table.touch, key=key, used_at=used_at))

    async def release_entry(self, key: Key) -> None:
        """See `Store.release_entry`."""
        await self._write("letting an entry go", partial(entry_table.release, key=key))

    async def entry_bytes(self) -> int:
        """See `Store.entry_bytes`."""
        return await self._read("counting entries", entry_table.kept_bytes)

    async def idle_entries(self, limit: int) -> list[tuple[Key, EntryRow]]:
        """See `Store.idle_entries`."""
        return await self._read("reading entries", partial(entry_table.idle, limit=limit))

    async def drop_entries(self, now: float, limit: int) -> list[EntryRow]:
        """See `Store.drop_entries`."""
        return await self._write("forgetting entries", partial(entry_table.drop_ended, now=now, limit=limit))
