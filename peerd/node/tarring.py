"""A stored directory as a PAX tar: entries in order, and what a hostile directory holds bounded on the way.

A directory may be linked from itself over and over, have a million entries at each of many levels, or be larger than
was said: memory stays within one listing's bound, and work in proportion to the blocks there are.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from peerd.content.cid import Cid
from peerd.content.cid_set import CidSet
from peerd.content.limits import (
    BLOCK_MAX_BYTES,
    LISTING_MAX_BYTES,
    PATH_DEPTH_MAX,
    REPEATED_ENTRIES_MIN,
    REPEATED_ENTRIES_SHARE,
    REPEATED_ENTRY_BYTES,
)
from peerd.content.names import check_symlink_target
from peerd.content.read import DagNode, Entry, Listing, decode
from peerd.errors import IntegrityError, WireError

if TYPE_CHECKING:
    import tarfile

    from peerd.node.get import Source

# Entries whose roots are fetched ahead of the reader, and how many bytes of them at most.
AHEAD_ENTRIES = 128
AHEAD_BYTES = 12 * 1024 * 1024
ERROR_RECORD = "PEERD.error"
ERROR_MAX_CHARS = 500
PAX_FORMAT: Literal[2] = 2  # tarfile.PAX_FORMAT


async def tar(source: "Source", root: Cid, *, size: int | None) -> AsyncIterator[bytes]:
    """Yield a tar of a directory whose files have `size` bytes, where that is known.

    Raises IntegrityError where it is no possible directory, what fetching raises otherwise. Between two entries it says
    so in the tar before: who is sent it then knows why it breaks off (a record ERROR_RECORD of an extended header).
    """
    import tarfile  # noqa: PLC0415  as below

    bounds = _Bounds()
    try:
        async for piece in _entries(source, root, size, bounds):
            bounds.began = True
            yield piece
    except IntegrityError as error:
        if bounds.began and not bounds.in_file:
            info = tarfile.TarInfo("error")
            info.pax_headers = {ERROR_RECORD: error.message[:ERROR_MAX_CHARS]}
            yield _header(info)
        raise


async def _entries(source: "Source", root: Cid, size: int | None, bounds: "_Bounds") -> AsyncIterator[bytes]:
    import tarfile  # noqa: PLC0415  with its compressors 2 MB, which a peer that gives no directory does not need

    async for path, entry, block, node in _walk(source, root, bounds):
        info = tarfile.TarInfo(path)
        info.mode, info.mtime = 0o644, 0
        if node.kind in ("directory", "hamt"):
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            yield _header(info)
        elif node.kind == "symlink":
            info.type, info.linkname = tarfile.SYMTYPE, check_symlink_target(node.data)
            yield _header(info)
        else:
            info.size = node.file_size
            bounds.files_bytes += info.size
            if size is not None and bounds.files_bytes > size:
                raise IntegrityError(f"the directory is larger than the {size} bytes that it says")
            yield _header(info)
            bounds.in_file = True
            sent = 0
            async for piece in source.file(entry.cid, first=block):
                sent += len(piece)
                yield piece
            if sent != info.size:
                raise IntegrityError(f"{path[:255]!r} is not as long as it says")
            yield bytes(-sent % tarfile.BLOCKSIZE)
            bounds.in_file = False
    source.completed()
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(info: "tarfile.TarInfo") -> bytes:
    return info.tobuf(PAX_FORMAT, "utf-8", "surrogateescape")


@dataclass(slots=True)
class _Bounds:
    """How many entries were met, in directories met first and in those met again; what is listed and not yet taken."""

    met: CidSet = field(default_factory=CidSet)
    first: int = 0
    repeated: int = 0
    files_bytes: int = 0
    began: bool = False
    in_file: bool = False

    def enter(self, root: Cid, listing: Listing, above: int) -> None:
        if len(listing) and not self.met.add(root.to_bytes()):
            self.repeated += len(listing)
            most = REPEATED_ENTRIES_MIN + REPEATED_ENTRIES_SHARE * self.first
            if self.repeated > most + self.files_bytes // REPEATED_ENTRY_BYTES:
                raise IntegrityError("a directory that repeats itself too often")
        else:
            self.first += len(listing)
        if listing.size_bytes + above > LISTING_MAX_BYTES:
            raise IntegrityError("directories of too many entries in each other")


async def _walk(source: "Source", root: Cid, bounds: _Bounds) -> AsyncIterator[tuple[str, Entry, bytes, DagNode]]:
    """Yield (path, entry, its root block, decoded) of everything below a directory, parents first."""
    top = await source.entries(root, await source.first())
    bounds.enter(root, top, 0)
    stack: list[tuple[str, Listing]] = [("", top)]
    ahead: dict[Cid, asyncio.Task[bytes]] = {}
    try:
        while stack:
            parent, listing = stack[-1]
            if not len(listing):
                stack.pop()
                continue
            _fetch_ahead(source, listing, ahead)
            entry = listing.take()
            task = ahead.pop(entry.cid, None)
            block = await task if task is not None else await source.block(entry.cid)
            node = _decode(entry, block)
            path = parent + entry.name
            yield path, entry, block, node
            if node.kind in ("directory", "hamt"):
                if len(stack) >= PATH_DEPTH_MAX:
                    raise IntegrityError("directories nested too deep")
                below = await source.entries(entry.cid, block)
                bounds.enter(entry.cid, below, sum(each.size_bytes for _, each in stack))
                stack.append((f"{path}/", below))
    finally:
        for task in ahead.values():
            task.cancel()
        await asyncio.gather(*ahead.values(), return_exceptions=True)


def _decode(entry: Entry, block: bytes) -> DagNode:
    # What is fetched ahead is bounded by what the entries say, so that must hold.
    if len(block) > entry.tsize > 0:
        raise IntegrityError(f"{entry.name[:80]!r} is larger than its entry says")
    try:
        return decode(entry.cid, block)
    except WireError as error:
        raise IntegrityError(f"block {entry.cid} is malformed: {error.reason}") from error


def _fetch_ahead(source: "Source", listing: Listing, ahead: dict[Cid, asyncio.Task[bytes]]) -> None:
    budget = AHEAD_BYTES
    for entry in listing.ahead(AHEAD_ENTRIES):
        budget -= min(entry.tsize or BLOCK_MAX_BYTES, BLOCK_MAX_BYTES)
        if budget < 0:
            return
        if entry.cid not in ahead:
            ahead[entry.cid] = asyncio.get_running_loop().create_task(source.block(entry.cid))
