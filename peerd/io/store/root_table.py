"""Roots, claims and the slow release of what a root had, as SQL; each function is part of a transaction of its caller.

A root being released has no CID: it is gone for everybody, a new one of the same CID is another row, and what it still
links is given up slice by slice.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from peerd.io.store import block_table, bounds
from peerd.io.store.block_table import Spare
from peerd.io.store.interface import Freed, Root, unknown_root
from peerd.io.store.room import Room

_COLUMNS = "cid, kind, size, dag_size, rank, name, copies, complete, added_at, used_at"
_EVERY_LINK = -1
_EVICTIONS_PER_SLICE = 64


def put(database: sqlite3.Connection, room: Room, root: Root) -> None:
    """See `Store.put_root`."""
    rank = bounds.CLASS_RANK[root.class_]
    values = (
        root.cid,
        root.kind,
        root.size,
        root.dag_size,
        rank,
        root.name,
        root.copies,
        root.complete,
        root.added_at,
        root.used_at,
    )
    before = _id_and_rank(database, root.cid)
    if before is None:
        with room.required(database, reserve=True):
            database.execute(f"INSERT INTO roots ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608
        return
    database.execute(
        f"UPDATE roots SET ({_COLUMNS}) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?",  # noqa: S608
        (*values, before[0]),
    )
    if before[1] != rank:
        block_table.rank_again(database, before[0])


def _id_and_rank(database: sqlite3.Connection, cid: bytes) -> tuple[int, int] | None:
    row: tuple[int, int] | None = database.execute("SELECT id, rank FROM roots WHERE cid = ?", (cid,)).fetchone()
    return row


def get(database: sqlite3.Connection, cid: bytes) -> Root | None:
    """See `Store.root`."""
    row = database.execute(f"SELECT {_COLUMNS} FROM roots WHERE cid = ?", (cid,)).fetchone()  # noqa: S608
    return None if row is None else _root(row)


def page(database: sqlite3.Connection, after: bytes | None, limit: int) -> list[Root]:
    """See `Store.roots`."""
    found = database.execute(
        f"SELECT {_COLUMNS} FROM roots WHERE cid > ? ORDER BY cid LIMIT ?",  # noqa: S608
        (after or b"", limit),
    )
    return [_root(row) for row in found]


def with_block(database: sqlite3.Connection, cid: bytes, limit: int) -> list[bytes]:
    """See `Store.roots_with_block`."""
    found = database.execute(
        "SELECT roots.cid FROM blocks JOIN links ON links.block = blocks.id JOIN roots ON roots.id = links.root"
        " WHERE blocks.cid = ? AND roots.cid IS NOT NULL ORDER BY roots.cid LIMIT ?",
        (cid, limit),
    )
    return [row[0] for row in found]


def _root(row: tuple[Any, ...]) -> Root:
    cid, kind, size, dag_size, rank, name, copies, complete, added_at, used_at = row
    class_ = bounds.CLASS_OF_RANK[rank]
    return Root(cid, kind, size, dag_size, class_, name, copies, bool(complete), added_at, used_at)


def touch(database: sqlite3.Connection, used: Iterable[tuple[bytes, float]]) -> None:
    """Note when roots were used."""
    database.executemany("UPDATE roots SET used_at = ? WHERE cid = ?", ((when, cid) for cid, when in used))


def link(database: sqlite3.Connection, room: Room, cid: bytes, raws: Sequence[bytes], now: float) -> None:
    """See `Store.link_blocks`."""
    block_table.link(database, room, *linkable(database, room, cid, now), raws)


def linkable(database: sqlite3.Connection, room: Room, cid: bytes, now: float) -> tuple[int, int]:
    """Return the row and the rank of a root that is to link blocks, which there is from now on."""
    found = _id_and_rank(database, cid)
    if found is None:
        put(database, room, unknown_root(cid, now))
        found = _id_and_rank(database, cid)
        assert found is not None
    return found


def delete(database: sqlite3.Connection, cid: bytes) -> None:
    """See `Store.delete_root`."""
    found = _id_and_rank(database, cid)
    if found is None:
        return
    database.execute("UPDATE roots SET cid = NULL WHERE id = ?", (found[0],))
    block_table.unlink(database, found[0], limit=_EVERY_LINK, free=False)
    database.execute("DELETE FROM roots WHERE id = ?", (found[0],))


def _begin_release(database: sqlite3.Connection, cid: bytes) -> int | None:
    """Take a root from view; returns its row for `release_slice`, None where there is no such root."""
    found = _id_and_rank(database, cid)
    if found is None:
        return None
    database.execute("UPDATE roots SET cid = NULL WHERE id = ?", (found[0],))
    return found[0]


def release(database: sqlite3.Connection, cid: bytes) -> tuple[int | None, Freed]:
    """Release a root and the first slice of what it links; returns its row where there is more, and what was freed."""
    root_id = _begin_release(database, cid)
    if root_id is None:
        return None, Freed(0, 0)
    done, freed = release_slice(database, root_id, None)
    return None if done else root_id, freed


def release_unclaimed(database: sqlite3.Connection, cid: bytes, spare: Spare) -> tuple[int | None, Freed] | None:
    """As `release`, of a cached root that nothing claims; None of any other."""
    found = _id_and_rank(database, cid)
    if found is None or found[1] != bounds.CLASS_RANK["cache"] or claims(database, cid):
        return None
    root_id = _begin_release(database, cid)
    assert root_id is not None
    done, freed = release_slice(database, root_id, spare)
    return None if done else root_id, freed


def idle(database: sqlite3.Connection, after: Root | None, limit: int) -> list[Root]:
    """See `Store.idle_roots`."""
    before = (-1, 0.0, b"") if after is None else (after.copies > 0, after.used_at, after.cid)
    found = database.execute(
        f"SELECT {_COLUMNS} FROM roots WHERE cid IS NOT NULL AND rank = ?"  # noqa: S608
        " AND (copies > 0, used_at, cid) > (?, ?, ?) ORDER BY copies > 0, used_at, cid LIMIT ?",
        (bounds.CLASS_RANK["cache"], *before, limit),
    )
    return [_root(row) for row in found]


def release_slice(database: sqlite3.Connection, root_id: int, spare: Spare | None) -> tuple[bool, Freed]:
    """Give up a slice of what a released root links; returns whether that was all, and what was freed."""
    seen, freed = block_table.unlink(database, root_id, limit=block_table.SLICE_BLOCKS, free=True, spare=spare)
    done = seen < block_table.SLICE_BLOCKS
    if done:
        database.execute("DELETE FROM roots WHERE id = ?", (root_id,))
    return done, freed


def any_released(database: sqlite3.Connection) -> int | None:
    """Return the row of some root whose release is not finished."""
    row = database.execute("SELECT id FROM roots WHERE cid IS NULL LIMIT 1").fetchone()
    return None if row is None else row[0]


def evict_slice(
    database: sqlite3.Connection, wanted: int, spare_roots: frozenset[bytes], spare: Spare | None
) -> tuple[bool, int]:
    """Release cache roots, the longest unused first, for one slice; returns whether to stop, and the bytes freed."""
    freed = 0
    for _ in range(_EVICTIONS_PER_SLICE):
        root_id = any_released(database)
        if root_id is None and freed < wanted:
            root_id = _begin_eviction(database, spare_roots)
        if root_id is None:
            return True, freed
        done, more = release_slice(database, root_id, spare)
        freed += more.bytes
        if not done:
            break
    return False, freed


def _begin_eviction(database: sqlite3.Connection, spare: frozenset[bytes]) -> int | None:
    rows = database.execute(
        "SELECT cid FROM roots WHERE cid IS NOT NULL AND rank = ?"
        " AND NOT EXISTS (SELECT 1 FROM claims WHERE claims.cid = roots.cid)"
        " ORDER BY copies > 0, used_at, cid LIMIT ?",
        (bounds.CLASS_RANK["cache"], len(spare) + 1),
    ).fetchall()
    cid = next((row[0] for row in rows if row[0] not in spare), None)
    return None if cid is None else _begin_release(database, cid)


def add_claim(database: sqlite3.Connection, room: Room, cid: bytes, claim: bytes) -> None:
    """See `Store.add_claim`."""
    with room.required(database, reserve=True):
        database.execute("INSERT OR IGNORE INTO claims VALUES (?, ?)", (cid, claim))


def remove_claim(database: sqlite3.Connection, cid: bytes, claim: bytes) -> None:
    """See `Store.remove_claim`."""
    database.execute("DELETE FROM claims WHERE cid = ? AND claim = ?", (cid, claim))


def claims(database: sqlite3.Connection, cid: bytes, prefix: bytes = b"", limit: int | None = None) -> list[bytes]:
    """See `Store.claims`."""
    most = -1 if limit is None else limit
    if not prefix:
        found = database.execute("SELECT claim FROM claims WHERE cid = ? ORDER BY claim LIMIT ?", (cid, most))
    else:
        found = database.execute(
            "SELECT claim FROM claims WHERE cid = ? AND claim >= ? AND claim < ? ORDER BY claim LIMIT ?",
            (cid, prefix, bounds.above(prefix), most),
        )
    return [row[0] for row in found]


def claims_like(
    database: sqlite3.Connection, prefix: bytes, after: tuple[bytes, bytes] | None, limit: int
) -> list[tuple[bytes, bytes]]:
    """See `Store.claims_like`."""
    cid, claim = after or (b"", prefix)
    return database.execute(
        "SELECT cid, claim FROM claims WHERE (claim, cid) > (?, ?) AND claim < ? ORDER BY claim, cid LIMIT ?",
        (claim, cid, bounds.above(prefix), limit),
    ).fetchall()


def note_addition(database: sqlite3.Connection, room: Room, cid: bytes, withdrawn_at: float | None) -> None:
    """See `Store.note_addition`."""
    with room.required(database, reserve=True):
        database.execute(
            "INSERT INTO additions VALUES (?, ?) ON CONFLICT (cid) DO UPDATE SET withdrawn_at = excluded.withdrawn_at",
            (cid, withdrawn_at),
        )


def addition(database: sqlite3.Connection, cid: bytes) -> tuple[float | None] | None:
    """See `Store.addition`."""
    row: tuple[float | None] | None = database.execute(
        "SELECT withdrawn_at FROM additions WHERE cid = ?", (cid,)
    ).fetchone()
    return row


def withdrawals(database: sqlite3.Connection, after: bytes | None, limit: int) -> list[tuple[bytes, float]]:
    """See `Store.withdrawals`."""
    return database.execute(
        "SELECT cid, withdrawn_at FROM additions WHERE cid > ? AND withdrawn_at IS NOT NULL ORDER BY cid LIMIT ?",
        (after or b"", limit),
    ).fetchall()


def drop_addition(database: sqlite3.Connection, cid: bytes) -> None:
    """See `Store.drop_addition`."""
    database.execute("DELETE FROM additions WHERE cid = ?", (cid,))


def with_claim(database: sqlite3.Connection, claim: bytes) -> list[bytes]:
    """See `Store.roots_with_claim`."""
    return [row[0] for row in database.execute("SELECT cid FROM claims WHERE claim = ? ORDER BY cid", (claim,))]
