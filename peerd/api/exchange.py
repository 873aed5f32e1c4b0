"""One request being answered: what a handler is given, and how it answers with JSON or in parts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from aiohttp import web

from peerd.api.errors import COMMON_HEADERS
from peerd.api.params import Query

if TYPE_CHECKING:
    from peerd.api.server import ApiServer
    from peerd.node.peer import Peer

T = TypeVar("T")

PIECE_BYTES = 256 * 1024
"""Written at once: bounds what waits in a connection, and is the progress that a slow client must show."""


@dataclass(slots=True)
class Exchange:
    """A request that was let in and understood."""

    request: web.BaseRequest
    peer: "Peer"
    server: "ApiServer"
    local: bool
    """Whether it came over a Unix socket."""
    argument: str
    """The decoded text of the path's one placeholder, empty where it has none."""
    query: Query
    public: bool = False
    """Whether it came to an address for everybody, which gives out content and nothing else."""

    @property
    def target(self) -> str:
        """The key or content id of the path, under this peer's own id where `own` asks for it."""
        own = f"{self.peer.id_text}/"
        if not self.query.get("own") or self.argument.startswith(own):
            return self.argument
        return own + self.argument


def field(request: web.BaseRequest, name: str) -> str | None:
    """Return a header's text, None where there is none; several lines of it are one list (RFC 9110 5.3)."""
    lines = request.headers.getall(name, None)
    return ", ".join(lines) if lines is not None else None


@asynccontextmanager
async def closing(iterator: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Give out `iterator` and close it at the end, at once: what it holds, fetches or a listener, is dear."""
    try:
        yield iterator
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


Handler = Callable[[Exchange], Awaitable[web.StreamResponse]]


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return `value` (a Struct or a list of them) as JSON."""
    merged = COMMON_HEADERS | headers if headers else COMMON_HEADERS
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json", headers=merged)


async def write(response: web.StreamResponse, data: bytes, idle_s: float) -> None:
    """Send a part of an answer; raises ConnectionAbortedError where the client takes nothing of it for so long."""
    view = memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        # A client that takes nothing would hold the content's blocks and a connection for ever.
        try:
            async with asyncio.timeout(idle_s):
                await response.write(view[start : start + PIECE_BYTES])
        except TimeoutError:
            raise ConnectionAbortedError("the client takes nothing of the answer") from None
