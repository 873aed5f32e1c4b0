"""The store's directory as it was opened: whether its path still leads there, and a small write that shows it works.

A mount point whose disk is gone is an empty directory, and nothing may be made in it. So what is checked here is done
through the open directory, and a path that leads elsewhere is only looked at. A directory that is mounted again can
bear another device number: it is known by the file `probe`, which names the store and its run.
"""

import contextlib
import os
from pathlib import Path

from peerd.errors import UsageError
from peerd.io.datadir import FILE_MODE, DirectoryLock, sync_file
from peerd.io.store.health import StoreHealth

PROBE_NAME = "probe"

_RUN_BYTES = 8


class Place:
    """A store's directory, held by `lock`; `store_id` and `run` tell it from any other."""

    def __init__(self, path: Path, lock: DirectoryLock, store_id: bytes, run: int) -> None:
        self.path = path
        self._lock = lock
        self._marker = store_id + run.to_bytes(_RUN_BYTES, "big")
        self._descriptor = _open_directory(path)
        self._identity = _identity(os.fstat(self._descriptor))

    def is_here(self) -> bool:
        """Whether the path leads to the directory that was opened."""
        try:
            return _identity(self.path.stat()) == self._identity
        except OSError:
            return False

    def come_back(self) -> bool:
        """Take the directory that the path leads to now, where it is this store's in this run; returns whether."""
        try:
            if (self.path / PROBE_NAME).read_bytes() != self._marker:
                return False
            descriptor = _open_directory(self.path)
        except OSError:
            return False
        try:
            lock = DirectoryLock.acquire(self.path)
        except UsageError:
            os.close(descriptor)
            return False
        os.close(self._descriptor)
        self._lock.release()
        self._descriptor, self._lock = descriptor, lock
        self._identity = _identity(os.fstat(descriptor))
        return True

    def probe(self, health: StoreHealth) -> None:
        """Write the marker and sync it; raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(PROBE_NAME, flags, FILE_MODE, dir_fd=self._descriptor)
        try:
            os.fchmod(descriptor, FILE_MODE)
            os.pwrite(descriptor, self._marker, 0)
            with health.syncing():
                sync_file(descriptor)
        finally:
            os.close(descriptor)

    def disk(self) -> os.statvfs_result:
        """Return what the file system says of itself; raises OSError."""
        return os.statvfs(self._descriptor)

    def close(self) -> None:
        """Let go of the directory."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        self._lock.release()


def _open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
