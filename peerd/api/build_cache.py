"""`/cache/`: what ccache, Bazel, Gradle and sccache say over HTTP to a cache, answered by the node's build cache.

Build tools give a cache up at the first answer of 5xx, so what cannot be had in time is a 404 like any other miss. A
HEAD fetches what it promises. Ranges are not taken: a tool reads an entry whole, and a 200 is a right answer to one
(RFC 9110 14.2). sccache speaks of directories as WebDAV has them (RFC 4918): all of them are there, none
is kept.
"""

from collections.abc import AsyncIterator
from typing import NoReturn
from urllib.parse import quote

from aiohttp import web

from peerd.api.conditions import etag
from peerd.api.errors import COMMON_HEADERS, TooLargeError
from peerd.api.exchange import Exchange, closing, field, write
from peerd.api.upload import body_chunks, body_form
from peerd.errors import IntegrityError, NotFoundError, TimedOutError, UsageError
from peerd.node.entry_names import parse_entry_path

DAV_HEADERS = {"DAV": "1", "Allow": "OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, MKCOL", "MS-Author-Via": "DAV"}

_MULTISTATUS = (
    '<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:"><D:response><D:href>{href}</D:href>'
    "<D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
    "</D:multistatus>\n"
)
_LAST_MODIFIED = "<D:getlastmodified>Thu, 01 Jan 1970 00:00:00 GMT</D:getlastmodified>"
"""Entries have no times that all peers agree on; readers of WebDAV want one (RFC 4918 15.7)."""


async def get_entry(exchange: Exchange) -> web.StreamResponse:
    """Send an entry, or for HEAD say what a GET will send."""
    head = exchange.request.method == "HEAD"
    opened = await exchange.peer.build_cache.open(exchange.argument, hold=head)
    response = web.StreamResponse(headers=COMMON_HEADERS | {"ETag": etag(opened.info.cid)})
    response.content_type = "application/octet-stream"
    response.content_length = opened.size
    if head or opened.size == 0:
        return response
    sent = 0
    async with closing(opened.body(0, None)) as chunks:
        try:
            chunk = await anext(chunks, None)
        except (TimedOutError, IntegrityError) as error:
            raise NotFoundError("no such entry that can be had now") from error
        await response.prepare(exchange.request)
        while chunk is not None and sent + len(chunk) <= opened.size:
            sent += len(chunk)
            await write(response, chunk, exchange.server.write_idle_s)
            chunk = await anext(chunks, None)
    if sent != opened.size:
        raise IntegrityError(f"the content is not of its stated length: {sent} of {opened.size} bytes")
    await response.write_eof()
    return response


async def put_entry(exchange: Exchange) -> web.StreamResponse:
    """Keep the body under a path."""
    request = exchange.request
    parse_entry_path(exchange.argument)  # before the client is asked for the body
    body_form(request)
    most = exchange.peer.build_cache.entry_bytes_max
    if request.content_length is not None and request.content_length > most:
        _too_large(most)
    body = _bounded(body_chunks(request, exchange.server.body_idle_s), most)
    created = await exchange.peer.build_cache.put(exchange.argument, body)
    return web.Response(status=201 if created else 200, headers=COMMON_HEADERS)


async def delete_entry(exchange: Exchange) -> web.StreamResponse:
    """Delete an entry."""
    await exchange.peer.build_cache.remove(exchange.argument)
    return web.Response(status=200, headers=COMMON_HEADERS)


async def show_properties(exchange: Exchange) -> web.StreamResponse:
    """Answer a PROPFIND of an entry or of a directory, as of depth 0: what is in a directory is not listed."""
    path = exchange.argument
    if not path or path.endswith("/"):
        properties = "<D:resourcetype><D:collection/></D:resourcetype>" + _LAST_MODIFIED
    else:
        opened = await exchange.peer.build_cache.open(path, hold=True)
        properties = (
            f"<D:resourcetype/><D:getcontentlength>{opened.size}</D:getcontentlength>{_LAST_MODIFIED}"
            "<D:getcontenttype>application/octet-stream</D:getcontenttype>"
            f"<D:getetag>&quot;{opened.info.cid}&quot;</D:getetag>"
        )
    text = _MULTISTATUS.format(href=quote(f"/cache/{path}"), properties=properties)
    return web.Response(status=207, text=text, content_type="application/xml", headers=COMMON_HEADERS)


async def make_collection(exchange: Exchange) -> web.StreamResponse:
    """Answer a MKCOL: the directory is there, as all are."""
    if exchange.argument:
        parse_entry_path(exchange.argument)
    if field(exchange.request, "Content-Length") not in (None, "0"):
        raise UsageError("a directory is made without a body")
    return web.Response(status=201, headers=COMMON_HEADERS)


async def show_options(exchange: Exchange) -> web.StreamResponse:
    """Say what may be done here."""
    return web.Response(status=200, headers=COMMON_HEADERS | DAV_HEADERS)


async def _bounded(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            _too_large(most)
        yield chunk


def _too_large(most: int) -> NoReturn:
    raise TooLargeError(
        f"an entry is at most {most} bytes", hint="PEERD_BUILD_CACHE_MAX_BYTES bounds the build cache of this peer"
    )
