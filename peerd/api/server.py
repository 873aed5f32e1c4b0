"""The API's server: binds addresses, lets requests in, calls their handlers, turns every failure into an answer.

Not here: what a route does (handlers), who may ask (guard). What nobody foresaw ends in connection.handle_error.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from loguru import logger

from peerd.api.connection import BoundedServer, admitted, break_off
from peerd.api.errors import problem_response
from peerd.api.exchange import Exchange
from peerd.api.guard import Bound, check_effect, check_form, check_host, check_origin, check_site, check_token
from peerd.api.listen import Listening, listen_all
from peerd.api.params import read_query
from peerd.api.routes import ROUTES, Route, Table
from peerd.api.target import split_target
from peerd.errors import PeerdError, UsageError

if TYPE_CHECKING:
    from peerd.node.peer import Peer

CONNECTIONS_MAX = 256
IDLE_S = 30.0
BODY_IDLE_S = 300.0
WRITE_IDLE_S = 600.0
GRACE_S = 3.0

ADDRESSES_MIN = 4
"""So many addresses, at least, have connections to what is open to everybody."""

CLIENT_GONE = 499
"""Counted for a request whose client did not wait for the answer; never sent."""

OTHER = "other"
"""Stands in the counts for what clients made up: their words must not grow our memory."""

_OPEN_PATHS = frozenset(route.path for route in ROUTES if not route.needs_token)


@dataclass(frozen=True, slots=True)
class Places:
    """What `/v1/paths` tells besides the addresses: the data directory, the token's file, the settings' file."""

    data: str
    token: str
    config: str | None = None


@dataclass(slots=True)
class _Served:
    listening: Listening
    server: BoundedServer
    accepting: list[asyncio.Server]


class ApiServer:
    """Serves one peer's API on some addresses.

    `start` binds all of them or none, those apart that `listen_all` bound already; `stop` must be called once it
    returned. Each address has its own bound of connections, so that strangers who fill the TCP address do not lock out
    the Unix socket.
    """

    public = False

    def __init__(
        self,
        peer: "Peer",
        addresses: Sequence[str | Listening],
        token: str,
        *,
        places: Places,
        new_token: Callable[[], str] | None = None,
        connections_max: int = CONNECTIONS_MAX,
        idle_s: float = IDLE_S,
        body_idle_s: float = BODY_IDLE_S,
        write_idle_s: float = WRITE_IDLE_S,
        grace_s: float = GRACE_S,
        routes: tuple[Route, ...] = ROUTES,
    ) -> None:
        if not token:
            raise UsageError("the API needs a token that is not empty")
        self.places = places
        self.body_idle_s = body_idle_s
        self.write_idle_s = write_idle_s
        self.stopping = False
        self.request_counts: Counter[tuple[str, str, int]] = Counter()
        self._peer = peer
        self._wanted = addresses
        self._token = token
        self._new_token = new_token
        self._rotating = threading.Lock()
        self._connections_max = connections_max
        self._idle_s = idle_s
        self._grace_s = grace_s
        self._table = Table(routes)
        self._served: list[_Served] = []
        self._endless: dict[asyncio.Task[object], bool] = {}

    @property
    def addresses(self) -> list[str]:
        """The addresses that are served, port 0 resolved."""
        return [served.listening.text for served in self._served]

    @property
    def connection_count(self) -> int:
        """Connections that are open."""
        return sum(len(served.server.connections) for served in self._served)

    async def start(self) -> list[str]:
        """Bind and serve; return the addresses with port 0 resolved.

        Raises UsageError where an address is malformed or taken; then none is bound.
        """
        bound = [each for each in self._wanted if isinstance(each, Listening)]
        bound += await listen_all([each for each in self._wanted if isinstance(each, str)])
        for listening in bound:
            self._served.append(await self._serve(listening))
        return self.addresses

    async def stop(self) -> None:
        """Take no more requests, give those in flight a moment, and close everything."""
        self.stopping = True
        for served in self._served:
            for server in served.accepting:
                server.close()
            served.server.pre_shutdown()
        for task in self._endless:
            task.cancel()
        await asyncio.gather(*(served.server.shutdown(self._grace_s) for served in self._served))
        for served in self._served:
            served.listening.remove()
        self._served.clear()

    async def rotate_token(self) -> None:
        """Have another token from here on: the old one opens nothing more, and endless answers it opened end.

        Raises UsageError where the token is not the server's to change, and what writing it raises; then the old one
        stays.
        """
        if self._new_token is None:
            raise UsageError("the token of this API is its program's to change")
        await asyncio.to_thread(self._rotate, self._new_token)
        for task, local in list(self._endless.items()):
            if not local:
                task.cancel()

    def _rotate(self, new_token: Callable[[], str]) -> None:
        # The file and what we ask for change together, here in the thread: also where the client has gone meanwhile.
        with self._rotating:
            self._token = new_token()

    @contextmanager
    def endless(self, *, local: bool) -> Iterator[None]:
        """Mark the current task as an answer that does not end by itself, but with the server or with its token."""
        task = asyncio.current_task()
        assert task is not None
        self._endless[task] = local
        try:
            yield
        finally:
            del self._endless[task]

    def description(self) -> bytes:
        """Return the API's description of itself, as JSON."""
        from peerd.api.openapi import describe  # noqa: PLC0415  rarely asked for, never by `peer`

        return describe(ROUTES)

    async def _serve(self, listening: Listening) -> _Served:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return await self._answer(request, listening.bound)

        server = BoundedServer(
            answer,
            connections_max=self._connections_max,
            idle_s=self._idle_s,
            strangers=listening.bound is not None,
            address_max=self._connections_max // ADDRESSES_MIN if self.public else None,
        )
        loop = asyncio.get_running_loop()
        accepting = [
            await loop.create_unix_server(server.accept, sock=sock)
            if listening.bound is None
            else await loop.create_server(server.accept, sock=sock)
            for sock in listening.sockets
        ]
        return _Served(listening, server, accepting)

    async def _answer(self, request: web.BaseRequest, bound: Bound | None) -> web.StreamResponse:
        route: Route | None = None
        status = 500
        try:
            path, query = split_target(request.raw_path)
            self._admit(request, path, bound)
            route, argument = self._table.find(request.method, path)
            exchange = Exchange(
                request=request,
                peer=self._peer,
                server=self,
                local=bound is None,
                argument=argument,
                query=read_query(query, route.params, lenient=route.lenient),
                public=self.public,
            )
            if exchange.query.get("pin") and not exchange.local:
                check_effect(request.method, request.headers)
            response = await route.handle(exchange)
        except PeerdError as error:
            status = error.http_status
            logger.debug("api request failed", route=route.path if route else OTHER, code=error.code)
            response = await self._failed(request, error)
        except (asyncio.CancelledError, ConnectionError):
            status = CLIENT_GONE
            raise
        else:
            status = response.status
        finally:
            self._count(route, status)
        if not request.content.at_eof():
            # What was not read of the body cannot be told from the next request.
            response.force_close()
        return response

    def _admit(self, request: web.BaseRequest, path: str, bound: Bound | None) -> None:
        """Raise NotAuthorisedError or UnauthenticatedError for a request that may not be made."""
        headers = request.headers
        if bound is not None:
            host = check_host(headers.getall("Host", ()), bound, _local_ip(request))
            check_origin(headers.getall("Origin", ()), host)
            check_site(headers.getall("Sec-Fetch-Site", ()))
            if path not in _OPEN_PATHS:
                check_token(headers.getall("Authorization", ()), self._token)
                admitted(request)
        check_form(request.method, request.content_type, headers)

    async def _failed(self, request: web.BaseRequest, error: PeerdError) -> web.Response:
        if request.writer.output_size > 0:
            await break_off(request, error.code, self.write_idle_s)
        return problem_response(error)

    def _count(self, route: Route | None, status: int) -> None:
        method, path = (route.method, route.path) if route else (OTHER, OTHER)
        self.request_counts[method, path, status] += 1


def _local_ip(request: web.BaseRequest) -> str:
    name = request.get_extra_info("sockname")
    return str(name[0]) if isinstance(name, tuple) else ""
