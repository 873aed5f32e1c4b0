"""What came of a run, as JSON and as text. The same seed gives the same report, but for `wall_s` and `cpu_s`."""

from collections import Counter

import msgspec

from peerd.sim.requests import Requests, Tally
from peerd.sim.scenario import Scenario
from peerd.sim.world import World

# Kinds of messages that ask for records and move them, and those that tell who has content.
OF_RECORDS = frozenset({"FindValue", "Value", "Store", "Stored", "Newer"})
OF_CONTENT = frozenset({"FindProviders", "Providers", "AddProvider", "Release"})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one kind; times in virtual milliseconds, None where none succeeded."""

    ok: int
    failed: dict[str, int]
    cancelled: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    hops: dict[str, int]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. `check` are the reads after all faults are over."""

    scenario: str
    seed: int
    peers: int
    living: int
    liars: int
    suite: str
    virtual_s: float
    wall_s: float
    cpu_s: float
    turns: int
    messages: dict[str, int]
    sent_bytes: int
    sent_per_peer_s: dict[str, float]
    """Bytes of datagrams for each second that a peer lived: of records, of content, and of all else."""
    honest_messages: dict[str, int]
    """The messages that peers sent which do not lie, by kind; of those that have ended."""
    honest_streamed_bytes: int
    """What they sent over connections."""
    put: Outcome
    get: Outcome
    remove: Outcome
    strong: Outcome
    check: Outcome
    contacts: dict[str, int]
    records: int
    violations: list[str]
    trace: str

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations

    def text(self) -> str:
        """Return what people read."""
        liars = f" of whom {self.liars} lie" if self.liars else ""
        lines = [
            f"{self.scenario}: {self.peers} peers{liars}, {self.living} running at the end, seed {self.seed}, "
            f"signatures {self.suite}",
            f"time       {self.virtual_s:.1f} s simulated in {self.wall_s:.1f} s ({self.cpu_s:.1f} s of CPU)",
            "messages   " + ", ".join(f"{count} {what}" for what, count in sorted(self.messages.items())),
            "sent       " + ", ".join(f"{what} {rate}" for what, rate in self.sent_per_peer_s.items()) + " B/s a peer",
            "contacts   " + ", ".join(f"{what} {count}" for what, count in self.contacts.items()),
            f"records    {self.records} kept in all",
        ]
        for kind in ("put", "get", "remove", "strong", "check"):
            outcome: Outcome = getattr(self, kind)
            if outcome.ok or outcome.failed or outcome.cancelled:
                lines.append(f"{kind:10} {_outcome_text(outcome)}")
        lines.append(f"trace      {self.trace}")
        lines += [f"BROKEN     {violation}" for violation in self.violations]
        lines.append("all promises kept" if self.good else f"{len(self.violations)} promises broken")
        return "\n".join(lines)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """How the overlay stands: what its peers say of themselves."""

    living: int
    contacts: dict[str, int]
    records: int


async def view(world: World) -> View:
    """Ask all peers that run."""
    peers = [host.peer for host in world.living if host.peer is not None]
    states = [await peer.status() for peer in peers]
    contacts = sorted(state.contacts for state in states)
    ends = {"least": contacts[0], "median": contacts[len(contacts) // 2], "most": contacts[-1]} if contacts else {}
    return View(living=len(peers), contacts=ends, records=sum(state.records for state in states))


def report(
    scenario: Scenario, seed: int, world: World, requests: Requests, seen: View, *, wall_s: float, cpu_s: float
) -> Report:
    """Return the report of a run that is over."""
    return Report(
        scenario=scenario.name,
        seed=seed,
        peers=len(world.hosts),
        living=seen.living,
        liars=sum(host.outfit is not None for host in world.hosts),
        suite=world.suite.name,
        virtual_s=round(world.loop.time(), 6),
        wall_s=round(wall_s, 3),
        cpu_s=round(cpu_s, 3),
        turns=world.loop.turn_count,
        messages=dict(sorted(world.network.counts.items())),
        sent_bytes=world.network.sent_bytes,
        sent_per_peer_s=sent_per_peer_s(world),
        honest_messages=honest_messages(world),
        honest_streamed_bytes=sum(host.interface.streamed_bytes for host in world.hosts if host.outfit is None),
        put=outcome(requests.tallies["put"]),
        get=outcome(requests.tallies["get"]),
        remove=outcome(requests.tallies["remove"]),
        strong=outcome(requests.tallies["strong"]),
        check=outcome(requests.tallies["check"]),
        contacts=seen.contacts,
        records=seen.records,
        violations=requests.violations,
        trace=world.network.trace_hash,
    )


def sent_per_peer_s(world: World) -> dict[str, float]:
    """Return what the peers sent for each second that one lived, by purpose; of those that have ended."""
    lived_s = sum(host.lived_s for host in world.hosts)
    sent = {"maintenance": 0, "records": 0, "content": 0}
    for host in world.hosts:
        for kind, count in host.sent_kinds.items():
            sent["records" if kind in OF_RECORDS else "content" if kind in OF_CONTENT else "maintenance"] += count
    return {what: round(count / lived_s, 1) for what, count in sent.items()} if lived_s else {}


def honest_messages(world: World) -> dict[str, int]:
    """Return how many messages of each kind the peers sent that do not lie; of those that have ended."""
    sent: Counter[str] = Counter()
    for host in world.hosts:
        if host.outfit is None:
            sent.update(host.sent_messages)
    return dict(sorted(sent.items()))


def outcome(tally: Tally) -> Outcome:
    """Return how the requests of one kind ended."""
    took_ms = sorted(took_s * 1000 for took_s in tally.took_s)
    return Outcome(
        ok=tally.ok,
        failed=dict(sorted(tally.failed.items())),
        cancelled=tally.cancelled,
        p50_ms=_quantile(took_ms, 0.5),
        p95_ms=_quantile(took_ms, 0.95),
        p99_ms=_quantile(took_ms, 0.99),
        max_ms=_quantile(took_ms, 1.0),
        hops={str(hops): count for hops, count in sorted(tally.hops.items())},
    )


def _quantile(ordered: list[float], share: float) -> float | None:
    """Return the nearest-rank quantile."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def _outcome_text(outcome: Outcome) -> str:
    failed = ", ".join(f"{count} {code}" for code, count in outcome.failed.items())
    words = [f"{outcome.ok} ok"] + ([f"failed: {failed}"] if failed else [])
    if outcome.cancelled:
        words.append(f"{outcome.cancelled} cancelled")
    if outcome.ok:
        words.append(
            f"p50 {outcome.p50_ms} ms, p95 {outcome.p95_ms} ms, p99 {outcome.p99_ms} ms, at most {outcome.max_ms} ms"
        )
    if outcome.hops:
        words.append("hops " + ", ".join(f"{hops}: {count}" for hops, count in outcome.hops.items()))
    return "; ".join(words)
