"""Exporting: the whole DAG of a name or of content as a CAR, in the order of its links, while it is fetched.

Every block is checked when it arrives, so that what was sent is right as far as it goes; whoever reads it sees by the
end of the stream whether it is all.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from peerd.content.block import raw_block
from peerd.content.car_writing import encode_header, encode_section
from peerd.content.cid import Cid
from peerd.content.read import DagWalk
from peerd.node.get import Opened, Source

# Blocks under way ahead of the one that is sent, as far as their sizes go together.
AHEAD_BYTES = 12 * 1024 * 1024
AHEAD_MAX = 64


async def car(opened: Opened) -> AsyncGenerator[bytes]:
    """Yield a CAR of version 1 with one root and every block below it, each once, depth first.

    Raises what fetching raises, and IntegrityError for a DAG that is malformed or has no end.
    """
    if opened.inline is not None:
        block = raw_block(opened.inline)
        yield encode_header([block.cid]) + encode_section(block.cid, block.data)
        return
    yield encode_header([opened.root])
    async with Source(opened, keep_whole=True) as source:
        async with aclosing(walk(source, opened.root, await source.first())) as blocks:
            async for cid, data in blocks:
                yield encode_section(cid, data)
        source.completed()


async def walk(source: Source, root: Cid, first: bytes | None = None) -> AsyncGenerator[tuple[Cid, bytes]]:
    """Yield every block below `root`, each once, depth first, some of them fetched ahead; `first` is the root's."""
    dag = DagWalk(root, in_order=True)
    tasks: dict[Cid, asyncio.Task[bytes]] = {}
    try:
        if first is not None:
            dag.give(root, first)
            yield root, first
        while not dag.done:
            wants = dag.fitting(AHEAD_MAX, AHEAD_BYTES)
            for cid in wants:
                if cid not in tasks:
                    tasks[cid] = asyncio.get_running_loop().create_task(source.block(cid))
            data = await tasks[wants[0]]
            del tasks[wants[0]]
            dag.give(wants[0], data)
            yield wants[0], data
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
