"""The threads that read: each with its own connection, so that reads neither wait for the writer nor for the loop."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from peerd.io.store import schema
from peerd.io.store.faults import translated

T = TypeVar("T")


class Readers:
    """A few reading threads over one database."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="peerd-store-reader")
        self._mine = threading.local()
        self._all: list[sqlite3.Connection] = []

    async def read(self, what: str, run: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `run` finds; raises StoreError where the disk fails, saying `what` was tried."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._call, what, run)

    def _call(self, what: str, run: Callable[[sqlite3.Connection], T]) -> T:
        try:
            database: sqlite3.Connection | None = getattr(self._mine, "database", None)
            if database is None:
                database = self._mine.database = schema.connect(self._path, writable=False)
                self._all.append(database)
            return run(database)
        except (sqlite3.Error, OSError) as error:
            raise translated(error, what) from error

    def stop(self) -> None:
        """Finish what is being read and close; blocks."""
        self._pool.shutdown()
        for database in self._all:
            database.close()
