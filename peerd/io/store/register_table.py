"""What this peer keeps as an acceptor of registers, as SQL; each function is part of a transaction of its caller."""

import sqlite3
from typing import NamedTuple

from peerd.ids import Key
from peerd.io.store.room import Room


class PutOutcome(NamedTuple):
    """Whether a row was put, and whether its key is new."""

    done: bool
    is_new: bool


def get(database: sqlite3.Connection, key: Key) -> bytes | None:
    """See `Store.register`."""
    row = database.execute("SELECT state FROM registers WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def put(database: sqlite3.Connection, room: Room, key: Key, *, state: bytes, only_if: bytes | None) -> PutOutcome:
    """See `Store.put_register`."""
    before = get(database, key)
    if before != only_if:
        return PutOutcome(done=False, is_new=False)
    with room.required(database, reserve=True):
        database.execute(
            "INSERT INTO registers VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET state = excluded.state", (key, state)
        )
    return PutOutcome(done=True, is_new=before is None)


def page(database: sqlite3.Connection, after: Key | None, limit: int) -> list[tuple[Key, bytes]]:
    """See `Store.registers`."""
    return database.execute(
        "SELECT key, state FROM registers WHERE key > ? ORDER BY key LIMIT ?", (after or b"", limit)
    ).fetchall()


def keys(database: sqlite3.Connection) -> sqlite3.Cursor:
    """Return a cursor over all keys."""
    return database.execute("SELECT key FROM registers")
