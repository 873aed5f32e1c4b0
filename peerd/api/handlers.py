"""What each route does: the node's operation, and its result as the answer. Sequences only; the parts are elsewhere."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import msgspec
from aiohttp import web

from peerd import __version__
from peerd.api.answers import DropList, Health, Id, Paths, Token, Version
from peerd.api.conditions import etag, wanted_version
from peerd.api.download import download
from peerd.api.errors import COMMON_HEADERS, UnavailableError, sendable
from peerd.api.exchange import Exchange, field, json_response
from peerd.api.metrics import render
from peerd.api.params import Query, put_options
from peerd.api.upload import body_chunks, body_form, small_body
from peerd.config.address import parse_host_port
from peerd.content.cid import Cid
from peerd.errors import NotAuthorisedError, TimedOutError, UsageError
from peerd.node.results import Put, PutOptions
from peerd.records.revocation import TEXT_MAX_BYTES

DROP_MAX_BYTES = 256 * 1024
DROP_MAX_ADDRESSES = 4096
READY_TIMEOUT_S = 5.0

T = TypeVar("T")

PAGE = b"""<!doctype html>
<meta charset="utf-8">
<title>peerd</title>
<p>This is the local API of a peerd peer. It describes itself at <a href="/v1/openapi.json">/v1/openapi.json</a>;
the command line <code>peer</code> is made of it.</p>
"""


# Names


async def put_name(exchange: Exchange) -> web.StreamResponse:
    """Store the body under a name."""
    options = _write_options(exchange)
    form = body_form(exchange.request)
    stored = await exchange.peer.put(exchange.argument, _body(exchange), form=form, options=options)
    return _stored(stored, 201 if stored.created else 200)


async def get_name(exchange: Exchange) -> web.StreamResponse:
    """Send the value of a name (or of a content id, which no name can be)."""
    return await download(exchange, exchange.target)


async def delete_name(exchange: Exchange) -> web.StreamResponse:
    """Delete a name everywhere."""
    return _stored(await exchange.peer.remove(exchange.argument, _write_options(exchange)), 200)


async def stat_name(exchange: Exchange) -> web.StreamResponse:
    """Tell what is known of a name."""
    return json_response(await _in_time(exchange.query, exchange.peer.stat(exchange.target)))


async def history_name(exchange: Exchange) -> web.StreamResponse:
    """List the versions known of a name, newest first."""
    return json_response(await _in_time(exchange.query, exchange.peer.history(exchange.target)))


# Content


async def post_content(exchange: Exchange) -> web.StreamResponse:
    """Store the body without a name."""
    form = body_form(exchange.request)
    return _stored(await exchange.peer.add(_body(exchange), form=form, options=put_options(exchange.query)), 201)


async def get_content(exchange: Exchange) -> web.StreamResponse:
    """Send the content of an id."""
    return await download(exchange, _content(exchange))


async def delete_content(exchange: Exchange) -> web.StreamResponse:
    """Withdraw what this peer added."""
    return _stored(await exchange.peer.remove(_cid(exchange), put_options(exchange.query)), 200)


async def stat_content(exchange: Exchange) -> web.StreamResponse:
    """Tell what is known of a content id."""
    return json_response(await _in_time(exchange.query, exchange.peer.stat(_content(exchange))))


# Names and content alike


async def list_entries(exchange: Exchange) -> web.StreamResponse:
    """List a directory, or what this peer keeps."""
    query = exchange.query
    return json_response(await _in_time(query, exchange.peer.list(query.get("target"), query.get("prefix", ""))))


async def find(exchange: Exchange) -> web.StreamResponse:
    """Do a lookup and show it hop by hop."""
    target = exchange.query.get("target")
    if target is None:
        raise UsageError("nothing is named to be found", hint="add ?target= and a key or a content id")
    return json_response(await _in_time(exchange.query, exchange.peer.find(target)))


async def pin(exchange: Exchange) -> web.StreamResponse:
    """Keep something on this peer whatever happens."""
    return json_response(await exchange.peer.pin(exchange.argument), 201)


async def unpin(exchange: Exchange) -> web.StreamResponse:
    """Let go of what was pinned."""
    return json_response(await exchange.peer.unpin(exchange.argument))


# Locks


async def take_lock(exchange: Exchange) -> web.StreamResponse:
    """Take a lock, waiting for it; one that nobody could be told of is given back."""
    timeout_s: float = exchange.query.get("timeout_s", PutOptions().timeout_s)
    taken = await exchange.peer.lock(exchange.argument, timeout_s)
    response = json_response(taken, 201)
    try:
        await response.prepare(exchange.request)
        await response.write_eof()
    except (asyncio.CancelledError, ConnectionError):
        exchange.peer.abandon_lock(exchange.argument, taken.fence)
        raise
    return response


async def renew_lock(exchange: Exchange) -> web.StreamResponse:
    """Hold a lock for another lease."""
    return json_response(await exchange.peer.renew_lock(exchange.argument, _fence(exchange)))


async def release_lock(exchange: Exchange) -> web.StreamResponse:
    """Give a lock back."""
    return json_response(await exchange.peer.unlock(exchange.argument, _fence(exchange)))


# The daemon


async def status(exchange: Exchange) -> web.StreamResponse:
    """Tell how the daemon is."""
    return json_response(await exchange.peer.status())


async def evidence(exchange: Exchange) -> web.StreamResponse:
    """List what convicts others."""
    return json_response(exchange.peer.evidence())


async def peers(exchange: Exchange) -> web.StreamResponse:
    """List the members known, the alive first."""
    return json_response(await exchange.peer.peers())


async def forget(exchange: Exchange) -> web.StreamResponse:
    """No longer count a peer that will not come back."""
    return json_response(await exchange.peer.forget(exchange.argument))


async def list_revoked(exchange: Exchange) -> web.StreamResponse:
    """List the peers whose keys count no more."""
    return json_response(exchange.peer.revoking.listed())


async def revoke(exchange: Exchange) -> web.StreamResponse:
    """Take a revocation, and tell all others; its peer is out for good."""
    body = await small_body(exchange.request, exchange.server.body_idle_s, TEXT_MAX_BYTES)
    return json_response(await exchange.peer.revoking.revoke(body))


async def collect(exchange: Exchange) -> web.StreamResponse:
    """Free what may go now."""
    return json_response(await exchange.peer.collect())


async def verify(exchange: Exchange) -> web.StreamResponse:
    """Re-hash all that is kept, and fetch again what is damaged."""
    return json_response(await exchange.peer.verify())


async def ping(exchange: Exchange) -> web.StreamResponse:
    """Measure one round trip to a peer."""
    return json_response(await _in_time(exchange.query, exchange.peer.ping(exchange.argument)), 201)


async def identify(exchange: Exchange) -> web.StreamResponse:
    """Tell this peer's id."""
    return json_response(Id(id=exchange.peer.id_text))


