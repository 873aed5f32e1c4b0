"""Blocks as files: `blocks/xx/<cid>`, written under a temporary name, synced, then linked to the final one.

A temporary file bears the block's CID and stays until the database has the block's row, so that a start finds every
file whose row was never committed by listing `tmp/` alone. Called from the store's threads, never from the loop.
"""

import contextlib
import errno
import hashlib
import itertools
import os
import time
from base64 import b32encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peerd.errors import NoRoomError
from peerd.io.datadir import FILE_MODE, make_directory, sync_directory, sync_file
from peerd.io.store.checked import Checked
from peerd.io.store.direct import FileReader, FileWriter
from peerd.io.store.health import FULL, NO_INODES, StoreHealth

ROTTEN_MAX = 16
"""Damaged files kept for whoever wants to know what happened to the disk; more are deleted."""

DISK_RESERVE_MAX_BYTES = 64 * 1024 * 1024
_DISK_RESERVE_PART = 8

_FIRST_DIGEST_BYTE = 4


@dataclass(frozen=True, slots=True)
class Staged:
    """A block's bytes, synced, under a temporary name."""

    raw: bytes
    temporary: Path


class BlockFiles:
    """The files of one store."""

    def __init__(self, directory: Path, health: StoreHealth) -> None:
        self._health = health
        self._blocks = directory / "blocks"
        self._temporaries = directory / "tmp"
        self._rotten = directory / "rotten"
        self._numbers = itertools.count()
        self._writer = FileWriter()
        self._reader = FileReader(time.monotonic)
        self._checked = Checked(time.monotonic)
        self.quota_bytes: int | None = None
        """What the store may use of the disk, once that is known."""

    def prepare(self) -> None:
        """Make the directories that are missing, and have the disk hold their names."""
        make_directory(self._temporaries)
        make_directory(self._rotten)
        make_directory(self._blocks)
        missing = [one for one in (self._blocks / f"{byte:02x}" for byte in range(256)) if not one.is_dir()]
        for one in missing:
            one.mkdir(0o700)
            one.chmod(0o700)
        if missing:
            sync_directory(self._blocks)

    def disk_bytes(self) -> int:
        """Return the size of the file system that the blocks are on, or the quota where that is less."""
        disk = os.statvfs(self._blocks)
        size = disk.f_blocks * disk.f_frsize
        return size if self.quota_bytes is None else min(size, self.quota_bytes)

    def require_free(self, wanted_bytes: int) -> None:
        """Raise NoRoomError where blocks would eat what the database needs to delete and to note.

        Kept free: an eighth of the file system, at most 64 MiB, several times what the write-ahead log grows to.
        """
        disk = os.statvfs(self._blocks)
        if wanted_bytes > _usable_bytes(disk):
            raise NoRoomError(FULL, hint="free some space, or move --data to a larger disk")
        if disk.f_files > 0 and disk.f_favail <= 0:
            raise NoRoomError(NO_INODES, hint="delete some files on that disk, or move --data to another")

    @staticmethod
    def has_room(disk: os.statvfs_result) -> bool:
        """Say whether such a disk takes any block more."""
        return _usable_bytes(disk) > 0

    def stage(self, raw: bytes, data: bytes) -> Staged:
        """Write and sync a block under a temporary name; nothing stays behind where that fails."""
        return self.write(raw, data, sync=True)

    def write(self, raw: bytes, data: bytes, *, sync: bool = False) -> Staged:
        """Write a block under a temporary name; nothing stays behind where that fails."""
        temporary = self._temporaries / f"{raw.hex()}.{os.getpid()}-{next(self._numbers)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            try:
                os.fchmod(descriptor, FILE_MODE)
                self._writer.write(descriptor, data)
                self._checked.note(raw, os.fstat(descriptor))
                if sync:
                    with self._health.syncing():
                        sync_file(descriptor)
            finally:
                os.close(descriptor)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return Staged(raw, temporary)

    def place(self, staged: Staged) -> Path:
        """Give a staged block its final name; returns the directory to sync."""
        final = self._path(staged.raw)
        try:
            os.link(staged.temporary, final)
        except OSError:
            # The name is taken (an orphan, or a rotten copy), or this file system knows no hard links.
            staged.temporary.replace(final)
        return final.parent

    def discard(self, staged: Iterable[Staged]) -> None:
        """Delete temporary names."""
        for one in staged:
            with contextlib.suppress(OSError):
                one.temporary.unlink()

    def leftovers(self) -> list[Staged]:
        """Return what a crash left under temporary names; a name that is none of ours is deleted."""
        found = []
        for temporary in self._temporaries.iterdir():
            try:
                found.append(Staged(bytes.fromhex(temporary.name.partition(".")[0]), temporary))
            except ValueError:
                temporary.unlink(missing_ok=True)
        return found

    def read(self, raw: bytes) -> bytes | None:
        """Return a block's bytes as they are on disk, None where there is no file or the disk cannot read it."""
        return _read(self._path(raw))

    def read_whole(self, raw: bytes) -> bytes | None:
        """Return a block's bytes where they are what they should be, by a look at this file that is not long ago."""
        try:
            data, found = self._reader.read(self._path(raw), raw)
        except OSError as error:
            if error.errno in (errno.EIO, errno.ENOENT):
                return None
            raise
        if self._checked.was(raw, found) and len(data) == found.st_size:
            return data
        if hashlib.sha256(data).digest() != raw[_FIRST_DIGEST_BYTE:]:
            return None
        self._checked.note(raw, found)
        return data

    def trim(self) -> None:
        """Give back the memory of reads that are long ago."""
        self._reader.trim()

    def read_staged(self, staged: Staged) -> bytes | None:
        """Return what stands under a temporary name, None as `read`."""
        return _read(staged.temporary)

    def remove(self, raw: bytes) -> None:
        """Delete a block's file; one that is gone already is no error."""
        self._path(raw).unlink(missing_ok=True)

    def quarantine(self, raw: bytes) -> None:
        """Set a damaged file aside, or delete it where enough are."""
        damaged = self._path(raw)
        if len(list(self._rotten.iterdir())) >= ROTTEN_MAX:
            damaged.unlink(missing_ok=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                damaged.replace(self._rotten / damaged.name)

    def drop_rotten(self) -> int:
        """Delete the damaged files set aside; returns their bytes."""
        freed = 0
        for damaged in self._rotten.iterdir():
            with contextlib.suppress(FileNotFoundError):
                freed += damaged.stat().st_size
                damaged.unlink()
        return freed

    def _path(self, raw: bytes) -> Path:
        text = "b" + b32encode(raw).decode().rstrip("=").lower()
        return self._blocks / f"{raw[_FIRST_DIGEST_BYTE]:02x}" / text


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EIO):
            return None
        raise


def _usable_bytes(disk: os.statvfs_result) -> int:
    reserve = min(DISK_RESERVE_MAX_BYTES, disk.f_blocks * disk.f_frsize // _DISK_RESERVE_PART)
    return disk.f_bavail * disk.f_frsize - reserve
