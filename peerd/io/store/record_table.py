"""Records, their history and the reserved sequences, as SQL; each function is part of a transaction of its caller.

A record bears a checksum over its key and its bytes, held against it at every read: SQLite has none of its own.
"""

import sqlite3
import zlib
from itertools import islice
from typing import Any, NamedTuple

from peerd.errors import DamagedError
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
    """Return the record under `key`; raises DamagedError where it is not what was put."""
    row = database.execute("SELECT record, checksum FROM records WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    if not _is_whole(key, *row):
        raise DamagedError("a record is damaged here", hint="another peer that holds it mends it")
    record: bytes = row[0]
    return record


def _checksum(key: bytes, record: bytes) -> int:
    return zlib.crc32(record, zlib.crc32(key))


def _is_whole(key: object, record: object, checksum: object) -> bool:
    """Say whether a row is as it was put; one from before there were checksums has none."""
    if not isinstance(key, bytes) or not isinstance(record, bytes):
        return False
    return checksum is None or checksum == _checksum(key, record)


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
    try:
        before = get(database, key)
        is_new = before is None
    except DamagedError:
        before, is_new = None, False
    if only_if is not ANY and only_if != before:
        return PutOutcome(done=False, is_new=False, had_floor=False)
    deleted_at = now if row.deleted else None
    with room.required(database, reserve=row.deleted):
        checksum = _checksum(key, record)
        if is_new:
            database.execute(
                "INSERT INTO records (key, record, cid, expires, deleted_at, checksum) VALUES (?, ?, ?, ?, ?, ?)",
                (key, record, row.cid, row.expires, deleted_at, checksum),
            )
        else:
            database.execute(
                "UPDATE records SET record = ?, cid = ?, expires = ?, deleted_at = ?, checksum = ? WHERE key = ?",
                (record, row.cid, row.expires, deleted_at, checksum, key),
            )
        had_floor = floor_table.superseded(database, key, deleted=row.deleted)
        _note_version(database, key, row, conflict=False)
        if row.deleted and not room.fits(database):
            _drop_older(database, key, row)
    return PutOutcome(done=True, is_new=is_new, had_floor=had_floor)


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


def _drop_older(database: sqlite3.Connection, key: Key, row: RecordRow) -> None:
    """Forget what was before a deletion that has no room: then it takes none."""
    database.execute(
        "DELETE FROM history WHERE key = ? AND (sequence, writer, nonce) <> (?, ?, ?)", (key, *row.version)
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
    """See `Store.records`; damaged ones are left out."""
    rows = database.execute("SELECT key, record, checksum FROM records WHERE key > ? ORDER BY key", (after or b"",))
    return list(islice(((Key(row[0]), row[1]) for row in rows if _is_whole(*row)), limit))


def damaged(database: sqlite3.Connection, limit: int) -> list[Key]:
    """See `Store.damaged_records`."""
    rows = database.execute("SELECT key, record, checksum FROM records")
    return list(islice((Key(row[0]) for row in rows if isinstance(row[0], bytes) and not _is_whole(*row)), limit))


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
    found = database.execute(
        "SELECT key, record, checksum FROM records WHERE cid = ? AND cid IS NOT NULL ORDER BY key", (cid,)
    )
    return next((row[1] for row in found if _is_whole(*row)), None)


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
