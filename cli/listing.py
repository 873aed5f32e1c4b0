"""`peer ls` and `peer stat`: what there is, and all that is known of one thing."""

from __future__ import annotations

from . import keys, output
from .api import Client
from .text import columns, exact_size, safe, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .parse import Invocation


def ls(invocation: Invocation) -> None:
    """List a directory, or what this peer keeps."""
    named = invocation.operand(0)
    client = Client(invocation)
    query = client.options("timeout")
    if named is not None:
        query.append(("target", keys.target(named)))
    answer = client.raw_json("GET", "/v1/ls", query)
    if invocation.flag("json"):
        output.json_raw(answer)
        return
    entries = client.understand(answer)
    if invocation.flag("quiet"):
        output.text("".join(safe(str(entry["name"] or entry["cid"])) + "\n" for entry in entries))
        return
    rows = [
        [str(entry["kind"]), size(entry["size"]), safe(str(entry["cid"])), safe(str(entry["name"]))]
        for entry in entries
    ]
    output.text(table(rows, ["KIND", "SIZE", "CID", "NAME"]))


def stat(invocation: Invocation) -> None:
    """Show size, version, writer, copies and who holds them."""
    name = keys.target(invocation.operands[0])
    client = Client(invocation)
    answer = client.raw_json("GET", f"/v1/kv/{keys.quote(name)}/stat", client.options("own", "timeout"))
    if invocation.flag("json"):
        output.json_raw(answer)
        return
    result = client.understand(answer)
    lines = [[title, safe(str(result[field]))] for title, field in _STAT_LINES if result.get(field) is not None]
    lines.insert(-1 if "writer" in result else len(lines), ["size", exact_size(result["size"])])
    lines.append(["copies", f"{result['copies']} of {result['copies_wanted']} wanted"])
    agreed = result.get("agreed")
    if agreed:
        lines.append(["agreed", f"by a majority of {len(agreed['holders'])} holders, list {agreed['epoch']}"])
    output.text(columns(lines))
    _show_holders("holders", result["holders"])
    for title in ("missing", "silent"):
        if result.get(title):
            output.text(f"\n{title}\n" + "".join(safe(peer) + "\n" for peer in result[title]))
    record_holders = result.get("record_holders") or []
    if record_holders != result["holders"]:
        _show_holders("holders of its record", record_holders)
    if result["conflicts"]:
        output.text("\nversions that lost a tie\n" + versions(result["conflicts"]))


def _show_holders(title: str, holders: list[dict[str, Any]]) -> None:
    rows = [[safe(h["id"]), safe(h["address"]), h["kind"], safe(h.get("version") or "-")] for h in holders]
    if rows:
        output.text(f"\n{title}\n" + columns(rows, ["ID", "ADDRESS", "KIND", "VERSION"]))


_STAT_LINES = (("key", "key"), ("cid", "cid"), ("kind", "kind"), ("version", "version"), ("writer", "writer"))


def table(rows: list[list[str]], header: list[str]) -> str:
    """Return rows as columns, with titles where a person looks at them."""
    return columns(rows, header if rows and output.is_terminal(output.STDOUT) else None)


def versions(entries: list[dict[str, Any]]) -> str:
    """Return versions of a key as a table with titles, in the order given."""
    rows = [
        [
            safe(entry["version"]),
            "deleted" if entry["deleted"] else size(entry["size"]),
            safe(entry["writer"]),
            safe(entry["cid"] or "-") + ("  lost a tie" if entry.get("conflict") else ""),
        ]
        for entry in entries
    ]
    return columns(rows, ["VERSION", "SIZE", "WRITER", "CID"])
