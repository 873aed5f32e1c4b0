"""Entries of build caches, as SQL; each function is part of a transaction of its caller."""

import sqlite3

from peerd.ids import Key
from peerd.io.store import bounds, schema
from peerd.io.store.entries import EntryRow
from peerd.io.store.room import Room

_COLUMNS = "statement, expires, used_at, kept"


def get(database: sqlite3.Connection, key: Key) -> EntryRow | None:
    """See `Store.entry`."""
    row = database.execute(f"SELECT {_COLUMNS} FROM entries WHERE key = ?", (key,)).fetchone()  # noqa: S608
    return None if row is None else EntryRow(*row)


def put(database: sqlite3.Connection, room: Room, key: Key, row: EntryRow) -> None:
    """See `Store.put_entry`."""
    with room.required(database, reserve=False):
        database.execute("DELETE FROM entries WHERE key = ?", (key,))
        excess = schema.counters(database)[schema.COUNTER_ENTRIES] + 1 - bounds.entries_max(room.quota_bytes)
        if excess > 0:
            database.execute(
                "DELETE FROM entries WHERE key IN (SELECT key FROM entries ORDER BY used_at, key LIMIT ?)", (excess,)
            )
        database.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (key, *row))


def touch(database: sqlite3.Connection, key: Key, used_at: float) -> None:
    """See `Store.touch_entry`."""
    database.execute("UPDATE entries SET used_at = ? WHERE key = ?", (used_at, key))


def release(database: sqlite3.Connection, key: Key) -> None:
    """See `Store.release_entry`."""
    database.execute("UPDATE entries SET kept = 0 WHERE key = ?", (key,))


def kept_bytes(database: sqlite3.Connection) -> int:
    """See `Store.entry_bytes`."""
    return schema.counters(database)[schema.COUNTER_ENTRY_BYTES]


def idle(database: sqlite3.Connection, limit: int) -> list[tuple[Key, EntryRow]]:
    """See `Store.idle_entries`."""
    found = database.execute(
        f"SELECT key, {_COLUMNS} FROM entries WHERE kept > 0 ORDER BY used_at, key LIMIT ?",  # noqa: S608
        (limit,),
    )
    return [(Key(row[0]), EntryRow(*row[1:])) for row in found]


def drop_ended(database: sqlite3.Connection, now: float, limit: int) -> list[EntryRow]:
    """See `Store.drop_entries`."""
    found = database.execute(
        f"SELECT key, {_COLUMNS} FROM entries WHERE expires <= ? ORDER BY expires, key LIMIT ?",  # noqa: S608
        (now, limit),
    ).fetchall()
    database.executemany("DELETE FROM entries WHERE key = ?", [row[:1] for row in found])
    return [EntryRow(*row[1:]) for row in found]
