"""What only HTTP can do wrong, as leaves of the one error tree, and how any error becomes a problem document.

Codes are those of `peerd.errors` wherever one fits, so that the command line's exit codes hold here too;
`unavailable` and `internal` are the two that exist only over HTTP. Form: RFC 9457.
"""

from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from peerd.errors import NotAuthorisedError, PeerdError, TooFewCopiesError, UsageError

PROBLEM_TYPE = "application/problem+json"

COMMON_HEADERS = {"Server": "peerd", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Answers are state, not documents; and a browser must not guess that stored bytes are a page of ours."""

HINT_TOKEN = "send `Authorization: Bearer` with the text of the file that `peer paths` names as token"  # noqa: S105


class UnauthenticatedError(NotAuthorisedError):
    """A TCP request without the token, or with a wrong one."""

    http_status = 401


class NoRouteError(UsageError):
    """A path that the API does not have."""

    http_status = 404


class MethodError(UsageError):
    """A path that the API has, but not with this method; `allowed` are those it has."""

    http_status = 405

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class NotAcceptableError(UsageError):
    """A form of the answer that is not served."""

    http_status = 406


class BusyError(UsageError):
    """Too many requests of one address at a time."""

    http_status = 429


class SlowBodyError(UsageError):
    """The client stopped sending in the middle of a body."""

    http_status = 408


class TooLargeError(UsageError):
    """A body that is larger than its route takes."""

    http_status = 413


class EncodingError(UsageError):
    """A body in a form that the route does not take."""

    http_status = 415


class RangeError(UsageError):
    """A range that begins behind the end; `size` is where the end is."""

    http_status = 416

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class HeadersTooLargeError(UsageError):
    """A request line or header that is longer than the bound."""

    http_status = 431


class UnavailableError(PeerdError):
    """The daemon cannot serve now: starting, stopping, or too many connections."""

    code = "unavailable"
    http_status = 503


class InternalError(PeerdError):
    """Stands for an exception that nobody foresaw; says nothing of it to the client."""

    code = "internal"


class Problem(Struct, frozen=True, kw_only=True):
    """An error as RFC 9457 has it; `code` is the stable name, `reached` only of `too_few_copies`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    hint: str | UnsetType = UNSET
    reached: dict[str, Any] | UnsetType = UNSET


def problem(error: PeerdError) -> Problem:
    """Return what a client is told of `error`."""
    return Problem(
        title=HTTPStatus(error.http_status).phrase,
        status=error.http_status,
        detail=sendable(error.message),
        code=error.code,
        hint=sendable(error.hint) if error.hint else UNSET,
        reached=error.reached if isinstance(error, TooFewCopiesError) else UNSET,
    )


def problem_response(error: PeerdError) -> web.Response:
    """Return the response for `error`, with the headers that its status asks for (RFC 9110 15.5)."""
    headers = dict(COMMON_HEADERS)
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = 'Bearer realm="peerd", Basic realm="peerd", charset="UTF-8"'
    if isinstance(error, MethodError):
        headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, RangeError):
        headers["Content-Range"] = f"bytes */{error.size}"
    body = msgspec.json.encode(problem(error))
    return web.Response(status=error.http_status, body=body, content_type=PROBLEM_TYPE, headers=headers)


def sendable(text: str) -> str:
    """Return `text` without lone surrogates, which JSON cannot carry: bytes that are no UTF-8, in a path or message."""
    return text.encode("utf-8", "backslashreplace").decode()
