"""A file that somebody else on this host opened and has this daemon write: what is fetched lands where it is wanted.

Through a socket each byte would be copied four times more, and by two processes. Who asks is known by its socket
(`SO_PEERCRED`, unix(7)): only a process of this daemon's own user is served, which may do all that the daemon may, so
that nothing is opened for it that it could not open itself. Its descriptor is opened anew by `/proc/PID/fd` (proc(5)),
which no mount namespace changes; device and inode must be those that it named. Where any of that cannot be had, the
bytes go the ordinary way.
"""

import errno
import os
import socket
import stat
import struct
import threading
from typing import Any

from peerd.io.store.direct import write_aligned

_CREDENTIALS = struct.Struct("3i")
_O_DIRECT = getattr(os, "O_DIRECT", 0)


class TargetFile:
    """Such a file, opened; written from any thread. Use as a context manager.

    A thread that is writing when it is closed has its descriptors to the end: their numbers are not somebody else's.
    """

    def __init__(self, plain: int, direct: int | None) -> None:
        self._plain = plain
        self._direct = direct
        self._refused = False
        """Whether the file system takes nothing past its cache after all."""
        self._lock = threading.Lock()
        self._writing = 0
        self._closed = False

    def write(self, data: bytes, at: int) -> None:
        """Write all of `data` from byte `at` on; raises OSError."""
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._writing += 1
        try:
            done = self._write_direct(data, at)
            left = memoryview(data)[done:]
            while left:
                count = os.pwrite(self._plain, left, at + done)
                left, done = left[count:], done + count
        finally:
            with self._lock:
                self._writing -= 1
                self._close_unused()

    def close(self) -> None:
        """Take no more."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close_unused()

    def __enter__(self) -> "TargetFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # who asked for it went away before it was given to anybody

    def _close_unused(self) -> None:
        if self._closed and not self._writing:
            os.close(self._plain)
            if self._direct is not None:
                os.close(self._direct)

    def _write_direct(self, data: bytes, at: int) -> int:
        if self._direct is None or self._refused:
            return 0
        try:
            return write_aligned(self._direct, data, at)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._refused = True
            return 0


def open_of_caller(connected: Any, descriptor: int, device: int, inode: int) -> TargetFile | None:
    """Open the file that the process at the other end of a Unix socket has open as `descriptor`.

    None where it is another user's, is not the regular file of that device and inode, or cannot be opened.
    """
    try:
        option = socket.SO_PEERCRED
        pid, uid, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    except (AttributeError, OSError):
        return None
    if uid != os.geteuid() or pid <= 0:
        return None
    path = f"/proc/{pid}/fd/{descriptor}"
    try:
        plain = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    found = os.fstat(plain)
    if not stat.S_ISREG(found.st_mode) or (found.st_dev, found.st_ino) != (device, inode) or found.st_uid != uid:
        os.close(plain)
        return None
    return TargetFile(plain, _open_direct(path, found))


def _open_direct(path: str, found: os.stat_result) -> int | None:
    """Open it once more, to be written past the page cache where its file system can."""
    if not _O_DIRECT:
        return None
    try:
        direct = os.open(path, os.O_WRONLY | os.O_CLOEXEC | _O_DIRECT)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EACCES, errno.ENOENT):
            raise
        return None
    if not os.path.samestat(os.fstat(direct), found):
        os.close(direct)
        return None
    return direct
