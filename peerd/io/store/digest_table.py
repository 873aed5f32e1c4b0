"""The plain digests of files, as SQL; each function is part of a transaction of its caller."""

import sqlite3

from peerd.io.store import bounds
from peerd.io.store.digests import DigestRow
from peerd.io.store.room import Room


def root(database: sqlite3.Connection, digest: bytes) -> bytes | None:
    """See `Store.digest_root`."""
    row = database.execute("SELECT root FROM digests WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else bytes(row[0])


def note(database: sqlite3.Connection, room: Room, row: DigestRow) -> None:
    """See `Store.note_digest`."""
    with room.required(database, reserve=False):
        database.execute("DELETE FROM digests WHERE digest = ?", (row.digest,))
        database.execute("INSERT INTO digests (digest, root) VALUES (?, ?)", row)
        database.execute("DELETE FROM digests WHERE id <= (SELECT max(id) FROM digests) - ?", (bounds.DIGESTS_MAX,))


def page(database: sqlite3.Connection, after: bytes | None, limit: int) -> list[DigestRow]:
    """See `Store.digests`."""
    found = database.execute(
        "SELECT digest, root FROM digests WHERE digest > ? ORDER BY digest LIMIT ?", (after or b"", limit)
    )
    return [DigestRow(*row) for row in found]
