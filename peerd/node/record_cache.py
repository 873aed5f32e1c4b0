"""Records cached near those who ask with `one`: by the reader, and by a peer that look-ups pass (Kademlia 2.3).

Who answers from a record it holds, or caches from a holder, grants a life with it and notes to whom; where a newer
version comes it tells them, and they tell on. So an old one is read no longer than that takes. The life ends what was
not heard: the giver was lost, or lies. What a peer asked for itself it keeps for itself; it gives on only what it had
of a peer that stands where the key's holders do, so that no liar's old version is spread by others. Peers on the way
get theirs from a holder too, which the reader tells who had been asked in vain. A copy of a giver that is not there any
more is not used.

`quorum` and `strong` never see any of this. Not here: what is kept and for how long (cache), cached content (caching).
"""

import asyncio
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from peerd.cache.lives import placed_life_s
from peerd.cache.records import Cached, CachedRecords
from peerd.cache.sketch import SEED_BYTES
from peerd.cache.takers import Takers
from peerd.errors import PeerdError, StoreError
from peerd.ids import ID_BITS, Key, PeerId, distance
from peerd.io.store.interface import MISS
from peerd.io.store.seen import Seen
from peerd.kad.contact import Contact
from peerd.node import holding
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.seen import is_older
from peerd.records.record import Record, read_record
from peerd.wire.messages import Done, KeepCached, Place, Reply, Value

