"""Calls of the daemon's local API: the request with its options, the answer, or the failure that the daemon told.

Not here: HTTP itself (httpwire), where the daemon is (endpoint), what is done with an answer.
"""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

import time

from . import endpoint, httpwire
from .failure import Failure
from .keys import quote
from .text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from .httpwire import Response, Wire
    from .parse import Invocation

    class Body(Protocol):
        """What a request carries."""

        def headers(self) -> list[tuple[str, str]]:
            """Return the headers that describe it, its framing among them."""

        def send(self, wire: Wire) -> None:
            """Send all of it; raises Failure where it cannot be read, and then the request is void."""


TIMEOUT_S = 30.0
GRACE_S = 1.0
"""Longer than the daemon's own deadline by this much, so that its answer about it arrives."""

CONNECT_TIMEOUT_S = 5.0
LIVENESS_TIMEOUT_S = 2.0
PATIENCE_MAX_S = 24 * 3600.0
"""How long at most a daemon that is alive may take to make the copies of what it was sent."""

ANSWER_MAX_BYTES = 256 * 1024 * 1024
PROBLEM_MAX_BYTES = 1024 * 1024
JSON_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"

_CODE_OF_STATUS = {
    304: "conflict",
    400: "usage",
    401: "not_authorised",
    403: "not_authorised",
    404: "not_found",
    412: "conflict",
    502: "integrity",
    504: "timeout",
    507: "no_room",
}

_FLAGS = ("own", "pin", "no-cache")
_NUMBERS = ("require", "ttl", "offset", "length")
_TEXTS = ("consistency", "if-version")


