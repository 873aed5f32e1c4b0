"""GET /v1/events: what happens in this peer, as server-sent events (HTML living standard 9.2).

One event is `event: <kind>` and `data: <the event as JSON>`. A client that falls behind loses the oldest events in
the node's own bounded queue; here at most one waits. Comment lines keep a quiet stream alive and show a dead client.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from peerd.api.errors import COMMON_HEADERS
from peerd.api.exchange import Exchange, closing

if TYPE_CHECKING:
    from peerd.node.events import Event

HEARTBEAT_S = 15.0
HEARTBEAT = b":\n\n"


async def send_events(exchange: Exchange) -> web.StreamResponse:
    """Answer with events until the client goes or the server stops."""
    response = web.StreamResponse(headers=COMMON_HEADERS)
    response.content_type = "text/event-stream"
    # The end of a stream is the end of its connection, HTTP/1.0 clients included.
    response.force_close()
    events = exchange.peer.events()  # from here on: what happens while the head goes out is not lost
    await response.prepare(exchange.request)
    waiting: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
    with exchange.server.endless(local=exchange.local):
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(_pump(events, waiting))
            try:
                await _write_all(response, waiting, exchange.server.write_idle_s)
            except (ConnectionError, TimeoutError):
                exchange.request.protocol.force_close()
            pump.cancel()
    return response


async def _pump(events: "AsyncIterator[Event]", waiting: "asyncio.Queue[bytes | None]") -> None:
    async with closing(events):
        async for event in events:
            await waiting.put(b"event: %b\ndata: %b\n\n" % (_one_line(event.kind), msgspec.json.encode(event)))
    await waiting.put(None)


async def _write_all(response: web.StreamResponse, waiting: "asyncio.Queue[bytes | None]", idle_s: float) -> None:
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                text = await waiting.get()
        except TimeoutError:
            text = HEARTBEAT
        if text is None:
            return
        async with asyncio.timeout(idle_s):
            await response.write(text)


def _one_line(kind: str) -> bytes:
    return " ".join(kind.split()).encode("utf-8", "replace")
