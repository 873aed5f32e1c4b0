"""One value on its way here: its headers first, then its bytes, taken up again where the connection breaks.

A daemon that went away is waited for, as long as for anything else that does not move. The rest of a file is asked for
as a range; a directory, which has none, is asked for again, and what is here of it already is compared and passed over.
Not here: where the bytes go (get, place, extract). Whole means that as many bytes came as the answer said, or its last
chunk; nothing else counts as the end.
"""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415

from __future__ import annotations

import time

from . import keys
from .failure import Failure, usage
from .httpwire import WireFailure
from .text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .api import Client
    from .httpwire import Response
    from .parse import Invocation

RESUMES_MAX = 3
"""Times in a row that a transfer is taken up again without a byte more to show for it."""

SILENT_FROM_S = 1.0
"""From so much silence on, what was waited counts when a transfer is taken up again; and the least that is waited."""

AGAIN_S = 0.25
"""Between two tries to reach a daemon that went away."""
_VERSION_MAX_CHARS = 1024
_INTO = "x-peerd-into"
_DIGITS_MAX = 20

_WHY = {
    "integrity": "what arrived is not what was asked for",
    "timeout": "the rest could not be had in time",
    "no_room": "there is no room for it",
}
"""By the code with which a daemon breaks a directory off; the rest of a file is asked for again, and answered."""


