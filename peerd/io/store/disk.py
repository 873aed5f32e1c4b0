"""Opening a store's directory: taken, checked, brought up to date, and what a crash left is put right.

    DIR/lock        held by one process
    DIR/store.db    SQLite, with its -wal and -shm
    DIR/blocks/xx/  blocks above 32 KiB
    DIR/tmp/        blocks being written
    DIR/rotten/     damaged blocks set aside

Nothing here grows with the number of blocks; the keys of all records and floors are read once.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from peerd.clock import Entropy
from peerd.errors import LocalError
from peerd.io.datadir import FILE_MODE, DirectoryLock, make_directory, sync_directory
from peerd.io.store import floor_table, record_table, schema
from peerd.io.store.blockfiles import BlockFiles
from peerd.io.store.faults import translated
from peerd.io.store.hot import KeySet
from peerd.io.store.lifetime import Lived
from peerd.io.store.writer import settle_files

DATABASE_NAME = "store.db"


@dataclass(frozen=True, slots=True)
class OpenDisk:
    """A store's directory, held and ready; `run` counts its starts."""

    lock: DirectoryLock
    database: sqlite3.Connection
    files: BlockFiles
    store_id: bytes
    run: int
    keys: KeySet
    floors: KeySet
    lived: Lived


def open_disk(directory: Path, entropy: Entropy) -> OpenDisk:
    """Open or create a store; blocks.

    Raises UsageError where it is in use, cannot be written or is of a newer form, StoreError where it is damaged.
    """
    make_directory(directory)
    lock = DirectoryLock.acquire(directory)
    try:
        return _open_held(directory, lock, entropy)
    except (sqlite3.Error, OSError) as error:
        lock.release()
        raise translated(error, f"the store in {directory} cannot be opened") from error
    except LocalError:
        lock.release()
        raise


def _open_held(directory: Path, lock: DirectoryLock, entropy: Entropy) -> OpenDisk:
    path = directory / DATABASE_NAME
    # SQLite gives its -wal and -shm files the mode of the database's.
    path.touch(FILE_MODE)
    path.chmod(FILE_MODE)
    sync_directory(directory)
    database = schema.connect(path, writable=True)
    try:
        store_id = schema.prepare(database, directory, entropy)
        files = BlockFiles(directory)
        files.prepare()
        schema.limit_log(database, files.disk_bytes())
        run = schema.begin_run(database)
        settle_files(database, files, files.leftovers())
        keys = KeySet(row[0] for row in record_table.keys(database))
        floors = KeySet(row[0] for row in floor_table.keys(database))
        lived = schema.lived(database)
    except BaseException:
        database.close()
        raise
    return OpenDisk(lock, database, files, store_id, run, keys, floors, lived)
