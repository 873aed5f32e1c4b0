"""`peer export` and `peer import`: content as a CAR file, with which IPFS tools exchange it."""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

import os

from . import keys, output
from .api import Client
from .failure import Failure, of_os_error, usage
from .httpwire import WireFailure
from .progress import Progress, for_invocation
from .put import on_copies
from .text import safe, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .api import Body
    from .httpwire import Response, Wire
    from .parse import Invocation

CAR_TYPE = "application/vnd.ipld.car"

_WHY = {
    "integrity": "what arrived is not what was asked for",
    "timeout": "the rest could not be had in time",
    "not_found": "nobody has the rest",
}
"""By the code with which a daemon breaks off."""


class Sent:
    """A body of another kind, told to be a CAR."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that describe it."""
        return [("Content-Type", CAR_TYPE), *(each for each in self._body.headers() if each[0] != "Content-Type")]

    def send(self, wire: Wire) -> None:
        """Send all of it."""
        self._body.send(wire)


def export(invocation: Invocation) -> None:
    """Write the whole DAG of something to a CAR file, which is whole or not there."""
    name, path = keys.target(invocation.operands[0]), invocation.operands[1]
    client = Client(invocation)
    query = client.options("consistency", "own", "no-cache", "timeout")
    if path == "-":
        with client.call("GET", f"/v1/car/{keys.quote(name)}", query) as response:
            for piece in _pieces(client, response, name):
                output.write(piece)
        return
    from .place import Place

    with Place(path) as place, client.call("GET", f"/v1/car/{keys.quote(name)}", query) as response:
        place.check("file")
        told = client.understand(response.headers.get("x-peerd-get", ""))
        fd = place.open_file()
        try:
            written = _write(fd, place.shown, _pieces(client, response, name), for_invocation(invocation, "export"))
            place.commit(fd)
        finally:
            os.close(fd)
    if invocation.flag("json"):
        output.json_line({**told, "file_bytes": written})
    elif not invocation.flag("quiet"):
        output.say(f"wrote {place.shown} ({size(written)}), root {safe(str(told.get('cid')))}")


def import_(invocation: Invocation) -> None:
    """Store what a CAR file holds, and print its roots."""
    from .source import File, Stream, open_path

    path = invocation.operands[0]
    if not path:
        raise usage("the path is empty", "standard input is the path -")
    body = open_path(path, for_invocation(invocation, "import"))
    if not isinstance(body, (File, Stream)):
        raise usage(f"a CAR is a file, and {safe(path)} is a directory", "`peer add` and `peer put` store directories")
    client = Client(invocation)
    answer = client.raw_json("POST", "/v1/car", client.options("require", "pin", "timeout"), body=Sent(body))
    if invocation.flag("json"):
        output.json_raw(answer)
        return
    result = client.understand(answer)
    for root in result["roots"]:
        output.text(safe(str(root["cid"])) + "\n")
        if not invocation.flag("quiet"):
            output.say(f"stored {safe(str(root['cid']))} ({size(root['size'])}) {on_copies(root)}")


def _pieces(client: Client, response: Response, name: str) -> Iterator[memoryview]:
    """Yield the CAR; raises Failure where its end does not come."""
    try:
        yield from response.pieces()
    except WireFailure as error:
        if error.code in _WHY:
            raise Failure(error.code, f"the CAR of {safe(name)} broke off: {_WHY[error.code]}") from None
        raise client.failure(error) from None


def _write(fd: int, shown: str, pieces: Iterator[memoryview], progress: Progress) -> int:
    written = 0
    with progress:
        for piece in pieces:
            view = piece
            while view:
                try:
                    view = view[os.write(fd, view) :]
                except OSError as error:
                    raise of_os_error(error, f"writing {shown}") from None
            written += len(piece)
            progress.add(len(piece))
    return written
