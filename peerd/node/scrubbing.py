"""Scrubbing: everything kept is read and re-hashed once in a long while, and what rotted is fetched again.

The store re-hashes what it reads and sets aside what does not match; this only sees to it that all is read in time.
"""

import asyncio

from loguru import logger

from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.content.read import DagWalk
from peerd.errors import PeerdError
from peerd.io.store.interface import Root
from peerd.kad.contact import Contact
from peerd.node.core import Core
from peerd.node.fetch import Fetcher
from peerd.node.providing import sources_of

# However much there is to read and however short the interval: never more than one root in this time.
PAUSE_MIN_S = 0.05


async def scrub(core: Core) -> None:
    """Go round all roots for ever, each once in `scrub_interval_s`."""
    after: bytes | None = None
    while True:
        kept = max(1, (await core.store.usage()).blobs)
        await asyncio.sleep(max(PAUSE_MIN_S, core.settings.scrub_interval_s / kept))
        roots = await core.store.roots(after, 1)
        after = roots[0].cid if roots else None
        for root in roots:
            if root.complete:
                await _scrub_safely(core, root)


async def _scrub_safely(core: Core, root: Root) -> None:
    try:
        mended = await scrub_root(core, Cid.from_bytes(root.cid))
    except PeerdError as error:
        logger.warning("content is damaged here and could not be mended", reason=str(error))
        return
    if mended:
        logger.warning("damaged blocks were fetched again", count=mended)


async def scrub_root(core: Core, root: Cid) -> int:
    """Read every block of a root and fetch again those that are lost or rotten; return how many.

    Raises what fetching and storing raise.
    """

    async def find() -> list[Contact]:
        return await sources_of(core, root)

    walk, mended = DagWalk(root), 0
    with core.room.coming_in(root):
        async with Fetcher(core, find) as fetcher:
            while not walk.done:
                cid = walk.wants(1)[0]
                data = await core.store.block(cid)
                if data is None:
                    data = await fetcher.get(cid)
                    await core.room.put_blocks([Block(cid, data)])
                    mended += 1
                walk.give(cid, data)
    return mended
