"""Blocks as SQL: where each is, whose it is counted for, and what to delete once the change is committed.

A block's row outlives its bytes while roots link it: `place` is absent then, so that putting the block again mends
every root that has it. Each function is part of a transaction of its caller.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from peerd.io.store import bounds, schema
from peerd.io.store.interface import Freed
from peerd.io.store.room import Room

ASKED_MAX = 512
"""Blocks asked for in one statement: each look of its own costs more than all else about a small one."""

SLICE_BLOCKS = 256
"""Blocks deleted in one transaction: the others that wait for the writer wait some 20 ms at most."""

_RANK_OF_LINKS = (
    "SELECT max(roots.rank) FROM links JOIN roots ON roots.id = links.root"
    " WHERE links.block = ? AND roots.cid IS NOT NULL"
)
_RANK_AGAIN = (
    "WITH ranked AS MATERIALIZED (SELECT blocks.id, blocks.rank AS before, (SELECT max(roots.rank) FROM links"
    " JOIN roots ON roots.id = links.root WHERE links.block = blocks.id AND roots.cid IS NOT NULL) AS after"
    " FROM links AS ours JOIN blocks ON blocks.id = ours.block WHERE ours.root = ?)"
    " UPDATE blocks SET rank = ranked.after FROM ranked"
    " WHERE blocks.id = ranked.id AND ranked.before <> ranked.after"
)


class Spare(NamedTuple):
    """Blocks that stay though nothing links them: put in this run of the store, at this instant or later."""

    run: int
    since: float


@dataclass(frozen=True, slots=True)
class NewBlock:
    """A block to put: `inline` holds a small one's bytes; `has_file` says that a file of it is in its place."""

    raw: bytes
    size: int
    inline: bytes | None
    has_file: bool


def missing(database: sqlite3.Connection, raws: Sequence[bytes]) -> list[bytes]:
    """Return those of which there are no bytes, in the order given."""
    known = _places(database, raws)
    return [raw for raw in raws if known.get(raw, schema.PLACE_ABSENT) == schema.PLACE_ABSENT]


def is_present(database: sqlite3.Connection, raw: bytes) -> bool:
    """Say whether there are bytes of a block."""
    return _place(database, raw) != schema.PLACE_ABSENT


def has_file(database: sqlite3.Connection, raw: bytes) -> bool:
    """Say whether a block's bytes are in a file."""
    return _place(database, raw) == schema.PLACE_FILE


def is_awaited(database: sqlite3.Connection, raw: bytes) -> bool:
    """Say whether roots link a block of which there are no bytes."""
    found = database.execute("SELECT 1 FROM blocks WHERE cid = ? AND place = ?", (raw, schema.PLACE_ABSENT)).fetchone()
    return found is not None


def _place(database: sqlite3.Connection, raw: bytes) -> int:
    row = database.execute("SELECT place FROM blocks WHERE cid = ?", (raw,)).fetchone()
    return schema.PLACE_ABSENT if row is None else row[0]


def find(database: sqlite3.Connection, raw: bytes) -> tuple[int, bytes | None]:
    """Return a block's place, and its bytes where they are inline."""
    row = database.execute(
        "SELECT place, data FROM blocks LEFT JOIN block_data USING (id) WHERE cid = ?", (raw,)
    ).fetchone()
    return (schema.PLACE_ABSENT, None) if row is None else row


