"""Content where it belongs: promised copies counted by asking for them, and restored by one of their holders.

A root is looked at when those that should hold it, or those that do, have changed or were started again since it was
counted last; else nothing is asked. Provider records say whom to ask, those that are asked what they have: a store may
have been put back to an old copy. The nearest of the living holders restores. A copy too many, because somebody came
back or nearer, is a cached one after a while: its holder has asked those that should have it, and they do.
"""

import asyncio
import math
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass

from loguru import logger

from peerd.content.cid import Cid
from peerd.errors import PeerdError
from peerd.ids import Key, PeerId, distance
from peerd.io.store.interface import Root
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node.announced import stored
from peerd.node.auditing import kept_by
from peerd.node.claims import read_row
from peerd.node.content_audit import unproven
from peerd.node.core import Core
from peerd.node.placing import content_of, make_cached, place
from peerd.node.providing import CACHE, GONE, REPLICA, announce
from peerd.node.scrubbing import is_broken, mend
from peerd.records.alias import read_announcement
from peerd.wire import frames

PAGE = 128
RESTORED_AT_ONCE = 8
# Roots whose last count is remembered; of more the oldest are counted again.
SEEN_MAX = 200_000
# A copy stays promised for so many repair intervals after those that should have it were found to.
SURPLUS_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found when a root's copies were counted last."""

    nearest: frozenset[PeerId]
    living: frozenset[PeerId]
    whole: bool
    at: float
    """When we began to ask: who is started again after its answer, while others answer, may have lost what it had."""


