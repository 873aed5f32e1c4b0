"""Reconciliation with other peers: of the keys that both should hold, each ends with the newest that either had.

Whoever comes (back) starts it at once with those that share keys with it, nearest first; who was there before waits a
little and begins only where the other did not. Beside that one member in `repair_interval_s`, by chance. Cost follows
the difference (swarm.ranges). Not here: moving records to those that came nearer (repairing).
"""

import asyncio
from dataclasses import dataclass

from loguru import logger

from peerd.errors import NoRoomError, RefusedError, StoreError, UnreachableError, WireError
from peerd.ids import PeerId, distance
from peerd.kad.contact import Contact
from peerd.kad.regions import CrowdedPart, Range, crowded_parts, regions
from peerd.logs import short
from peerd.node.bulk import BulkConnection
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.exchanging import Exchanging
from peerd.node.known import Known
from peerd.node.moving import Moving
from peerd.node.returning import Returning
from peerd.swarm.ranges import Answered, Comparing, cut, fingerprint_of, pack_scope, unpack_scope
from peerd.wire import frames, limits
from peerd.wire.codec import encode
from peerd.wire.messages import Agree
from peerd.wire.reconcile import (
    ranges_codec,
)

# Sessions that this peer has under way with others at a time.
SESSIONS_AT_ONCE = 3
# The first goes alone for so long at most: it brings nearly all, and the others then have little to tell.
FIRST_ALONE_S = 2.0
# A session is given up after so long, so many questions about ranges, or so much that was promised and not delivered: a
# peer that answers without end, or names what it has not, is cut off and left alone for a while.
SESSION_S = 300.0
ROUNDS_MAX = 1024
SHUNNED_S = 600.0
# A session is gone through again while it found something, so that both see that they agree.
PASSES_MAX = 3
# Chance decides where the space is cut in a session, so that nobody can choose items whose sums agree.
CUTS = 2
CUT_BYTES = 6
# Who just started begins its sessions after so long, others so much later.
NEWCOMER_S = 10.0
NEWCOMER_DELAY_S = 0.1
DELAY_S = 2.0
RETRY_S = 1.0
RETRY_MAX_S = 30.0
# Of a peer that failed so often that it is tried again only after so long nothing is expected any more in a crowd.
GIVEN_UP_S = 4.0


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a session came to; `confirmed` says that this peer now knows all that the other did.

    `agreed` says that both were seen to know the same; else something was on its way from others, or held back.
    """

    received: int
    sent: int
    confirmed: bool
    agreed: bool


@dataclass(slots=True)
class _Meeting:
    """A peer that came and is to be reconciled with."""

    due: float
    retry_s: float = RETRY_S


class Reconciling:
    """Decides with whom to reconcile and when, and does it."""

    def __init__(self, core: Core) -> None:
        """Give the core also what reconciliation knows, and what it confirms."""
        core.known = Known(core.store)
        core.returning = Returning(core)
        self._core = core
        self.exchanging = Exchanging(core)
        self._meetings: dict[PeerId, _Meeting] = {}
        self._met: dict[PeerId, float] = {}
        """When a member came, as of our last look: came_at."""
        self._agreed: dict[PeerId, float] = {}
        """When we last knew that a peer and we have the same of what both should hold."""
        self._running: dict[PeerId, float] = {}
        """With whom a session is under way, and since when."""
        self._first_done = False
        self._shunned: dict[PeerId, float] = {}
        self._held_back: dict[PeerId, None] = {}
        """Who was not offered something, as it was not confirmed since we returned."""
        self._places: dict[PeerId, int] = {}
        self._places_epoch = -1
        self._shared: dict[PeerId, list[Range]] = {}
        """Of the members at one epoch."""
        self._crowded: list[CrowdedPart] | None = None
        self._wake = asyncio.Event()
        self._started_at = core.now()

    def start(self) -> None:
        """Begin to read what is known, and the loops."""
        self._started_at = self._core.now()
        self._core.tasks.spawn(self._load(), "read what is known")
        self._core.tasks.spawn(self._meet(), "reconcile with who came")
        self._core.tasks.spawn(self._wander(), "reconcile by chance")

    def changed(self) -> None:
        """Somebody came or went."""
        self._wake.set()

    def missed(self, peer: PeerId) -> None:
        """A peer may have missed something, or we: it is met as if it had come."""
        self._met.pop(peer, None)
        self._agreed.pop(peer, None)
        self._wake.set()

    def returned(self) -> None:
        """What is here is confirmed: those that were not offered everything are, now."""
        for peer in self._held_back:
            if peer in self._met:
                self._meetings[peer] = _Meeting(self._core.now())
        self._held_back.clear()
        self._wake.set()

    def agreed_at(self, peer: PeerId) -> float:
        """Return when it was last seen that this peer and we have the same (monotonic), -inf for never."""
        return self._agreed.get(peer, float("-inf"))

    def shared_with(self, peer: PeerId) -> list[Range]:
        """Return which keys this peer and we should both hold, as far as we know the members."""
        core = self._core
        if self._places_epoch != core.members.epoch or peer not in self._places:
            self._places_epoch = core.members.epoch
            self._places = {c.peer: int.from_bytes(c.place, "big") for c in core.members.table.contacts()}
            self._shared.clear()
            self._crowded = None
        if peer not in self._places:
            return []
        if peer not in self._shared:
            own = int.from_bytes(core.members.own_place, "big")
            places = [own, *self._places.values()]
            if self._crowded is None:
                rule = core.members.rule()
                self._crowded = crowded_parts(own, places, rule) if rule is not None else []
            self._shared[peer] = regions(own, self._places[peer], places, RECORD_HOLDERS, self._crowded)
        return self._shared[peer]

    def served(self, peer: PeerId, done: Answered) -> None:
        """A peer compared ranges with us; where all were the same it has what we have."""
        if done.same and done.ranges:
            self._note_agreed(peer)

    def _note_agreed(self, peer: PeerId) -> None:
        if peer in self._met:
            self._agreed[peer] = self._core.now()
            self._wake.set()

    # When.

    async def _load(self) -> None:
        while True:
            try:
                await self._core.known.load()
                break
            except StoreError as error:
                logger.warning("what is kept could not be read yet", reason=str(error))
                await asyncio.sleep(RETRY_MAX_S)
        await self._core.known.follow()

    async def _meet(self) -> None:
        """Start sessions with those that came, a few at a time, the nearest first."""
        core = self._core
        await core.known.ready.wait()
        while True:
            self._look_who_came()
            for peer in self._due(max(0, self._at_once() - len(self._running))):
                meeting = self._meetings.pop(peer)
                contact = core.members.contact(peer)
                if contact is not None:
                    self._running[peer] = core.now()
                    core.tasks.spawn(self._meet_one(contact, meeting), "reconcile")
            waits = [meeting.due - core.now() for meeting in self._meetings.values()]
            if len(self._running) >= self._at_once():
                waits = [] if self._first_done else [FIRST_ALONE_S]
            pause_s = max(0.05, min(waits)) if waits else None
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    def _at_once(self) -> int:
        first_at = min(self._running.values(), default=self._core.now())
        if self._first_done or first_at < self._core.now() - FIRST_ALONE_S:
            return SESSIONS_AT_ONCE
        return 1

    def _look_who_came(self) -> None:
        core = self._core
        now = core.now()
        newcomer = now - self._started_at < NEWCOMER_S
        present = dict.fromkeys(contact.peer for contact in core.members.alive())  # in order: runs must repeat
        for gone in [peer for peer in self._met if peer not in present]:
            del self._met[gone]
            self._meetings.pop(gone, None)
            self._agreed.pop(gone, None)
        for peer in present:
            came_at = core.members.all[peer].came_at
            if self._met.get(peer) == came_at:
                continue
            self._met[peer] = came_at
            delay_s = NEWCOMER_DELAY_S if newcomer else DELAY_S
            self._meetings[peer] = _Meeting(now + delay_s * core.environment.rng.uniform(0.5, 1.5))

    def _due(self, count: int) -> list[PeerId]:
        """Return whose time it is, the nearest first; those that came to us meanwhile need nothing more."""
        core = self._core
        now, own = core.now(), core.members.own_place
        due = [peer for peer, meeting in self._meetings.items() if meeting.due <= now and peer not in self._running]
        due.sort(key=lambda peer: distance(core.members.all[peer].contact.place, own))
        found: list[PeerId] = []
        for peer in due:
            if len(found) >= count:
                break
            if self._is_settled(peer):
                del self._meetings[peer]
            else:
                found.append(peer)
        return found

    def _is_settled(self, peer: PeerId) -> bool:
        if self.agreed_at(peer) >= self._met.get(peer, 0.0) and not self._core.returning.active:
            return True  # one that is back asks for itself: the scope of another's question is that one's word
        return not self.shared_with(peer)

    async def _meet_one(self, contact: Contact, meeting: _Meeting) -> None:
        core = self._core
        try:
            done = await self.reconcile(contact)
            again = not (done.confirmed and done.agreed)
            self._first_done = True
        except (UnreachableError, RefusedError, NoRoomError, StoreError) as error:
            logger.debug("not reconciled yet", peer=short(contact.peer), reason=str(error))
            again = True
        except WireError:
            again = False
        finally:
            self._running.pop(contact.peer, None)
            self._wake.set()
        if again and contact.peer in self._met:
            retry_s = meeting.retry_s
            if retry_s >= GIVEN_UP_S:
                core.returning.gave_up(contact.peer)
            self._meetings[contact.peer] = _Meeting(core.now() + retry_s, min(2 * retry_s, RETRY_MAX_S))

    async def _wander(self) -> None:
        """Now and then compare with one member, by chance; the equal cost each other a hundred bytes."""
        core, rng = self._core, self._core.environment.rng
        while True:
            await asyncio.sleep(core.settings.repair_interval_s * rng.uniform(0.9, 1.1))
            there = [c for c in core.members.closest(core.members.own_place, 4 * RECORD_HOLDERS) if c.peer in self._met]
            sharing = [c for c in there if c.peer not in self._meetings and self.shared_with(c.peer)]
            if sharing and core.known.ready.is_set() and len(self._running) < SESSIONS_AT_ONCE:
                contact = sharing[int(rng.random() * len(sharing))]
                if contact.peer not in self._running:
                    self._running[contact.peer] = core.now()
                    await self._meet_one(contact, _Meeting(core.now()))

    def _shun(self, peer: PeerId, error: WireError) -> None:
        core = self._core
        logger.warning("a peer reconciles against the rules and is left alone", peer=short(peer), reason=error.reason)
        core.counts.rejected["reconcile"] += 1
        core.bulk.drop(peer)
        now = core.now()
        self._shunned = {each: until for each, until in self._shunned.items() if until > now}
        self._shunned[peer] = now + SHUNNED_S

    # One session.

    async def reconcile(self, contact: Contact) -> Reconciled:
        """Bring both to the newest that either has of all keys that both should hold.

        Raises UnreachableError, RefusedError (also where that peer broke the rules lately), WireError where it does
        now, StoreError and NoRoomError of our own disk.
        """
        if self._shunned.get(contact.peer, 0.0) > self._core.now():
            raise RefusedError("shunned")
        await self._core.known.ready.wait()
        try:
            return await self._session(contact)
        except WireError as error:
            self._shun(contact.peer, error)
            raise

    async def _session(self, contact: Contact) -> Reconciled:
        core = self._core
        if await self._agrees(contact):
            core.returning.reconciled(contact.peer)
            return Reconciled(0, 0, confirmed=True, agreed=True)
        connection = await core.bulk.get(contact)
        moving = Moving(core, self.exchanging, connection)
        begun = core.now()
        confirmed, agreed = True, False
        try:
            async with asyncio.timeout(SESSION_S):
                for _ in range(PASSES_MAX):
                    moved = moving.received + moving.sent
                    if not await self._pass(connection, moving):
                        self._note_agreed(contact.peer)
                        agreed = True
                        break
                    if moving.received + moving.sent == moved:
                        break
                confirmed = await moving.rest()
        except TimeoutError as error:
            raise UnreachableError("there is too much to compare at one go; it goes on later") from error
        if moving.held_back:
            self._held_back[contact.peer] = None
        if confirmed:
            core.returning.reconciled(contact.peer)
        if moving.received or moving.sent:
            logger.info(
                "reconciled",
                peer=short(contact.peer),
                received=moving.received,
                sent=moving.sent,
                took_s=round(core.now() - begun, 3),
            )
        return Reconciled(moving.received, moving.sent, confirmed, agreed)

    async def _agrees(self, contact: Contact) -> bool:
        """Ask in one datagram whether both know the same: where they do, no connection is needed."""
        core = self._core
        scope = self._scope(contact.peer)
        packed = pack_scope(scope)
        if len(packed) > limits.SCOPE_MAX_BYTES:
            return False
        mark = fingerprint_of(core.known.items, scope)
        try:
            await core.endpoint.ask(contact, Agree, packed, mark, timeout_s=core.settings.request_timeout_s)
        except RefusedError:
            return False
        self._note_agreed(contact.peer)
        return True

    def asked_to_agree(self, peer: PeerId, packed: bytes, fingerprint: bytes) -> bool:
        """Return whether we know of some ranges what a peer does; raises WireError where they are none."""
        core = self._core
        scope = unpack_scope(packed)
        if not core.known.ready.is_set() or fingerprint_of(core.known.items, scope) != fingerprint:
            return False
        self._note_agreed(peer)
        return True

    def _scope(self, peer: PeerId) -> list[Range]:
        """Return what both should hold, cut where chance says."""
        return cut(self.shared_with(peer), [self._core.environment.entropy(CUT_BYTES) for _ in range(CUTS)])

    async def _pass(self, connection: BulkConnection, moving: Moving) -> bool:
        """Compare all that is shared, and move what differs; return whether anything did."""
        comparing = Comparing(self._core.known.items, self._scope(moving.peer))
        differed = False
        rounds = 0
        while (question := comparing.next()) is not None:
            rounds += 1
            if rounds > ROUNDS_MAX:
                raise WireError("session_rounds")
            told = await connection.ask(frames.RECONCILE, encode(question))
            comparing.receive(ranges_codec.decode_canonical(told))
            found = comparing.found()
            differed = differed or bool(found.differing)
            await moving.move(found.differing)
        return differed


async def reconcile(core: Core, contact: Contact) -> Reconciled:
    """See `Reconciling.reconcile`."""
    return await core.reconciling.reconcile(contact)
