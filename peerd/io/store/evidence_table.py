"""Receipts of others and evidence against them, as SQL; each function is part of a transaction of its caller."""

import sqlite3
from collections.abc import Sequence

from peerd.ids import Key, PeerId
from peerd.io.store import bounds
from peerd.io.store.room import Room


def put_receipts(
    database: sqlite3.Connection, room: Room, rows: Sequence[tuple[Key, PeerId, bytes]], *, most: int
) -> None:
    """See `Store.put_receipts`."""
    with room.required(database, reserve=False):
        for row in rows:
            # In place of the last of the same holder, and then the newest of all: `id` orders them.
            database.execute("DELETE FROM receipts WHERE key = ? AND holder = ?", row[:2])
            database.execute("INSERT INTO receipts (key, holder, receipt) VALUES (?, ?, ?)", row)
        database.execute(
            "DELETE FROM receipts WHERE id IN (SELECT id FROM receipts ORDER BY id DESC LIMIT -1 OFFSET ?)", (most,)
        )


def receipt(database: sqlite3.Connection, key: Key, holder: PeerId) -> bytes | None:
    """See `Store.receipt`."""
    row = database.execute("SELECT receipt FROM receipts WHERE key = ? AND holder = ?", (key, holder)).fetchone()
    return None if row is None else row[0]


def put_evidence(database: sqlite3.Connection, room: Room, accused: PeerId, evidence: bytes) -> None:
    """See `Store.put_evidence`."""
    with room.required(database, reserve=True):
        database.execute("INSERT OR IGNORE INTO evidence (accused, evidence) VALUES (?, ?)", (accused, evidence))
        database.execute(
            "DELETE FROM evidence WHERE id IN (SELECT id FROM evidence ORDER BY id DESC LIMIT -1 OFFSET ?)",
            (bounds.EVIDENCE_MAX,),
        )


def evidence(database: sqlite3.Connection) -> list[bytes]:
    """See `Store.evidence`."""
    return [row[0] for row in database.execute("SELECT evidence FROM evidence ORDER BY id")]
