"""Entries of a stored directory into a new directory of this host, and never outside of it.

Every name is opened relative to its directory's descriptor, without following links, and every file is new: a link, a
second entry of the same name, or two that this file system takes for one, end in an integrity failure instead of
writing through or over something. Modes and times are not kept, nor were they stored.
"""

from __future__ import annotations

import errno
import os

from .failure import Failure
from .tarin import TarEntry, TarReader, damaged
from .text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .progress import Progress

NAME_MAX_BYTES = 255
LINK_MAX_BYTES = 4095
DEPTH_MAX = 256
ENTRIES_MAX = 10_000_000
"""Entries of one directory tree: a stream without end must not fill a disk with names."""

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Extractor:
    """Writes entries under the directory that `top` is a descriptor of."""

    def __init__(self, top: int, progress: Progress) -> None:
        self._top = top
        self._progress = progress
        self._made: set[str] = {""}
        self._parent = ""
        self._parent_fd = os.dup(top)

    def extract(self, pieces: Iterator[memoryview]) -> None:
        """Write all entries; raises Failure (integrity) for a hostile one, `no_room`, or what the disk refused."""
        reader = TarReader(pieces)
        try:
            for _ in range(ENTRIES_MAX):
                entry = reader.next()
                if entry is None:
                    return
                self._write(entry, reader)
        finally:
            os.close(self._parent_fd)
        raise damaged(f"more than {ENTRIES_MAX} entries")

    def _write(self, entry: TarEntry, reader: TarReader) -> None:
        names = _names(entry)
        parent, name = "/".join(names[:-1]), names[-1]
        try:
            self._enter(parent)
            if entry.kind == "directory":
                self._make(self._parent_fd, "/".join(names), name)
            elif entry.kind == "symlink":
                os.symlink(_link(entry), name, dir_fd=self._parent_fd)
            else:
                self._write_file(name, reader.data(entry.size))
        except FileExistsError:
            raise damaged(f"the name {safe(entry.path)} twice, as this file system sees it") from None
        except OSError as error:
            raise _refused(error, entry) from None

    def _write_file(self, name: str, data: Iterator[memoryview]) -> None:
        fd = os.open(name, _NEW_FILE, 0o666, dir_fd=self._parent_fd)
        try:
            for piece in data:
                view = piece
                while view:
                    view = view[os.write(fd, view) :]
                self._progress.add(len(piece))
        finally:
            os.close(fd)

    def _enter(self, path: str) -> None:
        """Make the directory `path` the parent of what is written next; those on the way are made where they miss."""
        if path == self._parent:
            return
        fd = os.dup(self._top)
        try:
            walked = ""
            for name in path.split("/") if path else ():
                walked = f"{walked}/{name}" if walked else name
                self._make(fd, walked, name)
                deeper = os.open(name, _OPEN_DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = deeper
        except BaseException:
            os.close(fd)
            raise
        os.close(self._parent_fd)
        self._parent, self._parent_fd = path, fd

    def _make(self, parent_fd: int, path: str, name: str) -> None:
        """Make a directory unless it was made here; one that is there is another entry's, spelt otherwise."""
        if path not in self._made:
            os.mkdir(name, dir_fd=parent_fd)
            self._made.add(path)


def _names(entry: TarEntry) -> list[str]:
    """Return the names of an entry's path. Raises Failure (integrity) where one could lead elsewhere."""
    path = entry.path.removesuffix("/") if entry.kind == "directory" else entry.path
    names = path.split("/")
    if len(names) > DEPTH_MAX:
        raise damaged(f"directories more than {DEPTH_MAX} deep")
    for name in names:
        if name in ("", ".", "..") or "\0" in name or len(name.encode()) > NAME_MAX_BYTES:
            raise damaged(f"the hostile name {safe(entry.path[:NAME_MAX_BYTES])!r}")
    return names


def _link(entry: TarEntry) -> str:
    if not entry.link or "\0" in entry.link or len(entry.link.encode()) > LINK_MAX_BYTES:
        raise damaged(f"a link that cannot be one, {safe(entry.path)}")
    return entry.link


def _refused(error: OSError, entry: TarEntry) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(
            "no_room", f"writing {safe(entry.path)}: {error.strerror}", "free some space, or choose another place"
        )
    if error.errno in (errno.ENOTDIR, errno.ELOOP):  # a file or a link where a directory would have to be
        return damaged(f"an entry below something that is no directory, {safe(entry.path)}")
    return Failure("failed", f"writing {safe(entry.path)}: {error.strerror}")