class Client:
    """Calls with the global options of one invocation; each call is a connection of its own."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._endpoints = endpoint.candidates(invocation.text("api"))
        self.timeout_s = invocation.seconds("timeout") or TIMEOUT_S
        self.reached = False
        """Whether the daemon took the connection of the last call."""

    def options(self, *names: str) -> list[tuple[str, str]]:
        """Return those options of the invocation that were given, as parameters of a query."""
        given = self._invocation
        query = [(name, "1") for name in names if name in _FLAGS and given.flag(name)]
        query += [
            (name, str(given.number(name))) for name in names if name in _NUMBERS and given.number(name) is not None
        ]
        query += [(name, given.text(name) or "") for name in names if name in _TEXTS and given.text(name) is not None]
        if "timeout" in names and given.seconds("timeout") is not None:
            query.append(("timeout", f"{self.timeout_s:.6g}"))
        return query

    def call(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        *,
        headers: list[tuple[str, str]] | None = None,
        body: Body | None = None,
        patient: bool = False,
    ) -> Response:
        """Make a request and return its answer, whose body is still to be read; the caller closes it.

        The answer to something stored, and to a `patient` request, is waited for as long as the daemon is alive.
        Raises Failure: what the daemon answered, or why there is no answer.
        """
        self.reached = False
        where, connected = endpoint.connect(self._endpoints, min(self.timeout_s, CONNECT_TIMEOUT_S))
        self._endpoints, self.reached = [where], True
        wire = httpwire.Wire(connected, self.timeout_s + GRACE_S)
        try:
            wire.send(self._head(where, method, path, query or [], [*(headers or []), *_body_headers(method, body)]))
            if body is not None:
                body.send(wire)
        except httpwire.Answered:
            pass
        except httpwire.WireFailure as error:
            wire.close()
            raise self.failure(error) from None
        except BaseException:
            wire.close()
            raise
        try:
            if body is not None or patient:
                self._wait_for_copies(wire)
            response = wire.response(head=method == "HEAD")
            if response.status >= 300:
                raise self._problem(response)
        except httpwire.WireFailure as error:
            wire.close()
            raise self.failure(error) from None
        except BaseException:
            wire.close()
            raise
        return response

    def raw_json(self, method: str, path: str, query: list[tuple[str, str]] | None = None, **more: Any) -> bytes:
        """Make a request and return the JSON of its answer as it came, in one line."""
        with self.call(method, path, query, **more) as response:
            if not response.headers.get("content-type", "").startswith(JSON_TYPE):
                raise self.foreign("its answer is not JSON")
            try:
                return response.read(ANSWER_MAX_BYTES).strip()
            except httpwire.WireFailure as error:
                raise self.failure(error) from None

    def json(self, method: str, path: str, query: list[tuple[str, str]] | None = None, **more: Any) -> Any:
        """Make a request and return its answer."""
        return self.understand(self.raw_json(method, path, query, **more))

    def understand(self, raw: bytes | str) -> Any:
        """Return the value of the JSON of an answer."""
        import json

        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise self.foreign("its answer is not JSON") from None

    def failure(self, error: httpwire.WireFailure) -> Failure:
        """Return the failure for an exchange that did not come to its end."""
        where = safe(self._endpoints[0].text)
        if error.kind == "silent":
            return Failure("timeout", f"{error}: {where}", "--timeout SECONDS waits longer")
        if error.kind == "gone":
            return Failure(
                "no_daemon", f"the daemon at {where} went away: {error}", "`peer status` shows whether it runs"
            )
        return self.foreign(str(error))

    def foreign(self, why: str) -> Failure:
        """Return the failure for an answer that no daemon of ours would give."""
        return Failure(
            "failed", f"what answers at {safe(self._endpoints[0].text)} is no peerd that this version knows: {why}"
        )

    def _head(
        self,
        where: endpoint.Endpoint,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        headers: list[tuple[str, str]],
    ) -> bytes:
        parameters = "&".join(f"{name}={quote(value)}" for name, value in query)
        own = [("Host", where.http_host), ("User-Agent", "peer"), ("Connection", "close")]
        if where.path is None:
            token = endpoint.token()
            if token is not None:
                own.append(("Authorization", f"Bearer {token}"))
        return httpwire.request_head(method, f"{path}?{parameters}" if parameters else path, [*own, *headers])

    def _wait_for_copies(self, wire: httpwire.Wire) -> None:
        """Wait for the answer to what may take long, for as long as the daemon is alive.

        It gives up by itself where there is no progress; of progress nothing is seen here, so that silence alone must
        not end the waiting: one that is asked and answers is at work.
        """
        give_up_at = time.monotonic() + PATIENCE_MAX_S
        while not wire.answered_within(self.timeout_s + GRACE_S):
            if time.monotonic() > give_up_at or not self._is_alive():
                raise httpwire.WireFailure("silent", f"the daemon said nothing for {wire.silence_s:.0f} s")

    def _is_alive(self) -> bool:
        try:
            where, connected = endpoint.connect(self._endpoints, LIVENESS_TIMEOUT_S)
        except Failure:
            return False
        wire = httpwire.Wire(connected, LIVENESS_TIMEOUT_S)
        try:
            wire.send(self._head(where, "GET", "/v1/health/live", [], []))
            wire.response()
        except (httpwire.WireFailure, httpwire.Answered):
            return False
        finally:
            wire.close()
        return True

    def _problem(self, response: Response) -> Failure:
        """Return the failure that an answer tells (RFC 9457), closing it."""
        with response:
            body = response.read(PROBLEM_MAX_BYTES)
        if response.status == 304:
            return Failure("conflict", "there is a version already")
        if not response.headers.get("content-type", "").startswith(PROBLEM_TYPE):
            return self.foreign(f"it answers with the status {response.status}")
        problem = self.understand(body)
        if not isinstance(problem, dict):
            return self.foreign("its error has no fields")
        code, detail, hint = problem.get("code"), problem.get("detail"), problem.get("hint")
        reached = problem.get("reached")
        return Failure(
            code if isinstance(code, str) else _CODE_OF_STATUS.get(response.status, "failed"),
            detail if isinstance(detail, str) and detail else f"the daemon answered with the status {response.status}",
            hint if isinstance(hint, str) else None,
            extra={"reached": reached} if isinstance(reached, dict) else None,
        )


def _body_headers(method: str, body: Body | None) -> list[tuple[str, str]]:
    if body is not None:
        return body.headers()
    return [("Content-Length", "0")] if method in ("POST", "PUT") else []
