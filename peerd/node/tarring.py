"""A stored directory as a PAX tar: entries in order, and what a hostile directory holds bounded on the way.

A directory may be linked from itself over and over, have a million entries at each of many levels, or be larger than
was said: memory stays within one listing's bound, and work in proportion to the blocks there are.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from peerd.content.cid import RAW, Cid
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
from peerd.node.shards import entries

if TYPE_CHECKING:
    import tarfile

    from peerd.node.get import Source

# Entries whose roots are fetched ahead of the reader, and how many bytes of them at most.
AHEAD_ENTRIES = 512
AHEAD_BYTES = 12 * 1024 * 1024
LOOK_AHEAD_EVERY = 128
# Headers and small files go out together, up to this size.
GATHER_BYTES = 64 * 1024
NAME_PLAIN_MAX = 99
SIZE_PLAIN_MAX = 8**11 - 1
ERROR_RECORD = "PEERD.error"
ERROR_MAX_CHARS = 500
PAX_FORMAT: Literal[2] = 2  # tarfile.PAX_FORMAT


async def tar(source: "Source", root: Cid, *, size: int | None) -> AsyncIterator[bytes]:
    """Yield a tar of a directory whose files have `size` bytes, where that is known.

    Raises IntegrityError where it is no possible directory, what fetching raises otherwise. Between two entries it says
    so in the tar before: who is sent it then knows why it breaks off (a record ERROR_RECORD of an extended header).
    """
    import tarfile  # noqa: PLC0415  as below

    bounds, gathered = _Bounds(), bytearray()
    try:
        async for piece in _entries(source, root, size, bounds):
            if len(piece) < GATHER_BYTES:
                gathered += piece
                if len(gathered) < GATHER_BYTES:
                    continue
                piece = b""  # noqa: PLW2901
            bounds.began = True
            if gathered:
                yield bytes(gathered)
                gathered.clear()
            if piece:
                yield piece
        if gathered:
            yield bytes(gathered)
    except IntegrityError as error:
        if bounds.began and not bounds.in_file:
            info = tarfile.TarInfo("error")
            info.pax_headers = {ERROR_RECORD: error.message[:ERROR_MAX_CHARS]}
            yield bytes(gathered) + _header(info)
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
            yield _file_header(path, info.size) or _header(info)
            bounds.in_file = True
            sent = 0
            if entry.cid.codec == RAW:  # the whole file
                sent = len(block)
                yield block
            else:
                async for piece in source.file(entry.cid, first=block):
                    sent += len(piece)
                    yield piece
            if sent != info.size:
                raise IntegrityError(f"{path[:255]!r} is not as long as it says")
            yield bytes(-sent % tarfile.BLOCKSIZE)
            bounds.in_file = False
    source.completed()
    yield bytes(2 * tarfile.BLOCKSIZE)


def _file_header(path: str, size: int) -> bytes | None:
    """Return the header of a file whose name and size are short, as the library writes it; None of any other.

    Nearly all are: the library takes some 30 us for each.
    """
    if len(path) > NAME_PLAIN_MAX or not path.isascii() or "\0" in path or size > SIZE_PLAIN_MAX:
        return None
    name, digits = path.encode(), b"%011o" % size
    header = bytearray(_plain_header())
    header[: len(name)] = name
    header[124:135] = digits
    header[148:155] = b"%06o\0" % (sum(header) - sum(header[148:156]) + 8 * 0x20)
    return bytes(header)


@lru_cache(maxsize=1)
def _plain_header() -> bytes:
    import tarfile  # noqa: PLC0415  as above

    info = tarfile.TarInfo("")
    info.mode, info.mtime = 0o644, 0
    return _header(info)


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
    top = await entries(source, root, await source.first())
    bounds.enter(root, top, 0)
    stack: list[tuple[str, Listing]] = [("", top)]
    ahead = _Ahead(source)
    try:
        while stack:
            parent, listing = stack[-1]
            if not len(listing):
                stack.pop()
                continue
            await ahead.look(listing)
            entry = listing.take()
            block = await ahead.take(entry.cid)
            node = _decode(entry, block)
            path = parent + entry.name
            yield path, entry, block, node
            if node.kind in ("directory", "hamt"):
                if len(stack) >= PATH_DEPTH_MAX:
                    raise IntegrityError("directories nested too deep")
                below = await entries(source, entry.cid, block)
                bounds.enter(entry.cid, below, sum(each.size_bytes for _, each in stack))
                stack.append((f"{path}/", below))
    finally:
        await ahead.close()


def _decode(entry: Entry, block: bytes) -> DagNode:
    # What is fetched ahead is bounded by what the entries say, so that must hold.
    if len(block) > entry.tsize > 0:
        raise IntegrityError(f"{entry.name[:80]!r} is larger than its entry says")
    try:
        return decode(entry.cid, block)
    except WireError as error:
        raise IntegrityError(f"block {entry.cid} is malformed: {error.reason}") from error


class _Ahead:
    """The root blocks of the entries that come next: small ones that are here read together, the others under way."""

    def __init__(self, source: "Source") -> None:
        self._source = source
        self._here: dict[Cid, bytes] = {}
        self._tasks: dict[Cid, asyncio.Task[bytes]] = {}
        self._asked: dict[Cid, asyncio.Future[bytes]] = {}
        self._left = 0
        self._of: Listing | None = None

    async def look(self, listing: Listing) -> None:
        """Begin what comes next in a listing; in steps, so that ten thousand entries are not looked at 128 times."""
        if listing is self._of and self._left > 0:
            self._left -= 1
            return
        self._of, self._left = listing, LOOK_AHEAD_EVERY - 1
        budget = AHEAD_BYTES
        wanted: dict[Cid, int] = {}
        for entry in listing.ahead(AHEAD_ENTRIES):
            budget -= (size := min(entry.tsize or BLOCK_MAX_BYTES, BLOCK_MAX_BYTES))
            if budget < 0:
                break
            if not (entry.cid in self._here or entry.cid in self._asked or entry.cid in self._tasks):
                wanted[entry.cid] = size
        if len(self._here) > AHEAD_ENTRIES:
            self._here.clear()  # of the directory above: looked for again when it goes on
        self._here |= await self._source.small_here(list(wanted))
        wanted = {cid: size for cid, size in wanted.items() if cid not in self._here}
        self._asked |= (asked := await self._source.ask(wanted))
        for cid in wanted:
            if cid not in asked:
                self._tasks[cid] = asyncio.get_running_loop().create_task(self._source.block(cid))

    async def take(self, cid: Cid) -> bytes:
        """Return a block."""
        data = self._here.pop(cid, None)
        if data is not None:
            return data
        asked = self._asked.pop(cid, None)
        if asked is not None:
            return await self._source.asked(cid, asked)
        task = self._tasks.pop(cid, None)
        return await task if task is not None else await self._source.block(cid)

    async def close(self) -> None:
        """Give up what is under way; what has come is kept."""
        for cid, future in self._asked.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                await self._source.asked(cid, future)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
