"""How deletions stay deletions: tombstones that go once all who may have the key know of them, and their floors.

A tombstone waits for the holders that are there, for all who were ever noted beside it, and for silent members that
stand near the key: until each has confirmed it or was forgotten, however long that takes. What stays then is a floor.
It is unsigned: one that others show is believed where most of the key's present holders, asked by us, say the same.

Who has a tombstone is known from receipts (copies), from reconciliation (`confirmed_by`), and by asking.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loguru import logger

from peerd.errors import DamagedError, NoRoomError, RefusedError, StoreError, WireError
from peerd.ids import Key, PeerId, distance
from peerd.io.store.interface import Floor
from peerd.kad.contact import Contact
from peerd.node import holding
from peerd.node.asking import Asking
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.records.floor import ABOVE, BELOW, LEFT_MAX_S, NOTHING, OVER, PackedFloor, pack_floors
from peerd.records.record import Record, read_record
from peerd.trust.quorum import FLOORS_COUNTED_FROM, majority
from peerd.wire import limits
from peerd.wire.limits import SEQUENCE_MAX
from peerd.wire.messages import FindFloors, Floors, KeepFloors, Reply, Store

# Tombstones and floors looked at in one round; the next goes on where it ended.
SWEEP_MAX = 512
# A silent member is waited for where it is among so many nearest: it may hold the key from when it was nearer.
AWAITED_NEAREST = 4 * RECORD_HOLDERS
# Keys whose floors are being looked into at one time, so that nobody has us ask without end.
DOUBTED_MAX = 1_024
# Of so few other holders all must have a version far above what is here before it is believed, of more most.
VOUCHERS_ALL = 2
# Versions above this are believed of nobody: half of all numbers are left for those that follow.
SEQUENCE_VOUCHED_MAX = SEQUENCE_MAX // 2

Answers = dict[tuple[PeerId, PackedFloor], int]


@dataclass(slots=True)
class _Waiting:
    """A tombstone: the peers it waits for, whom its store has noted beside it, and who has confirmed it since."""

    record: Record
    peers: set[PeerId]
    noted: dict[PeerId, bool]
    confirmed: set[PeerId]


class Tombstones:
    """The end of tombstones, and the keeping, giving and believing of floors."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._doubted: set[Key] = set()
        self._tombstones_after: Key | None = None
        self._floors_after: Key | None = None

    # What others say.

    async def keep_floor(self, key: Key, floor: Floor, from_peer: PeerId) -> bool:
        """Keep a floor that a peer shows, where it is believed; return whether the key is known to be over here.

        Raises NoRoomError, StoreError.
        """
        return await self.keep_floors([(key, floor)], from_peer) == 1

    async def keep_floors(self, floors: Sequence[tuple[Key, Floor]], from_peer: PeerId) -> int:
        """As `keep_floor`, of several; returns of how many keys it is known that they are over."""
        core = self._core
        known, asked = 0, []
        for key, floor in floors:
            here = await holding.standing(core, key)
            if here.of(floor.version) == OVER:
                known += 1
            elif here.of(floor.version) != ABOVE and key not in self._doubted and len(self._doubted) < DOUBTED_MAX:
                self._doubted.add(key)
                asked.append((key, floor, here.record))
        try:
            questions = [PackedFloor(key, floor.version) for key, floor, _ in asked]
            questions += [PackedFloor(key, old.version[:3]) for key, _, old in asked if old is not None]
            answers = await self._ask_holders(questions)
            for key, floor, old in asked:
                if self._believed(answers, PackedFloor(key, floor.version), from_peer):
                    known += await holding.lay_floor(core, key, floor)
                elif old is not None and self._believed(answers, PackedFloor(key, old.version[:3])):
                    known += await holding.lay_floor(core, key, holding.floor_of(old, ends=floor.ends))
        finally:
            self._doubted.difference_update(key for key, _, _ in asked)
        return known

    async def check(self, record: Record) -> bool:
        """Ask the other holders whether a version kept here is over, and believe most of them; return whether it is.

        Raises NoRoomError, StoreError.
        """
        question = PackedFloor(record.key, record.version[:3])
        answers = await self._ask_holders([question])
        if not self._believed(answers, question):
            return False
        return await holding.lay_floor(self._core, record.key, holding.floor_of(record, ends=None))

    async def vouched(self, record: Record) -> bool:
        """Return whether the other holders have a version that is out of reach from what is here (DESIGN.md 6).

        Most of those that are there, silent or not, all of few: liars among them cannot use up a key's sequences, and a
        holder that lost everything gets back what the others have.
        """
        if record.body.sequence > SEQUENCE_VOUCHED_MAX:
            return False
        question = PackedFloor(record.key, record.version[:3])
        said = list((await self._ask_holders([question])).values())
        have = said.count(ABOVE) + said.count(OVER)
        others = len(self._holders(record.key))
        needed = max(1, others) if others <= VOUCHERS_ALL else majority(others)
        return have >= needed and have > said.count(BELOW)

    async def is_with_most(self, record: Record) -> bool:
        """Return whether most of the other holders have a version, or one above it."""
        question = PackedFloor(record.key, record.version[:3])
        said = list((await self._ask_holders([question])).values())
        return said.count(ABOVE) + said.count(OVER) >= majority(len(self._holders(record.key)))

    async def confirmed_by(self, peer: PeerId, keys: Iterable[Key]) -> None:
        """Hear that a peer has the same as we under these keys; noted where that is a tombstone. Raises StoreError."""
        await self._core.store.confirm_holder(peer, list(keys))

    def _believed(self, answers: Answers, question: PackedFloor, from_peer: PeerId | None = None) -> bool:
        """Return whether of the present holders that answered, most of all, more say that it is over than else.

        Where more stand near the key than chance explains most of them may be there to say so: then of all that stand
        there everybody must have answered, and nobody said else.
        """
        crowded = self._core.members.responsible(question.key).crowded
        peers = {contact.peer for contact in self._holders(question.key)}
        said = {peer: answers[peer, question] for peer in peers if (peer, question) in answers}
        if from_peer is not None and (from_peer in peers or not peers):
            said[from_peer] = OVER
            peers.add(from_peer)
        votes = list(said.values())
        if crowded and (len(votes) < len(peers) or BELOW in votes or ABOVE in votes):
            return False
        over = votes.count(OVER)
        if len(peers) >= FLOORS_COUNTED_FROM and over < majority(len(peers)):
            return False  # a minority that lies is not most, however many are silent
        return len(votes) >= majority(len(peers)) and over > votes.count(BELOW) + votes.count(ABOVE)

    def _holders(self, key: Key) -> list[Contact]:
        return self._core.members.responsible(key).contacts

    async def _ask_holders(self, questions: Iterable[PackedFloor]) -> Answers:
        asked: dict[Contact, list[PackedFloor]] = {}
        for question in questions:
            for contact in self._holders(question.key):
                asked.setdefault(contact, []).append(question)
        return await self._ask(asked)

    async def _ask(self, asked: Mapping[Contact, Sequence[PackedFloor]]) -> Answers:
        """Ask each what it knows of some versions; who is silent is missing from the answers."""
        core, answers = self._core, Answers()
        parts: dict[PeerId, deque[list[PackedFloor]]] = {}
        with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
            for contact, questions in asked.items():
                parts[contact.peer] = deque(in_parts(questions))
                self._ask_next(asking, contact, parts[contact.peer])
            while (answer := await asking.next()) is not None:
                if answer.reply is None:
                    continue
                part = parts[answer.contact.peer].popleft()
                self._take(answers, answer.contact.peer, part, answer.reply)
                self._ask_next(asking, answer.contact, parts[answer.contact.peer])
        return answers

    @staticmethod
    def _ask_next(asking: Asking, contact: Contact, parts: deque[list[PackedFloor]]) -> None:
        if parts:
            asking.ask(contact, FindFloors, pack_floors(parts[0]), silent_after_s=0)

    def _take(self, answers: Answers, peer: PeerId, part: list[PackedFloor], reply: Reply) -> None:
        if not isinstance(reply, Floors) or len(reply.known) != len(part):
            self._core.counts.rejected["reply_kind"] += 1
            return
        answers.update({(peer, question): said for question, said in zip(part, reply.known, strict=True)})

    # The end of tombstones.

    async def sweep(self) -> None:
        """Ask who has the tombstones kept here, and let those go that all have; see that newcomers have our floors."""
        await self._sweep_tombstones()
        await self._sweep_floors()

    async def _sweep_tombstones(self) -> None:
        core = self._core
        page = await core.store.tombstones(self._tombstones_after, SWEEP_MAX)
        self._tombstones_after = page[-1][0] if len(page) == SWEEP_MAX else None
        silent = self._silent()
        waiting: dict[Key, _Waiting] = {}
        asked: dict[Contact, list[PackedFloor]] = {}
        for key, _ in page:
            try:
                raw = await core.store.record(key)
            except DamagedError:
                continue  # until it is read again from others; the rest goes on
            if raw is None:
                continue
            record = read_record(raw)
            if record.body.strong:
                continue  # its register goes on from it
            waiting[key] = await self._waiting(record, silent)
            for contact in (c for peer in sorted(waiting[key].peers) if (c := core.members.contact(peer)) is not None):
                asked.setdefault(contact, []).append(PackedFloor(key, record.version[:3]))
        await self._take_answers(await self._ask(asked), waiting)
        await self._note(waiting)
        ripe = core.store.now_s() - core.settings.tombstone_grace_s
        for key, came_at in page:
            if came_at <= ripe and key in waiting and not waiting[key].peers:
                await self._end(waiting[key].record)

    async def _waiting(self, record: Record, silent: list[tuple[PeerId, bytes]]) -> _Waiting:
        """Return for whom a tombstone waits, before anybody is asked."""
        core, key = self._core, record.key
        noted = await core.store.holders(key)
        receipts = core.copies.of(key, record.version.digest) or frozenset()
        needed = {contact.peer for contact in self._holders(key)}
        needed.update(contact.peer for contact in core.members.doubtful(key, RECORD_HOLDERS))
        needed.update(self._silent_near(key, silent))
        needed.update(noted)
        done = {peer for peer in needed if noted.get(peer) or peer in receipts or core.members.forgotten(peer)}
        return _Waiting(record, needed - done - {core.peer}, noted, {peer for peer in receipts if not noted.get(peer)})

    def _silent(self) -> list[tuple[PeerId, bytes]]:
        """Return the members that are not there and were not forgotten, with their places."""
        members = self._core.members
        return [(peer, members.all[peer].contact.place) for peer in members.known() if members.contact(peer) is None]

    def _silent_near(self, key: Key, silent: list[tuple[PeerId, bytes]]) -> Iterable[PeerId]:
        if not silent:
            return ()
        present = self._core.members.closest(key, AWAITED_NEAREST)
        if len(present) < AWAITED_NEAREST:
            return (peer for peer, _ in silent)
        bound = distance(present[-1].place, key)
        return (peer for peer, place in silent if distance(place, key) < bound)

    async def _take_answers(self, answers: Answers, waiting: Mapping[Key, _Waiting]) -> None:
        """Wait no more for who has a tombstone, or nothing that could come back; give it to who has less."""
        core = self._core
        behind: list[tuple[Contact, Record]] = []
        for (peer, question), said in answers.items():
            one = waiting[question.key]
            holds = any(contact.peer == peer for contact in self._holders(question.key))
            if said == OVER or (said == NOTHING and not holds):
                one.peers.discard(peer)
                one.confirmed.add(peer)
            elif said != ABOVE and (contact := core.members.contact(peer)) is not None:
                behind.append((contact, one.record))
        with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
            for contact, record in behind:
                asking.ask(contact, Store, record.raw, None, silent_after_s=0)
            while await asking.next() is not None:
                pass  # what they have then, the next round asks

    async def _note(self, waiting: Mapping[Key, _Waiting]) -> None:
        """Note on disk who has confirmed what, and who was found to be awaited: it is, also once it is far away."""
        store = self._core.store
        confirmed: dict[PeerId, list[Key]] = {}
        awaited = []
        for key, one in waiting.items():
            for peer in sorted(one.confirmed):
                confirmed.setdefault(peer, []).append(key)
            if new := sorted(one.peers - one.noted.keys()):
                awaited.append((key, new))
        for peer, keys in confirmed.items():
            await store.confirm_holder(peer, keys)
        await asyncio.gather(*(store.note_holders(key, new) for key, new in awaited))

    async def _end(self, record: Record) -> None:
        """Let a tombstone go; its floor stays."""
        if await holding.lay_floor(self._core, record.key, holding.floor_of(record, ends=None)):
            logger.debug("a tombstone has gone", sequence=record.body.sequence)

    # Floors for those that come.

    async def _sweep_floors(self) -> None:
        """Give the floors kept here to the holders that lack them, where no nearer holder has them."""
        core = self._core
        page = await core.store.floors(self._floors_after, SWEEP_MAX)
        self._floors_after = page[-1][0] if len(page) == SWEEP_MAX else None
        asked: dict[Contact, list[PackedFloor]] = {}
        for key, floor in page:
            known = core.copies.of(key, mark_of(floor)) or frozenset()
            for contact in self._holders(key):
                if contact.peer not in known:
                    asked.setdefault(contact, []).append(self._packed(key, floor))
        answers = await self._ask(asked)
        for (peer, question), said in answers.items():
            if said == OVER:
                core.copies.note(question.key, mark_of(question), (peer,))
        given: dict[Contact, list[PackedFloor]] = {}
        for (peer, question), said in answers.items():
            lacking = core.members.contact(peer)
            if said in (NOTHING, BELOW) and lacking is not None and self._our_turn(question):
                given.setdefault(lacking, []).append(question)
        await self._give(given)

    def _our_turn(self, floor: PackedFloor) -> bool:
        members = self._core.members
        have = self._core.copies.of(floor.key, mark_of(floor)) or frozenset()
        own = distance(members.own_place, floor.key)
        return all(distance(c.place, floor.key) > own for c in self._holders(floor.key) if c.peer in have)

    async def hand_over(self) -> None:
        """Before this peer goes: give its floors to those that should have them then."""
        core, after = self._core, None
        while page := await core.store.floors(after, SWEEP_MAX):
            given: dict[Contact, list[PackedFloor]] = {}
            for key, floor in page:
                for heir in core.members.heirs(key):
                    given.setdefault(heir, []).append(self._packed(key, floor))
            await self._give(given)
            after = page[-1][0]

    async def _give(self, given: Mapping[Contact, Sequence[PackedFloor]]) -> None:
        core = self._core
        with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
            for contact, floors in given.items():
                for part in in_parts(floors):
                    asking.ask(contact, KeepFloors, pack_floors(part), silent_after_s=0)
            while (answer := await asking.next()) is not None:
                if isinstance(answer.error, RefusedError):
                    logger.debug("floors were not taken", reason=answer.error.reason)

    def _packed(self, key: Key, floor: Floor) -> PackedFloor:
        if floor.ends is None:
            return PackedFloor(key, floor.version)
        left_s = floor.ends - self._core.store.now_s()
        return PackedFloor(key, floor.version, max(1, min(LEFT_MAX_S, int(left_s))))

    # What others ask.

    async def find(self, asked: Sequence[PackedFloor]) -> bytes:
        """Return what is known here of some versions; raises StoreError."""
        return bytes([(await holding.standing(self._core, each.key)).of(each.version) for each in asked])

    def take(self, given: Sequence[PackedFloor], from_peer: PeerId) -> None:
        """Look into floors that a peer hands over; nobody waits for it."""
        now = self._core.store.now_s()
        floors = [(each.key, Floor(*each.version, now + each.left_s if each.left_s else None)) for each in given]
        self._core.tasks.spawn(self._take_safely(floors, from_peer), "look into floors")

    async def _take_safely(self, floors: Sequence[tuple[Key, Floor]], from_peer: PeerId) -> None:
        try:
            await self.keep_floors(floors, from_peer)
        except (NoRoomError, StoreError, WireError) as error:
            logger.warning("floors could not be kept", reason=str(error))


def mark_of(floor: Floor | PackedFloor) -> bytes:
    """Return what stands for a floor where copies of versions are counted."""
    sequence, writer, _ = floor.version
    return sequence.to_bytes(8, "big") + writer[:8]


def in_parts(floors: Sequence[PackedFloor]) -> list[list[PackedFloor]]:
    """Return floors in parts that fit a datagram."""
    size = limits.FLOORS_MAX
    return [list(floors[at : at + size]) for at in range(0, len(floors), size)]


__all__ = ["Tombstones", "in_parts", "mark_of"]
