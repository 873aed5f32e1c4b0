"""The versions that this peer has read, as SQL; each function is part of a transaction of its caller."""

import sqlite3
from collections.abc import Sequence

from peerd.ids import Key
from peerd.io.store import bounds
from peerd.io.store.room import Room
from peerd.io.store.seen import Seen


def get(database: sqlite3.Connection, key: Key) -> Seen | None:
    """See `Store.seen`."""
    row = database.execute("SELECT sequence, writer, nonce, strong, ends FROM seen WHERE key = ?", (key,)).fetchone()
    return None if row is None else Seen(row[0], row[1], row[2], bool(row[3]), row[4])


def note(database: sqlite3.Connection, room: Room, entries: Sequence[tuple[Key, Seen]]) -> None:
    """See `Store.note_seen`."""
    with room.required(database, reserve=False):
        for key, seen in entries:
            database.execute("DELETE FROM seen WHERE key = ?", (key,))
            database.execute(
                "INSERT INTO seen (key, sequence, writer, nonce, strong, ends) VALUES (?, ?, ?, ?, ?, ?)", (key, *seen)
            )
        database.execute("DELETE FROM seen WHERE id <= (SELECT max(id) FROM seen) - ?", (bounds.SEEN_MAX,))
