"""GET /v1/events?key=K: the versions of a key as they come, as server-sent events (HTML living standard 9.2).

The id of an event is its version, so that a client that comes again goes on after it, by `Last-Event-ID` or `?after=`.
The first thing sent is an id alone, which dispatches no event: what was there when it began. A slow reader holds
nothing up and loses nothing that the histories keep; one that takes nothing for too long is dropped, and comes again.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from peerd.api.errors import COMMON_HEADERS
from peerd.api.events import HEARTBEAT, HEARTBEAT_S, send_events
from peerd.api.exchange import Exchange, field
from peerd.errors import TimedOutError, UsageError
from peerd.node.versions import READ_TIMEOUT_S, Told

RETRY_MS = 1_000
"""After how long a client that was cut off comes again."""


async def send_watched(exchange: Exchange) -> web.StreamResponse:
    """Answer with what happens in this peer, or with the versions of the key that is named."""
    key, query = exchange.query.get("key"), exchange.query
    if key is None:
        if query:
            raise UsageError("only a key is watched like that", hint="add ?key=")
        return await send_events(exchange)
    own = f"{exchange.peer.id_text}/"
    return await send_versions(exchange, own + key if query.get("own") and not key.startswith(own) else key)


async def send_versions(exchange: Exchange, target: str) -> web.StreamResponse:
    """Answer with the versions of a key until the client goes or the server stops. Raises what watching does."""
    after = field(exchange.request, "Last-Event-ID") or exchange.query.get("after")
    timeout_s = exchange.query.get("timeout_s", READ_TIMEOUT_S)
    async with exchange.peer.versions.watch(target, after=after, timeout_s=timeout_s) as told:
        first = await anext(told, None)
        if first is None:
            raise TimedOutError("the key is watched no more")
        response = web.StreamResponse(headers=COMMON_HEADERS)
        response.content_type = "text/event-stream"
        response.force_close()
        await response.prepare(exchange.request)
        with exchange.server.endless(local=exchange.local):
            try:
                await _write(exchange, response, b"retry: %d\n" % RETRY_MS + _text_of(first))
                await _write_all(exchange, response, told)
            except (ConnectionError, TimeoutError):
                exchange.request.protocol.force_close()
    return response


async def _write_all(exchange: Exchange, response: web.StreamResponse, told: AsyncIterator[Told]) -> None:
    loop = asyncio.get_running_loop()
    coming = loop.create_task(_next(told))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=HEARTBEAT_S)
            if not done:
                await _write(exchange, response, HEARTBEAT)
                continue
            one = coming.result()
            if one is None:
                return
            await _write(exchange, response, _text_of(one))
            coming = loop.create_task(_next(told))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _next(told: AsyncIterator[Told]) -> Told | None:
    return await anext(told, None)


async def _write(exchange: Exchange, response: web.StreamResponse, text: bytes) -> None:
    async with asyncio.timeout(exchange.server.write_idle_s):
        await response.write(text)


def _text_of(told: Told) -> bytes:
    if told.entry is None:
        return b"id: %b\n\n" % told.version.encode()
    return b"id: %b\nevent: version\ndata: %b\n\n" % (told.version.encode(), msgspec.json.encode(told.entry))
