"""Between the event loop and the store's threads: changes go to the writer, questions to the readers.

The loop never waits for the disk. What is bounded here: changes that wait, and uses of roots not yet written.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from loguru import logger

from peerd.clock import Clock
from peerd.errors import StoreError
from peerd.ids import Key
from peerd.io.store import root_table, schema
from peerd.io.store.ahead import Ahead
from peerd.io.store.blockfiles import Staged
from peerd.io.store.disk import DATABASE_NAME, OpenDisk, Remembered
from peerd.io.store.health import StoreHealth
from peerd.io.store.hot import HotRecords
from peerd.io.store.keeper import CHECK_INTERVAL_S, Keeper
from peerd.io.store.lifetime import Lifetime
from peerd.io.store.place import Place
from peerd.io.store.readers import Readers
from peerd.io.store.room import Room
from peerd.io.store.writer import Job, Writer

READER_THREADS = 3
STAGING_THREADS = 4
"""Blocks synced at the same time: a disk does several in little more than the time of one."""

WRITES_WAITING_MAX = 4_096
"""Changes handed to the writer and not yet durable; more callers wait their turn."""

TOUCHED_MAX = 4_096
"""Roots whose last use is not on disk yet; more go there at once."""

T = TypeVar("T")


class Handover:
    """What every part of the store on disk works with; bound to the running event loop."""

    def __init__(
        self,
        disk: OpenDisk,
        directory: Path,
        *,
        quota_bytes: int,
        clock: Clock,
        health: StoreHealth,
        check_interval_s: float = CHECK_INTERVAL_S,
    ) -> None:
        self.store_id = disk.store_id
        self.restored = disk.restored
        self.is_copy = disk.is_copy
        self.quota_bytes = quota_bytes
        self.health = health
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._run = disk.run
        self._place = Place(directory, disk.lock, disk.store_id, disk.run)
        self._files = disk.files
        disk.files.quota_bytes = quota_bytes
        schema.limit_log(disk.database, disk.files.disk_bytes())
        self._room = Room(quota_bytes)
        self._remember(disk.remembered)
        self._watching: Callable[[Key], None] | None = None
        self._lifetime = Lifetime(clock, disk.lived)
        self._touched: dict[bytes, float] = {}
        self._slots = asyncio.Semaphore(WRITES_WAITING_MAX)
        self._staging = ThreadPoolExecutor(STAGING_THREADS, thread_name_prefix="peerd-store-blocks")
        self._ahead = Ahead(disk.files, health, self._staging)
        self._readers = Readers(directory / DATABASE_NAME, READER_THREADS, health)
        self._writer = Writer(disk.database, disk.files, self._loop, health=health, place=self._place)
        self._writer.start()
        self._keeper = Keeper(
            self._place, disk, health, readers=self._readers, writer=self._writer, recovered=self._on_recovered
        )
        self._keeper.start(check_interval_s)
        self._closing: asyncio.Future[None] | None = None

    @property
    def run(self) -> int:
        """How often the store was opened so far."""
        return self._run

    @property
    def commits(self) -> int:
        """How many transactions were committed since the start."""
        return self._writer.commits

    async def close(self) -> None:
        """See `Store.close`."""
        if self._closing is None:
            self._write_touched()
            self._write_time()
            self._closing = asyncio.get_running_loop().run_in_executor(None, self._stop)
        await asyncio.shield(self._closing)

    def watch(self, changed: Callable[[Key], None]) -> None:
        """See `Store.watch`."""
        self._watching = changed

    def _tell(self, key: Key) -> None:
        """A key changed, on disk."""
        if self._watching is not None:
            self._watching(key)

    def now_s(self) -> float:
        """See `Store.now_s`."""
        return self._lifetime.now_s()

    def note_time(self) -> None:
        """See `Store.note_time`."""
        if self._closing is None and self._lifetime.due:
            self._write_time()

    def _write_time(self) -> None:
        self._writer.submit(Job(partial(schema.note_lived, lived=self._lifetime.lived()), "noting the time"))

    async def next_stamp(self) -> int:
        """See `Store.next_stamp`."""
        stamp, must_note = self._lifetime.stamp()
        if must_note:
            lived = self._lifetime.lived()
            await self._write("noting a stamp", partial(schema.note_lived, lived=lived))
            self._lifetime.noted(lived)
        return stamp

    def _remember(self, found: Remembered) -> None:
        self._hot = HotRecords(found.keys)
        self._floor_keys = found.floors
        self._register_keys = found.registers

    def _on_recovered(self, found: Remembered, failures: int) -> None:
        """In the keeper's thread: all was read again."""
        # A loop that is closed wants to know nothing any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._trust_again, found, failures)

    def _trust_again(self, found: Remembered, failures: int) -> None:
        self._remember(found)
        if self.health.restore_trust(failures):
            logger.info("the store works again")
            if self._closing is None:
                self._went_on()

    def _went_on(self) -> None:
        """Go on with what was broken off."""

    def _stop(self) -> None:
        self._keeper.stop()
        self._staging.shutdown()
        self._writer.stop()
        self._readers.stop()
        self._place.close()

    def _require_open(self) -> None:
        if self._closing is not None:
            raise StoreError("the store is closed")

    async def _read(self, what: str, run: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `run` finds in a reading thread; `what` is for the error."""
        self._require_open()
        return await self._readers.read(what, run)

    async def _write(
        self, what: str, run: Callable[[sqlite3.Connection], T], *, applied: Callable[[T], None] | None = None
    ) -> T:
        """Have the writer make a change; returns its result once it is durable and `applied` was told."""
        async with self._slots:
            return await self._submit(what, run, applied=applied)

    def _submit(
        self,
        what: str,
        run: Callable[[sqlite3.Connection], T],
        *,
        applied: Callable[[T], None] | None = None,
        staged: Sequence[Staged] = (),
    ) -> "asyncio.Future[T]":
        """Queue a change for the writer, under a slot that the caller holds."""
        self._require_open()
        self.health.require_trusted()
        self._write_touched()
        self.note_time()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.submit(Job(run, what, future, applied, staged))
        return future

    def _touch(self, cid: bytes, used_at: float) -> None:
        self._touched[cid] = used_at
        if len(self._touched) >= TOUCHED_MAX:
            self._write_touched()

    def _write_touched(self) -> None:
        """Let the uses of roots share the commit that comes."""
        if self._touched:
            used, self._touched = self._touched, {}
            self._writer.submit(Job(partial(root_table.touch, used=list(used.items())), "noting uses"))