# About 3 MB.
RECORDS_MAX = 2048
# What is granted by a cache is a part of what it has left itself.
GIVEN_ON_PART = 2
# So many times as far from the key as the farthest of its holders should be, one may stand and count as one.
NEAR_TIMES = 2
# A change is told at most so often to one that does not answer.
TELLS_MAX = 3
TELL_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A cached record; `ends` is the monotonic instant at which its own life is over."""

    record: Record
    ends: float | None


class RecordCache:
    """What this peer caches of others' records, and who caches records from here."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._life_s = core.settings.record_cache_s
        self._entries: CachedRecords[Kept] = CachedRecords(RECORDS_MAX, core.environment.entropy(SEED_BYTES))
        self._takers = Takers()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def on(self) -> bool:
        """Whether records are cached at all."""
        return self._life_s >= 1

    # Reading.

    def find(self, key: Key, least: Seen | None) -> Record | None:
        """Return the record cached for a read of our own; none older than `least`."""
        if not self.on:
            return None
        self._entries.asked(key)
        entry = self._live(key)
        if entry is None:
            return None
        if least is not None and is_older(entry.value.record, least):
            self._entries.drop(key)
            return None
        return entry.value.record

    def age_s(self, key: Key) -> float:
        """Return for how long no holder has been heard of a record that is cached."""
        entry = self._entries.get(key, self._core.now())
        return self._core.now() - entry.since if entry is not None else 0.0

    def take(self, record: Record, giver: Contact, reply: Value) -> None:
        """Keep what a read of our own was given, for as long as it was granted."""
        if self.on and reply.keep_s:
            near = reply.age_s is None and self._stands_near(record.key, giver)
            self._keep(record, giver.peer, reply.keep_s, reply.left_s, age_s=reply.age_s or 0, from_holder=near)

    def saw(self, record: Record) -> None:
        """Note a version that was read or written here: no older one is served from here any more."""
        entry = self._entries.get(record.key, self._core.now())
        if entry is not None and entry.value.record.version < record.version:
            self._entries.drop(record.key)
        self.changed(record)

    def place(self, key: Key, holder: Contact, asked: Iterable[Contact]) -> None:
        """Have `holder`, which ended a look-up, give its record to the nearest of those that were asked in vain."""
        point = distance(holder.place, key)
        further = [each for each in asked if distance(each.place, key) > point]
        if self.on and further:
            nearest = min(further, key=lambda each: distance(each.place, key))
            self._core.tasks.spawn(self._ask(holder, Place, key, nearest.peer), "have a record cached")

    # Answering.

    def grant(self, key: Key, asker: PeerId) -> int:
        """Return for how long `asker` may keep the record that we hold; it is told of a newer one."""
        if not self.on:
            return 0
        now = self._core.now()
        return int(self._life_s) if self._takers.note(key, asker, now + self._life_s, now) else 0

    def answer(self, key: Key, asker: PeerId, rid: int) -> Value | None:
        """Return what is cached for another, None where there is nothing to be given on."""
        if not self.on:
            return None
        self._entries.asked(key)
        entry = self._live(key)
        if entry is None or not entry.from_holder:
            return None
        now = self._core.now()
        keep_s = max(0, int((entry.until - now) / GIVEN_ON_PART))
        if keep_s and not self._takers.note(key, asker, now + keep_s, now):
            keep_s = 0
        kept = entry.value
        left_s = None if kept.ends is None else max(1, math.ceil(kept.ends - now))
        return Value(rid, kept.record.raw, left_s, b"", b"", keep_s, min(int(now - entry.since), int(self._life_s)))

    def on_keep(self, peer: PeerId, request: KeepCached) -> Reply:
        """Take a newer version of what is cached here, or what a holder gives; raises WireError."""
        if not self.on:
            return Done(request.rid)
        record = holding.check_incoming(self._core, request.record)
        key, giver = record.key, self._core.members.contact(peer)
        if giver is None or self._core.store.peek_record(key) is not None or self._core.trust.is_doubted(record):
            return Done(request.rid)
        entry = self._entries.get(key, self._core.now())
        near = self._stands_near(key, giver)
        if entry is None and near:
            most_s = placed_life_s(
                min(self._life_s, request.keep_s),
                distance(self._core.members.own_place, key),
                distance(giver.place, key),
            )
            self._keep(record, peer, most_s, request.left_s, age_s=0, from_holder=True)
        elif entry is not None and entry.value.record.version < record.version and (near or peer == entry.giver):
            left_s = min(request.keep_s, entry.until - self._core.now())
            self._entries.drop(key)
            self._keep(record, peer, left_s, request.left_s, age_s=0, from_holder=near)
            self.changed(record)
        return Done(request.rid)

    def on_place(self, request: Place) -> Reply:
        """Give a record that we hold to one that was asked for it in vain; each gets it once in half a life."""
        core, key = self._core, Key(request.key)
        raw = core.store.peek_record(key)
        taker = core.members.contact(PeerId(request.peer))
        if self.on and isinstance(raw, bytes) and taker is not None and core.returning.confirmed(key):
            now = core.now()
            has_until = self._takers.of(key, now).get(taker.peer, 0.0)
            if has_until < now + self._life_s / 2 and (keep_s := self.grant(key, taker.peer)):
                core.tasks.spawn(self._give(taker, read_record(raw), keep_s), "have a record cached")
        return Done(request.rid)

    # Telling.

    def changed(self, record: Record) -> None:
        """Tell all who cache an older version from here of this one, which is here now."""
        now = self._core.now()
        told = self._takers.of(record.key, now)
        if told:
            self._core.tasks.spawn(self._tell(record, told), "tell of a newer record")

    def held(self, record: Record) -> None:
        """As `changed`, of a record that we hold from now on: ours is not a cached one."""
        self._entries.drop(record.key)
        self.changed(record)

    async def _tell(self, record: Record, takers: dict[bytes, float]) -> None:
        async with asyncio.TaskGroup() as group:
            for taker, until in takers.items():
                contact = self._core.members.contact(PeerId(taker))
                if contact is not None:
                    group.create_task(self._give(contact, record, max(0, int(until - self._core.now()))))
                else:
                    self._takers.drop(record.key, taker)

    async def _give(self, taker: Contact, record: Record, keep_s: int) -> None:
        left_s = None
        if record.body.ttl_s is not None:
            with suppress(StoreError):
                left_s = await holding.left_s(self._core, record)
        for _ in range(TELLS_MAX):
            if await self._ask(taker, KeepCached, record.raw, left_s or None, keep_s):
                return

    async def _ask(self, contact: Contact, kind: type[KeepCached | Place], *fields: object) -> bool:
        try:
            await self._core.endpoint.ask(contact, kind, *fields, timeout_s=TELL_TIMEOUT_S)
        except PeerdError:
            return False
        return True

    # What is kept.

    def _live(self, key: Key) -> Cached[Kept] | None:
        """Return what is cached and may be used: its giver is there, and would tell."""
        entry = self._entries.get(key, self._core.now())
        if entry is None:
            return None
        giver, members = PeerId(entry.giver), self._core.members
        session = self._core.endpoint.sessions.of(giver)
        if session is None or session.established_at > entry.came_at:
            return None  # it may have been started again, and know of nobody to be told
        would_tell = members.contact(giver) is not None and giver not in members.doubted
        return entry if would_tell and not self._core.trust.is_out(giver) else None

    def _keep(
        self, record: Record, giver: PeerId, life_s: float, left_s: int | None, *, age_s: int, from_holder: bool
    ) -> None:
        core, now = self._core, self._core.now()
        before = self._entries.get(record.key, now)
        if before is not None and before.value.record.version > record.version:
            return
        if (record.body.ttl_s is None) != (left_s is None):
            return  # it would outlive its own end, or have one that its writer did not give it
        if core.store.peek_record(record.key) not in (None, MISS) or core.trust.is_doubted(record):
            return
        ends = None if left_s is None or record.body.ttl_s is None else now + min(left_s, record.body.ttl_s)
        until = min(now + min(life_s, self._life_s), math.inf if ends is None else ends)
        budget = core.members.budget_of(giver)
        self._entries.put(record.key, Cached(Kept(record, ends), giver, budget, now - age_s, until, from_holder, now))

    def _stands_near(self, key: Key, contact: Contact) -> bool:
        """Return whether a peer stands where the holders of a key do, as far as this peer knows the network's size."""
        reach = NEAR_TIMES * RECORD_HOLDERS * 2**ID_BITS // max(1, self._core.members.size())
        return bool(distance(contact.place, key) <= reach)
