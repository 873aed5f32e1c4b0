"""`peer evidence`: who has convicted itself by what it signed, and how."""

from __future__ import annotations

from . import keys, output
from .api import Client
from .failure import usage
from .listing import table
from .text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .parse import Invocation

HOW = {
    "equivocation": "signed one version of a key with two contents",
    "broken_promise": "denied what it had promised to have",
    "false_proof": "made up a proof of what it has",
    "retraction": "denied what it had said that it has",
}


def evidence(invocation: Invocation) -> None:
    """List what convicts others, or one of them, by its id or the beginning of it; the JSON has the statements."""
    named = invocation.operand(0)
    start = keys.target(named).lower() if named is not None else ""
    client = Client(invocation)
    found = [each for each in client.json("GET", "/v1/evidence") if each["id"].startswith(start)]
    if start and not found:
        _require_known(client, start)
    if invocation.flag("json"):
        output.json_line(found)
        return
    if invocation.flag("quiet"):
        output.text("".join(safe(each["id"]) + "\n" for each in found))
        return
    rows = [[safe(each["id"]), HOW.get(each["kind"], safe(each["kind"]))] for each in found]
    output.text(table(rows, ["ID", "WHAT IT DID"]))
    if not found:
        output.say("nobody is convicted")


def _require_known(client: Client, start: str) -> None:
    """Raise Failure (usage) where no id begins so: nothing is said against whom a slip of the pen names."""
    if keys.is_peer_id(start) or any(each["id"].startswith(start) for each in client.json("GET", "/v1/peers")):
        return
    raise usage(
        f"neither a peer id nor the beginning of one that is known: {safe(start)}",
        "a peer id is 52 letters and digits; `peer peers` lists those that are known",
    )
