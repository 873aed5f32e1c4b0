"""`peer watch`: each new version of a key, as it comes; gone on with where the daemon was started again."""

# Modules are imported where they are needed: start time.
from __future__ import annotations

import time

from . import keys, output
from .api import Client
from .failure import Failure, usage
from .httpwire import WireFailure
from .text import columns, safe, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .httpwire import Response
    from .parse import Invocation

EVENTS_TYPE = "text/event-stream"
LINE_MAX_BYTES = 65536
VERSION_MAX_CHARS = 1024
AGAIN_S = 0.1
"""Between two tries to reach a daemon that went away: what is written meanwhile is told from the histories, which are
short."""


def watch(invocation: Invocation) -> None:
    """Print versions until interrupted."""
    name = keys.target(invocation.operands[0])
    client = Client(invocation)
    for raw in _Watch(client, name, invocation).versions():
        if invocation.flag("json"):
            output.json_raw(raw)
        else:
            output.text(_shown(client.understand(raw)))


class _Watch:
    """The events of a key; `after` is the last version that was told."""

    def __init__(self, client: Client, name: str, invocation: Invocation) -> None:
        self._client = client
        self._query = [("key", name), *client.options("own", "timeout")]
        self._after = invocation.text("after") or ""
        if len(self._after) > VERSION_MAX_CHARS or not self._after.isascii():
            raise usage(f"not a version: {safe(self._after)}", "`peer history` shows versions")

    def versions(self) -> Iterator[bytes]:
        """Yield the JSON of each version. Raises Failure where the daemon does not come back."""
        response, away_since = self._ask(), 0.0
        while True:
            try:
                for event, after, data in _events(response):
                    self._after = after or self._after
                    if event == "version" and data:
                        yield data
            except WireFailure as error:
                if error.kind == "malformed":
                    raise self._client.failure(error) from None
            finally:
                response.close()
            away_since = time.monotonic()
            response = self._ask_again(away_since)

    def _ask(self) -> Response:
        query = [*self._query, ("after", self._after)] if self._after else self._query
        response = self._client.call("GET", "/v1/events", query)
        if not response.headers.get("content-type", "").startswith(EVENTS_TYPE):
            response.close()
            raise self._client.foreign("its answer is no stream of events")
        return response

    def _ask_again(self, away_since: float) -> Response:
        """Ask a daemon that ended the stream, once it is there again."""
        while True:
            time.sleep(AGAIN_S)
            try:
                return self._ask()
            except Failure as failure:
                late = time.monotonic() > away_since + self._client.timeout_s
                if late or failure.code not in ("no_daemon", "unavailable", "timeout"):
                    raise


def _events(response: Response) -> Iterator[tuple[str, str, bytes]]:
    """Yield (event, id, data) of server-sent events, each once its empty line came."""
    event, after, data = "", "", b""
    for line in _lines(response):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            yield event, after, data
            event, after, data = "", "", b""
        elif field == b"event":
            event = value.decode("utf-8", "replace")
        elif field == b"id":
            after = value.decode("ascii", "replace")
        elif field == b"data":
            data += value


def _lines(response: Response) -> Iterator[bytes]:
    rest = b""
    for piece in response.pieces():
        *lines, rest = (rest + bytes(piece)).split(b"\n")
        if len(rest) > LINE_MAX_BYTES:
            raise WireFailure("malformed", "a line of the events is too long")
        yield from lines


def _shown(entry: dict[str, Any]) -> str:
    """Return a version as a line of words, as `history` shows it."""
    row = [
        safe(entry["version"]),
        "deleted" if entry["deleted"] else size(entry["size"]),
        safe(entry["writer"]),
        safe(entry["cid"] or "-"),
    ]
    more = "  lost a tie" if entry.get("conflict") else ""
    if entry.get("missed"):
        more += f"  {entry['missed']} before it missed"
    return columns([row]).rstrip("\n") + more + "\n"