async def version(exchange: Exchange) -> web.StreamResponse:
    """Tell the daemon's version."""
    return json_response(Version(version=__version__))


async def paths(exchange: Exchange) -> web.StreamResponse:
    """Tell where the daemon keeps its things and can be reached."""
    places = exchange.server.places
    return json_response(
        Paths(
            data=sendable(places.data),
            token=sendable(places.token),
            config=sendable(places.config) if places.config is not None else None,
            api=[sendable(address) for address in exchange.server.addresses],
            listen=(await exchange.peer.status()).listen,
        )
    )


async def rotate_token(exchange: Exchange) -> web.StreamResponse:
    """Replace the API's token; the new one is in its file, the old one is refused from now on."""
    await exchange.server.rotate_token()
    return json_response(Token(token=sendable(exchange.server.places.token)))


async def live(exchange: Exchange) -> web.StreamResponse:
    """Say that the process answers."""
    return json_response(Health(status="live"))


async def ready(exchange: Exchange) -> web.StreamResponse:
    """Say whether the peer serves."""
    if exchange.server.stopping:
        raise UnavailableError("the daemon is stopping")
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await exchange.peer.status()
    except TimeoutError:
        raise UnavailableError("the peer does not answer") from None
    if exchange.peer.unready is not None:
        raise UnavailableError(f"the peer can keep nothing now: {exchange.peer.unready}")
    return json_response(Health(status="ready"))


