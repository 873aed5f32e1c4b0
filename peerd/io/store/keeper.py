"""The thread that looks after the disk: is it there, is there room, does it sync; and what failed is read again.

A check is a few calls and one small synced write. It runs beside all others, so that a disk that hangs blocks nobody
but itself: how long it hangs is seen by `StoreHealth`. Once a sync has failed, and syncs work again, everything is
closed, the kernel's copies of the files are dropped, and the database is opened as after a crash: its log replayed and
folded in, its pages checked, the blocks that were being written hashed, what was remembered of records forgotten. Reads
go on but for the moment of reopening; writes are refused until it is done.
"""

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from typing import Protocol

from loguru import logger

from peerd.errors import LocalError, StoreError
from peerd.io.store import ballast, disk, health
from peerd.io.store.blockfiles import BlockFiles
from peerd.io.store.faults import is_full
from peerd.io.store.health import StoreHealth
from peerd.io.store.place import Place
from peerd.io.store.readers import Readers

CHECK_INTERVAL_S = 2.0
REOPEN_NEEDS_BYTES = 1024 * 1024
"""Room for the database's index of its log; on a disk with less, what is open stays open for reading."""

INODES_MIN = 16

_BACKOFF_CHECKS_MAX = 32
_STEPS_BETWEEN_LOOKS = 100_000


class Holder(Protocol):
    """Who has the database's one writing connection."""

    def let_go(self) -> None:
        """Close it; returns once it is closed."""

    def take(self, database: sqlite3.Connection) -> None:
        """Have the one that takes its place."""


class Keeper:
    """Checks every `interval_s`, in a thread of its own; `recovered` is told, in it, when all was read again."""

    def __init__(
        self,
        place: Place,
        opened: "disk.OpenDisk",
        health: StoreHealth,
        *,
        readers: Readers,
        writer: Holder,
        recovered: Callable[[disk.Remembered, int], None],
    ) -> None:
        self._place = place
        self._opened = opened
        self._files: BlockFiles = opened.files
        self._health = health
        self._readers = readers
        self._writer = writer
        self._recovered = recovered
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._checks_left = 0
        self._backoff_checks = 1

    def start(self, interval_s: float) -> None:
        """Begin to check."""
        self._thread = threading.Thread(target=self._serve, args=(interval_s,), name="peerd-store-keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _serve(self, interval_s: float) -> None:
        while not self._ended.wait(interval_s):
            self.check()

    def check(self) -> None:
        """Look once, and where writes are refused and nothing stands against it any more, read all again."""
        self._files.trim()
        try:
            works = self._look()
        except OSError as error:
            self._note(error)
            return
        if self._health.trusted:
            self._checks_left, self._backoff_checks = 0, 1
        elif works and not self._ended.is_set():
            self._recover_sometimes()

    # Looking.

    def _look(self) -> bool:
        """Note what is wrong; returns whether the database can be opened again. Raises OSError."""
        if not self._place.is_here() and not self._place.come_back():
            self._health.distrust("place", health.GONE)
            return False
        self._health.note("place", None)
        found = self._place.disk()
        if found.f_flag & os.ST_RDONLY:
            self._health.distrust("readonly", health.READ_ONLY)
            return False
        self._health.note("space", None if self._files.has_room(found) else health.FULL)
        self._keep_back(found)
        few = found.f_files > 0 and found.f_favail < INODES_MIN
        self._health.note("inodes", health.NO_INODES if few else None)
        self._place.probe(self._health)
        return bool(found.f_bavail * found.f_frsize >= REOPEN_NEEDS_BYTES)

    def _keep_back(self, found: os.statvfs_result) -> None:
        size, free_bytes = ballast.size_on(self._files.disk_bytes()), found.f_bavail * found.f_frsize
        if free_bytes < size // 2:
            if ballast.give_up(self._place.path):
                logger.warning("the disk is full: what was kept back is given up, so that deletions can be written")
            return
        with contextlib.suppress(OSError):
            ballast.take(self._place.path, size, free_bytes)

    def _note(self, error: OSError) -> None:
        if is_full(error):
            self._health.note("space", health.FULL)
        elif error.errno == errno.ENOENT:
            self._health.distrust("place", health.GONE)
        else:
            self._health.look_at(error)

    # Reading all again.

    def _recover_sometimes(self) -> None:
        """Try, each time after twice as many checks: reading a large database costs."""
        if self._checks_left > 0:
            self._checks_left -= 1
            return
        failures = self._health.failures
        logger.warning("the store is read again from the disk", reasons=self._health.reasons)
        try:
            found = self._recover()
        except (sqlite3.Error, OSError, LocalError) as error:
            if isinstance(error, sqlite3.Error | OSError):
                self._health.look_at(error)
            self._checks_left = self._backoff_checks
            self._backoff_checks = min(2 * self._backoff_checks, _BACKOFF_CHECKS_MAX)
            logger.error("the store cannot be opened again yet", error=str(error))
            return
        self._recovered(found, failures)

    def _recover(self) -> disk.Remembered:
        opened = self._opened
        with self._readers.alone():
            self._writer.let_go()
            disk.forget_cached(self._place.path)
            database = disk.reopen(self._place.path, self._files, opened.store_id, opened.run)
        # A daemon that is told to stop does not wait until all pages are read.
        database.set_progress_handler(self._ended.is_set, _STEPS_BETWEEN_LOOKS)
        try:
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                self._health.note("damage", health.DAMAGED)
                raise StoreError(f"{health.DAMAGED}: {found}")
            disk.settle(database, self._files)
            remembered = disk.remember(database)
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                database.close()
            raise
        database.set_progress_handler(None, 0)
        self._writer.take(database)
        return remembered
