"""A stream's reading end: bytes in order whatever pieces they come in, bounded, told of as they come."""

import asyncio
import random
from typing import Any

import pytest

from peerd.errors import UnreachableError
from peerd.io.streaming import READ_AHEAD_BYTES, TOLD_BYTES, ByteProtocol


class Pipe(asyncio.Transport):
    """Gives the protocol what was fed, as a socket does: as much as its buffer takes, nothing while it is held."""

    def __init__(self, protocol: ByteProtocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._unread = bytearray()
        self.held = False
        protocol.connection_made(self)

    def feed(self, data: bytes) -> None:
        self._unread += data
        while self._unread and not self.held:
            buffer = self._protocol.get_buffer(-1)
            assert len(buffer), "an empty buffer is an error in every transport"
            count = min(len(buffer), len(self._unread))
            buffer[:count] = self._unread[:count]
            del self._unread[:count]
            self._protocol.buffer_updated(count)

    def pause_reading(self) -> None:
        self.held = True

    def resume_reading(self) -> None:
        self.held = False
        asyncio.get_running_loop().call_soon(self.feed, b"")


async def test_reads_of_any_size_find_what_was_sent_in_any_pieces() -> None:
    chance = random.Random(7)
    protocol = ByteProtocol()
    pipe = Pipe(protocol)
    sizes = [
        chance.choice((1, 9, 36, 4096, READ_AHEAD_BYTES, READ_AHEAD_BYTES + 1, 300_000, 1 << 20)) for _ in range(80)
    ]
    sent = chance.randbytes(sum(sizes))

    async def send() -> None:
        at = 0
        while at < len(sent):
            count = chance.choice((1, 100, 16_384, 262_144))
            pipe.feed(sent[at : at + count])
            at += count
            if chance.random() < 0.2:
                await asyncio.sleep(0)

    sending = asyncio.create_task(send())
    at = 0
    for size in sizes:
        assert await protocol.read_long(size, lambda: None) == sent[at : at + size]
        at += size
    await sending


async def test_what_nobody_reads_stays_outside() -> None:
    protocol = ByteProtocol()
    pipe = Pipe(protocol)
    pipe.feed(bytes(10 * READ_AHEAD_BYTES))
    assert pipe.held
    assert await protocol.read_exactly(9) == bytes(9)
    assert pipe.held, "a little room is not worth it"
    assert await protocol.read_exactly(READ_AHEAD_BYTES) == bytes(READ_AHEAD_BYTES)


async def test_a_long_read_tells_of_larger_pieces_only() -> None:
    protocol = ByteProtocol()
    pipe = Pipe(protocol)
    told: list[Any] = []
    reading = asyncio.create_task(protocol.read_long(1 << 20, lambda: told.append(None)))
    await asyncio.sleep(0)
    for _ in range(TOLD_BYTES // 1024 - 1):
        pipe.feed(bytes(1024))
    assert told == []
    pipe.feed(bytes(1024))
    assert len(told) == 1
    pipe.feed(bytes((1 << 20) - TOLD_BYTES))
    assert len(await reading) == 1 << 20
    assert len(told) <= 5


@pytest.mark.parametrize("count", [9, 1 << 20])
async def test_who_waits_is_told_of_the_end(count: int) -> None:
    protocol = ByteProtocol()
    pipe = Pipe(protocol)
    reading = asyncio.create_task(protocol.read_long(count, lambda: None))
    await asyncio.sleep(0)
    pipe.feed(b"12345678")
    protocol.connection_lost(None)
    with pytest.raises(UnreachableError):
        await reading
    with pytest.raises(UnreachableError):
        await protocol.drain()


async def test_writers_wait_while_enough_is_under_way() -> None:
    protocol = ByteProtocol()
    Pipe(protocol)
    await protocol.drain()
    protocol.pause_writing()
    waiting = [asyncio.create_task(protocol.drain()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    protocol.resume_writing()
    await asyncio.gather(*waiting)
