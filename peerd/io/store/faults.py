"""What the disk's errors mean to the caller: no room, or a disk that failed."""

import errno
import sqlite3

from peerd.errors import LocalError, NoRoomError, StoreError

_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def translated(error: sqlite3.Error | OSError, what: str) -> LocalError:
    """Return NoRoomError where the disk is full, else StoreError; `what` says what was tried."""
    if is_full(error):
        return NoRoomError(f"{what}: the disk is full", hint="free some space, or move --data to a larger disk")
    return StoreError(f"{what}: {error}")


def is_full(error: sqlite3.Error | OSError) -> bool:
    """Say whether the error is want of space."""
    if isinstance(error, OSError):
        return error.errno in _FULL_ERRNOS
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
