"""Connections of the API: how many, how patient, and what is said to those that speak no HTTP.

A thin layer on aiohttp's low-level server; the application layer above it (routing on normalised paths, middlewares,
signals) is left out, because keys need the path as it was sent.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NoReturn, cast

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from loguru import logger

from peerd.api.errors import (
    PROBLEM_TYPE,
    HeadersTooLargeError,
    InternalError,
    UnavailableError,
    problem,
    problem_response,
)
from peerd.api.upload import READ_BUFFER_BYTES
from peerd.errors import UsageError

ERROR_EXTENSION = b"peerd-error"
"""Of a chunk: the code of the error for which the body breaks off there."""

LINE_MAX_BYTES = 8190
HEADERS_MAX_COUNT = 64
LINGER_S = 5.0
"""How long an upload that was refused is read on, so that a client that is still sending finds the answer."""

OVERFLOW_MAX = 32
OVERFLOW_S = 1.0

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """A low-level server with at most `connections_max` connections; `accept` is its protocol factory.

    With `strangers`, anybody on the host can connect: a connection on which no request was admitted yet makes way for
    the next one, the oldest first. Who has the token sends its request at once; silent and slow ones keep nobody out.
    With `address_max`, no address has more than so many.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        connections_max: int,
        idle_s: float,
        strangers: bool = False,
        address_max: int | None = None,
    ) -> None:
        # A client that goes away takes its operation with it: nobody is left to hear how it ends.
        super().__init__(answer, handler_cancellation=True)
        self._connections_max = connections_max
        self._idle_s = idle_s
        self._strangers = strangers
        self._address_max = address_max
        self._addresses: Counter[str] = Counter()
        self._open: dict[_Connection, None] = {}
        """In the order of coming, from before aiohttp knows of them: a burst is counted as it is accepted."""
        self._refusing: set[_Overflow] = set()

    def accept(self) -> asyncio.Protocol:
        """Return the protocol for a new connection."""
        if len(self._open) >= self._connections_max and not self._make_way():
            return _Overflow(self._refusing, min(OVERFLOW_MAX, self._connections_max))
        connection = self._new()
        self._open[connection] = None
        return connection

    def gone(self, connection: "_Connection") -> None:
        """A connection has ended, or is about to."""
        self._open.pop(connection, None)

    def came(self, address: str) -> bool:
        """A connection was made from an address; return whether it may have one more."""
        if self._address_max is None:
            return True
        self._addresses[address] += 1
        return self._addresses[address] <= self._address_max

    def left(self, address: str) -> None:
        """A connection from an address, of which `came` was told, has ended."""
        if self._address_max is None:
            return
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def _make_way(self) -> bool:
        oldest = next((each for each in self._open if not each.admitted), None) if self._strangers else None
        if oldest is None:
            return False
        self.gone(oldest)
        oldest.end()
        return True

    def _new(self) -> "_Connection":
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,
            # Runs from the connection's first moment and from each answer, so it bounds the headers too.
            keepalive_timeout=self._idle_s,
            lingering_time=LINGER_S,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=LINE_MAX_BYTES,
            max_field_size=LINE_MAX_BYTES,
            max_headers=HEADERS_MAX_COUNT,
            # What is stored is what was sent; and a small body must not unpack to a large one.
            auto_decompress=False,
        )


class _Connection(web.RequestHandler):
    """aiohttp's connection, with problem documents for what is no request and for what nobody foresaw."""

    __slots__ = ("_address", "_ended", "_server", "admitted")

    def __init__(self, server: BoundedServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._ended = False
        self._address = ""
        self.admitted = False
        """Whether a request came on it that may be made."""

    def end(self) -> None:
        """Break it, also before it was made."""
        self._ended = True
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve it."""
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self._address = str(name[0]) if isinstance(name, tuple) else ""
        if not self._server.came(self._address) or self._ended:
            self.end()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count it no more."""
        self._server.gone(self)
        self._server.left(self._address)
        super().connection_lost(exc)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer bytes that are no request (400), or an exception of a handler that is no PeerdError (500)."""
        if isinstance(exc, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            raise exc
        if status >= 500:
            logger.opt(exception=exc or True).error("api request failed unexpectedly")
            if request.writer.output_size > 0:
                abort(request)
            response = problem_response(InternalError("an internal error; the daemon's log has it"))
        elif isinstance(exc, LineTooLong):
            response = problem_response(HeadersTooLargeError("a line of the request is too long"))
        else:
            # What was sent is not quoted back: it may be hostile, and it is no help.
            logger.debug("bytes that are no request", reason=type(exc).__name__)
            response = problem_response(UsageError("the request is not well-formed HTTP"))
        response.force_close()
        return response


def admitted(request: web.BaseRequest) -> None:
    """Note that a request may be made: its connection no longer makes way for others."""
    if isinstance(request.protocol, _Connection):
        request.protocol.admitted = True


async def break_off(request: web.BaseRequest, code: str, idle_s: float) -> NoReturn:
    """Break the connection of an answer that failed after it had begun; where it has chunks, having said why.

    As the extension of a chunk that does not come (RFC 9112 7.1.1): who does not know it sees that the body is not
    whole, as without it.
    """
    transport = request.transport
    if transport is not None and getattr(request.writer, "chunked", False):
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(idle_s):
                transport.set_write_buffer_limits(0)  # what waits here would be lost with the connection
                transport.write(b"1;" + ERROR_EXTENSION + b"=%b\r\n" % code.encode())
                await request.writer.drain()
    abort(request)


def abort(request: web.BaseRequest) -> NoReturn:
    """Break the connection of an answer that failed after it had begun.

    A body that ended in order would look whole; a reset connection cannot.
    """
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionAbortedError("the answer broke after it had begun")


class _Overflow(asyncio.Protocol):
    """A connection above the bound: told so, given a moment to read it, and closed."""

    def __init__(self, all_of_them: "set[_Overflow]", most: int) -> None:
        self._all = all_of_them
        self._most = most
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        transport = cast("asyncio.WriteTransport", transport)
        if len(self._all) >= self._most:
            transport.abort()
            return
        self._all.add(self)
        body = msgspec.json.encode(problem(UnavailableError("too many connections", hint="try again in a moment")))
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {PROBLEM_TYPE}\r\nContent-Length: {len(body)}\r\n"
        transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        self._timer = asyncio.get_running_loop().call_later(OVERFLOW_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)
        if self._timer is not None:
            self._timer.cancel()
