"""Taking content in: a stream of bytes or a tar becomes blocks on this peer's disk, with memory that does not grow.

Hashing and chunking leave the event loop. Nothing is named until it is whole; what an interrupted put leaves is
unlinked and collected.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from peerd.content.block import Block
from peerd.content.build import DirectoryBuilder, FileBuilder, Node, small_file
from peerd.content.cid import Cid
from peerd.content.limits import CHUNK_BYTES
from peerd.errors import NoRoomError, UsageError
from peerd.node.blocks import BATCH_BLOCKS_MAX, BATCH_BYTES, BlockWriter
from peerd.node.core import Core
from peerd.node.whole_digest import WholeDigest

if TYPE_CHECKING:
    import tarfile

# A file up to this may ride in its record; whether it does, the record's size decides (its name counts too).
INLINE_MAX_BYTES = 1024
# Pieces smaller than this are hashed where they are: the way to a thread costs more.
OFFLOAD_MIN_BYTES = 65536
TAR_READ_BYTES = 1024 * 1024
STOP_NOTICED_S = 0.05
REGULAR_TYPE = b"0"
"""tarfile.REGTYPE."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came in: the node, its blocks (36 bytes of CID each), and the bytes themselves where they are few."""

    node: Node
    cids: bytes
    small: bytes | None
    digest: bytes | None = None
    """The SHA-256 of a file's bytes, where it was to be found by that."""


async def ingest(core: Core, body: AsyncIterator[bytes], form: str) -> Ingested:
    """Take in a file (`file`) or a directory (`tar`).

    Raises NoRoomError, StoreError, and UsageError for a tar that is malformed or holds what no directory can.
    """
    with room_here():
        return await (_ingest_tar(core, body) if form == "tar" else _ingest_file(core, body))


@contextmanager
def room_here() -> Iterator[None]:
    """Say of a lack of room that it is this peer's: what is put goes through its store, whoever keeps it then."""
    try:
        yield
    except NoRoomError as error:
        raise NoRoomError(
            f"this peer has no room to take it in: {error.message}",
            hint=f"{error.hint or 'free some space here'}; or put it through a peer that has room (`peer --api`)",
        ) from error


async def keep_blocks(core: Core, ingested: Ingested) -> None:
    """Link the blocks of what came in to its root, so that they stay."""
    root = ingested.node.cid.to_bytes()
    cids = ingested.cids
    for at in range(0, len(cids), 36 * BATCH_BLOCKS_MAX):
        page = cids[at : at + 36 * BATCH_BLOCKS_MAX]
        await core.store.link_blocks(root, [page[i : i + 36] for i in range(0, len(page), 36)])


async def store_small(core: Core, ingested: Ingested) -> None:
    """Store as content what turned out not to fit its record."""
    assert ingested.small is not None
    blocks, _ = _build_small(ingested.small)
    with room_here():
        await core.room.put_blocks(blocks, writer=core.peer)


def _build_small(data: bytes) -> tuple[list[Block], Node]:
    builder = FileBuilder()
    blocks = builder.feed(data)
    last, node = builder.finish()
    return [*blocks, *last], node


async def _ingest_file(core: Core, body: AsyncIterator[bytes]) -> Ingested:
    builder = FileBuilder()
    whole = WholeDigest(core.settings.digest_max_bytes)
    writer = BlockWriter(core.store, core.room, writer=core.peer)
    head: bytearray | None = bytearray()
    try:
        async for piece in body:
            if head is not None:
                head += piece
                if len(head) <= INLINE_MAX_BYTES:
                    continue
                piece, head = bytes(head), None  # noqa: PLW2901
            if len(piece) >= OFFLOAD_MIN_BYTES:
                _, blocks = await asyncio.gather(
                    whole.feed(piece, core.environment.offload), core.environment.offload(builder.feed, piece)
                )
            else:
                await whole.feed(piece)
                blocks = builder.feed(piece)
            for block in blocks:
                await writer.add(block)
        if head is not None:
            blocks, node = _build_small(bytes(head))
            return Ingested(node, b"".join(block.cid.to_bytes() for block in blocks), bytes(head))
        blocks, node = await core.environment.offload(builder.finish)
        for block in blocks:
            await writer.add(block)
        await writer.flush()
    finally:
        await writer.close()
    return Ingested(node, bytes(writer.cids), None, whole.digest())


