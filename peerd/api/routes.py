"""The route table: every path of the API, what it takes, answers, and how it fails; `/v1/openapi.json` shows it.

A path has at most one placeholder. It takes the rest of the path, raw slashes included, up to the sub-resource's name
where a longer template ends in one: `/v1/kv/a%2Fb/stat` is the stat of `a/b`, `/v1/kv/a%2Fstat` is the key `a/stat`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from peerd.api import answers, build_cache, handlers, params
from peerd.api.audit import send_audit
from peerd.api.car import export, import_
from peerd.api.errors import (
    BusyError,
    EncodingError,
    MethodError,
    NoRouteError,
    NotAcceptableError,
    Problem,
    RangeError,
    SlowBodyError,
    TooLargeError,
    UnavailableError,
)
from peerd.api.exchange import Handler
from peerd.api.gateway import serve_gateway
from peerd.api.params import Param
from peerd.api.target import decode
from peerd.api.watched import send_watched
from peerd.errors import (
    ConflictError,
    IntegrityError,
    NoRoomError,
    NotAuthorisedError,
    NotFoundError,
    PeerdError,
    StoreError,
    TimedOutError,
    TooFewCopiesError,
    UnreachableError,
    UsageError,
)
from peerd.node import results

Errors = tuple[type[PeerdError], ...]
Body = Literal["value", "drop", "revocation", "car", "entry"]
Media = Literal["json", "value", "events", "metrics", "html", "car", "content", "entry", "none", "xml"]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    handle: Handler
    statuses: tuple[int, ...]
    answer: Any = None
    """The type of a JSON answer."""
    media: Media = "json"
    params: tuple[Param, ...] = ()
    headers: tuple[str, ...] = ()
    """Request headers that the route heeds."""
    body: Body | None = None
    errors: Errors = ()
    needs_token: bool = True
    lenient: bool = False
    """Whether parameters that it does not know are passed over, as a specification of others wants it."""

    @property
    def placeholder(self) -> str | None:
        """The name of the path's placeholder."""
        return self.path.partition("{")[2].partition("}")[0] or None


