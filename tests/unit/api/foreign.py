"""What a web page, another user or an old token may try, of every route: the table behind the tests of refusals.

Plain bytes for a socket, so that the same table is sent to the server over a double and to a real daemon.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from peerd.api.routes import ROUTES

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
OPEN = {route.path for route in ROUTES if not route.needs_token}
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain;charset=UTF-8")
PAGE = "http://evil.example"
CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
SAMPLES = {"{key}": "k", "{cid}": CID, "{target}": "k", "{peer}": "a" * 52, "{name}": "l"}


@dataclass(frozen=True)
class Attempt:
    """One request; `statuses` are those it may be answered with."""

    what: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    statuses: tuple[int, ...] = (401, 403)

    def raw(self, connection: str = "close") -> bytes:
        length = [("Content-Length", str(len(self.body)))] if self.body or self.method in ("POST", "PUT") else []
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{n}: {v}" for n, v in (*self.headers, *length))]
        return "\r\n".join([*lines, f"Connection: {connection}", "", ""]).encode() + self.body


def paths() -> list[str]:
    """Return every path of the API, with something in the place of its placeholder, and one it has not."""
    filled = {}
    for route in ROUTES:
        path = route.path
        for name, sample in SAMPLES.items():
            path = path.replace(name, sample)
        filled[path] = route.path
    return [*filled, "/v1/none"]


def attempts(host: str, token: str, old: str) -> Iterator[Attempt]:
    """Yield every attempt on the TCP address `host`; `old` is a token that was rotated away."""
    for path in paths():
        for method in METHODS:
            for what, headers in _with_token(host, token):
                yield Attempt(what, method, path, headers, statuses=(400, 401, 403))
            yield from _without_token(host, token, old, method, path)
            if method not in SAFE:
                yield from _forms(host, token, method, path)
    for method in ("GET", "HEAD"):
        for mark in (("Referer", f"http://{host}/"), ("Cookie", "a=b"), ("Sec-Fetch-Mode", "no-cors")):
            ours = (("Host", host), ("Authorization", f"Bearer {token}"), mark)
            for target in ("/v1/kv/k?pin", f"/v1/content/{CID}?pin=true"):
                yield Attempt(f"pins by reading, {mark[0]}", method, target, ours, statuses=(403,))


def _with_token(host: str, token: str) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Yield what has the token all the same: a browser may have it as a remembered password."""
    port = host.rpartition(":")[2]
    for scheme in (f"Bearer {token}", "Basic " + base64.b64encode(f"x:{token}".encode()).decode()):
        known = ("Authorization", scheme)
        yield "foreign host", (("Host", f"evil.example:{port}"), known)
        for origin in (PAGE, "null", f"http://localhost:{int(port) ^ 1}", f"https://{host}"):
            yield f"origin {origin}", (("Host", host), known, ("Origin", origin))
        for site in ("cross-site", "same-site", "Cross-Site"):
            yield f"site {site}", (("Host", host), known, ("Sec-Fetch-Site", site))
        preflight = (("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Private-Network", "true"))
        yield "preflight", (("Host", host), known, ("Origin", PAGE), *preflight)


def _without_token(host: str, token: str, old: str, method: str, path: str) -> Iterator[Attempt]:
    ours = ("Host", host)
    # The health paths need no token: with another method they have nothing that could be had.
    statuses = ((200,) if method in ("GET", "HEAD") else (405,)) if path in OPEN else (401,)
    yield Attempt("no token", method, path, (ours,), statuses=statuses)
    for each in (old, token[:-1], token + "x", token.swapcase(), ""):
        yield Attempt(f"token {each}", method, path, (ours, ("Authorization", f"Bearer {each}")), statuses=statuses)
    for name in ("token", "access_token", "Authorization", "api_key"):
        wanted = (400, *statuses) if path in OPEN else statuses
        yield Attempt(f"?{name}=", method, f"{path}?{name}={token}", (ours,), statuses=wanted)
        cookie = ("Cookie", f"{name}={token}")
        refused = (403,) if method == "POST" and path in OPEN else statuses
        yield Attempt(f"cookie {name}", method, path, (ours, cookie), statuses=refused)
    for name in ("X-Token", "X-Api-Key", "Proxy-Authorization", "X-Authorization"):
        yield Attempt(name, method, path, (ours, (name, f"Bearer {token}")), statuses=statuses)
    if method not in SAFE:
        body = f"token={token}&access_token={token}".encode()
        yield Attempt("in the body", method, path, (ours,), body, statuses=statuses)
        json = ("Content-Type", "application/json")
        yield Attempt("in JSON", method, path, (ours, json), b'{"token": "%b"}' % token.encode(), statuses=statuses)


def _forms(host: str, token: str, method: str, path: str) -> Iterator[Attempt]:
    marks = (("Referer", f"http://{host}/"), ("Cookie", "a=b"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "x"))
    kinds = [(("Content-Type", kind),) for kind in FORMS]
    # Of the methods only POST goes without a preflight, and what a page sends as bytes has no type.
    untyped = [(), (("Content-Type", ""),)] if method == "POST" else []
    for kind in (*kinds, *untyped):
        for mark in (*marks, ("Origin", f"http://{host}"), ("Sec-Fetch-Site", "same-origin")):
            headers = (("Host", host), ("Authorization", f"Bearer {token}"), *kind, mark)
            yield Attempt(f"form {kind} {mark[0]}", method, path, headers, b"a=b", statuses=(403,))
