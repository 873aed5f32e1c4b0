"""What `put` and `add` send: a short text, a file, a stream of unknown length. Directories: tarout.

A file is sent with its length, straight from the page cache; where it turns out shorter, the request is broken off, so
that nothing is stored. Memory does not grow with what is sent.
"""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

import errno
import os
import stat

from .failure import Failure, of_os_error
from .text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import Body
    from .httpwire import Wire
    from .progress import Progress

READ_BYTES = 1024 * 1024
STDIN = 0
FORM_FILE = "application/octet-stream"


class Text:
    """A short value, given on the command line."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that describe the body."""
        return [("Content-Type", FORM_FILE), ("Content-Length", str(len(self._data)))]

    def send(self, wire: Wire) -> None:
        """Send the text."""
        wire.send(self._data)


class Stream:
    """Whatever can only be read to its end: standard input, a pipe, a device, a file that does not know its size."""

    def __init__(self, fd: int, shown: str, progress: Progress) -> None:
        self._fd = fd
        self._shown = shown
        self._progress = progress

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that describe the body."""
        return [("Content-Type", FORM_FILE), ("Transfer-Encoding", "chunked")]

    def send(self, wire: Wire) -> None:
        """Send what comes, as it comes; raises Failure where it cannot be read."""
        with self._progress:
            while True:
                try:
                    data = os.read(self._fd, READ_BYTES)
                except OSError as error:
                    raise of_os_error(error, f"reading {self._shown}") from None
                if not data:
                    break
                wire.send_chunk(data)
                self._progress.add(len(data))
            wire.send_last_chunk()


class File:
    """A regular file, as long as it was when it was opened."""

    def __init__(self, fd: int, size: int, shown: str, progress: Progress) -> None:
        self._fd = fd
        self._size = size
        self._direct = True
        self._shown = shown
        self._progress = progress

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that describe the body."""
        return [("Content-Type", FORM_FILE), ("Content-Length", str(self._size))]

    def send(self, wire: Wire) -> None:
        """Send the file; raises Failure where it cannot be read or has become shorter."""
        offset = 0
        with self._progress:
            while offset < self._size:
                try:
                    sent = self._send_some(wire, offset)
                except OSError as error:
                    raise Failure("failed", f"reading {self._shown}: {error.strerror}; nothing was stored") from None
                if sent == 0:
                    raise Failure("failed", f"{self._shown} became shorter while it was read; nothing was stored")
                offset += sent
                self._progress.add(sent)

    def _send_some(self, wire: Wire, offset: int) -> int:
        left = self._size - offset
        if self._direct:
            try:
                return wire.send_file(self._fd, offset, left)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                self._direct = False  # some file systems cannot; reading they all can
        data = os.pread(self._fd, min(READ_BYTES, left), offset)
        wire.stop_if_answered()
        wire.send(data)
        return len(data)


def open_path(path: str, progress: Progress) -> Body:
    """Return what stands at `path`, to be sent; `-` is standard input, a symbolic link that is named is followed.

    Raises Failure: usage where there is nothing, or a directory holds what cannot be stored.
    """
    if path == "-":
        return Stream(STDIN, "standard input", progress)
    shown = safe(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(fd)
    except OSError as error:
        raise of_os_error(error, f"reading {shown}") from None
    if stat.S_ISDIR(status.st_mode):
        os.close(fd)
        from .tarout import Tree

        tree = Tree(path, progress)
        tree.survey()
        return tree
    if stat.S_ISREG(status.st_mode) and status.st_size > 0:
        progress.expect(status.st_size)
        return File(fd, status.st_size, shown, progress)
    return Stream(fd, shown, progress)
