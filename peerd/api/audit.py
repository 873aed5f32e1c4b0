"""GET /v1/audit: what every holder has, sent as it is found, because it may be of more keys than fit in memory.

The first keys are compared before the status line is sent, so that what cannot be known is an honest status. What fails
later raises, and the server cuts the connection: JSON without its end is seen to be none.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from peerd.api.errors import COMMON_HEADERS
from peerd.api.exchange import Exchange, closing, write
from peerd.errors import TimedOutError

if TYPE_CHECKING:
    from peerd.node.results import AuditedKey


async def send_audit(exchange: Exchange) -> web.StreamResponse:
    """Ask every holder of a key, or of all keys that this peer keeps, what it has."""
    key = exchange.query.get("key")
    only_divergent = exchange.query.get("divergent", False)
    timeout_s: float | None = exchange.query.get("timeout_s")
    if key is not None and exchange.query.get("own") and not key.startswith(f"{exchange.peer.id_text}/"):
        key = f"{exchange.peer.id_text}/{key}"
    response = web.StreamResponse(headers=COMMON_HEADERS)
    response.content_type = "application/json"
    divergent, sent = 0, 0
    async with closing(exchange.peer.audit_pages(key)) as pages:
        page = await _next(pages, timeout_s)
        await response.prepare(exchange.request)
        await response.write(b'{"keys":[')
        while page is not None:
            divergent += sum(each.divergent for each in page)
            shown = [each for each in page if each.divergent or not only_divergent]
            if shown:
                items = b",".join(msgspec.json.encode(each) for each in shown)
                await write(response, b"," + items if sent else items, exchange.server.write_idle_s)
            sent += len(shown)
            page = await _next(pages, timeout_s)
    await response.write(b'],"divergent":%d}' % divergent)
    await response.write_eof()
    return response


async def _next(pages: "AsyncIterator[Sequence[AuditedKey]]", timeout_s: float | None) -> "Sequence[AuditedKey] | None":
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return await anext(pages, None)
    except TimeoutError:
        if not limit.expired():
            raise
        raise TimedOutError(f"no key more was compared within {timeout_s:g} s") from None
