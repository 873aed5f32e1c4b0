"""The store's calls on blocks, on disk: small ones in the database, larger ones a file each.

A large block is written and synced by the staging threads, beside the writer and not in its way; the writer only
names and notes it. What a read finds damaged the writer looks at again, alone with the file, before it is set aside.
"""

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

from loguru import logger

from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.errors import LocalError, StoreError
from peerd.io.store import block_table, bounds, root_table, schema
from peerd.io.store.block_table import NewBlock, Spare
from peerd.io.store.blockfiles import Staged
from peerd.io.store.faults import StagedGoneError, translated
from peerd.io.store.handover import Handover
from peerd.io.store.health import GONE
from peerd.io.store.interface import Freed

_PUT_ATTEMPTS = 3


class SqliteBlocks(Handover):
    """See `Store`."""

    async def put_blocks(
        self, blocks: Sequence[Block], *, root: bytes | None = None, named: Sequence[bytes] = ()
    ) -> None:
        """See `Store.put_blocks`."""
        wanted = {block.cid.to_bytes(): block.data for block in blocks}
        for _ in range(_PUT_ATTEMPTS):
            async with self._slots:
                staged = await self._stage_missing(wanted)
                noting = self._noting(wanted, staged, root, named)
                with suppress(StagedGoneError):
                    if not await self._submit("writing blocks", noting, staged=staged):
                        return
        raise StoreError("blocks are deleted as fast as they are put")

    async def _stage_missing(self, wanted: dict[bytes, bytes]) -> list[Staged]:
        """Write to temporary files the large blocks that are not here yet."""
        large = [raw for raw, data in wanted.items() if len(data) > bounds.INLINE_MAX_BYTES]
        if not large:
            return []
        missing = await self._read("looking for blocks", partial(self._missing, wanted=wanted, raws=large))
        self._require_open()
        self.health.require_trusted()
        writing = [self._ahead.synced(raw, wanted[raw]) for raw in missing]
        try:
            return list(await asyncio.gather(*map(asyncio.wrap_future, writing)))
        except OSError as error:
            self._discard_later(writing)
            raise translated(error, "writing blocks") from error
        except BaseException:
            self._discard_later(writing)
            raise

    def _missing(self, database: sqlite3.Connection, wanted: dict[bytes, bytes], raws: Sequence[bytes]) -> list[bytes]:
        missing = block_table.missing(database, raws)
        size = sum(len(wanted[raw]) for raw in missing)
        self._files.require_free(size)
        self._room.require(database, size)
        return missing

    def _noting(
        self, wanted: dict[bytes, bytes], staged: Sequence[Staged], root: bytes | None, named: Sequence[bytes]
    ) -> "partial[list[bytes]]":
        filed = {one.raw for one in staged}
        new = [
            NewBlock(raw, len(data), data if len(data) <= bounds.INLINE_MAX_BYTES else None, raw in filed)
            for raw, data in wanted.items()
        ]
        noting = partial(self._note, new=new, now=self._clock.monotonic())
        return noting if root is None else partial(self._note_of, noting=noting, new=new, root=root, named=named)

    def _note(
        self, database: sqlite3.Connection, new: Sequence[NewBlock], now: float, rank: int = bounds.RANK_UNLINKED
    ) -> list[bytes]:
        self._files.require_free(sum(one.size for one in new if one.inline is not None))
        return block_table.put(database, self._room, new, run=self._run, now=now, rank=rank)

    def _note_of(
        self,
        database: sqlite3.Connection,
        noting: "partial[list[bytes]]",
        new: Sequence[NewBlock],
        root: bytes,
        named: Sequence[bytes],
    ) -> list[bytes]:
        """Note blocks and link them, and those they name, to a root."""
        row, rank = root_table.linkable(database, self._room, root, self.now_s())
        lacking = noting(database, rank=rank)
        if not lacking:
            block_table.link(database, self._room, row, rank, [*(one.raw for one in new), *named])
        return lacking

    def _discard_later(self, writing: Sequence["Future[Staged]"]) -> None:
        """Delete temporary files of a put that was given up, in the threads that write them."""

        def discard() -> None:
            done = [one for one in writing if not one.cancelled() and one.exception() is None]
            self._files.discard(one.result() for one in done)

        # A pool that is shut down takes nothing more: the next start sweeps.
        with suppress(RuntimeError):
            self._staging.submit(discard)

    def stage_block(self, block: Block) -> None:
        """See `StagesBlocks`."""
        if len(block.data) > bounds.INLINE_MAX_BYTES and self._closing is None:
            self._ahead.stage(block)

    async def receive_block(self, block: Block, land: Callable[[], None] | None = None) -> bool:
        """See `StagesBlocks`."""
        loop = asyncio.get_running_loop()
        checked: asyncio.Future[bool] = loop.create_future()

        def report(right: bool) -> None:
            loop.call_soon_threadsafe(_settle, checked, right)

        stage = len(block.data) > bounds.INLINE_MAX_BYTES and self._closing is None
        try:
            self._ahead.receive(block, report, land, stage=stage)
        except RuntimeError:  # threads that have ended take nothing more
            raise StoreError("the store is closed") from None
        return await checked

    def unstage_blocks(self, blocks: Iterable[Block]) -> None:
        """See `StagesBlocks`."""
        self._ahead.drop(block.cid.to_bytes() for block in blocks)

    async def _put_found(self, found: Sequence[Staged]) -> None:
        """Put blocks that came whole before a kill; what has no room now goes."""
        self._ahead.found(found)
        for one in found:
            try:
                data = await asyncio.wrap_future(self._staging.submit(self._files.read_staged, one))
                if data is not None:
                    await self.put_blocks([Block(Cid.from_bytes(one.raw), data)])
            except LocalError as error:
                logger.warning("a block that came before the last start is let go", reason=str(error))
            finally:
                self._ahead.drop([one.raw])

    async def block(self, cid: Cid) -> bytes | None:
        """See `Store.block`."""
        place, data = await self._read("reading a block", partial(self._find, cid=cid))
        if place == schema.PLACE_ABSENT or data is not None:
            return data
        return await self._write("looking at a damaged block", partial(self._examine, cid=cid))

    async def small_blocks(self, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        """See `ReadsSmallBlocks`."""
        return await self._read("reading small blocks", partial(_find_small, cids=cids))

    async def block_to_send(self, cid: Cid) -> bytes | None:
        """See `Store.block_to_send`."""
        data = await self._read("reading a block", partial(self._find_to_send, cid=cid))
        return data if data is not None else await self.block(cid)

    def _find_to_send(self, database: sqlite3.Connection, cid: Cid) -> bytes | None:
        raw = cid.to_bytes()
        place, data = block_table.find(database, raw)
        if place == schema.PLACE_FILE:
            return self._files.read_whole(raw)
        return data if data is not None and hashlib.sha256(data).digest() == cid.digest else None

    def _find(self, database: sqlite3.Connection, cid: Cid) -> tuple[int, bytes | None]:
        """Return a block's place, and its bytes where they are whole."""
        raw = cid.to_bytes()
        place, data = block_table.find(database, raw)
        if place == schema.PLACE_FILE:
            data = self._files.read(raw)
        whole = data is not None and hashlib.sha256(data).digest() == cid.digest
        return place, data if whole else None

    def _examine(self, database: sqlite3.Connection, cid: Cid) -> bytes | None:
        """Read again what seemed damaged, nobody changing it now; set it aside where it is."""
        place, data = self._find(database, cid)
        if place == schema.PLACE_ABSENT or data is not None:
            return data
        if not self._place.is_here():
            raise StoreError(GONE)  # files are not missing because their disk is
        raw = cid.to_bytes()
        if place == schema.PLACE_FILE:
            self._files.quarantine(raw)
        block_table.drop_bytes(database, raw)
        block_table.count_rotten(database)
        return None

    async def has_blocks(self, cids: Sequence[Cid]) -> list[bool]:
        """See `Store.has_blocks`."""
        raws = [cid.to_bytes() for cid in cids]
        missing = set(await self._read("looking for blocks", partial(block_table.missing, raws=raws)))
        return [raw not in missing for raw in raws]

    async def not_linked(self, root: bytes, cids: Sequence[bytes]) -> list[bytes]:
        """See `ReadsSmallBlocks`."""
        return await self._read("looking for links", partial(block_table.not_linked, root=root, raws=cids))

    async def delete_blocks(self, cids: Sequence[Cid]) -> None:
        """See `Store.delete_blocks`."""
        raws = [cid.to_bytes() for cid in cids]
        await self._write("deleting blocks", partial(block_table.delete, raws=raws))

    async def drop_unlinked(self, age_s: float, *, since: float | None = None) -> Freed:
        """See `Store.drop_unlinked`."""
        drop = partial(
            block_table.drop_unlinked,
            spare=Spare(self._run, float("inf") if since is None else since),
            newest=self._clock.monotonic() - age_s,
            limit=block_table.SLICE_BLOCKS,
        )
        freed, seen = Freed(0, 0), block_table.SLICE_BLOCKS
        while seen == block_table.SLICE_BLOCKS:
            seen, more = await self._write("deleting unlinked blocks", drop)
            freed = Freed(freed.bytes + more.bytes, freed.blocks + more.blocks)
        return freed

    async def drop_rotten(self) -> int:
        """See `Store.drop_rotten`."""
        return await self._write("deleting damaged blocks", lambda _: self._files.drop_rotten())


def _find_small(database: sqlite3.Connection, cids: Sequence[Cid]) -> dict[Cid, bytes]:
    by_raw = {cid.to_bytes(): cid for cid in cids}
    found = block_table.inline(database, list(by_raw))
    return {by_raw[raw]: data for raw, data in found if hashlib.sha256(data).digest() == by_raw[raw].digest}


def _settle(future: "asyncio.Future[bool]", right: bool) -> None:
    if not future.done():
        future.set_result(right)
