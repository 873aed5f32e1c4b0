"""The API's description of itself, OpenAPI 3.1, made from the route table and the types of the answers."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from peerd import __version__
from peerd.api.errors import PROBLEM_TYPE, InternalError, Problem, UnauthenticatedError, UnavailableError
from peerd.api.gateway_request import CAR_TYPE, RAW_TYPE
from peerd.api.routes import STRUCTS, Body, Media, Route
from peerd.api.upload import TAR_TYPE
from peerd.errors import NotAuthorisedError, PeerdError, UsageError

Json = dict[str, Any]

# What the server itself can answer on any route, and what it can only where a token is needed.
_EVERYWHERE: tuple[type[PeerdError], ...] = (UsageError, NotAuthorisedError, UnavailableError, InternalError)
_WITH_TOKEN: tuple[type[PeerdError], ...] = (UnauthenticatedError,)

_BINARY: Json = {"type": "string", "format": "binary"}
_PLACEHOLDERS = {
    "key": (
        "A name: 1 to 255 bytes of UTF-8, percent-encoded, '/' as %2F and a lone '.' or '..' as %2E. "
        "Reads, `stat` and DELETE take a content id too."
    ),
    "cid": "A content id.",
    "target": "A key or a content id, percent-encoded as a key is.",
    "peer": "A peer id.",
    "path": "What a build tool names an entry: plain names between slashes, at most 1,024 bytes of UTF-8.",
    "content": "A content id, and a path below it.",
    "name": "The name of a lock, 1 to 249 bytes of UTF-8; locks are apart from keys.",
}
_REQUEST_HEADERS = {
    "If-Match": "The quoted version that must be the present one.",
    "If-None-Match": "On a write `*`: nothing may be there yet. On a read: quoted versions that the client has.",
    "Range": "One range of bytes of a file; several, or another unit, are answered by the whole.",
    "Accept": "`application/vnd.ipld.raw` or `application/vnd.ipld.car`, where `format` is not given.",
    "Last-Event-ID": "The version after which to go on, before what `after` says.",
    "Cache-Control": "`only-if-cached`: what is not here already is 412.",
    "If-Range": "The quoted version that the range is of; the whole is sent where it is another.",
}
_VALUE_HEADERS = {
    "ETag": "The quoted version of a name, the quoted content id of content.",
    "X-Peerd-Get": "How it was found: the JSON of `Get` on one line, ASCII.",
    "X-Peerd-Kind": "`file` or `directory`.",
}
_GATEWAY_HEADERS = {
    "ETag": "The quoted content id of a file; with `.raw` of a block, weak and with `.car` and more of a CAR.",
    "X-Ipfs-Path": "The path that was asked for.",
    "X-Ipfs-Roots": "The content ids of the root and of each part of the path.",
}
_PARTIAL_HEADERS = {"Content-Range": "Which bytes of how many."}
_ENTRY_HEADERS = {"ETag": "The quoted content id."}
_TEXT_MEDIA: dict[Media, str] = {
    "events": "text/event-stream",
    "metrics": "text/plain",
    "html": "text/html",
    "xml": "application/xml",
}

_METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"})
"""What a description can hold (OpenAPI 3.1, 4.8.9); the methods of WebDAV are told in docs/HTTP.md."""


def describe(routes: Sequence[Route]) -> bytes:
    """Return the description of `routes` as JSON."""
    types = list(dict.fromkeys([*(route.answer for route in routes if route.answer is not None), *STRUCTS]))
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, Json] = {}
    for route in (route for route in routes if route.method in _METHODS):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "peerd local API",
                "version": __version__,
                "description": "What a peer offers on its own host. A Unix socket needs no token; a TCP address does.",
            },
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "basic": {"type": "http", "scheme": "basic", "description": "The token as the password."},
                },
            },
            "security": [{"bearer": []}, {"basic": []}],
        }
    )


def _operation(route: Route, schema_of: dict[Any, Json]) -> Json:
    summary = (route.handle.__doc__ or "").strip().partition("\n")[0]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": _PLACEHOLDERS[name]}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    parameters += [
        {"name": each.name, "in": "query", "required": False, "schema": each.schema, "description": each.about}
        for each in route.params
    ]
    parameters += [
        {"name": name, "in": "header", "schema": {"type": "string"}, "description": _REQUEST_HEADERS[name]}
        for name in route.headers
    ]
    operation: Json = {
        "operationId": _operation_id(route),
        "summary": summary,
        "parameters": parameters,
        "responses": _answers(route, schema_of) | _errors(route, schema_of),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _request_content(route.body, schema_of)}
    if not route.needs_token:
        operation["security"] = []
    return operation


def _operation_id(route: Route) -> str:
    words = re.sub(r"[^a-zA-Z]+", " ", route.path.removeprefix("/v1")).split()
    return "_".join([route.method.lower(), *words])


def _request_content(body: Body, schema_of: dict[Any, Json]) -> Json:
    if body == "drop":
        return {"application/json": {"schema": schema_of[STRUCTS[1]]}}
    if body == "car":
        return {CAR_TYPE: {"schema": _BINARY | {"description": "A CAR of version 1 or 2, with at least one root."}}}
    if body == "revocation":
        about = "A revocation as `peerd identity revoke` writes it: hexadecimal digits."
        return {"application/octet-stream": {"schema": _BINARY | {"description": about}}}
    if body == "entry":
        return {"application/octet-stream": {"schema": _BINARY}}
    return {
        "application/octet-stream": {"schema": _BINARY},
        TAR_TYPE: {"schema": _BINARY | {"description": "A directory: its entries, without a top-level directory."}},
    }


def _answers(route: Route, schema_of: dict[Any, Json]) -> Json:
    answers: Json = {}
    for status in route.statuses:
        answer: Json = {"description": HTTPStatus(status).phrase}
        if route.method != "HEAD" and status != HTTPStatus.NOT_MODIFIED and route.media != "none":
            answer["content"] = _content(route, schema_of, partial=status == HTTPStatus.PARTIAL_CONTENT)
        if route.media == "car":
            answer["headers"] = {
                "X-Peerd-Get": {"schema": {"type": "string"}, "description": _VALUE_HEADERS["X-Peerd-Get"]}
            }
        if route.media == "content":
            answer["headers"] = {
                name: {"schema": {"type": "string"}, "description": text} for name, text in _GATEWAY_HEADERS.items()
            }
        if route.media in ("value", "entry"):
            partial = _PARTIAL_HEADERS if status == HTTPStatus.PARTIAL_CONTENT else {}
            about = _ENTRY_HEADERS if route.media == "entry" else _VALUE_HEADERS | partial
            answer["headers"] = {
                name: {"schema": {"type": "string"}, "description": text} for name, text in about.items()
            }
        answers[str(status)] = answer
    return answers


def _content(route: Route, schema_of: dict[Any, Json], *, partial: bool) -> Json:
    if route.media == "json":
        return {"application/json": {"schema": schema_of[route.answer]}}
    if route.media == "car":
        return {CAR_TYPE: {"schema": _BINARY}}
    if route.media == "entry":
        return {"application/octet-stream": {"schema": _BINARY}}
    if route.media == "content":
        return {kind: {"schema": _BINARY} for kind in ("*/*", RAW_TYPE, CAR_TYPE)}
    if route.media == "value":
        content = {"application/octet-stream": {"schema": _BINARY}}
        return content if partial else content | {TAR_TYPE: {"schema": _BINARY}}
    return {_TEXT_MEDIA[route.media]: {"schema": {"type": "string"}}}


def _errors(route: Route, schema_of: dict[Any, Json]) -> Json:
    by_status: dict[int, list[str]] = {}
    for error in (*route.errors, *_EVERYWHERE, *(_WITH_TOKEN if route.needs_token else ())):
        codes = by_status.setdefault(error.http_status, [])
        if error.code not in codes:
            codes.append(error.code)
    problem = {PROBLEM_TYPE: {"schema": schema_of[Problem]}}
    return {
        str(status): {
            "description": f"{HTTPStatus(status).phrase}; `code` is {' or '.join(f'`{code}`' for code in codes)}.",
            "content": problem,
        }
        for status, codes in sorted(by_status.items())
    }
