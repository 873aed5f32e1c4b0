"""GET and HEAD of `/ipfs/{cid}[/path]`: blocks, CARs, plain files (specs.ipfs.tech: trustless-gateway, path-gateway).

Of directories only an `index.html` is served, no listing is made. On the API's own origin a file that a browser would
run is a document without origin, scripts or anything from elsewhere (a sandbox): content is anybody's, and the API is
the user's. On the gateway's own address there is nothing to be protected from it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

from aiohttp import web

from peerd.api.conditions import Span, is_unchanged, read_range
from peerd.api.download import send_chunks
from peerd.api.errors import COMMON_HEADERS
from peerd.api.exchange import Exchange, closing, field
from peerd.api.gateway_request import CAR_TYPE, RAW_TYPE, Wanted, read_request, span_of
from peerd.api.media_types import OCTETS, SNIFFED_BYTES, media_type
from peerd.content.car_writing import encode_header, encode_section
from peerd.errors import ConflictError, NotFoundError, TimedOutError, UsageError
from peerd.node.gateway import Located, Reading

INDEX = "index.html"
IMMUTABLE_S = 29_030_400
"""A year without a few days, as the specification has it: what a content id names never changes."""

BEGUN_WITHIN_S = 12.0
"""How long the first bytes of an answer are waited for, once it is known what they are."""

Body = Callable[[Span], AsyncIterator[bytes]]

SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


async def serve_gateway(exchange: Exchange) -> web.StreamResponse:
    """Send a block, a CAR or a file of some content."""
    request = exchange.request
    if field(request, "Service-Worker") is not None:
        raise UsageError("content is no service worker here", hint="one would rule over the pages of all other content")
    wanted = read_request(exchange.argument, exchange.query, field(request, "Accept"))
    if wanted.cid is None:
        return await _send_identity(exchange, wanted)
    gateway = exchange.peer.formats.gateway
    if "only-if-cached" in (field(request, "Cache-Control") or "").lower() and not await gateway.is_here(wanted.cid):
        raise ConflictError(f"not here: {wanted.text}")
    async with gateway.open(wanted.cid) as reading:
        located = await reading.locate(wanted.path)
        gateway.met(located, reading.under)
        headers = _headers(exchange, wanted, [cid.text for cid in located.roots])
        if wanted.form == "raw":
            return await _send_raw(exchange, headers, located.cid.text, located.data)
        if wanted.form == "car":
            has_bytes = located.node.kind in ("raw", "file")
            span = span_of(wanted.entity, located.node.file_size) if wanted.entity and has_bytes else None
            return await _send_car(exchange, headers, wanted, reading.car(located, wanted.scope, span))
        return await _send_entity(exchange, headers, wanted, reading, located)


async def _send_identity(exchange: Exchange, wanted: Wanted) -> web.StreamResponse:
    """Send the content that a CID is itself; clients ask for the empty one to see whether this is a gateway."""
    assert wanted.identity is not None
    if wanted.path:
        raise NotFoundError("no directory to look in")
    headers, data = _headers(exchange, wanted, [wanted.text]), wanted.identity
    if wanted.form == "car":
        raw = b"\x01\x55\x00" + bytes([len(data)]) + data

        async def car() -> AsyncIterator[bytes]:
            yield encode_header([raw]) + encode_section(raw, data)

        return await _send_car(exchange, headers, wanted, car())
    if wanted.form == "file":
        headers |= {"ETag": f'"{wanted.text}"', "Content-Type": media_type(exchange.query.get("filename") or "", data)}
        _name(exchange, headers, "", wanted.text)
        return await _send_bytes(exchange, headers, data)
    return await _send_raw(exchange, headers, wanted.text, data)


async def _send_raw(exchange: Exchange, headers: dict[str, str], cid: str, data: bytes) -> web.StreamResponse:
    headers |= {
        "ETag": f'"{cid}.raw"',
        "Content-Type": RAW_TYPE,
        "Content-Disposition": f'attachment; filename="{cid}.bin"',
    }
    return await _send_bytes(exchange, headers, data)


async def _send_bytes(exchange: Exchange, headers: dict[str, str], data: bytes) -> web.StreamResponse:
    async def body(span: Span) -> AsyncIterator[bytes]:
        yield data[span.offset : span.offset + span.length]

    return await _send_ranged(exchange, headers, len(data), body)


async def _send_car(
    exchange: Exchange, headers: dict[str, str], wanted: Wanted, chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    request = exchange.request
    name = "_".join((wanted.text, *wanted.path))
    headers |= {
        "ETag": f'W/"{wanted.text}.car.{wanted.variant}"',
        "Content-Type": f"{CAR_TYPE}; version=1; order=dfs; dups=n",
        "Content-Disposition": disposition("attachment", f"{name}.car"),
        "Accept-Ranges": "none",
    }
    async with closing(chunks):
        if is_unchanged(field(request, "If-None-Match"), headers["ETag"].removeprefix("W/")):
            return web.Response(status=304, headers=headers)
        response = web.StreamResponse(headers=headers)
        if request.method == "HEAD":
            return response
        if request.version < (1, 1):
            # Without chunks only the end of the connection would end it, and a broken stream would look whole.
            raise UsageError("a CAR is sent over HTTP/1.1 only")
        return await send_chunks(exchange, response, prompt(chunks), None)


async def _send_entity(
    exchange: Exchange, headers: dict[str, str], wanted: Wanted, reading: Reading, located: Located
) -> web.StreamResponse:
    name = wanted.path[-1] if wanted.path else ""
    if located.node.kind in ("directory", "hamt"):
        index = await reading.entry(located, INDEX)
        if index is None or index.node.kind not in ("raw", "file"):
            raise NotFoundError(
                "a directory without index.html has no bytes of its own",
                hint="name a file in it, or ask for ?format=car; `peer ls` lists it",
            )
        if not wanted.slash:
            path, _, query = exchange.request.raw_path.partition("?")
            where = "/" + path.strip("/") + "/" + (f"?{query}" if query else "")
            return web.Response(status=301, headers=headers | {"Location": where})
        located, name = index, INDEX
    headers["ETag"] = f'"{located.cid.text}"'
    if located.node.kind == "symlink":
        headers["Content-Type"] = "inode/symlink"
        return await _send_bytes(exchange, headers, located.node.data)
    shown = exchange.query.get("filename") or name
    size = located.node.file_size
    headers["Content-Type"] = media_type(shown, b"")
    if headers["Content-Type"] == OCTETS:
        head = await _first_bytes(reading.file(located, 0, min(size, SNIFFED_BYTES)))
        headers["Content-Type"] = media_type(shown, head)
    _name(exchange, headers, name, located.cid.text)
    return await _send_ranged(
        exchange, headers, size, lambda span: prompt(reading.file(located, span.offset, span.length))
    )


async def _send_ranged(exchange: Exchange, headers: dict[str, str], size: int, body: Body) -> web.StreamResponse:
    request, tag = exchange.request, headers["ETag"]
    headers["Accept-Ranges"] = "bytes"
    if is_unchanged(field(request, "If-None-Match"), tag):
        return web.Response(status=304, headers=headers)
    wanted = field(request, "Range") if request.method == "GET" else None
    span = read_range(wanted, field(request, "If-Range"), tag, size)
    response = web.StreamResponse(status=206 if span else 200, headers=headers)
    if span is not None:
        response.headers["Content-Range"] = f"bytes {span.offset}-{span.offset + span.length - 1}/{size}"
    span = span or Span(0, size)
    response.content_length = span.length
    if request.method == "HEAD" or span.length == 0:
        return response
    return await send_chunks(exchange, response, body(span), span.length)


def _headers(exchange: Exchange, wanted: Wanted, roots: list[str]) -> dict[str, str]:
    path = quote("/".join((wanted.text, *wanted.path)) + "/" * wanted.slash, safe="/")
    headers = COMMON_HEADERS | {
        "X-Ipfs-Path": f"/ipfs/{path}",
        "X-Ipfs-Roots": ",".join(roots),
        "Cache-Control": f"{'public' if exchange.public else 'private'}, max-age={IMMUTABLE_S}, immutable",
        "Vary": "Accept",
    }
    if exchange.public:
        return headers | {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "Content-Range, Content-Length, ETag, X-Ipfs-Path, X-Ipfs-Roots",
        }
    return headers | {"Content-Security-Policy": SANDBOX, "X-Frame-Options": "DENY"}


def _name(exchange: Exchange, headers: dict[str, str], name: str, text: str) -> None:
    """Say under which name a browser saves what is sent, where the client wants that said."""
    query = exchange.query
    if query.get("download") or query.get("filename"):
        kind = "attachment" if query.get("download") else "inline"
        headers["Content-Disposition"] = disposition(kind, query.get("filename") or name or text)


def disposition(kind: str, name: str) -> str:
    """Return a Content-Disposition with a name of any letters (RFC 6266, RFC 8187)."""
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\/' else "_" for letter in name
    )
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


async def prompt(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `chunks`; raises TimedOutError where the first does not come in its time."""
    async with closing(chunks):
        try:
            async with asyncio.timeout(BEGUN_WITHIN_S) as limit:
                chunk = await anext(chunks, None)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimedOutError(f"nothing of it came within {BEGUN_WITHIN_S:g} s") from None
        while chunk is not None:
            yield chunk
            chunk = await anext(chunks, None)


async def _first_bytes(chunks: AsyncIterator[bytes]) -> bytes:
    async with closing(prompt(chunks)) as pieces:
        return await anext(pieces, None) or b""
