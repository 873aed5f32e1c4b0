"""Records, their history and the reserved sequences, as SQL; each function is part of a transaction of its caller."""

import sqlite3
from typing import Any, NamedTuple

from peerd.ids import Key
from peerd.io.store import bounds, floor_table
from peerd.io.store.interface import ANY, Anything, HistoryRow, RecordRow
from peerd.io.store.room import Room

_ROW_COLUMNS = "name, owner, sequence, writer, nonce, cid, size, deleted, expires, written_at"


class PutOutcome(NamedTuple):
    """Whether a record was put, whether its key is new, and whether a floor went."""

    done: bool
    is_new: bool
    had_floor: bool


def get(database: sqlite3.Connection, key: Key) -> bytes | None:
    """Return the record under `key`."""
    row = database.execute("SELECT record FROM records WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def put(
    database: sqlite3.Connection,
    room: Room,
    key: Key,
    record: bytes,
    *,
    row: RecordRow,
    only_if: bytes | Anything | None,
    now: float,
) -> PutOutcome:
    """See `Store.put_record`."""
    before = get(database, key)
    if only_if is not ANY and only_if != before:
        return PutOutcome(done=False, is_new=False, had_floor=False)
    deleted_at = now if row.deleted else None
    with room.required(database, reserve=row.deleted):
        if before is None:
            database.execute(
                "INSERT INTO records (key, record, cid, expires, deleted_at) VALUES (?, ?, ?, ?, ?)",
                (key, record, row.cid, row.expires, deleted_at),
            )
        else:
            database.execute(
                "UPDATE records SET record = ?, cid = ?, expires = ?, deleted_at = ? WHERE key = ?",
                (record, row.cid, row.expires, deleted_at, key),
            )
        had_floor = floor_table.superseded(database, key, deleted=row.deleted)
        _note_version(database, key, row, conflict=False)
    return PutOutcome(done=True, is_new=before is None, had_floor=had_floor)


def add_history(database: sqlite3.Connection, room: Room, key: Key, row: RecordRow, *, conflict: bool) -> None:
    """See `Store.add_history`."""
    with room.required(database, reserve=True):
        _note_version(database, key, row, conflict=conflict)


def _note_version(database: sqlite3.Connection, key: Key, row: RecordRow, *, conflict: bool) -> None:
    known = database.execute(
        f"UPDATE history SET ({_ROW_COLUMNS}, conflict) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  constants
        " WHERE key = ? AND sequence = ? AND writer = ? AND nonce = ?",
        (*_values(row), conflict, key, row.sequence, row.writer, row.nonce),
    ).rowcount
    if known:
        return
    database.execute(
        f"INSERT INTO history (key, {_ROW_COLUMNS}, conflict) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (key, *_values(row), conflict),
    )
    database.execute(
        "DELETE FROM history WHERE key = ?1 AND (sequence, writer, nonce) IN (SELECT sequence, writer, nonce"
        " FROM history WHERE key = ?1 ORDER BY sequence DESC, writer DESC, nonce DESC LIMIT -1 OFFSET ?2)",
        (key, bounds.HISTORY_MAX),
    )


def _values(row: RecordRow) -> tuple[object, ...]:
    return (
        row.name,
        row.owner,
        row.sequence,
        row.writer,
        row.nonce,
        row.cid,
        row.size,
        row.deleted,
        row.expires,
        row.written_at,
    )


def history(database: sqlite3.Connection, key: Key) -> list[HistoryRow]:
    """See `Store.history`."""
    found = database.execute(
        f"SELECT {_ROW_COLUMNS}, conflict FROM history WHERE key = ?"  # noqa: S608
        " ORDER BY sequence DESC, writer DESC, nonce DESC",
        (key,),
    )
    return [_history_row(one) for one in found]


def _history_row(columns: tuple[Any, ...]) -> HistoryRow:
    name, owner, sequence, writer, nonce, cid, size, deleted, expires, written_at, conflict = columns
    row = RecordRow(name, owner, sequence, writer, nonce, cid, size, bool(deleted), expires, written_at)
    return HistoryRow(row, bool(conflict))


def page(database: sqlite3.Connection, after: Key | None, limit: int) -> list[tuple[Key, bytes]]:
    """See `Store.records`."""
    return database.execute(
        "SELECT key, record FROM records WHERE key > ? ORDER BY key LIMIT ?", (after or b"", limit)
    ).fetchall()


def keys(database: sqlite3.Connection) -> sqlite3.Cursor:
    """Return a cursor over all keys."""
    return database.execute("SELECT key FROM records")


def expired(database: sqlite3.Connection, now: float, limit: int) -> list[Key]:
    """See `Store.expired_records`."""
    found = database.execute(
        "SELECT key FROM records WHERE expires IS NOT NULL AND expires <= ? ORDER BY expires, key LIMIT ?", (now, limit)
    )
    return [row[0] for row in found]


def drop(database: sqlite3.Connection, key: Key) -> bool:
    """See `Store.drop_record`; returns whether there was a record."""
    database.execute("DELETE FROM history WHERE key = ?", (key,))
    database.execute("DELETE FROM holders WHERE key = ?", (key,))
    return database.execute("DELETE FROM records WHERE key = ?", (key,)).rowcount > 0


def with_cid(database: sqlite3.Connection, cid: bytes) -> bytes | None:
    """See `Store.record_with_cid`."""
    row = database.execute(
        "SELECT record FROM records WHERE cid = ? AND cid IS NOT NULL ORDER BY key LIMIT 1", (cid,)
    ).fetchone()
    return None if row is None else row[0]


def reserve_sequence(database: sqlite3.Connection, room: Room, key: Key, at_least: int) -> int:
    """See `Store.reserve_sequence`."""
    row = database.execute("SELECT last FROM sequences WHERE key = ?", (key,)).fetchone()
    sequence: int = at_least if row is None else max(row[0] + 1, at_least)
    bounds.check_sequence(sequence)
    with room.required(database, reserve=True):
        database.execute(
            "INSERT INTO sequences VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET last = excluded.last", (key, sequence)
        )
    return sequence
