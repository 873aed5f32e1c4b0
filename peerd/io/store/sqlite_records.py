"""The store's calls on records, on disk. The rows are `record_table`'s; what needs no disk is `hot`'s."""

from functools import partial

from peerd.ids import Key
from peerd.io.store import bounds, record_table
from peerd.io.store.handover import Handover
from peerd.io.store.interface import ANY, MISS, Anything, HistoryRow, Miss, RecordRow


class SqliteRecords(Handover):
    """See `Store`."""

    def peek_record(self, key: Key) -> bytes | Miss | None:
        """See `Store.peek_record`."""
        return self._hot.peek(key)

    async def record(self, key: Key) -> bytes | None:
        """See `Store.record`."""
        self._require_open()
        hot = self._hot.peek(key)
        if hot is not MISS:
            return hot
        ticket = self._hot.begin_read(key)
        found: bytes | None = None
        try:
            found = await self._read("reading a record", partial(record_table.get, key=key))
        finally:
            self._hot.end_read(key, ticket, found)
        return found

    async def put_record(
        self, key: Key, record: bytes, *, row: RecordRow, only_if: bytes | Anything | None = ANY
    ) -> bool:
        """See `Store.put_record`."""
        bounds.check_sequence(row.sequence)

        def applied(outcome: record_table.PutOutcome) -> None:
            if outcome.done:
                self._hot.written(key, record, is_new=outcome.is_new)
                self._tell(key)
            if outcome.had_floor:
                self._floor_keys.discard(key)

        put = partial(
            record_table.put, room=self._room, key=key, record=record, row=row, only_if=only_if, now=self.now_s()
        )
        return (await self._write("writing a record", put, applied=applied)).done

    async def add_history(self, key: Key, row: RecordRow, *, conflict: bool) -> None:
        """See `Store.add_history`."""
        bounds.check_sequence(row.sequence)
        add = partial(record_table.add_history, room=self._room, key=key, row=row, conflict=conflict)
        await self._write("writing history", add)

    async def history(self, key: Key) -> list[HistoryRow]:
        """See `Store.history`."""
        return await self._read("reading history", partial(record_table.history, key=key))

    async def records(self, after: Key | None, limit: int) -> list[tuple[Key, bytes]]:
        """See `Store.records`."""
        return await self._read("reading records", partial(record_table.page, after=after, limit=limit))

    async def damaged_records(self, limit: int) -> list[Key]:
        """See `Store.damaged_records`."""
        return await self._read("reading records", partial(record_table.damaged, limit=limit))

    async def expired_records(self, now: float, limit: int) -> list[Key]:
        """See `Store.expired_records`."""
        return await self._read("reading expired records", partial(record_table.expired, now=now, limit=limit))

    async def drop_record(self, key: Key) -> None:
        """See `Store.drop_record`."""

        def applied(existed: bool) -> None:
            if existed:
                self._hot.dropped(key)
                self._tell(key)

        await self._write("dropping a record", partial(record_table.drop, key=key), applied=applied)

    async def record_count(self) -> int:
        """See `Store.record_count`."""
        self._require_open()
        return self._hot.count

    async def record_with_cid(self, cid: bytes) -> bytes | None:
        """See `Store.record_with_cid`."""
        return await self._read("reading a record", partial(record_table.with_cid, cid=cid))

    async def reserve_sequence(self, key: Key, at_least: int) -> int:
        """See `Store.reserve_sequence`."""
        reserve = partial(record_table.reserve_sequence, room=self._room, key=key, at_least=at_least)
        return await self._write("reserving a sequence", reserve)
