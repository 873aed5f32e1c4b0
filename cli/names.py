"""Commands about one key or content id: `rm`, `history`, `pin`, `unpin`, `find`."""

from __future__ import annotations

from . import keys, output
from .api import Client
from .listing import versions
from .put import on_copies
from .text import columns, milliseconds, one_line, safe, size

NOT_AWAITED = ("not awaited", "slow")
"""Results of hops whose answer may still have come when the look-up was over."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .parse import Invocation


def rm(invocation: Invocation) -> None:
    """Delete a key everywhere, or withdraw content that this peer added."""
    name = keys.target(invocation.operands[0])
    client = Client(invocation)
    query = client.options("require", "consistency", "own", "if-version", "timeout")
    answer = client.raw_json("DELETE", f"/v1/kv/{keys.quote(name)}", query)
    if invocation.flag("json"):
        output.json_raw(answer)
    elif not invocation.flag("quiet"):
        removed = client.understand(answer)
        said = f"removed {safe(name)} {on_copies(removed)}" if "version" in removed else f"withdrawn {safe(name)}"
        output.say(said)


def history(invocation: Invocation) -> None:
    """Show the versions known of a key, newest first."""
    name = keys.target(invocation.operands[0])
    client = Client(invocation)
    answer = client.raw_json("GET", f"/v1/kv/{keys.quote(name)}/history", client.options("own", "timeout"))
    if invocation.flag("json"):
        output.json_raw(answer)
        return
    output.text(versions(client.understand(answer)))


def pin(invocation: Invocation) -> None:
    """Keep on this peer whatever happens."""
    _pins(invocation, "POST", "pinned")


def unpin(invocation: Invocation) -> None:
    """Keep no longer whatever happens."""
    _pins(invocation, "DELETE", "unpinned")


def find(invocation: Invocation) -> None:
    """Show a look-up, hop by hop."""
    name = keys.target(invocation.operands[0])
    client = Client(invocation)
    answer = client.raw_json("GET", "/v1/find", [("target", name), *client.options("timeout")])
    if invocation.flag("json"):
        output.json_raw(answer)
        return
    rows = []
    for hop in client.understand(answer)["hops"]:
        asked, answered = hop["asked_ms"], hop.get("answered_ms")
        nothing = "-" if hop["result"] in NOT_AWAITED else "no answer"
        took = nothing if answered is None else milliseconds(answered - asked)
        rows.append([safe(hop["id"]), f"at {milliseconds(asked)}", took, one_line(hop["result"])])
    if rows:
        output.text(columns(rows, ["PEER", "ASKED", "TOOK", "RESULT"]))
    elif not invocation.flag("quiet"):
        output.say("no other peer was asked")


def _pins(invocation: Invocation, method: str, done: str) -> None:
    name = keys.target(invocation.operands[0])
    client = Client(invocation)
    answer = client.raw_json(method, f"/v1/pins/{keys.quote(name)}")
    if invocation.flag("json"):
        output.json_raw(answer)
    elif not invocation.flag("quiet"):
        output.say(f"{done} {safe(name)} ({size(client.understand(answer)['size'])})")
