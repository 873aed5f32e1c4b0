"""Provider records, and peers remembered, forgotten and revoked, as SQL; each in a transaction of its caller."""

import sqlite3
from collections.abc import Sequence

from peerd.ids import Key, PeerId
from peerd.io.store import bounds, schema
from peerd.io.store.remembered import RememberedPeer
from peerd.io.store.room import Room

_DROP_OWN = """
DELETE FROM providers WHERE (key, peer) IN
    (SELECT key, peer FROM providers WHERE peer = :peer ORDER BY expires, key LIMIT 1)
"""
_DROP_ANY = """
DELETE FROM providers WHERE (key, peer) IN (SELECT key, peer FROM providers ORDER BY expires, key, peer LIMIT 1)
"""


def put(database: sqlite3.Connection, room: Room, key: Key, *, peer: PeerId, statement: bytes, expires: float) -> None:
    """See `Store.put_provider`."""
    with room.required(database, reserve=True):
        database.execute(
            "INSERT INTO providers VALUES (?, ?, ?, ?) ON CONFLICT (key, peer)"
            " DO UPDATE SET statement = excluded.statement, expires = excluded.expires",
            (key, peer, statement, expires),
        )
        database.execute(
            "DELETE FROM providers WHERE key = ?1 AND peer IN"
            " (SELECT peer FROM providers WHERE key = ?1 ORDER BY expires DESC, peer DESC LIMIT -1 OFFSET ?2)",
            (key, bounds.PROVIDERS_PER_KEY_MAX),
        )
        most = bounds.providers_max(room.quota_bytes)
        if schema.counters(database)[schema.COUNTER_PROVIDERS] > most:
            (own,) = database.execute("SELECT COUNT(*) FROM providers WHERE peer = ?", (peer,)).fetchone()
            database.execute(_DROP_OWN if own > max(1, most // bounds.PROVIDERS_PART) else _DROP_ANY, {"peer": peer})


def live(database: sqlite3.Connection, key: Key, now: float) -> list[bytes]:
    """See `Store.providers`."""
    found = database.execute(
        "SELECT statement FROM providers WHERE key = ? AND expires > ? ORDER BY expires DESC, peer DESC", (key, now)
    )
    return [row[0] for row in found]


def drop_ended(database: sqlite3.Connection, now: float, limit: int) -> int:
    """See `Store.drop_providers`."""
    return database.execute(
        "DELETE FROM providers WHERE (key, peer) IN"
        " (SELECT key, peer FROM providers WHERE expires <= ? ORDER BY expires, key, peer LIMIT ?)",
        (now, limit),
    ).rowcount


def remember(database: sqlite3.Connection, room: Room, peers: Sequence[RememberedPeer]) -> None:
    """See `Store.remember_peers`."""
    with room.required(database, reserve=True):
        database.executemany(
            "INSERT INTO peers (peer, host, port, last_seen, lived_s) VALUES (?, ?, ?, ?, ?) ON CONFLICT (peer)"
            " DO UPDATE SET host = excluded.host, port = excluded.port, last_seen = excluded.last_seen,"
            " lived_s = max(lived_s, excluded.lived_s)",
            [RememberedPeer(*each) for each in peers],
        )
        longest = "SELECT peer FROM peers ORDER BY lived_s DESC, last_seen DESC, peer LIMIT ?1"
        database.execute(
            "DELETE FROM peers WHERE (SELECT count(*) FROM peers) > ?1 + ?2 AND peer IN ("  # noqa: S608  our own text
            f"SELECT peer FROM peers WHERE peer NOT IN ({longest}) ORDER BY last_seen DESC, peer LIMIT -1 OFFSET ?2)",
            (bounds.PEERS_MAX // 2, bounds.PEERS_MAX - bounds.PEERS_MAX // 2),
        )


def remembered(database: sqlite3.Connection, limit: int) -> list[RememberedPeer]:
    """See `Store.remembered_peers`."""
    found = database.execute(
        "SELECT peer, host, port, last_seen, lived_s FROM peers ORDER BY last_seen DESC, peer LIMIT ?", (limit,)
    )
    return [RememberedPeer(*row) for row in found]


def anchors(database: sqlite3.Connection, limit: int) -> list[RememberedPeer]:
    """See `Store.anchors`."""
    found = database.execute(
        "SELECT peer, host, port, last_seen, lived_s FROM peers ORDER BY lived_s DESC, last_seen DESC, peer LIMIT ?",
        (limit,),
    )
    return [RememberedPeer(*row) for row in found]


def put_revocation(database: sqlite3.Connection, room: Room, peer: PeerId, *, statement: bytes, known: bool) -> None:
    """See `Store.put_revocation`."""
    with room.required(database, reserve=True):
        database.execute("INSERT OR IGNORE INTO revoked VALUES (?, ?, ?)", (peer, statement, known))


def revocations(database: sqlite3.Connection) -> list[tuple[bytes, bool]]:
    """See `Store.revocations`."""
    return [(row[0], bool(row[1])) for row in database.execute("SELECT statement, known FROM revoked ORDER BY peer")]


def note_forgotten(database: sqlite3.Connection, room: Room, peer: PeerId, notice: bytes | None) -> None:
    """See `Store.note_forgotten`."""
    if notice is None:
        database.execute("DELETE FROM forgotten WHERE peer = ?", (peer,))
        return
    with room.required(database, reserve=True):
        database.execute("INSERT OR IGNORE INTO forgotten (peer, notice) VALUES (?, ?)", (peer, notice))
        database.execute(
            "DELETE FROM forgotten WHERE id IN (SELECT id FROM forgotten ORDER BY id DESC LIMIT -1 OFFSET ?)",
            (bounds.FORGOTTEN_MAX,),
        )


def forgotten(database: sqlite3.Connection) -> list[bytes]:
    """See `Store.forgotten`."""
    return [row[0] for row in database.execute("SELECT notice FROM forgotten ORDER BY id")]
