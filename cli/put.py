"""`peer put` and `peer add`: store a file, a directory, a stream or a short text."""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

import os

from . import keys, output
from .api import Client
from .failure import usage
from .progress import for_invocation
from .text import copies, safe, size

STDIN = 0

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .api import Body
    from .parse import Invocation


def put(invocation: Invocation) -> None:
    """Store under a key."""
    name = keys.new_name(invocation.operands[0], own=invocation.flag("own"))
    body = _body(invocation, invocation.operand(1), invocation.text("value"))
    client = Client(invocation)
    query = client.options("require", "consistency", "ttl", "own", "pin", "if-version", "no-cache", "timeout")
    answer = client.raw_json("PUT", f"/v1/kv/{keys.quote(name)}", query, body=body)
    if invocation.flag("json"):
        output.json_raw(answer)
    elif not invocation.flag("quiet"):
        output.say(_stored(safe(name), client.understand(answer)))


def add(invocation: Invocation) -> None:
    """Store without a name, and print the content id."""
    body = _body(invocation, invocation.operands[0], None)
    client = Client(invocation)
    answer = client.raw_json(
        "POST", "/v1/content", client.options("require", "consistency", "ttl", "pin", "timeout"), body=body
    )
    if invocation.flag("json"):
        output.json_raw(answer)
        return
    result = client.understand(answer)
    output.text(safe(str(result.get("cid"))) + "\n")
    if not invocation.flag("quiet"):
        output.say(_stored("it", result))


def _body(invocation: Invocation, path: str | None, value: str | None) -> Body:
    if path is not None and value is not None:
        raise usage("put takes either a PATH or --value TEXT", "standard input is the path -")
    if path is None and value is None:
        path = "-" if _is_fed() else None
        if path is None:
            raise usage("put needs a PATH or --value TEXT", "standard input is the path -")
    if value is not None:
        from .source import Text

        return Text(os.fsencode(value))
    from .source import open_path

    assert path is not None
    if not path:
        raise usage("the path is empty", "standard input is the path -")
    return open_path(path, for_invocation(invocation, "put"))


def _is_fed() -> bool:
    """Whether something is to be read on standard input: a pipe, a file, a socket; no terminal, nor /dev/null."""
    import stat

    try:
        mode = os.fstat(STDIN).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _stored(what: str, result: dict[str, Any]) -> str:
    """Return the line about something stored: `stored motd (12 B) on 3 of 3 copies`."""
    return f"stored {what} ({size(result.get('size'))}) {on_copies(result)}"


def on_copies(result: dict[str, Any]) -> str:
    """Return on how many copies an answer says something is: `on 3 of 3 copies`, `on 1 copy`."""
    reached, wanted = result.get("copies"), result.get("copies_wanted")
    return "on 1 copy" if reached == wanted == 1 else f"on {reached} of {copies(wanted)}"
