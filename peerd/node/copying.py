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
AHEAD_MAX = 256
LOOK_AHEAD_EVERY = 16


async def copy_dag(core: Core, root: Cid, fetcher: Fetcher, *, size: int) -> None:
    """Bring every block of a DAG here, durably, linked to the root; `size` are its files' bytes, as they were claimed.

    Raises what fetching and storing raise, and IntegrityError where the DAG is malformed or larger than was claimed.
    """
    walk = DagWalk(root)
    writer = BlockWriter(core.store, core.room, root)
    tasks: dict[Cid, asyncio.Task[bytes]] = {}
    here: dict[Cid, bytes] = {}
    given = 0
    try:
        while not walk.done:
            first = walk.wants(1)[0]
            # In steps: to look at all that is ahead after each of very many small blocks would be most of the work.
            if given % LOOK_AHEAD_EVERY == 0 or (first not in here and first not in tasks):
                wanted = [cid for cid in walk.fitting(AHEAD_MAX, AHEAD_BYTES) if cid not in tasks and cid not in here]
                here |= await fetcher.small_here(wanted)
                wanted = [cid for cid in wanted if cid not in here]
                for cid, absent in zip(wanted, await fetcher.absent(wanted), strict=True):
                    tasks[cid] = asyncio.get_running_loop().create_task(fetcher.get(cid, absent=absent))
            given += 1
            data = here.pop(first, None)
            if data is None:
                data = await tasks.pop(first)
            elif given % LOOK_AHEAD_EVERY == 0:
                await asyncio.sleep(0)  # what is here does not wait for anything, and others want the loop
            walk.give(first, data)
            await writer.add(Block(first, data))
            _check_claimed(size, writer.dag_bytes, walk.seen_count)
        await writer.flush()
        if not await link_whole(core.store, root, walk.cids):
            raise NoRoomError("some blocks did not stay while the others came")
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        await writer.close()


def _check_claimed(size: int, came_bytes: int, blocks: int) -> None:
    most_bytes = size + size // 20 + CLAIMED_SLACK_BYTES + blocks * CLAIMED_BLOCK_BYTES
    if came_bytes > most_bytes or blocks > CLAIMED_BLOCKS_MIN + size // CLAIMED_BLOCK_BYTES:
        raise IntegrityError(f"content is larger than the {size} bytes that were claimed for it")
