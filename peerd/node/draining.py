"""Blocks that are under way when whoever read them goes away: they cross the wire in any case, and are kept."""

import asyncio
from collections.abc import Collection
from contextlib import suppress

from peerd.errors import PeerdError
from peerd.node.blocks import BlockWriter

DRAIN_MAX_S = 10.0
"""So long they are taken for whoever asks again; a source that is slower loses what it had sent of one."""


async def drain(coming: Collection[asyncio.Task[bytes]], writer: BlockWriter) -> None:
    """Wait for blocks under way, once what came before them is durable."""
    if coming:
        with suppress(PeerdError):
            await writer.flush()
        await asyncio.wait(coming, timeout=DRAIN_MAX_S)
        await give_up(coming)


async def give_up(tasks: Collection[asyncio.Task[bytes]]) -> None:
    """Cancel tasks, and return when they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
