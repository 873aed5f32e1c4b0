"""The threads that read: each with a connection, so that reads neither wait for the writer nor for the loop.

The connections are opened at once and stay open: what is open can still be read when the directory is gone.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from peerd.io.store import schema
from peerd.io.store.faults import is_damage, translated
from peerd.io.store.health import StoreHealth

T = TypeVar("T")


class Readers:
    """A few reading threads over one database."""

    def __init__(self, path: Path, threads: int, health: StoreHealth) -> None:
        self._path = path
        self._threads = threads
        self._health = health
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="peerd-store-reader")
        self._idle: list[sqlite3.Connection] = []
        self._gate = threading.Condition()
        self._reading = 0
        self._shut = False
        self._pool.submit(self._open_all)

    async def read(self, what: str, run: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `run` finds; raises StoreError where the disk fails, saying `what` was tried."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._call, what, run)

    def _call(self, what: str, run: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._connection() as database:
                return run(database)
        except (sqlite3.Error, OSError) as error:
            if is_damage(error):
                self._health.look_at(error)
            raise translated(error, what) from error

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._gate:
            self._gate.wait_for(lambda: not self._shut)
            self._reading += 1
            database = self._idle.pop() if self._idle else None
        try:
            if database is None:
                database = schema.connect(self._path, writable=False)
            yield database
        finally:
            with self._gate:
                if database is not None:
                    self._idle.append(database)
                self._reading -= 1
                self._gate.notify_all()

    def _open_all(self) -> None:
        # Where one cannot be opened now, the first who reads tries again and says why.
        with contextlib.suppress(sqlite3.Error, OSError), contextlib.ExitStack() as all_of_them:
            for _ in range(self._threads):
                database = all_of_them.enter_context(self._connection())
                database.execute("SELECT 1 FROM meta").fetchone()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep readers out, with all their connections closed; blocks until those under way are done."""
        with self._gate:
            self._shut = True
            self._gate.wait_for(lambda: self._reading == 0)
            self._close_all()
        try:
            yield
        finally:
            with self._gate:
                self._shut = False
                self._gate.notify_all()
            self._open_all()

    def stop(self) -> None:
        """Finish what is being read and close; blocks."""
        self._pool.shutdown()
        self._close_all()

    def _close_all(self) -> None:
        for database in self._idle:
            database.close()
        self._idle.clear()