class Table:
    """Finds the route of a request by its raw path."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        templates: dict[tuple[str, str], dict[str, Route]] = {}
        for route in routes:
            if route.placeholder is None:
                self._exact.setdefault(route.path, {})[route.method] = route
            else:
                prefix, _, rest = route.path.partition("{")
                templates.setdefault((prefix, rest.partition("}")[2]), {})[route.method] = route
        # Longest ending first, so that a sub-resource wins over a key that ends like it.
        self._templates = sorted(templates.items(), key=lambda item: -len(item[0][1]))

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """Return the route and the decoded text of its placeholder (empty where it has none).

        Raises NoRouteError for an unknown path, MethodError for a method the path has not, UsageError for a placeholder
        that is empty or no UTF-8.
        """
        methods, raw = self._match(path)
        route = methods.get(method)
        if route is None:
            raise MethodError(f"the path does not take {method[:20]}", allowed=tuple(methods))
        if route.placeholder is None:
            return route, ""
        what = f"the {route.placeholder} in the path"
        if not raw:
            raise UsageError(f"{what} is empty")
        return route, decode(raw, what)

    def _match(self, path: str) -> tuple[dict[str, Route], str]:
        exact = self._exact.get(path)
        if exact is not None:
            return exact, ""
        for (prefix, suffix), methods in self._templates:
            if path.startswith(prefix) and path.endswith(suffix) and len(path) >= len(prefix) + len(suffix):
                return methods, path[len(prefix) : len(path) - len(suffix)]
        raise NoRouteError("the API has no such path", hint="/v1/openapi.json lists them")


_READ_PARAMS = (
    params.CONSISTENCY,
    params.PIN,
    params.NO_CACHE,
    params.ORDER,
    params.TIMEOUT,
    params.OFFSET,
    params.LENGTH,
)
_ADD_PARAMS = (params.REQUIRE, params.CONSISTENCY, params.TTL, params.PIN, params.NO_CACHE, params.TIMEOUT)
_PUT_PARAMS = (*_ADD_PARAMS, params.OWN, params.IF_VERSION)
_WITHDRAW_PARAMS = (params.REQUIRE, params.CONSISTENCY, params.NO_CACHE, params.TIMEOUT)
_DELETE_PARAMS = (*_WITHDRAW_PARAMS, params.OWN, params.IF_VERSION)

_READ_HEADERS = ("Range", "If-Range", "If-Match", "If-None-Match")
_ASK: Errors = (UsageError, NotFoundError, TimedOutError)
_READ: Errors = (*_ASK, ConflictError, RangeError, IntegrityError, NoRoomError, StoreError)
_WRITE: Errors = (
    UsageError,
    NotAuthorisedError,
    ConflictError,
    TooFewCopiesError,
    TimedOutError,
    NoRoomError,
    StoreError,
)
_SEND: Errors = (*_WRITE, SlowBodyError, EncodingError)
_DELETE: Errors = (*_WRITE, NotFoundError)


def _names() -> Iterator[Route]:
    path = "/v1/kv/{key}"
    yield Route(
        "PUT",
        path,
        handlers.put_name,
        (201, 200),
        results.Put,
        params=_PUT_PARAMS,
        headers=("If-Match", "If-None-Match"),
        body="value",
        errors=_SEND,
    )
    for method in ("GET", "HEAD"):
        yield Route(
            method,
            path,
            handlers.get_name,
            (200, 206, 304) if method == "GET" else (200, 304),
            media="value",
            params=(*_READ_PARAMS, params.OWN),
            headers=_READ_HEADERS,
            errors=_READ,
        )
    yield Route(
        "DELETE",
        path,
        handlers.delete_name,
        (200,),
        results.Put,
        params=_DELETE_PARAMS,
        headers=("If-Match",),
        errors=_DELETE,
    )
    ask = (params.OWN, params.TIMEOUT)
    yield Route("GET", f"{path}/stat", handlers.stat_name, (200,), results.Stat, params=ask, errors=_ASK)
    yield Route(
        "GET", f"{path}/history", handlers.history_name, (200,), list[results.HistoryEntry], params=ask, errors=_ASK
    )


def _content() -> Iterator[Route]:
    yield Route(
        "POST",
        "/v1/content",
        handlers.post_content,
        (201,),
        results.Put,
        params=_ADD_PARAMS,
        body="value",
        errors=_SEND,
    )
    path = "/v1/content/{cid}"
    for method in ("GET", "HEAD"):
        yield Route(
            method,
            path,
            handlers.get_content,
            (200, 206, 304) if method == "GET" else (200, 304),
            media="value",
            params=_READ_PARAMS,
            headers=_READ_HEADERS,
            errors=_READ,
        )
    yield Route("DELETE", path, handlers.delete_content, (200,), results.Put, params=_WITHDRAW_PARAMS, errors=_DELETE)
    yield Route(
        "GET", f"{path}/stat", handlers.stat_content, (200,), results.Stat, params=(params.TIMEOUT,), errors=_ASK
    )


def _either() -> Iterator[Route]:
    named = (params.TARGET, params.TIMEOUT)
    pin = (*_ASK, IntegrityError, NoRoomError, StoreError)
    listed = (*named, params.PREFIX)
    yield Route("GET", "/v1/ls", handlers.list_entries, (200,), list[results.Entry], params=listed, errors=_ASK)
    yield Route("GET", "/v1/find", handlers.find, (200,), results.Find, params=named, errors=_ASK)
    read = (params.CONSISTENCY, params.NO_CACHE, params.TIMEOUT, params.OWN)
    yield Route("GET", "/v1/car/{target}", export, (200,), media="car", params=read, errors=_READ)
    add = (params.REQUIRE, params.PIN, params.TIMEOUT)
    sent = (*_SEND, IntegrityError)
    yield Route("POST", "/v1/car", import_, (201,), results.Imported, params=add, body="car", errors=sent)
    audit = (params.KEY, params.OWN, params.DIVERGENT, params.TIMEOUT)
    yield Route("GET", "/v1/audit", send_audit, (200,), results.Audit, params=audit, errors=(*_ASK, StoreError))
    yield Route("POST", "/v1/pins/{target}", handlers.pin, (201,), results.Pinned, errors=pin)
    yield Route("DELETE", "/v1/pins/{target}", handlers.unpin, (200,), results.Pinned, errors=pin)


def gateway_routes() -> Iterator[Route]:
    """The routes of the IPFS gateway, on the API and on an address of its own."""
    car = (params.DAG_SCOPE, params.ENTITY_BYTES, params.CAR_VERSION, params.CAR_ORDER, params.CAR_DUPS)
    errors = (UsageError, NotFoundError, TimedOutError, IntegrityError, RangeError, NotAcceptableError, ConflictError)
    for method in ("GET", "HEAD"):
        yield Route(
            method,
            "/ipfs/{content}",
            serve_gateway,
            (200, 206, 301, 304) if method == "GET" else (200, 301, 304),
            media="content",
            params=(params.FORMAT, *car, params.FILENAME, params.DOWNLOAD),
            headers=("Accept", "Cache-Control", "Range", "If-Range", "If-None-Match"),
            errors=(*errors, BusyError, StoreError),
            lenient=True,
        )


def _locks() -> Iterator[Route]:
    path, errors = "/v1/locks/{name}", (UsageError, TimedOutError, NoRoomError, StoreError)
    yield Route("POST", path, handlers.take_lock, (201,), results.Lock, params=(params.TIMEOUT,), errors=errors)
    for method, handle in (("PUT", handlers.renew_lock), ("DELETE", handlers.release_lock)):
        yield Route(method, path, handle, (200,), results.Lock, params=(params.FENCE,), errors=(*errors, ConflictError))


def _build_cache() -> Iterator[Route]:
    root, path, read = "/cache/", "/cache/{path}", (UsageError, NotFoundError, StoreError)
    taken = (UsageError, TooLargeError, NoRoomError, StoreError, SlowBodyError, EncodingError)
    for each in (root, path):
        for method in ("GET", "HEAD"):
            yield Route(method, each, build_cache.get_entry, (200,), media="entry", errors=read)
        yield Route("PUT", each, build_cache.put_entry, (201, 200), media="none", body="entry", errors=taken)
        yield Route("DELETE", each, build_cache.delete_entry, (200,), media="none", errors=(*read, NoRoomError))
        yield Route("OPTIONS", each, build_cache.show_options, (200,), media="none")
    for each in (path, root, "/cache"):
        yield Route("PROPFIND", each, build_cache.show_properties, (207,), media="xml", errors=read)
        yield Route("MKCOL", each, build_cache.make_collection, (201,), media="none", errors=(UsageError,))


def _daemon() -> Iterator[Route]:
    yield Route("GET", "/v1/status", handlers.status, (200,), results.Status)
    yield Route("GET", "/v1/peers", handlers.peers, (200,), list[results.PeerInfo])
    yield Route("GET", "/v1/evidence", handlers.evidence, (200,), list[results.Evidence])
    yield Route(
        "POST",
        "/v1/ping/{peer}",
        handlers.ping,
        (201,),
        results.Ping,
        params=(params.TIMEOUT,),
        errors=(*_ASK, UnreachableError),
    )
    forget = (UsageError, NotFoundError, StoreError)
    yield Route("POST", "/v1/forget/{peer}", handlers.forget, (200,), results.Forgotten, errors=forget)
    yield Route("GET", "/v1/revocations", handlers.list_revoked, (200,), list[results.Revoked])
    yield Route(
        "POST",
        "/v1/revocations",
        handlers.revoke,
        (200,),
        results.Revoked,
        body="revocation",
        errors=(UsageError, StoreError, NoRoomError, SlowBodyError, TooLargeError),
    )
    yield Route("POST", "/v1/gc", handlers.collect, (200,), results.Collected, errors=(StoreError,))
    yield Route("POST", "/v1/verify", handlers.verify, (200,), results.Verified, errors=(StoreError, NoRoomError))
    yield Route("GET", "/v1/id", handlers.identify, (200,), answers.Id)
    yield Route("GET", "/v1/version", handlers.version, (200,), answers.Version)
    yield Route("GET", "/v1/paths", handlers.paths, (200,), answers.Paths)
    yield Route("POST", "/v1/token", handlers.rotate_token, (200,), answers.Token, errors=(StoreError, NoRoomError))
    watch = (params.WATCHED, params.OWN, params.AFTER, params.TIMEOUT)
    yield Route(
        "GET",
        "/v1/events",
        send_watched,
        (200,),
        media="events",
        params=watch,
        headers=("Last-Event-ID",),
        errors=(UsageError, TimedOutError, NoRoomError, StoreError),
    )
    for method in ("GET", "HEAD"):
        yield Route(method, "/v1/health/live", handlers.live, (200,), answers.Health, needs_token=False)
        yield Route(
            method,
            "/v1/health/ready",
            handlers.ready,
            (200,),
            answers.Health,
            errors=(UnavailableError,),
            needs_token=False,
        )
    yield Route(
        "PUT",
        "/v1/lab/drop",
        handlers.lab_drop,
        (200,),
        answers.DropList,
        body="drop",
        errors=(UsageError, NotAuthorisedError, SlowBodyError, TooLargeError),
    )
    yield Route("GET", "/v1/openapi.json", handlers.openapi, (200,), dict[str, Any])
    yield Route("GET", "/metrics", handlers.metrics, (200,), media="metrics")
    yield Route("GET", "/", handlers.page, (200,), media="html")


ROUTES: tuple[Route, ...] = (
    *_names(),
    *_content(),
    *_either(),
    *gateway_routes(),
    *_locks(),
    *_build_cache(),
    *_daemon(),
)

STRUCTS: tuple[Any, ...] = (Problem, answers.DropList)
"""Types of the description that no route answers."""
