"""GET and HEAD of a value: a file's bytes or a directory as a tar stream, with the conditions and ranges of HTTP.

The first bytes are fetched before the status line is sent, so that what cannot be had is an honest status and not a
broken body. What breaks later raises here; the server then aborts the connection, and the client sees that it is not
whole.
"""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from peerd.api import into
from peerd.api.conditions import Span, check_if_match, etag, is_unchanged, read_range
from peerd.api.errors import COMMON_HEADERS
from peerd.api.exchange import Exchange, closing, field, write
from peerd.api.params import get_options
from peerd.api.upload import TAR_TYPE
from peerd.errors import IntegrityError, UsageError
from peerd.node.results import Get

if TYPE_CHECKING:
    from peerd.node.get import Opened

CACHE_NAME = "private, no-cache"
CACHE_CONTENT = "private, max-age=31536000, immutable"


async def download(exchange: Exchange, name: str) -> web.StreamResponse:
    """Answer with the value of `name`: 200, 206 or 304.

    Raises what the node does, and ConflictError, RangeError or UsageError for conditions and ranges that do not hold.
    """
    request = exchange.request
    opened = await exchange.peer.open(name, get_options(exchange.query))
    info = opened.info
    named = isinstance(info.version, str)
    tag = etag(info.version if isinstance(info.version, str) else info.cid)
    headers = COMMON_HEADERS | {
        "ETag": tag,
        "Cache-Control": CACHE_NAME if named else CACHE_CONTENT,
        "X-Peerd-Get": get_header(info),
        "X-Peerd-Kind": opened.kind,
    }
    check_if_match(field(request, "If-Match"), tag)
    if is_unchanged(field(request, "If-None-Match"), tag):
        return web.Response(status=304, headers=headers)
    if opened.kind == "directory":
        return await _send_directory(exchange, headers, opened)
    target = await into.target_of(exchange, opened)
    if target is not None:
        response = web.StreamResponse(headers=headers | {into.HEADER: str(opened.size)})
        response.content_type = "text/plain"
        return await send_chunks(exchange, response, into.lines(opened, target), None)
    status, span = _span(exchange, tag, opened.size)
    response = web.StreamResponse(status=status, headers=headers | {"Accept-Ranges": "bytes"})
    response.content_type = "application/octet-stream"
    response.content_length = span.length
    if status == 206:
        response.headers["Content-Range"] = f"bytes {span.offset}-{span.offset + span.length - 1}/{opened.size}"
    if request.method == "HEAD" or span.length == 0:
        return response
    return await send_chunks(exchange, response, opened.body(span.offset, span.length), span.length)


def get_header(info: Get) -> str:
    """Return `info` as one line of ASCII JSON without control characters, fit for a header."""
    return json.dumps(msgspec.to_builtins(info), ensure_ascii=True)


def _span(exchange: Exchange, tag: str, size: int) -> tuple[int, Span]:
    request, query = exchange.request, exchange.query
    # HEAD has no ranges (RFC 9110 14.2).
    header = field(request, "Range") if request.method == "GET" else None
    if "offset" not in query and "length" not in query:
        span = read_range(header, field(request, "If-Range"), tag, size)
        return (206, span) if span else (200, Span(0, size))
    if header is not None:
        raise UsageError("a Range and offset or length contradict each other")
    offset = min(query.get("offset", 0), size)
    return 200, Span(offset, min(query.get("length", size), size - offset))


async def _send_directory(exchange: Exchange, headers: dict[str, str], opened: "Opened") -> web.StreamResponse:
    if "offset" in exchange.query or "length" in exchange.query:
        raise UsageError("a directory has no byte range", hint="name a file in it by its content id")
    response = web.StreamResponse(headers=headers)
    response.content_type = TAR_TYPE
    if exchange.request.method == "HEAD":
        return response
    if exchange.request.version < (1, 1):
        # Without chunks only the end of the connection would end it, and a broken stream would look whole.
        raise UsageError("a directory is sent over HTTP/1.1 only")
    return await send_chunks(exchange, response, opened.tar(), None)


async def send_chunks(
    exchange: Exchange, response: web.StreamResponse, chunks: AsyncIterator[bytes], length: int | None
) -> web.StreamResponse:
    """Send `chunks` once the first of them is there; `length` bytes, or in chunks where that is None."""
    sent = 0
    async with closing(chunks):
        chunk = await anext(chunks, None)
        await response.prepare(exchange.request)
        while chunk is not None:
            sent += len(chunk)
            if length is not None and sent > length:
                break
            await write(response, chunk, exchange.server.write_idle_s)
            chunk = await anext(chunks, None)
    if length is not None and sent != length:
        raise IntegrityError(f"the content is not of its stated length: {sent} of {length} bytes")
    await response.write_eof()
    return response
