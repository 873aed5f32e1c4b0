"""A directory as a PAX tar stream, made while it is sent: its entries in the order of their names, without itself.

Symbolic links are kept as links and never followed; special files are refused before anything is sent. Modes, owners
and times are left out, so that the same tree is the same stream. An entry that vanishes, shrinks or cannot be read
breaks the request off, and nothing is stored.
"""

# File descriptors and os throughout.
# ruff: noqa: PTH115
from __future__ import annotations

import os
import stat
import tarfile

from .failure import Failure, usage
from .source import READ_BYTES
from .text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .httpwire import Wire
    from .progress import Progress

FORM_TAR = "application/x-tar"
DEPTH_MAX = 128
"""Directories within directories: deeper is a loop of mounts or a mistake."""

BATCH_BYTES = 64 * 1024
"""Headers and small files are gathered up to this size, so that ten thousand of them are not as many messages."""

NAME_PLAIN_MAX = 99
SIZE_PLAIN_MAX = 8**11 - 1
_PLAIN = tarfile.TarInfo("").tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")

_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Entry:
    """One entry of a tree: its path on this host, its name in the stream, and what `lstat` said of it."""

    __slots__ = ("mode", "name", "path", "size")

    def __init__(self, path: str, name: str, status: os.stat_result) -> None:
        self.path = path
        self.name = name
        self.mode = stat.S_IFMT(status.st_mode)
        self.size = status.st_size


class Tree:
    """A directory to be sent."""

    def __init__(self, path: str, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self._batch = bytearray()

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that describe the body."""
        return [("Content-Type", FORM_TAR), ("Transfer-Encoding", "chunked")]

    def survey(self) -> None:
        """Walk the tree once before anything is sent; raises Failure where it holds what cannot be stored."""
        self._progress.expect(sum(entry.size for entry in walk(self._path) if entry.mode == stat.S_IFREG))

    def send(self, wire: Wire) -> None:
        """Send the tree; raises Failure where an entry cannot be read or is not any more what it was."""
        with self._progress:
            for entry in walk(self._path):
                info = tarfile.TarInfo(entry.name)
                if entry.mode == stat.S_IFREG:
                    self._send_file(wire, entry, info)
                    continue
                if entry.mode == stat.S_IFDIR:
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                else:
                    info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, _link(entry)
                self._put(wire, _header(info))
            self._put(wire, bytes(2 * tarfile.BLOCKSIZE))
            self._flush(wire)
            wire.send_last_chunk()

    def _send_file(self, wire: Wire, entry: Entry, info: tarfile.TarInfo) -> None:
        # Not through a link that took the file's place since it was listed, and not waiting for a pipe that did.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(entry.path, flags)
        except OSError as error:
            raise _unreadable(error, entry) from None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Failure("failed", f"{safe(entry.path)} was replaced while it was read; nothing was stored")
            info.size = left = status.st_size
            self._put(wire, _file_header(entry.name, left) or _header(info))
            while left:
                data = os.read(fd, min(READ_BYTES, left))
                if not data:
                    raise Failure("failed", f"{safe(entry.path)} became shorter while it was read; nothing was stored")
                left -= len(data)
                self._put(wire, data)
                self._progress.add(len(data))
        except OSError as error:
            raise _unreadable(error, entry) from None
        finally:
            os.close(fd)
        self._put(wire, bytes(-info.size % tarfile.BLOCKSIZE))

    def _put(self, wire: Wire, data: bytes) -> None:
        self._batch += data
        if len(self._batch) >= BATCH_BYTES:
            self._flush(wire)

    def _flush(self, wire: Wire) -> None:
        if self._batch:
            wire.send_chunk(memoryview(self._batch))
            self._batch = bytearray()


def walk(top: str) -> Iterator[Entry]:
    """Yield the entries under `top`, a directory before what is in it, each directory in the order of the names' bytes.

    Raises Failure: usage for a special file, a name that is not UTF-8, too deep a tree; else what could not be read.
    """
    pending = [_list(top, "")]
    while pending:
        if not pending[-1]:
            pending.pop()
            continue
        entry = pending[-1].pop()
        yield entry
        if entry.mode == stat.S_IFDIR:
            if len(pending) >= DEPTH_MAX:
                raise usage(f"{safe(entry.path)} is more than {DEPTH_MAX} directories deep")
            pending.append(_list(entry.path, entry.name + "/"))


def _list(path: str, prefix: str) -> list[Entry]:
    """Return a directory's entries, the last name first."""
    entries = []
    try:
        with os.scandir(path) as listed:
            for found in listed:
                entries.append(Entry(found.path, prefix + found.name, found.stat(follow_symlinks=False)))
                _check(entries[-1], found.name)
    except FileNotFoundError:
        raise Failure("failed", f"something vanished from {safe(path)} while it was read; nothing was stored") from None
    except OSError as error:
        raise Failure("failed", f"reading {safe(error.filename or path)}: {error.strerror}") from None
    entries.sort(key=lambda entry: os.fsencode(entry.name), reverse=True)
    return entries


def _check(entry: Entry, name: str) -> None:
    special = _SPECIAL.get(entry.mode)
    if special is not None:
        raise usage(f"{safe(entry.path)} is {special}, which cannot be stored", "leave it out; nothing was stored")
    try:
        os.fsencode(name).decode("utf-8")
    except UnicodeDecodeError:
        raise usage(f"the name {safe(entry.path)} is not UTF-8", "rename it; nothing was stored") from None


def _link(entry: Entry) -> str:
    try:
        target = os.readlink(entry.path)
    except OSError as error:
        raise _unreadable(error, entry) from None
    try:
        return os.fsencode(target).decode("utf-8")
    except UnicodeDecodeError:
        raise usage(f"the link {safe(entry.path)} points to a name that is not UTF-8", "nothing was stored") from None


def _file_header(name: str, size: int) -> bytes | None:
    """Return the header of a file whose name and size are short, as `tarfile` writes it; None of any other.

    Nearly all are: the library takes some 30 us for each.
    """
    if len(name) > NAME_PLAIN_MAX or not name.isascii() or size > SIZE_PLAIN_MAX:
        return None
    header = bytearray(_PLAIN)
    header[: len(name)] = name.encode()
    header[124:135] = b"%011o" % size
    header[148:155] = b"%06o\0" % (sum(header) - sum(header[148:156]) + 8 * 0x20)
    return bytes(header)


def _header(info: tarfile.TarInfo) -> bytes:
    info.name = os.fsencode(info.name).decode("utf-8")
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _unreadable(error: OSError, entry: Entry) -> Failure:
    """A file that was listed and cannot be read is no wrong usage, whatever the reason."""
    return Failure("failed", f"reading {safe(entry.path)}: {error.strerror}", "nothing was stored")
