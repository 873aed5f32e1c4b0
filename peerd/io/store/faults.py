"""What the disk's errors mean to the caller: no room, or a disk that failed."""

import errno
import sqlite3

from peerd.errors import LocalError, NoRoomError, StoreError

_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FAILURE_ERRNOS = frozenset({errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE})
_PRIMARY = 0xFF

RESTORE_HINT = "restore the data directory from a backup, or move it away to begin anew as a new peer"


class StagedGoneError(StoreError):
    """What was staged is not there any more: whoever read the store again has tidied."""


def translated(error: sqlite3.Error | OSError, what: str) -> LocalError:
    """Return NoRoomError where the disk is full, else StoreError; `what` says what was tried."""
    if is_full(error):
        return NoRoomError(f"{what}: the disk is full", hint="free some space, or move --data to a larger disk")
    return StoreError(f"{what}: {error}", hint=RESTORE_HINT if is_damage(error) else None)


def is_full(error: sqlite3.Error | OSError) -> bool:
    """Say whether the error is want of space."""
    if isinstance(error, OSError):
        return error.errno in _FULL_ERRNOS
    return _primary_code(error) == sqlite3.SQLITE_FULL


def is_damage(error: sqlite3.Error | OSError) -> bool:
    """Say whether the database's own file is not what SQLite wrote."""
    return not isinstance(error, OSError) and _primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_disk_failure(error: sqlite3.Error | OSError) -> bool:
    """Say whether the disk did not do what it was told, so that what it holds is not known any more."""
    if isinstance(error, OSError):
        return error.errno in _FAILURE_ERRNOS
    return _primary_code(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


def _primary_code(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY
