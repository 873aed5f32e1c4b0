"""CAR over the local API: the whole DAG of something sent as it is fetched, and one taken in.

Not here: the gateway's CARs of parts of a DAG (gateway).
"""

from aiohttp import web

from peerd.api.download import get_header, send_chunks
from peerd.api.errors import COMMON_HEADERS, EncodingError
from peerd.api.exchange import Exchange, json_response
from peerd.api.gateway_request import CAR_TYPE
from peerd.api.params import get_options, put_options
from peerd.api.upload import body_chunks, body_form
from peerd.errors import UsageError


async def export(exchange: Exchange) -> web.StreamResponse:
    """Send the whole DAG of a name or content as a CAR of version 1."""
    opened = await exchange.peer.open(exchange.target, get_options(exchange.query))
    headers = COMMON_HEADERS | {"X-Peerd-Get": get_header(opened.info), "X-Peerd-Kind": opened.kind}
    response = web.StreamResponse(headers=headers)
    response.headers["Content-Type"] = f"{CAR_TYPE}; version=1; order=dfs; dups=n"
    if exchange.request.version < (1, 1):
        # Without chunks only the end of the connection would end it, and a broken stream would look whole.
        raise UsageError("a CAR is sent over HTTP/1.1 only")
    return await send_chunks(exchange, response, exchange.peer.formats.car(opened), None)


async def import_(exchange: Exchange) -> web.StreamResponse:
    """Take in a CAR of version 1 or 2, and add every root of it."""
    if body_form(exchange.request) != "file":
        raise EncodingError("what is imported is a CAR, no tar", hint=f"send it as {CAR_TYPE}")
    body = body_chunks(exchange.request, exchange.server.body_idle_s)
    return json_response(await exchange.peer.formats.import_car(body, put_options(exchange.query)), 201)
