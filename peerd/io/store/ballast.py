"""Room kept back on the disk for the day when it is full, and given up then: what frees room must itself be written.

A file of a few MiB that holds nothing. Not the quota's reserve (bounds): that keeps this store from filling the disk,
this is for when others do.
"""

import contextlib
import os
from pathlib import Path

from peerd.io.datadir import FILE_MODE

BALLAST_NAME = "ballast"
BALLAST_MAX_BYTES = 4 * 1024 * 1024
BALLAST_MIN_BYTES = 256 * 1024

_DISK_PART = 64
# Of a tiny disk or quota the least would be too much.
_MOST_PART = 16
# Taken again only where several times as much is free, so that it does not come and go.
_FREE_TIMES = 4


def take(directory: Path, size: int, free_bytes: int) -> None:
    """Keep `size` bytes back where so much more is free and none is kept yet; raises OSError."""
    path = directory / BALLAST_NAME
    if path.exists():
        if path.stat().st_size > size:
            os.truncate(path, size)  # the quota is smaller than at the last start
        return
    if free_bytes < _FREE_TIMES * size:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.write(descriptor, bytes(size))
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def give_up(directory: Path) -> bool:
    """Let the disk have what was kept back; returns whether there was anything."""
    with contextlib.suppress(OSError):
        (directory / BALLAST_NAME).unlink()
        return True
    return False


def size_on(disk_bytes: int) -> int:
    """Return how much is kept back on a disk, or of a quota, of that size: it counts as used."""
    wanted = max(BALLAST_MIN_BYTES, disk_bytes // _DISK_PART)
    return min(BALLAST_MAX_BYTES, wanted, disk_bytes // _MOST_PART)
