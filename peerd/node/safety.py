"""How safe is what this peer keeps: the least number of living copies, counted now and then; and one sentence of it.

A copy counts while its holder is known to live. Who has which record is what copies.py remembers of receipts and
comparisons. A key that another holder counts, the nearest of them, and of which less is remembered here, is taken to be
on all its holders but as many as died within a repair interval. Not here: restoring anything (repairing, restoring).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from peerd.errors import PeerdError
from peerd.ids import Key, PeerId
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.scrubbing import is_broken
from peerd.records.record import read_record

PAGE = 128
# What was counted is good for so long, or for so many times what counting took.
COUNT_INTERVAL_S = 2.0
COUNT_SHARE = 20
# A question waits so long for a count that is under way; then it gets the last one.
WAIT_S = 0.5

Living = Callable[[bytes], frozenset[PeerId] | None]
"""Says of a root which peers had a promised copy when it was counted last, None where it never was."""


@dataclass(frozen=True, slots=True)
class Safety:
    """Of what is kept: how many keys and pieces of content, how many lack copies, the least that one of them has.

    `broken` are the pieces of content that are damaged here and were found whole nowhere else.
    """

    kept: int
    short: int
    least: int
    broken: int = 0


class Counting:
    """Counts, at most one count at a time, when somebody asks and the last count is old.

    `compare` is called where less is remembered than there should be and nothing is known to be missing: those that
    should have it are then asked.
    """

    def __init__(self, core: Core, living: Living, *, compare: Callable[[], None]) -> None:
        self._core = core
        self._living = living
        self._compare = compare
        self._last: Safety | None = None
        self._alive = -1
        self._epoch = -1
        self._good_until = 0.0
        self._done = asyncio.Event()
        self._done.set()

    async def safety(self) -> Safety | None:
        """Return the last count, a new one where that is old and it takes not too long; None before the first."""
        core = self._core
        changed = (self._alive, self._epoch) != (core.members.alive_count(), core.members.epoch)
        if self._done.is_set() and (changed or core.now() >= self._good_until):
            self._done.clear()
            if not core.tasks.spawn(self._count(), "count copies"):
                self._done.set()
        try:
            async with asyncio.timeout(WAIT_S):
                await self._done.wait()
        except TimeoutError:
            pass
        return self._last

    async def _count(self) -> None:
        core = self._core
        started = core.now()
        self._alive, self._epoch = core.members.alive_count(), core.members.epoch
        try:
            self._last = counted = await self._counted()
            if counted.short and not core.missing_since:
                self._compare()
        except PeerdError:  # a disk that fails is told of elsewhere
            self._last = None
        finally:
            self._good_until = core.now() + max(COUNT_INTERVAL_S, COUNT_SHARE * (core.now() - started))
            self._done.set()

    async def _counted(self) -> Safety:
        core, gone = self._core, self._gone_lately()
        kept, short, least, broken = 0, 0, 2**31, 0
        after = None
        while page := await core.store.records(after, PAGE):
            for key, raw in page:
                have = core.copies.of(key, read_record(raw).version.digest)
                living, lacks = self._one(have, RECORD_HOLDERS, gone)
                if lacks and not self._counts(key):
                    living, lacks = self._one(None, RECORD_HOLDERS, gone)
                kept, short, least = kept + 1, short + lacks, min(least, living)
            after = page[-1][0]
            await asyncio.sleep(0)
        root_after = None
        while roots := await core.store.roots(root_after, PAGE):
            for root in roots:
                if root.complete and root.class_ != "cache":
                    living, lacks = self._one(self._living(root.cid), max(root.copies, 1), gone)
                    kept, short, least = kept + 1, short + lacks, min(least, living)
                elif is_broken(root):
                    kept, short, least, broken = kept + 1, short + 1, 0, broken + 1
            root_after = roots[-1].cid
            await asyncio.sleep(0)
        return Safety(kept, short, least if kept else 0, broken)

    def _one(self, have: frozenset[PeerId] | None, copies: int, gone: int) -> tuple[int, bool]:
        """Return how many copies of something surely live, ours counted, and whether some lack of those wanted."""
        members = self._core.members
        present = members.alive_count() + 1
        wanted = min(copies, present)
        if have is None:  # another holder counts it
            return max(1, min(wanted, min(copies, present + gone) - gone)), False
        there = [peer for peer in have if peer != self._core.peer and members.contact(peer) is not None]
        silent = sum(1 for peer in there if peer in members.doubted)
        # Who is only silent has not lost anything yet, but is not relied upon.
        return len(there) - silent + 1, len(there) + 1 < wanted

    def _counts(self, key: Key) -> bool:
        """Return whether it is this peer that counts the copies of a record: the nearest of its living holders."""
        return self._core.members.is_first(key)

    def _gone_lately(self) -> int:
        """Return how many are silent, or died so lately that what they held may not be restored."""
        members, limit = self._core.members, self._core.now() - self._core.settings.repair_interval_s
        dead = sum(1 for peer in members.silent if (m := members.all[peer]).verified and m.last_seen > limit)
        return dead + len(members.doubted)


def may_fail(safety: Safety | None) -> int | None:
    """Return how many machines may fail at once so that of everything kept one copy is left; None where unknown."""
    return max(0, safety.least - 1) if safety is not None and safety.kept else None


def sentence(safety: Safety | None, *, missing: int, others: int, degraded: list[str]) -> str:
    """Return how safe everything is, in one sentence without its full stop.

    `missing` is of how many keys and pieces of content copies are known to be missing, `others` the peers there.
    """
    if degraded:
        return "degraded: " + "; ".join(degraded)
    if safety is not None and safety.broken:
        what = "1 piece of content is" if safety.broken == 1 else f"{safety.broken} pieces of content are"
        return f"{what} damaged here and not found whole elsewhere"
    if others == 0:
        return "alone: what is put here has 1 copy until another peer is found"
    if safety is None or safety.kept == 0:
        there = f"{others} other peer{'s' if others != 1 else ''}"
        return f"well, with {there}; {'copies are being counted' if safety is None else 'nothing is kept here yet'}"
    count = may_fail(safety)
    machines = f"{count} machine{'s' if count != 1 else ''} may fail"
    lacking = max(missing, safety.short)
    if lacking:
        what = "1 key lacks copies" if lacking == 1 else f"{lacking} keys lack copies"
        return f"{what}, they are being restored, {machines} meanwhile"
    return f"all keys safe, {machines}"
