"""Writing a file that is got right where its reader wants it, each block as it comes.

In order, through memory and a socket, what comes early would be written to the store, read again and sent. Here the
blocks go to their places in an open file, in any order, from the memory in which they came. The file is whole when as
many bytes were written as it has; who asked for it gives it its name then, or throws it away.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from peerd.content.cid import Cid
from peerd.content.layout import Layout
from peerd.errors import NoRoomError, PeerdError, StoreError
from peerd.io.store.faults import is_full
from peerd.node.core import Core
from peerd.node.filling import Filling
from peerd.node.get import Opened, Source

# Blocks on their way to the file at a time: more would be memory.
WRITES_MAX = 8
# So often who waits is told how far it is.
TOLD_EVERY_S = 0.1


class Target(Protocol):
    """Where it is written to, from threads."""

    def write(self, data: bytes, at: int) -> None:
        """Write all of `data` from byte `at` on; raises OSError."""


async def land(opened: Opened, target: Target) -> AsyncIterator[int]:
    """Write a file to `target`; yields how many of its bytes are there, the last time all of them.

    Raises what `Opened.body` does, and NoRoomError or StoreError where the target cannot be written.
    """
    async with Source(opened, keep_whole=True) as source:
        await source.fill()
        first = await source.first()
        if source.filling is not None:
            layout = await _layout_of(opened.root, first, source)
            if layout.fits:
                async for written in _as_it_comes(opened.core, source, source.filling, layout, target):
                    yield written
                return
        at = 0
        async for piece in source.file(opened.root, first=first):
            try:
                await opened.core.environment.offload(target.write, piece, at)
            except OSError as error:
                raise _failure(error) from error
            at += len(piece)
            yield at


async def _layout_of(root: Cid, first: bytes | None, source: Source) -> Layout:
    layout = Layout(root)
    while (node := layout.wants) is not None:
        layout.give(first if first is not None and node == root else await source.block(node))
    return layout


async def _as_it_comes(
    core: Core, source: Source, filling: Filling, layout: Layout, target: Target
) -> AsyncIterator[int]:
    landing = _Landing(core, layout, target)
    filling.sink = landing.take
    loop = asyncio.get_running_loop()
    feeding = loop.create_task(landing.feed(source, filling))
    told = 0
    try:
        while told < layout.size:
            landing.moved.clear()
            if feeding.done() and landing.error is None and (error := feeding.exception()) is not None:
                raise error
            if landing.error is not None:
                raise landing.error
            if landing.written > told:
                told = landing.written
                yield told
            elif feeding.done():
                await landing.moved.wait()
            else:
                await asyncio.wait({feeding}, timeout=TOLD_EVERY_S)
        source.completed()
    finally:
        filling.sink = None
        feeding.cancel()
        await asyncio.gather(feeding, *landing.writing, return_exceptions=True)


class _Landing:
    """The blocks of one file on their way to it."""

    def __init__(self, core: Core, layout: Layout, target: Target) -> None:
        self._core = core
        self._layout = layout
        self._target = target
        self._left = set(layout.places)
        self._room = asyncio.Semaphore(WRITES_MAX)
        self.writing: set[asyncio.Task[None]] = set()
        self.written = 0
        self.error: PeerdError | None = None
        self.moved = asyncio.Event()

    async def feed(self, source: Source, filling: Filling) -> None:
        """Take what was here before, then wait until all has come; raises as `Filling.block` does."""
        for raw in list(self._layout.places):
            source.note(raw)
            if raw in self._left and not filling.lacks(raw):
                cid = Cid.from_bytes(raw)
                await self.take(raw, await filling.block(cid))
        for raw in list(self._left):
            await filling.come(raw)

    async def take(self, raw: bytes, data: bytes) -> None:
        """Write a block that is here to its places; waits while enough are being written. Never raises."""
        if raw not in self._left:
            return
        self._left.discard(raw)
        await self._room.acquire()
        task = asyncio.get_running_loop().create_task(self._write(raw, data))
        self.writing.add(task)
        task.add_done_callback(self._wrote)

    def _wrote(self, task: asyncio.Task[None]) -> None:
        self.writing.discard(task)
        self._room.release()

    async def _write(self, raw: bytes, data: bytes) -> None:
        try:
            if len(data) != self._layout.size_of(raw):
                raise StoreError("a block is not as large as the file says")
            for at in self._layout.places[raw]:
                await self._core.environment.offload(self._target.write, data, at)
                self.written += len(data)
        except OSError as error:
            self.error = _failure(error)
        except PeerdError as error:
            self.error = error
        self.moved.set()


def _failure(error: OSError) -> PeerdError:
    if is_full(error):
        return NoRoomError("the disk of the file that is written is full", hint="free some space, or choose another")
    return StoreError(f"the file cannot be written: {error.strerror}")
