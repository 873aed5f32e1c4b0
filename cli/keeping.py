"""Commands about what is kept, as a whole, and by whom: `gc`, `verify`, `forget`."""

from __future__ import annotations

from . import keys, output
from .api import Client
from .failure import Failure
from .text import counted, safe, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .parse import Invocation


def forget(invocation: Invocation) -> None:
    """No longer count a peer that will not come back."""
    peer = keys.target(invocation.operands[0])
    client = Client(invocation)
    answer = client.raw_json("POST", f"/v1/forget/{keys.quote(peer)}")
    if invocation.flag("json"):
        output.json_raw(answer)
    elif not invocation.flag("quiet"):
        output.say(f"forgot {safe(client.understand(answer)['id'])}: it is counted no more")


def gc(invocation: Invocation) -> None:
    """Free what may go now."""
    client = Client(invocation)
    answer = client.raw_json("POST", "/v1/gc", patient=True)
    if invocation.flag("json"):
        output.json_raw(answer)
    elif not invocation.flag("quiet"):
        freed = client.understand(answer)
        what = f"{counted(freed['roots'], 'piece')} of content, {counted(freed['blocks'], 'block')}, "
        what += counted(freed["records"], "record")
        output.say(f"freed {size(freed['freed_bytes'])}: {what}")


def verify(invocation: Invocation) -> None:
    """Re-hash what is kept and mend it; raises Failure (integrity) where some of it could not be mended."""
    client = Client(invocation)
    answer = client.raw_json("POST", "/v1/verify", patient=True)
    found: dict[str, Any] = client.understand(answer)
    if found["lost"]:
        raise Failure(
            "integrity",
            f"{found['lost']} of {found['damaged']} damaged could not be mended: nobody who can be reached has them",
            "try again when more peers are there",
            extra=found,
        )
    if invocation.flag("json"):
        output.json_raw(answer)
    elif not invocation.flag("quiet"):
        checked = f"checked {counted(found['blocks'], 'block')} and {counted(found['records'], 'record')}"
        output.say(f"{checked}: {found['damaged']} damaged" + (", all mended" if found["damaged"] else ""))
