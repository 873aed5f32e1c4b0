"""The quota, held against the database's own counters within the transaction that would exceed it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from peerd.errors import NoRoomError
from peerd.io.store import bounds, schema


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes may be used."""

    quota_bytes: int

    @contextlib.contextmanager
    def required(self, database: sqlite3.Connection, *, reserve: bool) -> Iterator[None]:
        """Raise NoRoomError where what is done inside uses more than there is; the caller rolls it back.

        `reserve` lets it use what is kept for notes and deletions. What frees room always passes.
        """
        before = used_bytes(database)
        yield
        after = used_bytes(database)
        if before < after > bounds.limit_bytes(self.quota_bytes, reserve=reserve):
            raise NoRoomError("the quota is used up", hint=bounds.ROOM_HINT)

    def fits(self, database: sqlite3.Connection) -> bool:
        """Return whether what is used now is no more than there is, the reserve included."""
        return used_bytes(database) <= bounds.limit_bytes(self.quota_bytes, reserve=True)

    def require(self, database: sqlite3.Connection, wanted_bytes: int) -> None:
        """Raise NoRoomError where that much more is too much; before it is written anywhere."""
        if wanted_bytes and used_bytes(database) + wanted_bytes > bounds.limit_bytes(self.quota_bytes, reserve=False):
            raise NoRoomError("the quota is used up", hint=bounds.ROOM_HINT)


def used_bytes(database: sqlite3.Connection) -> int:
    """Return the bytes that the quota counts."""
    row = database.execute("SELECT sum(value) FROM counters WHERE id <= ?", (schema.COUNTER_METADATA_BYTES,)).fetchone()
    return int(row[0])
