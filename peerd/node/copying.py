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
        self._here: dict[Cid, bytes] = {}
        self._asked: dict[Cid, asyncio.Future[bytes]] = {}
        self._tasks: dict[Cid, asyncio.Task[bytes]] = {}
        self._taken = self._taken_bytes = 0
        """Since the last look."""

    async def look(self, walk: DagWalk, first: Cid) -> None:
        """Begin what comes next."""
        if self._taken < LOOK_AHEAD_EVERY and self._taken_bytes < LOOK_AHEAD_BYTES and self._has(first):
            return
        if self._taken:
            await asyncio.sleep(0)  # what is here does not wait for anything, and others want the loop
        self._taken = self._taken_bytes = 0
        wanted = [cid for cid in walk.fitting(AHEAD_MAX, AHEAD_BYTES) if not self._has(cid)]
        self._here |= await self._fetcher.small_here(wanted)
        wanted = [cid for cid in wanted if cid not in self._here]
        for cid, absent in zip(wanted, await self._fetcher.absent(wanted), strict=True):
            if absent:
                self._asked[cid] = self._fetcher.ask(cid)
            else:
                self._tasks[cid] = asyncio.get_running_loop().create_task(self._fetcher.get(cid))

    def _has(self, cid: Cid) -> bool:
        return cid in self._here or cid in self._asked or cid in self._tasks

    async def take(self, cid: Cid) -> bytes:
        """Return a block that was begun."""
        data = self._here.pop(cid, None)
        if data is None and (future := self._asked.get(cid)) is not None:
            data = await future
            self._fetcher.let_go(cid, self._asked.pop(cid))
        elif data is None:
            data = await self._tasks.pop(cid)
        self._taken += 1
        self._taken_bytes += len(data)
        return data

    async def close(self) -> None:
        """Give up what is under way."""
        for cid, future in self._asked.items():
            self._fetcher.let_go(cid, future)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def _check_claimed(size: int, came_bytes: int, blocks: int) -> None:
    most_bytes = size + size // 20 + CLAIMED_SLACK_BYTES + blocks * CLAIMED_BLOCK_BYTES
    if came_bytes > most_bytes or blocks > CLAIMED_BLOCKS_MIN + size // CLAIMED_BLOCK_BYTES:
        raise IntegrityError(f"content is larger than the {size} bytes that were claimed for it")
