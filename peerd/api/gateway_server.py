"""The IPFS gateway on an address of its own: read-only, without a token, for everybody who can reach it.

It gives out what this peer has or can get from the overlay, to who knows its content id, and nothing else: no names,
no lists, no state. Bounded: connections, of each address a part of them, and what one address asks at a time.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from peerd.api.connection import admitted
from peerd.api.errors import COMMON_HEADERS, BusyError, MethodError
from peerd.api.exchange import Exchange
from peerd.api.guard import SAFE_METHODS, Bound
from peerd.api.listen import Listening
from peerd.api.routes import Route, gateway_routes
from peerd.api.server import ApiServer, Places

if TYPE_CHECKING:
    from peerd.node.peer import Peer

CONNECTIONS_MAX = 256
AT_A_TIME_MAX = 32
"""Requests of one address being answered: each may be a look-up, and blocks on their way."""

PREFLIGHT_S = 86_400


async def _preflight(exchange: Exchange) -> web.StreamResponse:
    """Tell a browser that pages of any origin may read what is here."""
    headers = COMMON_HEADERS | {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
        "Access-Control-Allow-Headers": "Accept, Cache-Control, If-None-Match, Range",
        "Access-Control-Max-Age": str(PREFLIGHT_S),
    }
    return web.Response(status=204, headers=headers)


def _routes() -> tuple[Route, ...]:
    return (*gateway_routes(), Route("OPTIONS", "/ipfs/{content}", _preflight, (204,), lenient=True))


class GatewayServer(ApiServer):
    """Serves the gateway of one peer on one address."""

    public = True

    def __init__(
        self, peer: "Peer", addresses: Sequence[str | Listening], *, connections_max: int = CONNECTIONS_MAX
    ) -> None:
        no_places = Places(data="", token="")
        super().__init__(
            peer, addresses, "no token", places=no_places, connections_max=connections_max, routes=_routes()
        )
        self._at_a_time: Counter[str] = Counter()

    async def _answer(self, request: web.BaseRequest, bound: Bound | None) -> web.StreamResponse:
        address = request.remote or ""
        self._at_a_time[address] += 1
        try:
            return await super()._answer(request, bound)
        finally:
            self._at_a_time[address] -= 1
            if not self._at_a_time[address]:
                del self._at_a_time[address]

    def _admit(self, request: web.BaseRequest, path: str, bound: Bound | None) -> None:
        """Raise MethodError for what would change something, BusyError where an address asks for too much at once."""
        if request.method not in SAFE_METHODS:
            raise MethodError("the gateway is read-only", allowed=tuple(sorted(SAFE_METHODS)))
        if self._at_a_time[request.remote or ""] > AT_A_TIME_MAX:
            raise BusyError(
                f"more than {AT_A_TIME_MAX} requests of one address at a time", hint="ask again in a moment"
            )
        admitted(request)
