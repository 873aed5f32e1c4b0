"""Collecting garbage: freeing what nothing claims any more, what has ended, and what interrupted puts left.

Content whose last claim ended is an unclaimed copy (class cache, 0 copies wanted): it goes by itself once it has been
unused for the grace. Cached copies that were fetched stay until room is needed; asked by hand (`peer gc`) they go too.
No race with a put or a read: a root is looked at and taken in one change of the store, never while it is coming in or
being read, and blocks that a put under way may count on stay (blocks.Intake).
"""

from dataclasses import dataclass
from typing import NamedTuple

from loguru import logger

from peerd.ids import Key
from peerd.io.store.interface import Root
from peerd.node.claims import expire_claims
from peerd.node.core import Core
from peerd.node.holding import floor_of, lay_floor, left_s
from peerd.node.results import Collected
from peerd.records.record import read_record

PAGE = 128
# Holders of content may count a name's life a little longer than those of its record, never shorter.
LIFE_SLACK_S = 60.0


@dataclass(slots=True)
class _Tally:
    bytes: int = 0
    roots: int = 0
    blocks: int = 0
    records: int = 0

    def total(self) -> Collected:
        return Collected(freed_bytes=self.bytes, roots=self.roots, blocks=self.blocks, records=self.records)


class _Ages(NamedTuple):
    """What was not used since goes (the store's clock): whole content, and what came of an interrupted fetch."""

    whole: float
    partial: float


async def collect(core: Core) -> Collected:
    """Free all that may go now: cached and unclaimed copies, unlinked blocks, what ended, damaged files set aside.

    In small changes between those of others. Raises StoreError.
    """
    tally = _Tally()
    await _collect_roots(core, tally, None)
    await _collect_rest(core, tally, age_s=0.0)
    tally.bytes += await core.store.drop_rotten()
    return tally.total()


async def collect_aged(core: Core) -> Collected:
    """Free what nobody has claimed, used or finished for the grace, and cached copies beyond their bound."""
    tally = _Tally()
    grace_s, now = core.settings.unclaimed_grace_s, core.store.now_s()
    await _collect_roots(core, tally, _Ages(now - grace_s, now - core.settings.partial_grace_s))
    await _collect_rest(core, tally, age_s=grace_s)
    tally.bytes += await core.room.bound_cache(core.settings.cache_max_bytes)
    if tally.bytes:
        logger.info("garbage was collected", freed_bytes=tally.bytes, roots=tally.roots, blocks=tally.blocks)
    return tally.total()


async def expire_records(core: Core) -> int:
    """Forget records and provider records whose life is over; returns how many records."""
    now = core.store.now_s()
    count = 0
    while keys := await core.store.expired_records(now, PAGE):
        ended = sum([await _expire(core, key) for key in keys])
        count += ended
        if ended == 0:
            break  # all of them have changed meanwhile
    while floors := await core.store.ended_floors(now, PAGE):
        for key in floors:
            await core.store.drop_floor(key)
    while await core.store.drop_providers(now, PAGE) == PAGE:
        pass
    await core.build_cache.serving.expire()
    return count


async def _expire(core: Core, key: Key) -> bool:
    """Let a record go whose life is over; a floor stays for the grace, so that no slower clock brings it back."""
    raw = await core.store.record(key)
    if raw is None:
        return False
    record = read_record(raw)
    if await left_s(core, record) != 0:
        return False
    return await lay_floor(core, key, floor_of(record, ends=core.store.now_s() + core.settings.tombstone_grace_s))


async def _collect_roots(core: Core, tally: _Tally, unused: _Ages | None) -> None:
    """Let go of roots of class cache; given ages, only of unclaimed ones that were not used since."""
    after: Root | None = None
    while page := await core.store.idle_roots(after, PAGE):
        for root in page:
            if unused is not None:
                if root.copies > 0 or root.used_at > max(unused):
                    return  # the unclaimed come first, of them the longest unused
                if root.used_at > (unused.whole if root.complete else unused.partial):
                    continue
            freed = await core.room.let_go(root.cid)
            if freed is not None:
                tally.roots += 1
                tally.bytes += freed.bytes
                tally.blocks += freed.blocks
        after = page[-1]


async def _collect_rest(core: Core, tally: _Tally, *, age_s: float) -> None:
    tally.records += await expire_records(core)
    await expire_claims(core, core.store.now_s() - LIFE_SLACK_S)
    freed = await core.intake.collect(age_s)
    tally.bytes += freed.bytes
    tally.blocks += freed.blocks
