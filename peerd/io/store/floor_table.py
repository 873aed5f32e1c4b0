"""Floors, and who has a tombstone, as SQL; each function is part of a transaction of its caller."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from peerd.ids import Key, PeerId
from peerd.io.store import bounds
from peerd.io.store.interface import Floor
from peerd.io.store.room import Room


class FloorOutcome(NamedTuple):
    """Whether the key had no floor before, and whether it had a record."""

    is_new: bool
    had_record: bool


def keys(database: sqlite3.Connection) -> sqlite3.Cursor:
    """Return a cursor over all keys that have a floor."""
    return database.execute("SELECT key FROM floors")


def get(database: sqlite3.Connection, key: Key) -> Floor | None:
    """See `Store.floor`."""
    row = database.execute("SELECT sequence, writer, nonce, ends FROM floors WHERE key = ?", (key,)).fetchone()
    return None if row is None else Floor(*row)


def put(database: sqlite3.Connection, room: Room, key: Key, floor: Floor) -> FloorOutcome:
    """See `Store.put_floor`."""
    present = get(database, key)
    with room.required(database, reserve=True):
        if present is None or floor.over(present):
            drop(database, key)
            values = (key, floor.sequence, floor.writer, floor.nonce, floor.ends)
            database.execute("INSERT INTO floors VALUES (?, ?, ?, ?, ?)", values)
        database.execute("DELETE FROM history WHERE key = ?", (key,))
        database.execute("DELETE FROM holders WHERE key = ?", (key,))
        had_record = database.execute("DELETE FROM records WHERE key = ?", (key,)).rowcount > 0
    return FloorOutcome(is_new=present is None, had_record=had_record)


def page(database: sqlite3.Connection, after: Key | None, limit: int) -> list[tuple[Key, Floor]]:
    """See `Store.floors`."""
    found = database.execute(
        "SELECT key, sequence, writer, nonce, ends FROM floors WHERE key > ? ORDER BY key LIMIT ?",
        (after or b"", limit),
    )
    return [(row[0], Floor(*row[1:])) for row in found]


def ended(database: sqlite3.Connection, now: float, limit: int) -> list[Key]:
    """See `Store.ended_floors`."""
    found = database.execute(
        "SELECT key FROM floors WHERE ends IS NOT NULL AND ends <= ? ORDER BY ends, key LIMIT ?", (now, limit)
    )
    return [row[0] for row in found]


def drop(database: sqlite3.Connection, key: Key) -> bool:
    """See `Store.drop_floor`; returns whether there was one."""
    return database.execute("DELETE FROM floors WHERE key = ?", (key,)).rowcount > 0


def superseded(database: sqlite3.Connection, key: Key, *, deleted: bool) -> bool:
    """Note that a key has a new record, a tombstone or a value; returns whether a floor went."""
    if deleted:
        database.execute("UPDATE holders SET confirmed = 0 WHERE key = ?", (key,))
    else:
        database.execute("DELETE FROM holders WHERE key = ?", (key,))
    return drop(database, key)


def tombstones(database: sqlite3.Connection, after: Key | None, limit: int) -> list[tuple[Key, float]]:
    """See `Store.tombstones`."""
    return database.execute(
        "SELECT key, deleted_at FROM records WHERE deleted_at IS NOT NULL AND key > ? ORDER BY key LIMIT ?",
        (after or b"", limit),
    ).fetchall()


def note_holders(database: sqlite3.Connection, room: Room, key: Key, peers: Sequence[PeerId]) -> None:
    """See `Store.note_holders`."""
    if _is_tombstone(database, key):
        with room.required(database, reserve=True):
            for peer in peers:
                _add(database, key, peer, confirmed=False)


def confirm_holder(database: sqlite3.Connection, room: Room, peer: PeerId, keys: Sequence[Key]) -> None:
    """See `Store.confirm_holder`."""
    with room.required(database, reserve=True):
        for key in keys:
            if _is_tombstone(database, key):
                _add(database, key, peer, confirmed=True)


def _is_tombstone(database: sqlite3.Connection, key: Key) -> bool:
    found = database.execute("SELECT 1 FROM records WHERE key = ? AND deleted_at IS NOT NULL", (key,)).fetchone()
    return found is not None


def _add(database: sqlite3.Connection, key: Key, peer: PeerId, *, confirmed: bool) -> None:
    known = database.execute(
        "UPDATE holders SET confirmed = max(confirmed, ?) WHERE key = ? AND peer = ?", (confirmed, key, peer)
    ).rowcount
    count = database.execute("SELECT count(*) FROM holders WHERE key = ?", (key,)).fetchone()[0]
    if not known and count < bounds.HOLDERS_PER_KEY_MAX:
        database.execute("INSERT INTO holders VALUES (?, ?, ?)", (key, peer, confirmed))


def holders(database: sqlite3.Connection, key: Key) -> dict[PeerId, bool]:
    """See `Store.holders`."""
    found = database.execute("SELECT peer, confirmed FROM holders WHERE key = ? ORDER BY peer", (key,))
    return {row[0]: bool(row[1]) for row in found}
