"""Entries of a stored directory into a new directory of this host, and never outside of it.

Every name is opened relative to its directory's descriptor, without following links, and every file is new: a link, a
second entry of the same name, or two that this file system takes for one, end in an integrity failure instead of
writing through or over something. Modes and times are not kept, nor were they stored.
"""

from __future__ import annotations

import errno
import os

from .failure import Failure
from .place import free_bytes
from .tarin import TarEntry, TarReader, damaged
from .text import safe, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .progress import Progress

NAME_MAX_BYTES = 255
LINK_MAX_BYTES = 4095
DEPTH_MAX = 128
ROOM_ASKED_FROM_BYTES = 1024 * 1024
"""Files from this size on are compared with the free space of the disk before they are begun."""

ENTRIES_MAX = 10_000_000
"""Entries of one directory tree: a stream without end must not fill a disk with names."""

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Extractor:
    """Writes entries under the directory that `top` is a descriptor of."""

    def __init__(self, top: int, progress: Progress) -> None:
        self._top = top
        self._progress = progress
        self._at: list[str] = []
        self._fds = [os.dup(top)]
        """Open: the top, and each directory on the way to where the last entry stood."""

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
            while self._fds:
                os.close(self._fds.pop())
        raise damaged(f"more than {ENTRIES_MAX} entries")

    def _write(self, entry: TarEntry, reader: TarReader) -> None:
        names = _names(entry)
        try:
            if entry.kind == "directory":
                self._enter(names)
                return
            self._enter(names[:-1])
            if entry.kind == "symlink":
                os.symlink(_link(entry), names[-1], dir_fd=self._fds[-1])
            else:
                self._require_room(entry)
                self._write_file(names[-1], reader.data(entry.size))
        except FileExistsError:
            raise damaged(f"the name {safe(entry.path)} twice, as this file system sees it") from None
        except OSError as error:
            raise _refused(error, entry) from None

    def _write_file(self, name: str, data: Iterator[memoryview]) -> None:
        fd = os.open(name, _NEW_FILE, 0o666, dir_fd=self._fds[-1])
        try:
            for piece in data:
                view = piece
                while view:
                    view = view[os.write(fd, view) :]
                self._progress.add(len(piece))
        finally:
            os.close(fd)

    def _require_room(self, entry: TarEntry) -> None:
        if entry.size < ROOM_ASKED_FROM_BYTES:
            return
        free = free_bytes(self._fds[-1])
        if free is not None and entry.size > free:
            raise Failure(
                "no_room",
                f"writing {safe(entry.path)}: {size(entry.size)} are to come, and the disk has {size(free)} free",
                "free some space, or choose another place",
            )

    def _enter(self, names: list[str]) -> None:
        """Go to a directory; what is not on the way from the top to where the last entry stood is made.

        A stored directory comes depth first, so that none is returned to: one that is there already is another entry's,
        spelt otherwise. Only the way is remembered, however many directories there are.
        """
        shared = 0
        while shared < len(names) and self._at[shared : shared + 1] == [names[shared]]:
            shared += 1
        while len(self._at) > shared:
            self._at.pop()
            os.close(self._fds.pop())
        for name in names[shared:]:
            os.mkdir(name, dir_fd=self._fds[-1])
            self._fds.append(os.open(name, _OPEN_DIRECTORY, dir_fd=self._fds[-1]))
            self._at.append(name)


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
