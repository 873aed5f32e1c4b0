"""What arrives on a stream, with as few copies as may be: a large read is decrypted right where its reader wants it.

asyncio's own reader gathers all in a buffer, cuts pieces from its front and joins them: three copies of each byte. Here
the transport writes into the reader's memory (`asyncio.BufferedProtocol`); only what comes beside a small read waits in
a buffer of READ_AHEAD_BYTES. Writing waits where the transport says that enough is under way.
"""

import asyncio
import time
from collections.abc import Callable
from typing import cast

from peerd.errors import UnreachableError
from peerd.io.pool import KEPT_S, LEAST_BYTES, Pool

READ_AHEAD_BYTES = 32 * 1024
# A long read tells of each so many bytes: who sends a byte now and then is not heard.
TOLD_BYTES = 256 * 1024

_pool = Pool(time.monotonic)
_trimming: list[asyncio.AbstractEventLoop] = []
"""The loop that is to give its memory back."""


def _take(count: int) -> memoryview:
    """Return memory for a large read, which is given back a while after the last of them."""
    loop = asyncio.get_running_loop()
    if _trimming != [loop]:
        _trimming[:] = [loop]
        loop.call_later(KEPT_S, _trim, loop)
    return _pool.take(count)


def _trim(loop: asyncio.AbstractEventLoop) -> None:
    left_s = _pool.trim()
    if left_s is not None:
        loop.call_later(left_s, _trim, loop)
    elif _trimming == [loop]:
        _trimming.clear()


class ByteProtocol(asyncio.BufferedProtocol):
    """Both directions of one connection; one reader at a time, any number of writers that take turns."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._ahead = bytearray(READ_AHEAD_BYTES)
        self._view = memoryview(self._ahead)
        self._first = self._last = 0
        """What waits in `_ahead`, from and to."""
        self._target: memoryview | None = None
        self._filled = 0
        self._direct = False
        """Whether the transport was told to write into the target."""
        self._arrived: Callable[[], None] | None = None
        self._reader: asyncio.Future[None] | None = None
        self._there: Callable[[], bool] = bool
        self._held = False
        """Whether the transport was asked to read no more."""
        self._ended = False
        self._full = False
        self._writers: list[asyncio.Future[None]] = []

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        if self._target is not None and self._filled < len(self._target):
            self._direct = True
            return self._target[self._filled :]
        self._direct = False
        if self._first:
            rest = self._last - self._first
            self._view[:rest] = bytes(self._view[self._first : self._last])
            self._first, self._last = 0, rest
        return self._view[self._last :]

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        if self._direct:
            told = self._filled // TOLD_BYTES
            self._filled += nbytes
            if self._arrived is not None and self._filled // TOLD_BYTES > told:
                self._arrived()
        else:
            self._last += nbytes
            if self._last - self._first == READ_AHEAD_BYTES:
                self._hold()
        self._look()

    def eof_received(self) -> bool:
        """See asyncio."""
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._end()

    def pause_writing(self) -> None:
        """See asyncio."""
        self._full = True

    def resume_writing(self) -> None:
        """See asyncio."""
        self._full = False
        self._wake_writers()

    # What the stream calls.

    async def read_exactly(self, count: int) -> bytes:
        """Return `count` bytes, at most READ_AHEAD_BYTES; raises UnreachableError where the stream ends before."""
        await self._until(lambda: self._last - self._first >= count)
        data = bytes(self._view[self._first : self._first + count])
        self._first += count
        if self._last - self._first <= READ_AHEAD_BYTES // 2:
            self._go_on()
        return data

    async def read_long(self, count: int, arrived: Callable[[], None]) -> bytes:
        """Return `count` bytes, any number, of many a view; calls `arrived` at each TOLD_BYTES and at the end."""
        if count <= READ_AHEAD_BYTES:
            data = await self.read_exactly(count)
            arrived()
            return data
        target = _take(count) if count >= LEAST_BYTES else memoryview(bytearray(count))
        try:
            here = min(count, self._last - self._first)
            target[:here] = self._view[self._first : self._first + here]
            self._first += here
            self._filled, self._target, self._arrived = here, target, arrived
            self._go_on()
            await self._until(lambda: self._filled >= count)
            arrived()
            # What is hashed, compared, cut and written as bytes are; inner nodes are small, and bytes.
            return cast("bytes", target.toreadonly()) if count >= LEAST_BYTES else bytes(target)
        finally:
            self._target = self._arrived = None

    async def drain(self) -> None:
        """Wait while enough is under way; raises UnreachableError where the stream has ended."""
        if self._ended:
            raise UnreachableError("the connection ended")
        if self._full:
            waiter = self._loop.create_future()
            self._writers.append(waiter)
            await waiter
            if self._ended:
                raise UnreachableError("the connection ended")

    async def _until(self, there: Callable[[], bool]) -> None:
        while not there():
            if self._ended:
                raise UnreachableError("the connection ended")
            self._go_on()
            self._there = there
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def _look(self) -> None:
        if self._reader is not None and not self._reader.done() and self._there():
            self._reader.set_result(None)

    def _end(self) -> None:
        self._ended = True
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        self._wake_writers()

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for waiter in writers:
            if not waiter.done():
                waiter.set_result(None)

    def _hold(self) -> None:
        if not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        if self._held and self._transport is not None and not self._ended:
            self._held = False
            self._transport.resume_reading()
