"""Requests made from the API's own description: the parameters that it names, of the kinds that it tells, or not quite.

Half are whole requests in which one thing or another is strange; of the rest the bytes are mutated as well.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from tests.fuzz import samples
from tests.fuzz.mutate import EDGES, WORDS, Mutator

T = TypeVar("T")

KEYS = 40
BODY_MAX_BYTES = 20_000
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 40)
TYPES = (
    "application/octet-stream",
    "application/x-tar",
    "application/json",
    "text/plain",
    "multipart/form-data",
    "a/b;c",
)
# What answers only after a while, or never ends: a client waits for it as long as it likes.
SLOW = ("/v1/events", "/v1/locks/", "/v1/ping/", "/v1/verify", "/v1/gc", "/v1/lab/")


@dataclass(frozen=True)
class Request:
    """One request as it is sent. `statuses` are those that the description tells of; empty where it is none of its."""

    raw: bytes
    statuses: frozenset[int]
    whole: bool
    """Nothing of its framing is wrong: it is answered."""
    slow: bool


class Requests:
    """Makes them; `token` and `host` are those of an address on TCP, None on a Unix socket."""

    def __init__(
        self, described: Any, rng: random.Random, *, host: str = "localhost", token: str | None = None
    ) -> None:
        self._rng = rng
        self._host = host
        self.token = token
        self._operations = [
            (method.upper(), path, operation)
            for path, item in described["paths"].items()
            for method, operation in item.items()
            if path != "/v1/lab/drop"
        ]
        # Of what is kept there is a bounded number, or memory would grow with what is stored, as it may.
        self._odd_names: list[str] = []
        self._bodies: list[bytes] = []
        self._mutator = Mutator(rng, [b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", *samples.cid_texts()])

    def make(self) -> Request:
        """Return the next one."""
        rng = self._rng
        method, path, operation = rng.choice(self._operations)
        known = frozenset(int(status) for status in operation["responses"])
        headers: list[tuple[str, str]] = []
        query = []
        for parameter in operation["parameters"]:
            value = self._value(parameter["schema"])
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", quote(self._name(), safe=""))
            elif rng.random() < 0.35 and parameter["in"] == "query":
                query.append(f"{parameter['name']}={quote(value, safe='')}")
            elif rng.random() < 0.3 and parameter["in"] == "header":
                headers.append((parameter["name"], self._tag()))
        if rng.random() < 0.05:
            query.append(self._junk())
        if rng.random() < 0.03:
            method, known = rng.choice(METHODS), frozenset()
        slow = path.startswith(SLOW)
        if slow and "/locks/" in path and "timeout" not in "".join(query):
            query.append("timeout=0.05")
        target = path + ("?" + "&".join(query) if query else "")
        if rng.random() < 0.05:
            target, known = self._junk_target(target), frozenset()
        body = self._body() if "requestBody" in operation or rng.random() < 0.03 else None
        raw = self._raw(method, target, headers, body)
        whole = True
        if rng.random() < 0.5:
            mutated = self._mutator.mutate(raw)
            whole = mutated == raw
            raw = mutated
        return Request(raw, known if whole else frozenset(), whole, slow)

    def _raw(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes | None) -> bytes:
        rng = self._rng
        every = [("Host", self._host), ("Connection", "close"), *headers]
        if self.token is not None:
            every.append(("Authorization", f"Bearer {self.token}"))
        if rng.random() < 0.05:
            every.append(
                (rng.choice(("Origin", "Cookie", "Referer", "Content-Encoding", "TE", "Expect")), self._junk())
            )
        framed = b""
        if body is not None:
            every.append(("Content-Type", rng.choice(TYPES)))
            if rng.random() < 0.3:
                every.append(("Transfer-Encoding", "chunked"))
                framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in _parts(body)) + b"0\r\n\r\n"
            else:
                every.append(("Content-Length", str(len(body))))
                framed = body
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in every) + "\r\n"
        return head.encode("utf-8", "surrogateescape") + framed

    def _value(self, schema: Any) -> str:
        rng = self._rng
        if rng.random() < 0.15:
            return self._junk()
        if "enum" in schema:
            return str(rng.choice(schema["enum"]))
        match schema.get("type"):
            case "boolean":
                return rng.choice(("true", "false", "1", "0", ""))
            case "integer" | "number":
                return str(rng.choice((schema.get("minimum", 0), schema.get("maximum", 7), rng.choice(EDGES), 3, 0.2)))
        return self._name()

    def _name(self) -> str:
        rng = self._rng
        match rng.randrange(12):
            case 0:
                return self._one_of(self._odd_names, self._junk)
            case 1:
                return rng.choice(samples.cid_texts()).decode()
            case 2:
                return rng.choice(samples.peer_texts()).decode() + "/name"
            case 3:
                return rng.choice(samples.peer_texts()).decode()
            case 4:
                return "x" * rng.choice((1, 255, 256, 4000))
        return f"key {rng.randrange(KEYS)}"

    def _tag(self) -> str:
        return self._rng.choice(('"3-ab"', "*", 'W/"1"', "bytes=0-4", "bytes=-1", "bytes=9-1", self._junk()))

    def _junk(self) -> str:
        words = (self._rng.choice(WORDS).decode("utf-8", "replace") for _ in range(self._rng.randrange(1, 4)))
        return "".join(words).replace("\r", "").replace("\n", "")

    def _junk_target(self, target: str) -> str:
        raw = self._mutator.mutate(target.encode()).decode("latin-1")
        return "".join(char for char in raw if char not in " \r\n\0") or "/"

    def _body(self) -> bytes:
        rng = self._rng
        if rng.random() < 0.3:
            return self._one_of(self._bodies, lambda: self._mutator.mutate(rng.choice(samples.tars())))
        return bytes(rng.choice((0, 1, 100, 3000, BODY_MAX_BYTES)))

    def _one_of(self, pool: list[T], make: Callable[[], T]) -> T:
        if len(pool) < KEYS:
            pool.append(make())
            return pool[-1]
        return self._rng.choice(pool)


def _parts(body: bytes) -> list[bytes]:
    size = max(1, len(body) // 3)
    return [body[at : at + size] for at in range(0, len(body), size)]
