"""`peer evidence`: who has convicted itself by what it signed, and how."""

from __future__ import annotations

from . import keys, output
from .api import Client
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
    start = keys.target(named) if named is not None else ""
    client = Client(invocation)
    found = [each for each in client.json("GET", "/v1/evidence") if each["id"].startswith(start)]
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
