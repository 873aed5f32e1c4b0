"""The one thread that changes the database: all that waits when it is free shares the next transaction.

A job that fails is rolled back alone, to its savepoint. Where the transaction itself is lost for want of space, each
job is tried by itself, so that one that is too large does not fail its neighbours. Block files get their final names
before the transaction and lose their temporary ones after it; files of deleted blocks go after it. From a failed sync
on every job is refused, until the keeper has had the connection and given another.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loguru import logger

from peerd.errors import PeerdError, StoreError
from peerd.io.datadir import sync_directory
from peerd.io.store import block_table
from peerd.io.store.blockfiles import BlockFiles, Staged
from peerd.io.store.faults import StagedGoneError, is_full, translated
from peerd.io.store.health import GONE, StoreHealth
from peerd.io.store.place import Place

GROUP_JOBS_MAX = 512
"""Jobs in one transaction: the first of them waits for the last."""

TRASH_SLICE = 1_024

_LET_GO_CHECK_S = 0.5
_FREE_PAGES_KEPT = 8_192
_FREE_PART = 64
_PAGE_BYTES = 4_096
_VACUUM_PAGES = 256

Outcome = tuple["Job", Any, BaseException | None]


@dataclass(slots=True, eq=False)
class Job:
    """A change: `run` makes it in the writer's thread, `applied` is told of it in the loop once it is durable.

    `staged` are files of blocks that `run` notes. Without a `future` nobody waits.
    """

    run: Callable[[sqlite3.Connection], Any]
    what: str
    future: asyncio.Future[Any] | None = None
    applied: Callable[[Any], None] | None = None
    staged: Sequence[Staged] = field(default=())


class Writer:
    """The thread and its queue; it owns `database` and closes it."""

    def __init__(
        self,
        database: sqlite3.Connection,
        files: BlockFiles,
        loop: asyncio.AbstractEventLoop,
        *,
        health: StoreHealth,
        place: Place,
    ) -> None:
        self.commits = 0
        self._database = database
        self._files = files
        self._loop = loop
        self._health = health
        self._place = place
        self._queue: queue.SimpleQueue[Job | threading.Event | None] = queue.SimpleQueue()
        self._cleared: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, name="peerd-store-writer", daemon=True)
        self._ended = False

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job; where the thread has ended it fails at once."""
        self._queue.put(job)
        if self._ended:
            self._fail_rest([])

    def stop(self) -> None:
        """Finish what is queued and end the thread; blocks."""
        self._queue.put(None)
        self._thread.join()

    def let_go(self) -> None:
        """Have the connection closed, and wait until it is."""
        closed = threading.Event()
        self._queue.put(closed)
        while not closed.wait(_LET_GO_CHECK_S):
            if self._ended:
                return

    def take(self, database: sqlite3.Connection) -> None:
        """Go on with that connection; only while every job is refused."""
        self._database = database
        self._cleared = []

    # In the thread

    def _serve(self) -> None:
        group: list[Job] = []
        try:
            while True:
                group, last = self._next_group()
                self._commit(group)
                group = []
                if last:
                    return
        finally:
            self._ended = True
            self._fail_rest(group)
            self._database.close()

    def _next_group(self) -> tuple[list[Job], bool]:
        """Wait for a job, then take all that are there; returns them and whether the end was among them."""
        group: list[Job] = []
        job = self._queue.get()
        while job is not None:
            if isinstance(job, threading.Event):
                self._refuse(group)
                group = []
                self._database.close()
                job.set()
                job = self._queue.get()
                continue
            group.append(job)
            if len(group) >= GROUP_JOBS_MAX:
                return group, False
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _fail_rest(self, group: list[Job]) -> None:
        """Tell whoever waits that the thread has ended: after a close late comers, after a bug of ours everybody."""
        with suppress(queue.Empty):
            while True:
                job = self._queue.get_nowait()
                if isinstance(job, Job):
                    group.append(job)
        self._deliver([(job, None, StoreError("the store is closed")) for job in group])

    def _commit(self, group: list[Job]) -> None:
        if not self._works():
            self._refuse(group)
            return
        ready, outcomes = self._place_files(group)
        done = self._attempt(ready) if ready and self._health.trusted else []
        if isinstance(done, PeerdError):
            outcomes += [(job, None, done) for job in ready]
        else:
            outcomes += done
        if not self._works():
            # Whatever was made is not promised; what was staged is left to whoever reads all again.
            self._refuse(group)
            return
        # Before the answers: who was told of bytes freed finds them free.
        self._tidy(self._tidy_files, [staged for job in group for staged in job.staged])
        self._deliver(outcomes)
        self._tidy(self._give_back_pages)

    def _works(self) -> bool:
        if not self._place.is_here():
            self._health.distrust("place", GONE)
        return self._health.trusted

    def _refuse(self, group: list[Job]) -> None:
        if not group:
            return
        try:
            self._health.require_trusted()
        except StoreError as error:
            self._deliver([(job, None, error) for job in group])
        else:
            # Trusted again between two looks: not with this connection.
            self._deliver([(job, None, StoreError("the store is being read again")) for job in group])

    def _place_files(self, group: list[Job]) -> tuple[list[Job], list[Outcome]]:
        """Give staged files their final names and sync the directories; returns the jobs that may go on."""
        ready: list[Job] = []
        failed: list[Outcome] = []
        directories: dict[Path, list[Job]] = {}
        for job in group:
            try:
                for directory in [self._files.place(one) for one in job.staged]:
                    directories.setdefault(directory, []).append(job)
                ready.append(job)
            except FileNotFoundError:
                failed.append((job, None, StagedGoneError("a staged block is gone")))
            except OSError as error:
                failed.append((job, None, translated(error, job.what)))
        for directory, jobs in directories.items():
            try:
                with self._health.syncing():
                    sync_directory(directory)
            except OSError as error:
                failed += [(job, None, translated(error, job.what)) for job in jobs if job in ready]
                ready = [job for job in ready if job not in jobs]
        return ready, failed

    def _attempt(self, group: list[Job]) -> list[Outcome] | PeerdError:
        """Run jobs in one transaction; returns their outcomes, or the error where nothing was committed."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            if self._cleared:
                block_table.clear_trash(self._database, self._cleared)
            outcomes = [self._run(job) for job in group]
            with self._health.syncing():
                self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._health.look_at(error)
            if self._database.in_transaction:
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
            if is_full(error) and len(group) > 1:
                return self._attempt_each(group)
            return translated(error, "the store's database")
        self.commits += 1
        self._cleared = []
        return outcomes

    def _attempt_each(self, group: list[Job]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for job in group:
            done = self._attempt([job])
            outcomes += [(job, None, done)] if isinstance(done, PeerdError) else done
        return outcomes

    def _run(self, job: Job) -> Outcome:
        """Run one job within its savepoint; raises sqlite3.Error where the whole transaction is lost."""
        self._database.execute("SAVEPOINT job")
        try:
            result = job.run(self._database)
        except Exception as error:
            if not self._database.in_transaction:
                raise
            self._database.execute("ROLLBACK TO job")
            self._database.execute("RELEASE job")
            return job, None, translated(error, job.what) if isinstance(error, (sqlite3.Error, OSError)) else error
        self._database.execute("RELEASE job")
        return job, result, None

    def _deliver(self, outcomes: list[Outcome]) -> None:
        # The loop is closed where the process ends without closing the store: nobody waits any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_settle, outcomes)

    def _tidy(self, step: Callable[..., None], *arguments: Sequence[Staged]) -> None:
        """Do what may as well be done later: where the disk fails at it, the next start does."""
        try:
            step(*arguments)
        except (sqlite3.Error, OSError) as error:
            self._health.look_at(error)
            logger.warning("store not tidied, left to the next start", error=str(error))

    def _tidy_files(self, staged: Sequence[Staged]) -> None:
        """Delete temporary names, files of deleted blocks, and files whose row was not committed."""
        settle_files(self._database, self._files, staged)
        cleared = set(self._cleared)
        gone = [raw for raw in block_table.trash(self._database, TRASH_SLICE) if raw not in cleared]
        for raw in gone:
            if not block_table.has_file(self._database, raw):
                self._files.remove(raw)
        self._cleared += gone

    def _give_back_pages(self) -> None:
        """Let the file system have some of the pages that nothing fills."""
        kept = min(_FREE_PAGES_KEPT, self._files.disk_bytes() // _FREE_PART // _PAGE_BYTES)
        if self._database.execute("PRAGMA freelist_count").fetchone()[0] > kept:
            # `execute` would stop after the first page: this pragma gives one up at each step.
            self._database.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")


def settle_files(database: sqlite3.Connection, files: BlockFiles, staged: Sequence[Staged]) -> None:
    """Delete temporary names, and the final ones too where no committed row stands for them."""
    for one in staged:
        if not block_table.has_file(database, one.raw):
            files.remove(one.raw)
    files.discard(staged)


def _settle(outcomes: list[Outcome]) -> None:
    """In the loop: what is durable is known to the caches first, then to those who wait."""
    for job, result, error in outcomes:
        if error is None and job.applied is not None:
            job.applied(result)
        if job.future is None or job.future.done():
            continue
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)
