"""Opening a store's directory: taken, checked, brought up to date, and what a crash left is put right.

    DIR/lock        held by one process
    DIR/store.db    SQLite, with its -wal and -shm
    DIR/blocks/xx/  blocks above 32 KiB
    DIR/tmp/        blocks being written
    DIR/rotten/     damaged blocks set aside
    DIR/ballast     room kept back for when the disk is full
    DIR/probe       written and synced now and then, to see that the disk works

Nothing here grows with the number of blocks; the keys of all records and floors are read once.
"""

import contextlib
import hashlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from peerd.clock import Entropy
from peerd.errors import LocalError, NoRoomError, StoreError
from peerd.io.datadir import FILE_MODE, DirectoryLock, KnownStore, make_directory, sync_directory, sync_file
from peerd.io.store import ballast, block_table, bounds, floor_table, record_table, register_table, schema
from peerd.io.store.ahead import AHEAD_MAX
from peerd.io.store.blockfiles import BlockFiles, Staged
from peerd.io.store.faults import is_full, translated
from peerd.io.store.health import StoreHealth
from peerd.io.store.hot import KeySet
from peerd.io.store.lifetime import Lived
from peerd.io.store.writer import settle_files

DATABASE_NAME = "store.db"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the loop knows of the database without asking it: which keys have records, floors, registers."""

    keys: KeySet
    floors: KeySet
    registers: KeySet


@dataclass(frozen=True, slots=True)
class OpenDisk:
    """A store's directory, held and ready; `run` counts its starts, `restored` says that it is a copy of old."""

    lock: DirectoryLock
    database: sqlite3.Connection
    files: BlockFiles
    store_id: bytes
    run: int
    remembered: Remembered
    lived: Lived
    awaited: list[Staged]
    """Blocks of some root that came whole before the last run was killed, and are still to be put."""
    restored: bool
    is_copy: bool


def open_disk(directory: Path, entropy: Entropy, health: StoreHealth, known: KnownStore | None = None) -> OpenDisk:
    """Open a store, or create one where none is `known` to be there; blocks.

    Raises UsageError where it is in use, cannot be written, is of a newer form or is gone, StoreError where it is
    damaged.
    """
    if known is not None and not (directory / DATABASE_NAME).exists():
        raise schema.lost(directory)
    make_directory(directory)
    lock = DirectoryLock.acquire(directory)
    try:
        try:
            return _open_held(directory, lock, entropy, health=health, known=known)
        except (sqlite3.Error, OSError, NoRoomError) as error:
            # What was kept back is for this.
            if not (isinstance(error, NoRoomError) or is_full(error)) or not ballast.give_up(directory):
                raise
        return _open_held(directory, lock, entropy, health=health, known=known)
    except (sqlite3.Error, OSError) as error:
        lock.release()
        raise translated(error, f"the store in {directory} cannot be opened") from error
    except LocalError:
        lock.release()
        raise


def _open_held(
    directory: Path, lock: DirectoryLock, entropy: Entropy, *, health: StoreHealth, known: KnownStore | None
) -> OpenDisk:
    path = directory / DATABASE_NAME
    # SQLite gives its -wal and -shm files the mode of the database's.
    path.touch(FILE_MODE)
    path.chmod(FILE_MODE)
    sync_directory(directory)
    database = schema.connect(path, writable=True)
    try:
        store_id = schema.prepare(database, directory, entropy, create=known is None)
        files = BlockFiles(directory, health)
        files.prepare()
        schema.limit_log(database, files.disk_bytes())
        restored = known is not None and known.is_newer_than(store_id, schema.last_run(database))
        if restored:
            store_id = entropy(bounds.STORE_ID_BYTES)
            schema.rename(database, store_id)
            logger.warning("the store was restored from a backup: what is newer is asked of the other peers")
        run = schema.begin_run(database, known.run if known is not None else 0)
        awaited = settle(database, files, keep_awaited=True)
        found = remember(database)
        lived = schema.lived(database)
        is_copy = schema.is_copy(database)
    except BaseException:
        database.close()
        raise
    return OpenDisk(lock, database, files, store_id, run, found, lived, awaited, restored, is_copy)


def remember(database: sqlite3.Connection) -> Remembered:
    """Read the keys of all records, floors and registers."""
    tables = (record_table, floor_table, register_table)
    return Remembered(*(KeySet(row[0] for row in table.keys(database)) for table in tables))


def settle(database: sqlite3.Connection, files: BlockFiles, *, keep_awaited: bool = False) -> list[Staged]:
    """Finish what was broken off: of blocks that were being written those stay that have a row and are whole.

    With `keep_awaited` whole ones that a root waits for stay too, under their temporary names: they are returned.
    """
    leftovers = files.leftovers()
    awaited: dict[bytes, Staged] = {}
    for one in leftovers:
        if block_table.has_file(database, one.raw):
            if not _is_whole(files.read(one.raw), one.raw):
                files.quarantine(one.raw)
                block_table.drop_bytes(database, one.raw)
                block_table.count_rotten(database)
        elif (
            keep_awaited
            and len(awaited) < AHEAD_MAX
            and block_table.is_awaited(database, one.raw)
            and _is_whole(files.read_staged(one), one.raw)
        ):
            awaited[one.raw] = one
    settle_files(database, files, [one for one in leftovers if awaited.get(one.raw) is not one])
    return list(awaited.values())


def _is_whole(data: bytes | None, raw: bytes) -> bool:
    return data is not None and hashlib.sha256(data).digest() == raw[-32:]


def forget_cached(directory: Path) -> None:
    """Have the kernel read again from the disk what it believes to know of the files that were being written.

    Only while no connection is open: closing a file lets go of the locks that SQLite has on it.
    """
    written = [directory / name for name in (DATABASE_NAME, f"{DATABASE_NAME}-wal")]
    for path in (*written, *(directory / "tmp").iterdir()):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                sync_file(descriptor)
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def reopen(directory: Path, files: BlockFiles, store_id: bytes, run: int) -> sqlite3.Connection:
    """Open the database of a store that is held already, as after a crash, its log folded in and synced.

    Raises StoreError where it is another store's or of another run.
    """
    database = schema.connect(directory / DATABASE_NAME, writable=True)
    try:
        schema.set_up(database)
        schema.limit_log(database, files.disk_bytes())
        if (schema.store_id(database), schema.last_run(database)) != (store_id, run):
            raise StoreError("another store is in the directory")
        busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise StoreError("somebody else reads the database")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.close()
        raise
    return database
