"""The store on disk: SQLite for rows and small blocks, files for large ones, every change synced when it returns.

Here are opening, provider records, remembered peers and usage; `sqlite_records`, `sqlite_floors`, `sqlite_blocks` and
`sqlite_roots` hold the other calls, `writer` the promise of durability.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Self

from peerd.clock import Clock, Entropy
from peerd.ids import Key, PeerId
from peerd.io.datadir import KnownStore
from peerd.io.store import bounds, provider_table, schema
from peerd.io.store.disk import OpenDisk, open_disk
from peerd.io.store.health import StoreHealth
from peerd.io.store.interface import Usage
from peerd.io.store.keeper import CHECK_INTERVAL_S
from peerd.io.store.remembered import RememberedPeer
from peerd.io.store.sqlite_blocks import SqliteBlocks
from peerd.io.store.sqlite_digests import SqliteDigests
from peerd.io.store.sqlite_entries import SqliteEntries
from peerd.io.store.sqlite_evidence import SqliteEvidence
from peerd.io.store.sqlite_floors import SqliteFloors
from peerd.io.store.sqlite_records import SqliteRecords
from peerd.io.store.sqlite_registers import SqliteRegisters
from peerd.io.store.sqlite_roots import SqliteRoots
from peerd.io.store.sqlite_seen import SqliteSeen


class SqliteStore(
    SqliteRecords,
    SqliteFloors,
    SqliteRegisters,
    SqliteSeen,
    SqliteBlocks,
    SqliteRoots,
    SqliteEvidence,
    SqliteEntries,
    SqliteDigests,
):
    """See `Store`."""

    @classmethod
    async def open(
        cls,
        path: Path,
        quota_bytes: int,
        entropy: Entropy,
        clock: Clock,
        *,
        known: KnownStore | None = None,
        check_interval_s: float = CHECK_INTERVAL_S,
    ) -> Self:
        """Open the store in the directory `path`, creating it where there is none and none is `known`.

        Raises UsageError where another process has it, it cannot be written, it is gone or a newer peerd wrote it;
        StoreError where it is damaged; NoRoomError where the disk is full.
        """
        health = StoreHealth(clock)
        opening = asyncio.get_running_loop().run_in_executor(None, open_disk, path, entropy, health, known)
        try:
            disk = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_let_go)
            raise
        store = cls(disk, path, quota_bytes=quota_bytes, clock=clock, health=health, check_interval_s=check_interval_s)
        store._finish_releases()
        try:
            await store._put_found(disk.awaited)
        except BaseException:
            await store.close()
            raise
        return store

    async def put_provider(self, key: Key, peer: PeerId, statement: bytes, expires: float) -> None:
        """See `Store.put_provider`."""
        put = partial(provider_table.put, room=self._room, key=key, peer=peer, statement=statement, expires=expires)
        await self._write("writing a provider record", put)

    async def providers(self, key: Key, now: float) -> list[bytes]:
        """See `Store.providers`."""
        return await self._read("reading provider records", partial(provider_table.live, key=key, now=now))

    async def drop_providers(self, now: float, limit: int) -> int:
        """See `Store.drop_providers`."""
        drop = partial(provider_table.drop_ended, now=now, limit=limit)
        return await self._write("forgetting provider records", drop)

    async def remember_peers(self, peers: Sequence[RememberedPeer]) -> None:
        """See `Store.remember_peers`."""
        await self._write("remembering peers", partial(provider_table.remember, room=self._room, peers=list(peers)))

    async def remembered_peers(self, limit: int) -> list[RememberedPeer]:
        """See `Store.remembered_peers`."""
        return await self._read("reading peers", partial(provider_table.remembered, limit=limit))

    async def anchors(self, limit: int) -> list[RememberedPeer]:
        """See `Store.anchors`."""
        return await self._read("reading peers", partial(provider_table.anchors, limit=limit))

    async def note_forgotten(self, peer: PeerId, notice: bytes | None) -> None:
        """See `Store.note_forgotten`."""
        note = partial(provider_table.note_forgotten, room=self._room, peer=peer, notice=notice)
        await self._write("noting who is forgotten", note)

    async def forgotten(self) -> list[bytes]:
        """See `Store.forgotten`."""
        return await self._read("reading who is forgotten", provider_table.forgotten)

    async def put_revocation(self, peer: PeerId, statement: bytes, *, known: bool) -> None:
        """See `Store.put_revocation`."""
        put = partial(provider_table.put_revocation, room=self._room, peer=peer, statement=statement, known=known)
        await self._write("keeping a revocation", put)

    async def revocations(self) -> list[tuple[bytes, bool]]:
        """See `Store.revocations`."""
        return await self._read("reading who is revoked", provider_table.revocations)

    async def usage(self) -> Usage:
        """See `Store.usage`."""
        return await self._read("reading counters", self._usage)

    def _usage(self, database: sqlite3.Connection) -> Usage:
        counters = schema.counters(database)
        return Usage(
            used_bytes=sum(counters[: schema.COUNTER_METADATA_BYTES + 1]),
            quota_bytes=self.quota_bytes,
            pinned_bytes=counters[bounds.CLASS_RANK["pinned"]],
            own_bytes=counters[bounds.CLASS_RANK["own"]],
            replica_bytes=counters[bounds.CLASS_RANK["replica"]],
            cache_bytes=counters[bounds.CLASS_RANK["cache"]],
            records=counters[schema.COUNTER_RECORDS],
            blobs=counters[schema.COUNTER_ROOTS],
            rotten=counters[schema.COUNTER_ROTTEN],
        )


def _let_go(opening: "asyncio.Future[OpenDisk]") -> None:
    """Close what was opened for a caller who is gone."""
    if not opening.cancelled() and opening.exception() is None:
        disk = opening.result()
        disk.database.close()
        disk.lock.release()
