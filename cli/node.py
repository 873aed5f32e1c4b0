"""Commands about the daemon and its neighbours: `status`, `id`, `peers`, `ping`, `paths`, `version`."""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

import time

from . import endpoint, keys, output
from .api import Client
from .failure import EXIT_NO_DAEMON, EXIT_TIMEOUT, Failure
from .listing import table
from .text import columns, counted, milliseconds, one_line, safe, seconds, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .parse import Invocation

PING_EVERY_S = 1.0


def status(invocation: Invocation) -> None:
    """Show the daemon's own account of itself."""
    client = Client(invocation)
    answer = client.raw_json("GET", "/v1/status")
    if invocation.flag("json"):
        output.json_raw(answer)
        return
    told = client.understand(answer)
    storage, cache, repair = told["storage"], told["cache"], told["repair"]
    lines = [
        ["health", one_line(told["health"])],
        ["id", safe(told["id"])],
        ["network", safe(told["network"])],
        ["version", f"{safe(told['version'])}, up {seconds(told['uptime_s'])}"],
        ["listen", safe(told["listen"])],
        ["contacts", str(told["contacts"])],
        ["keeps", f"{counted(told['records'], 'record')}, {counted(told['blobs'], 'piece')} of content"],
        ["storage", f"{size(storage['used_bytes'])} of {size(storage['quota_bytes'])}: {_classes(storage)}"],
        ["cache", f"{cache['hits']} hits, {cache['misses']} misses"],
        ["repair", f"{counted(repair['missing_copies'], 'key')} lacking copies" + _lag(repair)],
    ]
    lines += [["rejected", f"{count} {safe(reason)}"] for reason, count in sorted(told["rejected"].items())]
    lines += [["not trusted", f"{count} {word}"] for word, count in told.get("trust", {}).items() if count]
    lines += [["degraded", one_line(reason)] for reason in told["degraded"]]
    lines += [["coordinator", _coordinator(one)] for one in told["coordinators"]]
    output.text(columns(lines))


def identity(invocation: Invocation) -> None:
    """Print the id of this peer."""
    client = Client(invocation)
    answer = client.raw_json("GET", "/v1/id")
    if invocation.flag("json"):
        output.json_raw(answer)
    else:
        output.text(safe(client.understand(answer)["id"]) + "\n")


def peers(invocation: Invocation) -> None:
    """List every peer known."""
    client = Client(invocation)
    answer = client.raw_json("GET", "/v1/peers")
    if invocation.flag("json"):
        output.json_raw(answer)
        return
    known = client.understand(answer)
    if invocation.flag("quiet"):
        output.text("".join(safe(peer["id"]) + "\n" for peer in known))
        return
    rows = [
        [
            safe(peer["id"]),
            safe(peer["address"]),
            safe(peer["state"]) + _marks(peer),
            milliseconds(peer["rtt_ms"]),
            f"{seconds(peer['last_seen_s'])} ago",
            safe(peer["source"]) + ("" if peer["verified"] else ", not verified") + _faults(peer),
        ]
        for peer in known
    ]
    output.text(table(rows, ["ID", "ADDRESS", "STATE", "ROUND TRIP", "SEEN", "SOURCE"]))
    if not known:
        output.say("no other peer is known yet")


def _marks(peer: dict[str, Any]) -> str:
    """What else is to be said of a peer's state."""
    trust = peer.get("trust", "trusted")
    marks = ["forgotten"] if peer.get("forgotten") else []
    marks += [safe(trust)] if trust != "trusted" else []
    return "".join(f", {mark}" for mark in marks)


def _faults(peer: dict[str, Any]) -> str:
    """What a peer was caught at, and how often."""
    caught = [f"{count} {safe(kind)}" for kind, count in sorted((peer.get("faults") or {}).items())]
    return f" ({', '.join(caught)})" if caught else ""


def ping(invocation: Invocation) -> None:
    """Measure the round trip to a peer, once or as often as asked."""
    peer = keys.target(invocation.operands[0])
    client = Client(invocation)
    trips: list[dict[str, Any]] = []
    for turn in range(invocation.number("count") or 1):
        if turn:
            time.sleep(PING_EVERY_S)
        trips.append(client.json("POST", f"/v1/ping/{keys.quote(peer)}", client.options("timeout")))
        if not invocation.flag("json"):
            told = trips[-1]
            output.text(f"{safe(told['id'])} at {safe(told['address'])}: {milliseconds(told['rtt_ms'])}\n")
    if invocation.flag("json"):
        times = sorted(trip["rtt_ms"] for trip in trips)
        output.json_line({**trips[-1], "rtt_ms": times[(len(times) - 1) // 2], "rtts_ms": [t["rtt_ms"] for t in trips]})


def paths(invocation: Invocation) -> None:
    """Show where things are: as the daemon says where one answers, else as they would be."""
    client = Client(invocation)
    try:
        told: dict[str, Any] = {**client.json("GET", "/v1/paths"), "running": True}
    except Failure as failure:
        if failure.exit_status != EXIT_NO_DAEMON:
            raise
        told = {
            "data": endpoint.data_directory(),
            "token": endpoint.token_file(),
            "config": endpoint.config_file(),
            "api": [one.text for one in endpoint.candidates(invocation.text("api"))],
            "listen": None,
            "running": False,
        }
    if invocation.flag("json"):
        output.json_line(told)
        return
    lines = [
        ["config", safe(told["config"] or "none")],
        ["data", safe(told["data"])],
        ["token", safe(told["token"])],
        *(["api", safe(address)] for address in told["api"]),
    ]
    if told.get("listen"):
        lines.append(["listen", safe(told["listen"])])
    output.text(columns(lines))
    if not told["running"] and not invocation.flag("quiet"):
        output.say("no daemon answers; this is where one would look")


def version(invocation: Invocation) -> None:
    """Print the versions of this program and of the daemon, where one answers."""
    client = Client(invocation)
    daemon: str | None = None
    try:
        daemon = str(client.json("GET", "/v1/version")["version"])
    except Failure as failure:
        if failure.exit_status not in (EXIT_NO_DAEMON, EXIT_TIMEOUT):
            raise
    if invocation.flag("json"):
        output.json_line({"peer": own_version(), "peerd": daemon})
        return
    output.text(f"peer {own_version()}\n")
    if daemon is not None:
        output.text(f"peerd {safe(daemon)}\n")
    elif not invocation.flag("quiet"):
        output.say("no daemon answers")


def own_version() -> str:
    """Return the version of this program, as it was installed."""
    from importlib import metadata

    try:
        return metadata.version("peerd")
    except metadata.PackageNotFoundError:
        return "unknown"


def _classes(storage: dict[str, Any]) -> str:
    names = ("pinned", "replica", "cache")
    return ", ".join(f"{name} {size(storage[f'{name}_bytes'])}" for name in names)


def _lag(repair: dict[str, Any]) -> str:
    return f", the oldest for {seconds(repair['lag_s'])}" if repair["missing_copies"] else ""


def _coordinator(one: dict[str, Any]) -> str:
    state = "registered" if one["registered"] else "connected" if one["connected"] else "not reached"
    return f"{safe(one['url'])} {state}"