class Restoring:
    """Sees to the copies of the content that this peer keeps."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._seen: dict[bytes, Seen] = {}
        self._told: dict[bytes, frozenset[PeerId]] = {}
        self._proven: dict[tuple[PeerId, bytes], float] = {}
        """When a peer last showed that it has a root."""
        self._surplus: dict[bytes, float] = {}
        """Since when our copy of a root has been one too many; each round forgets those of which there is none left."""
        self._started_at = core.store.now_s()

    def living(self, cid: bytes) -> frozenset[PeerId] | None:
        """Return who had a promised copy of a root when it was counted last, None where it never was."""
        seen = self._seen.get(cid)
        return seen.living if seen is not None else None

    def recount(self, cid: bytes) -> None:
        """Have a root counted anew."""
        self._seen.pop(cid, None)

    def forget(self) -> None:
        """Have every root counted anew."""
        self._seen.clear()

    async def announce_all(self) -> None:
        """Tell everywhere what is kept here, before the last announcements end."""
        after = None
        while roots := await self._core.store.roots(after, PAGE):
            for root in roots:
                if root.complete:
                    await self._announce(root, frozenset())
            after = roots[-1].cid

    async def round(self, lacking: set[bytes]) -> int:
        """Count what may have changed and restore what lacks copies; return how many roots were restored.

        Roots that still lack some go into `lacking`.
        """
        after, restored, gone = None, 0, set(self._surplus)
        while roots := await self._core.store.roots(after, PAGE):
            gone.difference_update(root.cid for root in roots)
            await self._announce_to_newcomers(roots)
            await self._mend(roots, lacking)
            due = [root for root in roots if root.complete and root.class_ != "cache" and self._is_due(root)]
            asked_at = self._core.now()
            living = await self._count(due)
            for at in range(0, len(due), RESTORED_AT_ONCE):
                part = due[at : at + RESTORED_AT_ONCE]
                done = await asyncio.gather(*(self._safely(root, living[root.cid], asked_at, lacking) for root in part))
                restored += sum(done)
            after = roots[-1].cid
            await asyncio.sleep(0)
        for cid in gone:
            self._surplus.pop(cid, None)
        return restored

    async def _mend(self, roots: list[Root], lacking: set[bytes]) -> None:
        """Look again for what was lost of promised copies and found nowhere."""
        for root in roots:
            if not is_broken(root):
                continue
            lacking.add(root.cid)
            with suppress(PeerdError):  # the next round looks again
                if await mend(self._core, root):
                    lacking.discard(root.cid)

    def _is_due(self, root: Root) -> bool:
        seen = self._seen.get(root.cid)
        if seen is None or not seen.whole or seen.nearest != self._nearest(root):
            return True
        if root.cid in self._surplus and self._is_settled(root):
            return True
        return any(peer != self._core.peer and not self._stayed(peer, seen.at) for peer in seen.living)

    def _stayed(self, peer: PeerId, since: float) -> bool:
        """Return whether a peer is there and has been all the time since then."""
        member = self._core.members.all.get(peer)
        return member is not None and self._core.members.contact(peer) is not None and member.came_at <= since

    def _nearest(self, root: Root) -> frozenset[PeerId]:
        found = self._core.members.copy_holders(Cid.from_bytes(root.cid).digest, max(root.copies, 1))
        peers = [contact.peer for contact in found.contacts]
        return frozenset([*peers, self._core.peer] if found.ours else peers)

    async def _count(self, due: list[Root]) -> dict[bytes, set[PeerId]]:
        """Ask those that should have these roots, or said so; return the others that have a promised copy of each."""
        core = self._core
        asked: dict[PeerId, list[bytes]] = defaultdict(list)
        alleged: dict[bytes, set[PeerId]] = {}
        for root in due:
            alleged[root.cid] = await self._alleged(root)
            for peer in sorted((alleged[root.cid] | self._nearest(root)) - {core.peer}):  # runs must repeat
                asked[peer].append(root.cid)
        contacts = [contact for peer in asked if (contact := core.members.contact(peer)) is not None]
        living: dict[bytes, set[PeerId]] = {root.cid: set() for root in due}
        nearest = {root.cid: self._nearest(root) for root in due}
        for at in range(0, len(contacts), RESTORED_AT_ONCE):
            part = contacts[at : at + RESTORED_AT_ONCE]
            told = await asyncio.gather(*(kept_by(core, [contact], asked[contact.peer]) for contact in part))
            for contact, answer in zip(part, told, strict=True):
                roots = asked[contact.peer]
                claimed = []
                for cid, kept in zip(roots, answer.get(contact.peer, bytes(len(roots))), strict=True):
                    if kept == frames.PROMISED or (kept == frames.PINNED and contact.peer in nearest[cid]):
                        claimed.append(cid)
                for cid in await self._shown(contact, claimed):
                    living[cid].add(contact.peer)
        return living

    async def _shown(self, contact: Contact, claimed: list[bytes]) -> list[bytes]:
        """Return which of the roots that a peer says it keeps it has shown to have, since it was last here."""
        member = self._core.members.all.get(contact.peer)
        came_at = member.came_at if member is not None else math.inf
        new = [cid for cid in claimed if self._proven.get((contact.peer, cid), -math.inf) < came_at]
        if not new:
            return claimed
        at = self._core.now()
        missing = set(await unproven(self._core, contact, new))
        if missing:
            logger.info("a peer says that it keeps what it cannot show", peer=short(contact.peer), roots=len(missing))
        for cid in new:
            if cid not in missing:
                self._proven[contact.peer, cid] = at
                if len(self._proven) > SEEN_MAX:
                    del self._proven[next(iter(self._proven))]
        return [cid for cid in claimed if cid not in missing]

    async def _alleged(self, root: Root) -> set[PeerId]:
        """Return the peers that say in their announcements, as far as we were told, that they have a copy."""
        seen = self._seen.get(root.cid)
        peers = set(seen.living) if seen is not None else set()
        key = Key(Cid.from_bytes(root.cid).digest)
        for raw in await stored(self._core, key, self._core.store.now_s()):
            statement = read_announcement(raw)
            if statement.root == root.cid and statement.kind == REPLICA:
                peers.add(PeerId(statement.provider))
        return peers

    async def _safely(self, root: Root, others: set[PeerId], asked_at: float, lacking: set[bytes]) -> bool:
        try:
            return await self._restore(root, others, asked_at, lacking)
        except PeerdError as error:
            lacking.add(root.cid)
            logger.warning("copies could not be restored", cid=Cid.from_bytes(root.cid).text, reason=str(error))
            return False

    async def _restore(self, root: Root, others: set[PeerId], asked_at: float, lacking: set[bytes]) -> bool:
        """Where some of the promised copies lack and it is our turn, place them."""
        core = self._core
        cid = Cid.from_bytes(root.cid)
        content = await content_of(core, root)
        living = others | ({core.peer} if root.class_ != "pinned" or content is not None else set())
        wanted = min(max(root.copies, 1), core.members.alive_count() + 1)
        nearest = self._nearest(root)
        whole = len(living) >= wanted
        misplaced = not nearest <= living or (root.class_ == "own" and core.peer not in nearest)
        surplus = root.class_ == "replica" and core.peer not in nearest and root.copies <= len(nearest & others)
        if surplus and whole and not misplaced:
            if not await self._let_surplus_go(root):
                return False
        else:
            self._surplus.pop(root.cid, None)
        if whole and not misplaced:
            self._note(root, Seen(nearest, frozenset(living), True, asked_at))
            return False
        if not self._is_first(living, cid.digest) or content is None:
            if not whole:
                lacking.add(root.cid)
            self._note(root, Seen(nearest, frozenset(living), False, asked_at))
            return False
        if not whole:
            core.missing_since.setdefault(root.cid, core.now())
        placed = await place(core, content)
        living = living.union(placed.holders)
        self._note(root, Seen(nearest, frozenset(living), len(placed.holders) >= wanted, asked_at))
        if len(placed.holders) < wanted:
            lacking.add(root.cid)
            return False
        if not whole:
            logger.info("copies were restored", cid=cid.text, copies=len(placed.holders))
        return not whole

    def _is_settled(self, root: Root) -> bool:
        since = self._surplus.get(root.cid, math.inf)
        return self._core.now() - since >= SURPLUS_INTERVALS * self._core.settings.repair_interval_s

    async def _let_surplus_go(self, root: Root) -> bool:
        """Where those that should have a root have had it for a while, ours is a cached copy; nothing is deleted.

        False where that cannot be noted now: the next round is to count it again.
        """
        if not self._is_settled(root):
            if root.cid not in self._surplus and len(self._surplus) >= SEEN_MAX:
                self._seen.pop(root.cid, None)
                return False
            self._surplus.setdefault(root.cid, self._core.now())
            return True
        self._surplus.pop(root.cid)
        if not self._core.room.is_coming_in(root.cid):
            rows = [row for row in await self._core.store.claims(root.cid) if read_row(row) is not None]
            await make_cached(self._core, root.cid, rows, root.copies)
        return True

    def _note(self, root: Root, seen: Seen) -> None:
        """Note what was found for those that were nearest then: who came meanwhile was not looked at."""
        if root.cid not in self._seen and len(self._seen) >= SEEN_MAX:
            self._seen.pop(next(iter(self._seen)))
        self._seen[root.cid] = seen

    def _is_first(self, living: set[PeerId], key: bytes) -> bool:
        """Return whether we are the nearest of those that have a copy and have not gone while they were asked."""
        members = self._core.members
        there = [member for peer in living if (member := members.all.get(peer)) is not None]
        own = distance(members.own_place, key)
        return all(own < distance(member.contact.place, key) for member in there)

    async def _announce_to_newcomers(self, roots: list[Root]) -> None:
        """Tell those that came to stand near a root what the ones before them were told."""
        for root in roots:
            nearest = self._core.members.responsible(Cid.from_bytes(root.cid).digest).contacts
            told = self._told.get(root.cid)
            if told is None and root.added_at >= self._started_at:
                self._remember_told(root, nearest)  # it was announced when it came
            elif root.complete and (told is None or any(contact.peer not in told for contact in nearest)):
                await self._announce(root, told or frozenset())

    async def _announce(self, root: Root, told: frozenset[PeerId]) -> None:
        unclaimed = root.class_ == "cache" and root.copies == 0
        kind = GONE if unclaimed else CACHE if root.class_ == "cache" else REPLICA
        self._remember_told(root, await announce(self._core, Cid.from_bytes(root.cid), kind, told=told))

    def _remember_told(self, root: Root, contacts: list[Contact]) -> None:
        if root.cid not in self._told and len(self._told) >= SEEN_MAX:
            self._told.pop(next(iter(self._told)))
        self._told[root.cid] = frozenset(contact.peer for contact in contacts)
