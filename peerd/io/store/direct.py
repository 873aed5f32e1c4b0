"""Writing large files past the page cache, where the file system can: a block is written once and read later, if ever.

Through the cache each page is allocated, copied to, written back and reclaimed, and what other programs had there goes.
Directly (`O_DIRECT`, open(2)) it costs a tenth of the time of a core. It needs aligned memory, of which each thread has
its own piece; the end of a file that fills no block of the disk goes through the cache. Where the file system refuses,
all goes through the cache.

So is a block that was not read lately: what only one peer wants is read once. What is read again goes through the
cache, and is there for the third.
"""

import errno
import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import cast

from peerd.io.pool import Pool

BUFFER_BYTES = 1024 * 1024
# What every disk's block size divides.
ALIGNMENT_BYTES = 4096
# Smaller files are not worth a wait for the disk each.
DIRECT_MIN_BYTES = 256 * 1024
# What was read in so long goes through the cache; of so many files that is known.
READ_LATELY_S = 60.0
READ_MAX = 8_192

_O_DIRECT = getattr(os, "O_DIRECT", 0)


_own = threading.local()


class FileWriter:
    """Writes the bytes of new files; from any thread."""

    def __init__(self) -> None:
        self._direct = _O_DIRECT != 0

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of an empty file that is open for writing; raises OSError."""
        at = 0
        if self._direct and len(data) >= DIRECT_MIN_BYTES:
            at = self._write_direct(descriptor, data)
        left = memoryview(data)[at:]
        while left:
            count = os.pwrite(descriptor, left, at)
            left, at = left[count:], at + count

    def _write_direct(self, descriptor: int, data: bytes) -> int:
        """Write the blocks that `data` fills, as far as the file system will; return how many bytes that were."""
        import fcntl  # noqa: PLC0415 (where there is O_DIRECT, there is this)

        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _O_DIRECT)
            return write_aligned(descriptor, data, 0)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._direct = False
            return 0
        finally:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


def write_aligned(descriptor: int, data: bytes | memoryview, start: int) -> int:
    """Write the whole blocks of `data` to a descriptor with O_DIRECT, from byte `start` of the file on.

    Returns how many bytes that were: none where `start` is within a block of the disk or there is little. Raises
    OSError, EINVAL where the file system wants it otherwise.
    """
    if start % ALIGNMENT_BYTES or len(data) < DIRECT_MIN_BYTES:
        return 0
    whole, at, end = memoryview(data), 0, len(data) - len(data) % ALIGNMENT_BYTES
    if isinstance(data, memoryview):  # it may begin at a page (pool.py)
        try:
            at = os.pwrite(descriptor, whole[:end], start)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            if at % ALIGNMENT_BYTES:
                return at
    buffer = _buffer()
    while at < end:
        count = min(BUFFER_BYTES, end - at)
        buffer[:count] = whole[at : at + count]
        written = os.pwrite(descriptor, buffer[:count], start + at)
        at += written
        if written % ALIGNMENT_BYTES:
            break  # the disk is nearly full: the rest goes the other way, and is told so
    return at


def _buffer() -> memoryview:
    view: memoryview | None = getattr(_own, "view", None)
    if view is None:
        view = _own.view = memoryview(mmap.mmap(-1, BUFFER_BYTES))
    return view


class FileReader:
    """Reads whole files; from any thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._pool = Pool(monotonic)
        self._monotonic = monotonic
        self._direct = _O_DIRECT != 0
        self._read: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path, name: bytes) -> tuple[bytes, os.stat_result]:
        """Return the bytes of a file, and what it was found to be; raises OSError."""
        if self._direct and self._is_first(name):
            try:
                return self._read_direct(path)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._direct = False
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            return os.read(descriptor, found.st_size), found
        finally:
            os.close(descriptor)

    def trim(self) -> None:
        """Give back the memory of reads that are long ago."""
        self._pool.trim()

    def _read_direct(self, path: Path) -> tuple[bytes, os.stat_result]:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | _O_DIRECT)
        try:
            found = os.fstat(descriptor)
            room = self._pool.take(found.st_size + -found.st_size % ALIGNMENT_BYTES)
            count = os.preadv(descriptor, [room], 0)
            return cast("bytes", room[: min(count, found.st_size)].toreadonly()), found
        finally:
            os.close(descriptor)

    def _is_first(self, name: bytes) -> bool:
        """Note that a file is read; say whether it was not lately."""
        now = self._monotonic()
        with self._lock:
            before = self._read.pop(name, None)
            self._read[name] = now
            if len(self._read) > READ_MAX:
                self._read.popitem(last=False)
        return before is None or now - before > READ_LATELY_S
