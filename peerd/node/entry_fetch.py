"""Fetching the content of a build cache's entry, whole, from those that have it: a cached copy before it is served.

So what an answer has begun is on this disk: a source that dies is a miss before the first byte, never a broken file.
"""

import asyncio
import hashlib
from dataclasses import replace

from loguru import logger

from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.content.cid_set import CidSet
from peerd.content.file_reader import FileReader
from peerd.errors import IntegrityError, PeerdError
from peerd.io.store.interface import Root
from peerd.kad.contact import Contact
from peerd.node.blocks import BlockWriter, link_whole
from peerd.node.claims import change_root
from peerd.node.core import Core
from peerd.node.entry_names import PREFIX
from peerd.node.fetch import Fetcher
from peerd.node.ingest import OFFLOAD_MIN_BYTES

AHEAD_BLOCKS = 12
STALL_S = 3.0
"""Where no block comes for so long the entry is a miss."""

COPIES_SHOWN = 1
"""Copies wanted, as a cached root notes them: not 0, which is of content that nothing wants any more."""


async def fetch_whole(core: Core, root: Cid, size: int, sources: list[Contact], *, digest: bytes | None = None) -> bool:
    """Fetch a file, keep it as a cached copy and return True; False where it does not come, fit or have the digest."""
    try:
        await _Fetching(core, root, size, sources, digest).run()
    except (PeerdError, TimeoutError) as error:
        logger.debug("the content of an entry cannot be had", reason=str(error) or "no block came")
        return False
    return True


class _Fetching:
    """One file on its way here."""

    def __init__(self, core: Core, root: Cid, size: int, sources: list[Contact], digest: bytes | None) -> None:
        self._core = core
        self._root = root
        self._size = size
        self._sources = sources
        self._digest = digest
        self._hash = hashlib.sha256()
        self._came = 0
        self._read = CidSet()

    async def run(self) -> None:
        core, root = self._core, self._root
        writer = BlockWriter(core.store, core.room, root)
        with core.room.coming_in(root):
            try:
                async with Fetcher(core, self._find) as fetcher:
                    await self._blocks(fetcher, writer)
                await writer.flush()
            finally:
                await writer.close()
            if self._came != self._size or (self._digest is not None and self._hash.digest() != self._digest):
                raise IntegrityError("the content is not what its entry says")
            if not await link_whole(core.store, root, self._read.packed):
                raise IntegrityError("some blocks did not stay while the others came")
            await keep_cached(core, root, self._size)

    async def _find(self) -> list[Contact]:
        return self._sources

    async def _blocks(self, fetcher: Fetcher, writer: BlockWriter) -> None:
        reader = FileReader(self._root)
        tasks: dict[Cid, asyncio.Task[bytes]] = {}
        loop = asyncio.get_running_loop()
        try:
            while not reader.done:
                wants = reader.wants(AHEAD_BLOCKS)
                for cid in wants:
                    if cid not in tasks:
                        tasks[cid] = loop.create_task(fetcher.get(cid))
                async with asyncio.timeout(STALL_S):
                    data = await tasks[wants[0]]
                del tasks[wants[0]]
                if self._read.add(wants[0].to_bytes()):
                    await writer.add(Block(wants[0], data))
                for piece in reader.give(wants[0], data):
                    await self._piece(piece)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _piece(self, piece: bytes) -> None:
        self._came += len(piece)
        if self._came > self._size:
            raise IntegrityError("the content is larger than its entry says")
        if self._digest is None:
            return
        if len(piece) < OFFLOAD_MIN_BYTES:
            self._hash.update(piece)
        else:
            await self._core.environment.offload(self._hash.update, piece)


async def keep_cached(core: Core, root: Cid, size: int) -> None:
    """Note content, all of whose blocks are here and linked, as a cached copy; what it is besides it stays."""
    now = core.store.now_s()

    def cached(known: Root | None) -> Root:
        if known is None or (not known.complete and known.class_ == "cache"):
            return Root(root.to_bytes(), "file", size, 0, "cache", PREFIX, COPIES_SHOWN, True, now, now)
        return replace(known, copies=max(known.copies, COPIES_SHOWN), complete=True, used_at=now)

    await change_root(core, root.to_bytes(), cached)
