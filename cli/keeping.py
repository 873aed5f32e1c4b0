"""Commands about what this peer keeps as a whole: `gc`, `verify`."""

from __future__ import annotations

from . import output
from .api import Client
from .failure import Failure
from .text import counted, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .parse import Invocation


def gc(invocation: Invocation) -> None:
    """Free what may go now."""
    client = Client(invocation)
    answer = client.raw_json("POST", "/v1/gc", patient=True)
    if invocation.flag("json"):
        output.write(answer + b"\n")
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
        output.write(answer + b"\n")
    elif not invocation.flag("quiet"):
        checked = f"checked {counted(found['blocks'], 'block')} and {counted(found['records'], 'record')}"
        output.say(f"{checked}: {found['damaged']} damaged" + (", all mended" if found["damaged"] else ""))