class Fetch:
    """A value asked for; `info` is the JSON of what was found, as it came."""

    def __init__(
        self,
        client: Client,
        name: str,
        invocation: Invocation,
        *options: str,
        any_order: bool = False,
        into: int | None = None,
    ) -> None:
        self._client = client
        self._path = f"/v1/kv/{keys.quote(name)}"
        self._shown = safe(name)
        self._again = client.options("consistency", "own", "no-cache", "timeout")
        self._offset = invocation.number("offset") or 0
        query = client.options("consistency", "own", "pin", "no-cache", "timeout", *options)
        if any_order:
            query.append(("order", "any"))
        self.resumed = False
        """Whether it was asked for more than once: then the daemon has not seen all of it pass at one time."""
        self._moved_at = time.monotonic()
        self._into = _into(into)
        self._response = self._ask(query, [*_condition(invocation.text("if-version")), *self._into])
        self.info = self._response.headers.get("x-peerd-get", "")
        self.kind = self._response.headers.get("x-peerd-kind", "")
        if not self.info or self.kind not in ("file", "directory") or not self._response.framed:
            self.close()
            raise client.foreign("its answer is no value")

    @property
    def landing(self) -> int | None:
        """How many bytes the daemon writes by itself into the file that is open as `into`; None where they come here.

        A daemon does that for its own user, and not with what is small.
        """
        told = self._response.headers.get(_INTO) if self._into else None
        return int(told) if told is not None and told.isascii() and told.isdigit() else None

    @property
    def length(self) -> int | None:
        """How many bytes will come, None for a directory."""
        return self._response.length

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    def __enter__(self) -> Fetch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pieces(self) -> Iterator[memoryview]:
        """Yield the bytes in pieces, each valid until the next is asked for.

        Raises Failure where they cannot be had whole: what the daemon said when it was asked again.
        """
        total, got, idle, check, past = self._response.length, 0, 0, 0, 0
        self._moved_at = time.monotonic()
        while True:
            before = got
            try:
                for piece in self._past(past, check):
                    got += len(piece)
                    if total is None:
                        check = _sum_of(piece, check)
                    yield piece
                    self._moved_at = time.monotonic()
                return
            except WireFailure as error:
                self.close()
                idle = 0 if got > before else idle + 1
                self._give_up(error, got, idle, final=total is None)
            past = 0 if total is not None else got
            self._response = self._resume(got, total)

    def landed(self) -> Iterator[int]:
        """Yield how many bytes more the daemon has written by itself; raises as `pieces`."""
        total, got, idle = self.landing, 0, 0
        self._moved_at = time.monotonic()
        while total is not None:
            before = got
            try:
                for count in self._counts():
                    if count > got:
                        yield count - got
                        got, self._moved_at = count, time.monotonic()
                if got != total:
                    raise self._client.foreign("it ends before all is written")
                return
            except WireFailure as error:
                self.close()
                idle = 0 if got > before else idle + 1
                self._give_up(error, got, idle, final=True)
            self._response = self._once_more(self._query_again(), self._into)
            if self.landing != total:
                self.close()
                raise self._changed()

    def _give_up(self, error: WireFailure, got: int, idle: int, *, final: bool) -> None:
        """Raise Failure where what broke off is not taken up again; `final`: what the daemon said of it is the end."""
        if error.kind != "gone":
            raise self._client.failure(error) from None
        if idle >= RESUMES_MAX or (final and error.code in _WHY):
            raise self._broken(error, got) from None
        self.resumed = True

    def _counts(self) -> Iterator[int]:
        """Yield the numbers that the daemon tells, a line each."""
        begun = b""
        for piece in self._response.pieces():
            *lines, begun = (begun + bytes(piece)).split(b"\n")
            for line in lines:
                if not line.isdigit() or len(line) > _DIGITS_MAX:
                    raise WireFailure("malformed", "what is told of the file is no number")
                yield int(line)
            if len(begun) > _DIGITS_MAX:
                raise WireFailure("malformed", "what is told of the file is no number")

    def _past(self, count: int, check: int) -> Iterator[memoryview]:
        """Yield what comes after the first `count` bytes, which are here and must be the same."""
        left, found = count, 0
        for piece in self._response.pieces():
            if not left:
                yield piece
                continue
            found = _sum_of(piece[:left], found)
            rest = piece[left:]
            left = max(0, left - len(piece))
            if not left and found != check:
                raise self._changed()
            if rest:
                yield rest
        if left:
            raise self._changed()

    def _ask(self, query: list[tuple[str, str]], headers: list[tuple[str, str]]) -> Response:
        """Ask the daemon; one that was reached and went away is waited for until nothing has moved for too long."""
        dropped = 0
        while True:
            try:
                return self._client.call("GET", self._path, query, headers=headers)
            except Failure as failure:
                away = failure.code == "no_daemon" or (failure.code == "unavailable" and self.resumed)
                dropped += failure.code == "no_daemon" and self._client.reached
                late = time.monotonic() + AGAIN_S > self._moved_at + self._client.timeout_s
                if not away or late or dropped >= RESUMES_MAX or not (dropped or self.resumed):
                    raise
            time.sleep(AGAIN_S)

    def _resume(self, got: int, total: int | None) -> Response:
        """Ask for the rest, which also tells why it did not come; what was waited in vain is not waited again."""
        query = self._query_again()
        if total is None:
            return self._once_more(query, [])
        tag = self._response.headers.get("etag", '""')
        first, last = self._offset + got, self._offset + total - 1
        response = self._ask(query, [("Range", f"bytes={first}-{last}"), ("If-Range", tag)])
        if response.status != 206:
            response.close()
            raise self._changed()
        told = response.headers.get("content-range", "")
        if response.length != total - got or not told.startswith(f"bytes {first}-{last}/"):
            response.close()
            raise self._client.foreign("it answers with another range than was asked for")
        return response

    def _query_again(self) -> list[tuple[str, str]]:
        query, silent_s = self._again, time.monotonic() - self._moved_at
        if silent_s >= SILENT_FROM_S:
            left_s = max(SILENT_FROM_S, self._client.timeout_s - silent_s)
            query = [*(part for part in query if part[0] != "timeout"), ("timeout", f"{left_s:.6g}")]
        return query

    def _once_more(self, query: list[tuple[str, str]], headers: list[tuple[str, str]]) -> Response:
        """Ask for a directory, or for a file that the daemon writes, from its beginning."""
        tag = self._response.headers.get("etag", '""')
        response = self._ask(query, headers)
        if response.headers.get("etag", '""') != tag or response.length is not None or not response.framed:
            response.close()
            raise self._changed()
        return response

    def _changed(self) -> Failure:
        return Failure("failed", f"{self._shown} changed while it was fetched", "fetch it again")

    def _broken(self, error: WireFailure, got: int) -> Failure:
        if self.kind == "directory" or self.landing is not None:
            code, why = error.code, _WHY.get(error.code)
            if why is None:
                code, why = "failed", str(error)
            hint = "try again; what has arrived is kept near"
            what = "the directory " if self.kind == "directory" else ""
            return Failure(code, f"{what}{self._shown} broke off: {why}", hint)
        return Failure("failed", f"{self._shown} broke off after {got} bytes: {error}")


def _sum_of(piece: memoryview, before: int) -> int:
    """Return the checksum of what came before and a piece more: against a mistake, not a forger, who is our daemon."""
    import zlib

    return zlib.crc32(piece, before)


def _into(descriptor: int | None) -> list[tuple[str, str]]:
    """Return the header that has the daemon write into an open file by itself, where it will."""
    if descriptor is None:
        return []
    import os

    found = os.fstat(descriptor)
    return [("X-Peerd-Into", f"fd={descriptor}; dev={found.st_dev}; ino={found.st_ino}")]


def _condition(version: str | None) -> list[tuple[str, str]]:
    """Return the header for --if-version. Raises Failure (usage) for what cannot be a version."""
    if version is None:
        return []
    if version == "none":
        return [("If-None-Match", "*")]
    if (
        not version
        or len(version) > _VERSION_MAX_CHARS
        or not version.isascii()
        or not version.isprintable()
        or '"' in version
    ):
        raise usage(f"not a version: {safe(version)}", "`peer stat` and `peer history` show versions")
    return [("If-Match", f'"{version}"')]
