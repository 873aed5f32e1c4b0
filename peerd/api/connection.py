"""Connections of the API: how many, how patient, and what is said to those that speak no HTTP.

A thin layer on aiohttp's low-level server; the application layer above it (routing on normalised paths, middlewares,
signals) is left out, because keys need the path as it was sent.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, cast

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

LINE_MAX_BYTES = 8190
HEADERS_MAX_COUNT = 64
LINGER_S = 5.0
"""How long an upload that was refused is read on, so that a client that is still sending finds the answer."""

OVERFLOW_MAX = 32
OVERFLOW_S = 1.0

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """A low-level server with at most `connections_max` connections; `accept` is its protocol factory."""

    def __init__(self, answer: Answer, *, connections_max: int, idle_s: float) -> None:
        # A client that goes away takes its operation with it: nobody is left to hear how it ends.
        super().__init__(answer, handler_cancellation=True)
        self._connections_max = connections_max
        self._idle_s = idle_s
        self._refusing: set[_Overflow] = set()

    def accept(self) -> asyncio.Protocol:
        """Return the protocol for a new connection."""
        if len(self.connections) >= self._connections_max:
            return _Overflow(self._refusing)
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None, as its AppRunner does
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


def abort(request: web.BaseRequest) -> NoReturn:
    """Break the connection of an answer that failed after it had begun.

    A body that ended in order would look whole; a reset connection cannot.
    """
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionAbortedError("the answer broke after it had begun")


class _Overflow(asyncio.Protocol):
    """A connection above the bound: told so, given a moment to read it, and closed."""

    def __init__(self, all_of_them: "set[_Overflow]") -> None:
        self._all = all_of_them
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        transport = cast("asyncio.WriteTransport", transport)
        if len(self._all) >= OVERFLOW_MAX:
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
