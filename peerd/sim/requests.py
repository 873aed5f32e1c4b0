"""The requests of a run's users: put, get, remove on some host; each ends answered, failed or cancelled, and is judged.

Not here: when who asks for what (play), and the books by which answers are judged (ledger).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec import UNSET

from peerd.content.cid import Cid
from peerd.errors import NotFoundError, PeerdError
from peerd.node.core import RECORD_HOLDERS
from peerd.node.results import Consistency, GetOptions, Put, PutOptions
from peerd.node.returning import SETTLE_S
from peerd.records.claim import content_of
from peerd.records.record import read_record
from peerd.sim.host import Host
from peerd.sim.ledger import Ledger, Name, Write, wrong_absence, wrong_bytes, wrong_value
from peerd.sim.logs import raised_at
from peerd.sim.loop import where
from peerd.sim.stores import Stores
from peerd.sim.world import World

R = TypeVar("R")

# Longer values are content whatever their name.
INLINE_MAX_BYTES = 1024

# In virtual time. A request has its own deadlines, far below this; who is still waiting then hangs.
HUNG_AFTER_S = 60.0
VIOLATIONS_MAX = 100
# How long after a cut ended, or somebody stood still, the sides may not have found each other.
MEET_S = 15.0
# Who starts within this of one that is back is met by it before it answers for anything.
MET_S = SETTLE_S / 2

# A latency that measured round trips do not lead one to expect.
SLOW_MS = 50.0
# How long measured round trips and what was sent again may still mislead after that.
RECOVERED_S = 2.0


@dataclass(slots=True)
class Tally:
    """How the requests of one kind ended; times in virtual seconds."""

    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    took_s: list[float] = field(default_factory=list)
    hops: Counter[int] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """How many came to an end of their own."""
        return self.ok + self.failed.total()

    def share_ok(self) -> float:
        """The share of them that succeeded."""
        return self.ok / self.count if self.count else 1.0


class Requests:
    """Asks, waits, judges and counts."""

    def __init__(self, world: World) -> None:
        self.ledger = Ledger()
        self.stores = Stores(world)
        self.tallies = {kind: Tally() for kind in ("put", "get", "remove", "check", "strong")}
        self.violations: list[str] = []
        self._disturbed_until = 0.0
        self._uncertain_until = 0.0
        self._world = world
        self._values = world.chance.rng("values")

    def violate(self, what: str) -> None:
        """Note that a promise was broken."""
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(f"{self._world.loop.time():.3f} s: {what}")

    def disturbed(self) -> None:
        """Note that a cut ended, or somebody stood still: what was acknowledged before they met may be elsewhere."""
        self._disturbed_until = self._world.loop.time() + MEET_S

    def steady(self) -> bool:
        """Return whether the network neither loses messages nor is slower than measured round trips lead to expect."""
        faults = self._world.network.faults
        return not faults.loss and faults.latency_ms < SLOW_MS

    def faults_change(self) -> None:
        """Note that the network is about to become another: what was asked before may still suffer from the old one."""
        if not self.steady():
            self._uncertain_until = self._world.loop.time() + RECOVERED_S

    # The three requests.

    async def put(self, host: Host, text: str, size: int, consistency: Consistency) -> None:
        """Write a new value under a name."""
        assert host.peer is not None, "only a running peer is asked"
        name = self.ledger.name(text)
        value = f"{text} {len(name.tried)} ".encode()[:size]
        value += self._values.randbytes(size - len(value))
        name.tried[value] = None
        options = PutOptions(consistency=consistency)
        result = await self.ask(host, "put", text, host.peer.put(text, _once(value), form="file", options=options))
        if result is not None:
            long = len(value) > INLINE_MAX_BYTES
            self.acknowledge(name, value, result, Cid.parse(result.cid).to_bytes() if long else None)

    async def remove(self, host: Host, text: str) -> None:
        """Delete a name."""
        assert host.peer is not None, "only a running peer is asked"
        name = self.ledger.name(text)
        name.unsure_deletes += 1
        result = await self.ask(host, "remove", text, host.peer.remove(text, PutOptions()))
        if result is not None:
            name.unsure_deletes -= 1
            self.acknowledge(name, None, result, None)

    async def get(self, host: Host, name: Name, consistency: Consistency, *, final: bool = False) -> None:
        """Read a name; what comes is held against the ledger. `final`: after all faults are over."""
        began_at = self._world.loop.time()
        absent = local = False
        met = await self._has_met(host)

        async def read() -> tuple[bytes, str, int]:
            nonlocal absent, local
            assert host.peer is not None, "only a running peer is asked"
            try:
                opened = await host.peer.open(name.name, GetOptions(consistency=consistency))
            except NotFoundError:
                absent = True
                raise
            value = b"".join([piece async for piece in opened.body()])
            assert isinstance(opened.info.version, str), "what has a name has a version"
            local = opened.info.source == "local" and opened.info.stale_since_s is UNSET
            return value, opened.info.version, opened.info.hops

        kind = "check" if final else "get"
        result = await self.ask(host, kind, name.name, read())
        known = self._known(name, began_at, consistency, final=final) if met else None
        returned = self._missed(host, name) if local else None
        if result is not None:
            value, version, hops = result
            self.tallies[kind].hops[hops] += 1
            wrong = wrong_value(name, value, _sequence(version), known=known or returned)
            if wrong is not None and self._world.has_liars and wrong_bytes(name, value) is None:
                self._outdated(kind)
                wrong = None
        elif absent:
            wrong = wrong_absence(name, known=known) if not self._world.has_liars else None
        elif self._world.has_liars:
            wrong = None
        else:
            unread = final and known is not None and not await self._replaced(name, known)
            wrong = f"{name.name} cannot be read" if unread else None
        if wrong is not None:
            self.violate(f"{wrong} (asked on {host.name}, holders {self._where(name)})")

    def _outdated(self, kind: str) -> None:
        """Count a read that came to an old version as failed.

        Among liars no single read is sure to know the newest, but all are counted; only wrong bytes are forbidden.
        """
        tally = self.tallies[kind]
        tally.ok -= 1
        tally.failed["outdated"] += 1

    # Asking.

    async def ask(self, host: Host, kind: str, what: str, work: Coroutine[Any, Any, R]) -> R | None:
        """Wait for one request to end; return its answer, None where there is none, which is then counted."""
        answer, _ = await self.outcome(host, kind, what, work)
        return answer

    async def outcome(
        self, host: Host, kind: str, what: str, work: Coroutine[Any, Any, R]
    ) -> tuple[R | None, PeerdError | None]:
        """Wait for one request to end; return its answer, or the error where it says one; neither where it was cut."""
        loop, tally = self._world.loop, self.tallies[kind]
        began_at = loop.time()
        task = host.do(work, f"{kind} {what}")
        done, _ = await asyncio.wait({task}, timeout=HUNG_AFTER_S)
        if not done:
            self.violate(f"{kind} of {what} on {host.name} hangs at {where(task)}")
            task.cancel()
            await asyncio.wait({task})
        if task.cancelled():
            tally.cancelled += 1
            return None, None
        error = task.exception()
        if error is None:
            tally.ok += 1
            tally.took_s.append(loop.time() - began_at)
            return task.result(), None
        tally.failed[getattr(error, "code", "fault")] += 1
        if isinstance(error, PeerdError):
            return None, error
        self.violate(f"{kind} of {what} on {host.name}: {type(error).__name__}: {error} {raised_at(error)}")
        return None, None

    # Judging.

    def acknowledge(self, name: Name, value: bytes | None, result: Put, content: bytes | None) -> None:
        """Note that a write was acknowledged."""
        assert isinstance(result.version, str), "what has a name has a version"
        now, sequence = self._world.loop.time(), _sequence(result.version)
        holders = result.holders
        if content is not None:  # those named hold the blocks; who has the record shows in the stores alone
            holders = [host.id_text for host in self.stores.having(name, sequence)]
        write = Write(sequence, value, now, tuple(holders), result.version, content)
        name.acknowledged.append(write)
        if not holders:
            self.violate(f"{name.name} was acknowledged by nobody")

    def _known(self, name: Name, began_at: float, consistency: Consistency, *, final: bool) -> Write | None:
        """Return the newest write that a read begun at `began_at` has to know of, None where it may know nothing.

        With `one` any version will do. Nor is there a promise across a cut, while messages are lost or late, or where
        those that acknowledged it and still have it are no majority of those that should hold it now: `quorum` counts
        who answers. In the end one of them is enough.
        """
        if consistency == "one":
            return None
        known = name.newest if final else name.newest_before(began_at)
        if known is None:
            return None
        holders = self._world.honest_of(known.holders)
        having = [host for host in holders if host.answers and not host.has_lost(known.ended_at)]
        if final:
            return known if having else None
        disturbed = self._world.network.parted or self._disturbed_until >= known.ended_at
        uncertain = not self.steady() or self._uncertain_until >= began_at
        wanted = min(RECORD_HOLDERS, len(self._world.living))
        return None if disturbed or uncertain or 2 * len(having) <= wanted else known

    def _missed(self, host: Host, name: Name) -> Write | None:
        """Return the newest write acknowledged before this peer was started last, while it was not cut off since.

        What it has itself and does not mark as stale must not be older, also with `one`: it has come back and was told
        by one that signed for it. Not by one that itself came back only once others had confirmed what is here.
        """
        cut_off = self._world.network.parted or self._disturbed_until >= host.started_at or not self.steady()
        missed = name.newest_before(host.started_at)
        told = missed is not None and any(
            each is not host
            and each.answers
            and not each.has_lost(missed.ended_at)
            and each.started_at <= host.started_at + MET_S
            for each in self._world.honest_of(missed.holders)
        )
        came_back = host.interface.boot > 1
        return missed if came_back and told and not cut_off else None

    async def _has_met(self, host: Host) -> bool:
        """Whether a peer knows any other: until then it is an overlay of its own (DESIGN.md 6)."""
        assert host.peer is not None
        return not host.peer.lonely or bool(await host.peer.peers())

    async def _replaced(self, name: Name, known: Write) -> bool:
        """Whether a write that failed came after what was acknowledged, and its content has gone again."""
        for host in self.stores.having(name, known.sequence + 1):
            raw = host.store.peek_record(self.stores.key(name))
            content = content_of(read_record(raw)) if isinstance(raw, bytes) else None
            roots = [await each.store.root(content) for each in self._world.living] if content is not None else []
            if roots and not any(root is not None and root.complete for root in roots):
                return True
        return False

    def _where(self, name: Name) -> str:
        """Return on which hosts the name's newest write was acknowledged, and which of those are down."""
        newest = name.newest
        hosts = [self._world.by_id[holder] for holder in newest.holders] if newest is not None else []
        return ", ".join(f"{host.index}{'' if host.lives else ' (down)'}" for host in hosts)


async def _once(value: bytes) -> AsyncIterator[bytes]:
    yield value


def _sequence(version: str) -> int:
    return int(version.partition("-")[0])
