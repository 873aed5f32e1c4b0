"""Copying a whole DAG here: every block checked, durable and linked to its root, and no more than was announced."""

import asyncio

from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.content.limits import CLAIMED_BLOCK_BYTES, CLAIMED_BLOCKS_MIN, CLAIMED_SLACK_BYTES
from peerd.content.read import DagWalk
from peerd.errors import IntegrityError, NoRoomError
from peerd.node.blocks import BlockWriter, link_whole
from peerd.node.core import Core
from peerd.node.fetch import Fetcher

# Blocks under way at a time while a DAG is copied.
AHEAD_BYTES = 12 * 1024 * 1024
AHEAD_MAX = 512
# What comes next is begun each so many blocks or bytes that were taken: after each would be most of the work.
LOOK_AHEAD_EVERY = 64
LOOK_AHEAD_BYTES = 1024 * 1024


async def copy_dag(core: Core, root: Cid, fetcher: Fetcher, *, size: int) -> None:
    """Bring every block of a DAG here, durably, linked to the root; `size` are its files' bytes, as they were claimed.

    Raises what fetching and storing raise, and IntegrityError where the DAG is malformed or larger than was claimed.
    """
    walk = DagWalk(root)
    writer = BlockWriter(core.store, core.room, root)
    ahead = _Ahead(fetcher)
    try:
        while not walk.done:
            first = walk.wants(1)[0]
            await ahead.look(walk, first)
            data = await ahead.take(first)
            walk.give(first, data)
            await writer.add(Block(first, data))
            _check_claimed(size, writer.dag_bytes, walk.seen_count)
        await writer.flush()
        if not await link_whole(core.store, root, walk.cids):
            raise NoRoomError("some blocks did not stay while the others came")
    finally:
        await ahead.close()
        await writer.close()


class _Ahead:
    """The blocks that come next: small ones that are here read together, the others under way."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._begun: dict[Cid, bytes | asyncio.Future[bytes] | asyncio.Task[bytes]] = {}
        self._taken = self._taken_bytes = 0
        """Since the last look."""

    async def look(self, walk: DagWalk, first: Cid) -> None:
        """Begin what comes next."""
        if self._taken < LOOK_AHEAD_EVERY and self._taken_bytes < LOOK_AHEAD_BYTES and first in self._begun:
            return
        if self._taken:
            await asyncio.sleep(0)  # what is here does not wait for anything, and others want the loop
        self._taken = self._taken_bytes = 0
        wanted = [cid for cid in walk.fitting(AHEAD_MAX, AHEAD_BYTES) if cid not in self._begun]
        self._begun |= (here := await self._fetcher.small_here(wanted))
        wanted = [cid for cid in wanted if cid not in here]
        for cid, absent in zip(wanted, await self._fetcher.absent(wanted), strict=True):
            if absent:
                self._begun[cid] = self._fetcher.ask(cid, most_bytes=walk.size_of(cid))
            else:
                self._begun[cid] = asyncio.get_running_loop().create_task(self._fetcher.get(cid))

    async def take(self, cid: Cid) -> bytes:
        """Return a block that was begun."""
        begun = self._begun[cid]
        data = begun if isinstance(begun, bytes) else await begun
        del self._begun[cid]
        if isinstance(begun, asyncio.Future) and not isinstance(begun, asyncio.Task):
            self._fetcher.let_go(cid, begun)
        self._taken += 1
        self._taken_bytes += len(data)
        return data

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [begun for begun in self._begun.values() if isinstance(begun, asyncio.Task)]
        for cid, begun in self._begun.items():
            if isinstance(begun, asyncio.Future) and not isinstance(begun, asyncio.Task):
                self._fetcher.let_go(cid, begun)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check_claimed(size: int, came_bytes: int, blocks: int) -> None:
    most_bytes = size + size // 20 + CLAIMED_SLACK_BYTES + blocks * CLAIMED_BLOCK_BYTES
    if came_bytes > most_bytes or blocks > CLAIMED_BLOCKS_MIN + size // CLAIMED_BLOCK_BYTES:
        raise IntegrityError(f"content is larger than the {size} bytes that were claimed for it")