class _BodyFile:
    """The body as the file that `tarfile` reads, in a thread of its own; each read waits for the event loop."""

    def __init__(self, body: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._body = body
        self._loop = loop
        self._rest = b""
        self._ended = False
        self.stopped = False

    def read(self, count: int = -1) -> bytes:
        """Return at most `count` bytes, empty at the end."""
        while len(self._rest) < count and not self._ended:
            if self.stopped:
                raise UsageError("the body broke off")
            piece = self._wait_for(asyncio.run_coroutine_threadsafe(self._next(), self._loop))
            if not piece:
                self._ended = True
            self._rest += piece
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def _wait_for(self, waiting: Future[bytes]) -> bytes:
        while True:
            try:
                return waiting.result(timeout=STOP_NOTICED_S)
            except TimeoutError:
                if self.stopped:
                    waiting.cancel()
                    raise UsageError("the body broke off") from None

    async def _next(self) -> bytes:
        async for piece in self._body:
            if piece:
                return piece
        return b""

    def stop(self) -> None:
        """Let the thread end soon."""
        self.stopped = True


class _TarReader:
    """Builds a directory from a tar stream; runs in a thread, hands blocks to the event loop in batches."""

    def __init__(self, core: Core, source: _BodyFile, loop: asyncio.AbstractEventLoop) -> None:
        self._core = core
        self._source = source
        self._loop = loop
        self._builder = DirectoryBuilder()
        self._batch: list[Block] = []
        self._batch_bytes = 0
        self.cids = bytearray()

    def run(self) -> Node:
        """Return the directory's node."""
        # With its compressors tarfile is 2 MB, which a peer that takes no directory does not need.
        from peerd.node.strict_tar import read_members  # noqa: PLC0415

        read_members(cast("IO[bytes]", self._source), self._member)
        blocks, node = self._builder.finish()
        self._put(blocks)
        self._send()
        return node

    def _member(self, tar: "tarfile.TarFile", member: "tarfile.TarInfo") -> None:
        path = member.name.removeprefix("./").strip("/")
        if member.isdir():
            if path not in ("", "."):
                self._builder.add_directory(path)
        elif member.issym():
            self._builder.add_symlink(path, member.linkname)
        elif member.isreg():
            self._builder.add(path, self._file(tar, member))
        else:
            raise UsageError(f"not a file, directory or symbolic link: {member.name[:255]!r}")

    def _file(self, tar: "tarfile.TarFile", member: "tarfile.TarInfo") -> Node:
        plain = member.type == REGULAR_TYPE and not member.issparse()
        # The stream stands where its bytes begin: the library's own file object costs more than a small file.
        data = tar.fileobj if plain else tar.extractfile(member)
        assert data is not None
        if plain and member.size <= CHUNK_BYTES:
            whole = data.read(member.size)
            if len(whole) < member.size:
                raise UsageError("the tar stream ends inside a file")
            block, node = small_file(whole)
            self._put([block])
            return node
        builder = FileBuilder()
        left = member.size
        while left > 0:
            piece = data.read(min(left, TAR_READ_BYTES))
            if not piece:
                raise UsageError("the tar stream ends inside a file")
            left -= len(piece)
            self._put(builder.feed(piece))
        blocks, node = builder.finish()
        self._put(blocks)
        return node

    def _put(self, blocks: list[Block]) -> None:
        for block in blocks:
            self._batch.append(block)
            self._batch_bytes += len(block.data)
            self.cids += block.cid.to_bytes()
        if self._batch_bytes >= BATCH_BYTES or len(self._batch) >= BATCH_BLOCKS_MAX:
            self._send()

    def _send(self) -> None:
        if not self._batch:
            return
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        asyncio.run_coroutine_threadsafe(self._core.room.put_blocks(batch, writer=self._core.peer), self._loop).result()


async def _ingest_tar(core: Core, body: AsyncIterator[bytes]) -> Ingested:
    loop = asyncio.get_running_loop()
    source = _BodyFile(body, loop)
    reader = _TarReader(core, source, loop)
    work = asyncio.ensure_future(core.environment.offload(reader.run))
    try:
        node = await asyncio.shield(work)
    finally:
        source.stop()
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # of a put that was given up nobody wants to know how it would have ended
    return Ingested(node, bytes(reader.cids), None)


def small_cid(data: bytes) -> Cid:
    """Return the CID of a small file."""
    return _build_small(data)[1].cid
