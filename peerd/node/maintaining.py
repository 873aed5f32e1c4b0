"""What a peer does for what it keeps when nobody asks: publish anew, restore copies, forget what expired.

Each is a loop with a jittered interval from the settings. Failures are logged and the loop goes on. Not here: who is
there (probing).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from loguru import logger

from peerd.content.cid import Cid
from peerd.errors import PeerdError, UnreachableError, WireError
from peerd.ids import Key, PeerId, distance
from peerd.io.store.interface import Root
from peerd.kad.contact import Contact
from peerd.node.asking import Asking
from peerd.node.claims import PINNED, read_name_claim
from peerd.node.collecting import collect_aged, expire_records
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.holding import keep_record, left_s
from peerd.node.placing import Content, hand_over, place
from peerd.node.providing import CACHE, REPLICA, announce, find_providers
from peerd.node.reading import record_of
from peerd.node.scrubbing import scrub
from peerd.node.tasks import every
from peerd.records.record import Record, read_record
from peerd.wire.messages import Newer, Store

PAGE = 128
# Changes of membership are gathered for this long before what is kept is placed anew.
SETTLE_S = 1.0
EXPIRY_INTERVAL_S = 10.0
COLLECTIONS_PER_GRACE = 4
PLACED_MAX = 200_000
HANDED_OVER_AT_ONCE = 8


class Placed(NamedTuple):
    """To whom a record was given, in which version (the digest)."""

    peers: frozenset[PeerId]
    version: bytes


class Maintaining:
    """The background loops of one peer."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._changed = asyncio.Event()
        self._round_at = core.now()
        self._unplaced: dict[Key, None] = {}
        """Keys that somebody did not take when they were given out; tried again whose turn ever it is."""
        self._placed: dict[Key, Placed] = {}
        """Keys of records kept here, and to whom they were given; only a memory that saves work."""

    def start(self) -> None:
        """Begin all loops."""
        settings = self._core.settings
        spawn = self._core.tasks.spawn
        spawn(self._every(settings.republish_interval_s, self._republish), "republish")
        spawn(self._every(EXPIRY_INTERVAL_S, self._expire), "expire")
        spawn(self._every(settings.unclaimed_grace_s / COLLECTIONS_PER_GRACE, self._collect), "collect")
        spawn(self._replace_loop(), "replace")
        spawn(scrub(self._core), "scrub")

    def members_changed(self) -> None:
        """Somebody came or went: what is kept may be in the wrong place."""
        self._changed.set()

    def _every(self, interval_s: float, work: Callable[[], Awaitable[None]]) -> Coroutine[Any, Any, None]:
        return every(self._core.environment.rng, interval_s, work)

    # What is kept.

    async def _replace_loop(self) -> None:
        """After changes of membership, and now and then, see that what we keep is where it should be."""
        core = self._core
        while True:
            try:
                async with asyncio.timeout(core.settings.repair_interval_s * core.environment.rng.uniform(0.9, 1.1)):
                    await self._changed.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(SETTLE_S * core.environment.rng.uniform(0.8, 1.2))
            self._changed.clear()
            if core.members.alive_count() == 0:
                continue
            try:
                await self._replace_records()
                await self._replace_content()
            except PeerdError as error:
                logger.warning("copies could not be restored for now", reason=str(error))

    async def _replace_records(self) -> None:
        """Give records to those of their holders that came since this peer last gave them."""
        core = self._core
        started = core.now()
        epoch = core.members.epoch
        after = None
        while page := await core.store.records(after, PAGE):
            for key, raw in page:
                await self._replace_record(key, raw)
            after = page[-1][0]
        if core.members.epoch != epoch:
            self._changed.set()
        self._round_at = started

    async def _replace_record(self, key: Key, raw: bytes) -> None:
        core = self._core
        contacts, ours = core.members.nearest_with_us(key, RECORD_HOLDERS)
        record = read_record(raw)
        where = Placed(frozenset(contact.peer for contact in contacts), record.version.digest)
        placed = self._placed.get(key)
        turn = not ours or key in self._unplaced or self._our_turn(key, contacts)
        if placed == where or not turn or await left_s(core, record) == 0:
            return
        known = placed.peers if placed is not None and placed.version == where.version else frozenset()
        newest = await self._give(record, [contact for contact in contacts if contact.peer not in known])
        if newest is not None and newest.version > record.version:
            # We were the stale one: what is newer goes to all, and here.
            await keep_record(core, newest, None)
            newest = await self._give(newest, contacts)
        if newest is None:
            if len(self._unplaced) < PLACED_MAX:
                self._unplaced[key] = None  # somebody did not answer: the next round tries again, whoever is nearer
            return
        self._unplaced.pop(key, None)
        self._placed[key] = where
        if len(self._placed) > PLACED_MAX:
            self._placed.pop(next(iter(self._placed)))

    async def _give(self, record: Record, contacts: list[Contact]) -> Record | None:
        """Store a record on others; return the newest version that they showed or took, None where one was silent."""
        core = self._core
        newest, whole = record, True
        with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
            life_s = await left_s(core, record)
            for contact in contacts:
                asking.ask(contact, Store, record.raw, life_s, silent_after_s=0)
            while (answer := await asking.next()) is not None:
                whole = whole and not isinstance(answer.error, UnreachableError)
                if isinstance(answer.reply, Newer):
                    newest = self._newer(record, answer.reply, newest)
        return newest if whole or newest is not record else None

    def _newer(self, record: Record, reply: Newer, newest: Record) -> Record:
        try:
            shown = record_of(self._core, reply, record.key)
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return newest
        return shown if shown is not None and shown.version > newest.version else newest

    def _our_turn(self, key: bytes, contacts: list[Contact]) -> bool:
        """Return whether of a record's holders that were there before the last change we are the nearest."""
        core = self._core
        own = distance(core.members.own_place, key)
        for contact in contacts:
            member = core.members.all.get(contact.peer)
            was_there = member is not None and member.came_at <= self._round_at
            if was_there and distance(contact.place, key) < own:
                return False
        return True

    async def _replace_content(self) -> None:
        core = self._core
        after = None
        owed: set[bytes] = set()
        while roots := await core.store.roots(after, PAGE):
            for root in roots:
                if root.complete and root.class_ in ("own", "replica", "pinned"):
                    owed.add(root.cid)
                    await self._replace_root(root)
            after = roots[-1].cid
        for cid in [cid for cid in core.missing_since if cid not in owed]:
            del core.missing_since[cid]  # what went meanwhile lacks nothing any more

    async def _replace_root(self, root: Root) -> None:
        """Count the promised copies of some content; where some lack and it is our turn, place them."""
        core = self._core
        cid = Cid.from_bytes(root.cid)
        found = await find_providers(core, cid)
        living = {p for p, kind in found.providers.items() if kind == REPLICA and core.members.contact(p) is not None}
        if root.class_ in ("own", "replica"):
            living.add(core.peer)
        wanted = min(max(root.copies, 1), core.members.alive_count() + 1)
        nearest, ours = core.members.nearest_with_us(cid.digest, max(root.copies, 1))
        short_of = wanted - len(living)
        misplaced = any(contact.peer not in living for contact in nearest) or (root.class_ == "own" and not ours)
        if short_of <= 0 and not misplaced:
            core.missing_since.pop(root.cid, None)
            return
        if short_of > 0:
            core.missing_since.setdefault(root.cid, core.now())
        first = min(living | {core.peer}, key=lambda peer: distance(self._place_of(peer), cid.digest))
        if first != core.peer:
            return
        claims = [claim for claim in await core.store.claims(root.cid) if claim != PINNED]
        if not claims and root.class_ != "own":
            return
        placed = await place(core, self._content(root, claims))
        if len(placed.holders) >= wanted:
            core.missing_since.pop(root.cid, None)
            logger.info("copies were restored", cid=cid.text, copies=len(placed.holders))

    @staticmethod
    def _content(root: Root, claims: list[bytes]) -> Content:
        """Return what is to be held, with the newest claim of a name where there is one."""
        named = max((n for n in map(read_name_claim, claims) if n is not None), key=lambda n: n[1], default=None)
        key, sequence = named if named is not None else (None, 0)
        return Content(Cid.from_bytes(root.cid), root.kind, root.size, max(root.copies, 1), key, sequence, root.name)

    async def hand_over(self) -> None:
        """Before this peer goes: see that others hold what it holds, as if it were gone already."""
        core = self._core
        if core.members.alive_count() == 0:
            return
        after = None
        while page := await core.store.records(after, PAGE):
            await self._hand_over_records(page)
            after = page[-1][0]
        root_after = None
        while roots := await core.store.roots(root_after, PAGE):
            owed = [root for root in roots if root.complete and root.class_ in ("own", "replica")]
            for at in range(0, len(owed), HANDED_OVER_AT_ONCE):
                if core.members.alive_count() == 0:
                    return
                async with asyncio.TaskGroup() as group:
                    for root in owed[at : at + HANDED_OVER_AT_ONCE]:
                        group.create_task(self._hand_over_root(root))
            root_after = roots[-1].cid

    async def _hand_over_root(self, root: Root) -> None:
        try:
            await hand_over(self._core, self._content(root, await self._core.store.claims(root.cid)))
        except PeerdError as error:
            logger.warning("some content was not handed over", cid=Cid.from_bytes(root.cid).text, reason=str(error))

    async def _hand_over_records(self, page: list[tuple[Key, bytes]]) -> None:
        core = self._core
        with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
            for key, raw in page:
                record = read_record(raw)
                life_s = await left_s(core, record)
                heirs = core.members.closest(key, RECORD_HOLDERS)[RECORD_HOLDERS - 1 :]
                for contact in heirs if life_s != 0 else ():
                    asking.ask(contact, Store, record.raw, life_s, silent_after_s=0)
            while await asking.next() is not None:
                pass

    def _place_of(self, peer: PeerId) -> bytes:
        if peer == self._core.peer:
            return self._core.members.own_place
        return self._core.members.all[peer].contact.place

    async def _republish(self) -> None:
        """Announce content anew, and have every record placed again from scratch."""
        core = self._core
        self._placed.clear()
        self._changed.set()
        after = None
        while roots := await core.store.roots(after, PAGE):
            for root in roots:
                if root.complete:
                    await announce(core, Cid.from_bytes(root.cid), CACHE if root.class_ == "cache" else REPLICA)
            after = roots[-1].cid

    async def _expire(self) -> None:
        """Forget records whose life is over."""
        await expire_records(self._core)

    async def _collect(self) -> None:
        """Free what nobody has claimed for the grace, and what interrupted puts left."""
        await collect_aged(self._core)
