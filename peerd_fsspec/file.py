"""A file of `peer://`, as `open` gives it: read by ranges of content that stays the same, written whole at its end.

What is written goes to a temporary file of this machine and is stored when the file is closed, or its transaction ends:
until then nothing of it is there for others.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fsspec.asyn import sync
from fsspec.spec import AbstractBufferedFile

if TYPE_CHECKING:
    from peerd_fsspec.filesystem import PeerFileSystem

WHOLE_BYTES = 64 * 1024
"""A file up to this is read at once: short values ride in their records, and no peer has them by content id."""

SPOOLED_BYTES = 8 * 1024 * 1024


class PeerFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """See the module. Modes `rb`, `wb`, `xb` (there must be nothing) and `ab` (what is there, and more)."""

    fs: PeerFileSystem

    def __init__(self, fs: PeerFileSystem, path: str, mode: str, block_size: int | str, **more: Any) -> None:
        self._whole: bytes | None = None
        self._spool: Any = None
        self._version: str | None = None
        self._exclusive = mode == "xb"
        if mode == "xb" and fs.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        super().__init__(fs, path, mode, block_size, **more)
        if mode == "rb" and self.details["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)

    def _fetch_range(self, start: int, end: int) -> bytes:
        if self.details["size"] <= WHOLE_BYTES:
            if self._whole is None:
                self._whole = self.fs.cat_file(self.path)
            return self._whole[start:end]
        read = self.fs.read_content
        return bytes(sync(self.fs.loop, read, self.details["cid"], start, min(end, self.details["size"])))

    def _initiate_upload(self) -> None:
        self._spool = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115  it lives as long as this file
        if self.mode != "ab":
            return
        try:
            found = self.fs.info(self.path)
        except FileNotFoundError:
            self._exclusive = True
            return
        self._version = found.get("version")
        with self.fs.open(self.path, "rb") as there:
            shutil.copyfileobj(there, self._spool)

    def _upload_chunk(self, final: bool = False) -> bool:
        self._spool.write(self.buffer.getbuffer())
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        """Store what was written; raises FileExistsError where somebody else wrote meanwhile and that matters."""
        spool, self._spool = self._spool, None
        try:
            spool.seek(0)
            sync(self.fs.loop, self.fs.store, self.path, spool, exclusive=self._exclusive, version=self._version)
        finally:
            # aiohttp closes what it has sent, in a thread of its own: perhaps at this very moment.
            with suppress(ValueError):
                spool.close()

    def discard(self) -> None:
        """Throw away what was written."""
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()
