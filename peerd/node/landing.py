"""Writing a file that is got right where its reader wants it, each block as it comes.

In order, through memory and a socket, what comes early would be written to the store, read again and sent. Here the
blocks go to their places in an open file, in any order, from the memory in which they came. The file is whole when as
many bytes were written as it has; who asked for it gives it its name then, or throws it away.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol

from peerd.content.cid import Cid
from peerd.content.layout import Layout
from peerd.errors import NoRoomError, PeerdError, StoreError
from peerd.io.store.faults import is_full
from peerd.node.core import Core
from peerd.node.filling import Filling
from peerd.node.get import Opened, Source

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
    landing = _Landing(layout, target)
    filling.sink = landing.take
    feeding = asyncio.get_running_loop().create_task(landing.feed(core, source, filling))
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
            if told < layout.size:
                with suppress(TimeoutError):
                    async with asyncio.timeout(TOLD_EVERY_S):
                        await landing.moved.wait()
        source.completed()
    finally:
        filling.sink = None
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        await core.environment.offload(landing.close)


class _Landing:
    """The blocks of one file on their way to it."""

    def __init__(self, layout: Layout, target: Target) -> None:
        self._layout = layout
        self._target = target
        self._left = set(layout.places)
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Condition()
        self._writing = 0
        self._closed = False
        self.written = 0
        self.error: PeerdError | None = None
        self.moved = asyncio.Event()
        """Whether all is written, or something failed."""

    async def feed(self, core: Core, source: Source, filling: Filling) -> None:
        """Take what was here before, then wait until all has come; raises as `Filling.block` does."""
        for raw in self._layout.places:
            source.note(raw)
        for raw in list(self._left):
            if raw in self._left and not filling.lacks(raw):
                data = await filling.block(Cid.from_bytes(raw))
                await core.environment.offload(self.take, raw, data)
        for raw in list(self._left):
            await filling.come(raw)
            if raw in self._left:  # it came while nobody was looking
                await core.environment.offload(self.take, raw, await filling.block(Cid.from_bytes(raw)))

    def take(self, raw: bytes, data: bytes) -> None:
        """Write a block to its places, once; in any thread. Never raises."""
        with self._lock:
            if raw not in self._left or self._closed or self.error is not None:
                return
            self._left.remove(raw)
            self._writing += 1
        error: PeerdError | None = None
        try:
            if len(data) != self._layout.size_of(raw):
                error = StoreError("a block is not as large as the file says")
            else:
                for at in self._layout.places[raw]:
                    self._target.write(data, at)
        except OSError as refused:
            error = _failure(refused)
        with self._lock:
            self._writing -= 1
            self.error = self.error or error
            if error is None:  # who looks just now must not take it for whole
                self.written += len(data) * len(self._layout.places[raw])
            done = self.written == self._layout.size
            self._lock.notify_all()
        if done or error is not None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self.moved.set)

    def close(self) -> None:
        """Return when nothing is written any more, and nothing will be."""
        with self._lock:
            self._closed = True
            self._lock.wait_for(lambda: not self._writing)


def _failure(error: OSError) -> PeerdError:
    if is_full(error):
        return NoRoomError("the disk of the file that is written is full", hint="free some space, or choose another")
    return StoreError(f"the file cannot be written: {error.strerror}")
