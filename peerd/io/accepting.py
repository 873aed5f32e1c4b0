"""Accepting TCP connections before anything is known of who calls: bounded, fair by address, cheap checks first.

A TLS state machine is some 300 KB and its handshake a millisecond, so it is made only for those who have sent a whole
ClientHello; until then a caller costs a socket. Where more callers wait than there is room for, the address group that
has most of them loses its oldest one: an honest handshake is over in a few milliseconds. Not here: TLS itself (tls),
and who the caller is (node.bulk).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from loguru import logger

from peerd.kad.contact import Address
from peerd.kad.groups import group_or_host
from peerd.trust.admission import Crowd

# How long a caller may take for its ClientHello.
HELLO_TIMEOUT_S = 3.0
# Taken at a time, so that a queue of callers does not hold the loop.
ACCEPTED_AT_ONCE = 16
# Where the system has no descriptor left, the next are taken a little later.
PAUSE_S = 0.1

# RFC 8446 5.1: a record of type handshake (22), version 3.x, at most 2^14 bytes; RFC 8446 4: a ClientHello (1). Ours is
# 250 bytes to 2 KB (with the key share of a post-quantum group).
_RECORD_HEAD_BYTES = 5
_HANDSHAKE = 22
HELLO_MAX_BYTES = 4096

Serve = Callable[[socket.socket], Awaitable[None]]


class Acceptor:
    """Takes connections of some listening sockets and hands each on once it has said hello.

    `serve` does the TLS handshake and returns; what it is given counts as waiting until then.
    """

    def __init__(self, serve: Serve, *, waiting_max: int) -> None:
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._waiting: Crowd[asyncio.Task[None]] = Crowd(waiting_max)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[socket.socket] = []

    @property
    def waiting(self) -> int:
        """Return how many callers have not done their handshake."""
        return len(self._waiting)

    def listen(self, sock: socket.socket, backlog: int) -> None:
        """Accept on a bound socket from now on."""
        sock.setblocking(False)
        sock.listen(backlog)
        self._listening.append(sock)
        self._loop.add_reader(sock.fileno(), self._on_callers, sock)

    async def close(self) -> None:
        """Stop accepting, and cut those that wait."""
        for sock in self._listening:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._listening.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_callers(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, ConnectionError, InterruptedError):
                return
            except OSError as error:  # no descriptor, no memory: the queue of the system holds them meanwhile
                logger.warning("a connection could not be accepted", reason=error.strerror)
                self._pause(listening)
                return
            sock.setblocking(False)
            self._take(sock, (address[0], address[1]))

    def _pause(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening.fileno())
        self._loop.call_later(PAUSE_S, self._go_on, listening)

    def _go_on(self, listening: socket.socket) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening.fileno(), self._on_callers, listening)

    def _take(self, sock: socket.socket, address: Address) -> None:
        task = self._loop.create_task(self._receive(sock), name="caller")
        self._tasks.add(task)
        out = self._waiting.add(task, group_or_host(address))
        task.add_done_callback(self._gone)
        if out is not None:
            out.cancel()

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._waiting.remove(task)
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "a caller could not be served", "exception": error})

    async def _receive(self, sock: socket.socket) -> None:
        served = False
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                whole = await self._has_said_hello(sock)
            if whole:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
                served = True
                await self._serve(sock)
        except (TimeoutError, OSError):
            pass  # a caller that goes, or says nothing, is none
        finally:
            if not served:
                sock.close()

    async def _has_said_hello(self, sock: socket.socket) -> bool:
        """Wait until a whole ClientHello has come; it is left in the socket. False for what is none."""
        head = await self._peek(sock, _RECORD_HEAD_BYTES)
        if len(head) < _RECORD_HEAD_BYTES or head[0] != _HANDSHAKE or head[1] != 3:
            return False
        length = int.from_bytes(head[3:5], "big")
        if not 0 < length <= HELLO_MAX_BYTES:
            return False
        return len(await self._peek(sock, _RECORD_HEAD_BYTES + length)) == _RECORD_HEAD_BYTES + length

    async def _peek(self, sock: socket.socket, count: int) -> bytes:
        """Return the first `count` bytes once they are there; fewer where the caller has ended."""
        # The system wakes us when so many are there, not for each byte (socket(7), SO_RCVLOWAT).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
        readable = asyncio.Event()
        self._loop.add_reader(sock.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(sock.fileno())
        return sock.recv(count, socket.MSG_PEEK)