async def metrics(exchange: Exchange) -> web.StreamResponse:
    """Show the daemon's numbers to Prometheus."""
    body, content_type = render(
        await exchange.peer.status(), exchange.server.request_counts, exchange.server.connection_count
    )
    return web.Response(body=body, headers=COMMON_HEADERS | {"Content-Type": content_type})


async def openapi(exchange: Exchange) -> web.StreamResponse:
    """Describe the API."""
    return web.Response(body=exchange.server.description(), content_type="application/json", headers=COMMON_HEADERS)


async def page(exchange: Exchange) -> web.StreamResponse:
    """Tell a person who looks here with a browser what this is."""
    headers = COMMON_HEADERS | {"Content-Security-Policy": "default-src 'none'"}
    return web.Response(body=PAGE, content_type="text/html", charset="utf-8", headers=headers)


async def lab_drop(exchange: Exchange) -> web.StreamResponse:
    """Replace the list of addresses that a daemon of a lab drops."""
    if not exchange.local:
        raise NotAuthorisedError("the drop list is set over the Unix socket only")
    body = await small_body(exchange.request, exchange.server.body_idle_s, DROP_MAX_BYTES)
    try:
        wanted = msgspec.json.decode(body, type=DropList)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the body is no drop list: {error}", hint='it is {"drop": ["ip:port", ...]}') from None
    if len(wanted.drop) > DROP_MAX_ADDRESSES:
        raise UsageError(f"the drop list has more than {DROP_MAX_ADDRESSES} addresses")
    for address in wanted.drop:
        _check_numeric(address)
    exchange.peer.set_drop_list(wanted.drop)
    return json_response(wanted)


# Helpers


def _body(exchange: Exchange) -> AsyncIterator[bytes]:
    return body_chunks(exchange.request, exchange.server.body_idle_s)


def _write_options(exchange: Exchange) -> PutOptions:
    request = exchange.request
    options = put_options(exchange.query)
    wanted = wanted_version(field(request, "If-Match"), field(request, "If-None-Match"), options.if_version)
    return msgspec.structs.replace(options, if_version=wanted)


def _stored(stored: Put, status: int) -> web.Response:
    headers = {"ETag": etag(stored.version)} if isinstance(stored.version, str) else None
    return json_response(stored, status, headers)


def _check_numeric(address: str) -> None:
    host = parse_host_port(address).host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise UsageError(f"the drop list takes numeric addresses, not {host!r}") from None


def _fence(exchange: Exchange) -> int:
    fence = exchange.query.get("fence")
    if fence is None:
        raise UsageError("the fence is missing", hint="add ?fence= and the number that taking the lock answered")
    return int(fence)


def _content(exchange: Exchange) -> str:
    """Return the CID of the path, or the digest that stands in its place."""
    return exchange.argument if exchange.argument.startswith("sha256:") else _cid(exchange)


def _cid(exchange: Exchange) -> str:
    return Cid.parse(exchange.argument).text


async def _in_time(query: Query, answer: Awaitable[T]) -> T:
    timeout_s: float | None = query.get("timeout_s")
    if timeout_s is None:
        return await answer
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return await answer
    except TimeoutError:
        if not limit.expired():
            raise
        raise TimedOutError(f"not known within {timeout_s:g} s") from None