def inline(database: sqlite3.Connection, raws: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return those of at most 1,000 blocks whose bytes are inline, with them."""
    asked = ",".join("?" * len(raws))
    found = database.execute(
        f"SELECT cid, data FROM blocks JOIN block_data USING (id) WHERE cid IN ({asked}) AND place = ?",  # noqa: S608
        (*raws, schema.PLACE_INLINE),
    )
    return found.fetchall()


def put(
    database: sqlite3.Connection,
    room: Room,
    new: Sequence[NewBlock],
    *,
    run: int,
    now: float,
    rank: int = bounds.RANK_UNLINKED,
) -> list[bytes]:
    """Note blocks; returns those that have no file although they need one, and then nothing was changed.

    With another `rank`, the caller links all of them to a root of that in the same transaction.
    """
    known = _places(database, [one.raw for one in new])
    absent = [one for one in new if known.get(one.raw, schema.PLACE_ABSENT) == schema.PLACE_ABSENT]
    unfiled = [one.raw for one in absent if one.inline is None and not one.has_file]
    if unfiled:
        return unfiled
    here = {one.raw for one in new} - {one.raw for one in absent}
    database.executemany("UPDATE blocks SET run = ?, put_at = ? WHERE cid = ?", ((run, now, raw) for raw in here))
    with room.required(database, reserve=False):
        database.executemany(
            "INSERT INTO blocks (cid, size, place, rank, run, put_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (cid)"
            " DO UPDATE SET size = excluded.size, place = excluded.place, run = excluded.run, put_at = excluded.put_at",
            (
                (
                    one.raw,
                    one.size,
                    schema.PLACE_FILE if one.inline is None else schema.PLACE_INLINE,
                    rank,
                    run,
                    now,
                )
                for one in absent
            ),
        )
        database.executemany(
            "INSERT OR REPLACE INTO block_data SELECT id, ? FROM blocks WHERE cid = ?",
            ((one.inline, one.raw) for one in absent if one.inline is not None),
        )
    return []


def _places(database: sqlite3.Connection, raws: Sequence[bytes]) -> dict[bytes, int]:
    """Return where those blocks are that have a row."""
    found: dict[bytes, int] = {}
    for at in range(0, len(raws), ASKED_MAX):
        some = raws[at : at + ASKED_MAX]
        asked = ",".join("?" * len(some))
        found |= database.execute(f"SELECT cid, place FROM blocks WHERE cid IN ({asked})", some)  # noqa: S608
    return found


def not_linked(database: sqlite3.Connection, root: bytes, raws: Sequence[bytes]) -> list[bytes]:
    """Return those of the blocks that are not here, or that a root does not link."""
    here: set[bytes] = set()
    for at in range(0, len(raws), ASKED_MAX):
        some = raws[at : at + ASKED_MAX]
        asked = ",".join("?" * len(some))
        found = database.execute(
            "SELECT blocks.cid FROM blocks JOIN links ON links.block = blocks.id"  # noqa: S608
            " AND links.root = (SELECT id FROM roots WHERE cid = ?)"
            f" WHERE blocks.cid IN ({asked}) AND place <> ?",
            (root, *some, schema.PLACE_ABSENT),
        )
        here.update(row[0] for row in found)
    return [raw for raw in raws if raw not in here]


def link(database: sqlite3.Connection, room: Room, root_id: int, rank: int, raws: Sequence[bytes]) -> None:
    """Link blocks to a root of that rank, making places for those that are still to come."""
    with room.required(database, reserve=True):
        database.executemany(
            "INSERT INTO blocks (cid, size, place, rank, run, put_at) VALUES (?, 0, ?, ?, 0, 0)"
            " ON CONFLICT (cid) DO UPDATE SET rank = excluded.rank WHERE rank < excluded.rank",
            ((raw, schema.PLACE_ABSENT, rank) for raw in raws),
        )
        database.executemany(
            "INSERT OR IGNORE INTO links SELECT ?, id FROM blocks WHERE cid = ?", ((root_id, raw) for raw in raws)
        )


def unlink(
    database: sqlite3.Connection, root_id: int, *, limit: int, free: bool, spare: Spare | None = None
) -> tuple[int, Freed]:
    """Take up to `limit` links from a root; returns how many there were and what was freed.

    Blocks that no other root links are deleted with `free` but for those of `spare`, else left unlinked.
    """
    found = database.execute("SELECT block FROM links WHERE root = ? LIMIT ?", (root_id, limit)).fetchall()
    freed_bytes, freed_blocks = 0, 0
    for (block_id,) in found:
        database.execute("DELETE FROM links WHERE root = ? AND block = ?", (root_id, block_id))
        rank = _linked_rank(database, block_id)
        row = database.execute(
            "SELECT cid, size, place, rank, run, put_at FROM blocks WHERE id = ?", (block_id,)
        ).fetchone()
        stays = not free or (spare is not None and row[4] == spare.run and row[5] >= spare.since)
        if rank is None and (not stays or row[2] == schema.PLACE_ABSENT):
            freed_blocks += row[2] != schema.PLACE_ABSENT
            freed_bytes += _delete_row(database, block_id, row)
        elif rank != row[3]:
            database.execute(
                "UPDATE blocks SET rank = ? WHERE id = ?", (bounds.RANK_UNLINKED if rank is None else rank, block_id)
            )
    return len(found), Freed(freed_bytes, freed_blocks)


def rank_again(database: sqlite3.Connection, root_id: int) -> None:
    """Count a root's blocks for the class that their roots now have."""
    database.execute(_RANK_AGAIN, (root_id,))


def _linked_rank(database: sqlite3.Connection, block_id: int) -> int | None:
    rank: int | None = database.execute(_RANK_OF_LINKS, (block_id,)).fetchone()[0]
    return rank


def delete(database: sqlite3.Connection, raws: Iterable[bytes]) -> None:
    """Delete blocks' bytes, and their rows where no root links them."""
    for raw in raws:
        drop_bytes(database, raw)


def drop_bytes(database: sqlite3.Connection, raw: bytes) -> bool:
    """Delete one block's bytes, and its row where no root links it; returns whether there were any."""
    row = database.execute("SELECT cid, size, place, rank, id FROM blocks WHERE cid = ?", (raw,)).fetchone()
    if row is None or row[2] == schema.PLACE_ABSENT:
        return False
    if _linked_rank(database, row[4]) is None:
        _delete_row(database, row[4], row)
    else:
        _drop_data(database, row[4], row)
        database.execute("UPDATE blocks SET size = 0, place = ? WHERE id = ?", (schema.PLACE_ABSENT, row[4]))
    return True


def drop_unlinked(database: sqlite3.Connection, *, spare: Spare, newest: float, limit: int) -> tuple[int, Freed]:
    """Delete up to `limit` blocks that no root links, of earlier runs or put by `newest`, but for those of `spare`.

    Returns how many there were and what was freed.
    """
    found = database.execute(
        f"SELECT cid, size, place, rank, id FROM blocks WHERE rank = {bounds.RANK_UNLINKED}"  # noqa: S608  a constant
        " AND (run <> ? OR (put_at <= ? AND put_at < ?)) LIMIT ?",
        (spare.run, newest, spare.since, limit),
    ).fetchall()
    return len(found), Freed(sum(_delete_row(database, row[4], row) for row in found), len(found))


def _delete_row(database: sqlite3.Connection, block_id: int, row: tuple[Any, ...]) -> int:
    """Delete a block wholly, also the links of roots on their way out; returns the bytes freed."""
    _drop_data(database, block_id, row)
    database.execute("DELETE FROM links WHERE block = ?", (block_id,))
    database.execute("DELETE FROM blocks WHERE id = ?", (block_id,))
    size: int = row[1]
    return size


def _drop_data(database: sqlite3.Connection, block_id: int, row: tuple[Any, ...]) -> None:
    if row[2] == schema.PLACE_INLINE:
        database.execute("DELETE FROM block_data WHERE id = ?", (block_id,))
    elif row[2] == schema.PLACE_FILE:
        database.execute("INSERT OR IGNORE INTO trash VALUES (?)", (row[0],))


def count_rotten(database: sqlite3.Connection) -> None:
    """Count one damaged block."""
    database.execute("UPDATE counters SET value = value + 1 WHERE id = ?", (schema.COUNTER_ROTTEN,))


def trash(database: sqlite3.Connection, limit: int) -> list[bytes]:
    """Return blocks whose files are to go."""
    return [row[0] for row in database.execute("SELECT cid FROM trash LIMIT ?", (limit,))]


def clear_trash(database: sqlite3.Connection, raws: Iterable[bytes]) -> None:
    """Forget blocks whose files are gone."""
    database.executemany("DELETE FROM trash WHERE cid = ?", ((raw,) for raw in raws))
