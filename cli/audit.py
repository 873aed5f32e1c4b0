"""`peer audit`: who has the newest version of a key, who lacks it, who has another one."""

from __future__ import annotations

from . import keys, output
from .api import Client
from .text import columns, safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .parse import Invocation


def audit(invocation: Invocation) -> None:
    """Compare what the holders have; of all keys, the text shows those that diverge."""
    named = invocation.operand(0)
    client = Client(invocation)
    query = client.options("own", "timeout")
    if named is not None:
        query.append(("key", keys.target(named)))
    elif not invocation.flag("json"):
        query.append(("divergent", "1"))
    answer = client.raw_json("GET", "/v1/audit", query)
    if invocation.flag("json"):
        output.json_raw(answer)
        return
    result = client.understand(answer)
    for one in result["keys"]:
        output.text(_described(one, whole=named is not None))
    if not invocation.flag("quiet"):
        output.say(_verdict(result["divergent"], one_key=named is not None))


def _described(one: dict[str, Any], *, whole: bool) -> str:
    what = "deleted, " if one["deleted"] else ""
    named = [["  has it", safe(peer)] for peer in one["holders"]]
    rows = named if whole else [["  have it", str(len(named))]]
    rows += [["  lacks it", safe(peer)] for peer in one["missing"]]
    rows += [["  differs", f"{safe(peer)} has {safe(one['versions'].get(peer, '-'))}"] for peer in one["differing"]]
    rows += [["  silent", safe(peer)] for peer in one["silent"]]
    return f"{safe(one['key'])}  {what}version {safe(one['version'] or '-')}\n" + columns(rows)


def _verdict(divergent: int, *, one_key: bool) -> str:
    if divergent == 0:
        return "all holders that answered have the same"
    return "its holders differ" if one_key else f"{divergent} key{'s' if divergent != 1 else ''} whose holders differ"
