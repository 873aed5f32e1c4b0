"""Records where they belong: counted among those nearest to their keys, and given to those that lack them.

One holder gives, and not all: of those that were there before the last change the nearest to the key. Content is
restoring's; who is there at all is members'.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import replace
from typing import NamedTuple

from loguru import logger

from peerd.errors import NoRoomError, PeerdError, RefusedError, StoreError, UnreachableError, WireError
from peerd.ids import Key, PeerId, distance
from peerd.kad.contact import Contact
from peerd.kad.crowd import Responsible
from peerd.node.asking import Answer, Asking
from peerd.node.challenge import FALSE, PROVEN, Challenge
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.holding import check_record_receipt, keep_record, left_s, record_of
from peerd.node.restoring import Restoring
from peerd.records.record import Record, read_record
from peerd.wire import limits
from peerd.wire.messages import Newer, Prove, Reply, Store, Stored

PAGE = 128
# Changes of membership are gathered for this long before what is kept is placed anew.
SETTLE_S = 1.0
# Where something is still missing after a round, the next one comes soon, then later and later.
RETRY_FIRST_S = 2.0
GIVEN_AT_ONCE = 16
# How often what repair asks and gives is sent to who does not answer; the next round comes.
SENT_MAX = 2
# Of a crowded region so many give at a time, by chance: nobody has a turn there that a liar could take and do nothing.
CROWD_GIVERS = 3
# How often what a holder shows to be newer is given in a record's place; a liar may have newer and newer ones.
GIVING_ROUNDS_MAX = 2
# Peers that said they have no room: until the next regular round the next nearest take their share.
FULL_MAX = 256


class Due(NamedTuple):
    """A record that some of its holders seem to lack."""

    record: Record
    to: list[Contact]
    owed: bool
    """Whether we are one of the holders, who count it as missing until all have it."""
    chance: float = 1.0
    """How likely it is that we give now what is another's to give as much as ours."""


class Repairing:
    """The loop that restores copies of this peer's records, then of its content."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.content = Restoring(core)
        self._changed = asyncio.Event()
        self._round_at = core.now()
        self._retry_s = RETRY_FIRST_S
        self._full: OrderedDict[PeerId, float] = OrderedDict()

    def changed(self) -> None:
        """Somebody came or went: what is kept may be in the wrong place."""
        self._changed.set()

    async def run(self) -> None:
        """After changes of membership, and now and then, see that what we keep is where it should be."""
        core, rng = self._core, self._core.environment.rng
        while True:
            pause_s = core.settings.repair_interval_s * rng.uniform(0.9, 1.1)
            try:
                async with asyncio.timeout(min(pause_s, self._retry_s) if core.missing_since else pause_s):
                    await self._changed.wait()
                self._retry_s = RETRY_FIRST_S
            except TimeoutError:
                self._retry_s = min(2 * self._retry_s, core.settings.repair_interval_s)
            await asyncio.sleep(SETTLE_S * rng.uniform(0.8, 1.2))
            self._changed.clear()
            if core.members.alive_count() == 0:
                core.missing_since.clear()  # alone nothing lacks what could be had
                continue
            try:
                await self._round()
            except PeerdError as error:
                logger.warning("copies could not be restored for now", reason=str(error))

    async def republish(self) -> None:
        """Count everything anew, and announce all content again."""
        self._core.copies.clear()
        self.content.forget()
        self._changed.set()
        await self.content.announce_all()

    async def _round(self) -> None:
        core = self._core
        started, epoch = core.now(), core.members.epoch
        lacking: set[bytes] = set()
        given = await self._records(lacking)
        restored = await self.content.round(lacking)
        for lost in [key for key in core.missing_since if key not in lacking]:
            del core.missing_since[lost]
        for key in lacking:
            core.missing_since.setdefault(key, started)
        if given or restored:
            core.events.emit("repair", records=given, content=restored)
        if core.members.epoch != epoch:
            self._changed.set()
        self._round_at = started

    async def _records(self, lacking: set[bytes]) -> int:
        """Give records to those of their holders that lack them; return how many records were given."""
        core = self._core
        after, given = None, 0
        while page := await core.store.records(after, PAGE):
            due = [one for key, raw in page if (one := self._due(key, raw)) is not None]
            await self._ask_for_proof(due)
            due = [one for each in due if (one := self._due(each.record.key, each.record.raw)) is not None]
            for at in range(0, len(due), GIVEN_AT_ONCE):
                part = due[at : at + GIVEN_AT_ONCE]
                outcomes = await asyncio.gather(*(self._give(one) for one in part))
                given += sum(outcomes)
                lacking.update(
                    one.record.key for one, done in zip(part, outcomes, strict=True) if one.owed and not done
                )
            after = page[-1][0]
            await asyncio.sleep(0)
        return given

    async def _ask_for_proof(self, due: list[Due]) -> None:
        """Ask those that seem to lack records to show that they do not: a few bytes for what may be there already."""
        core = self._core
        asked: dict[Contact, list[Record]] = {}
        for one in due:
            for contact in one.to:
                if not core.backoff.is_silent(contact.peer, core.now()):
                    asked.setdefault(contact, []).append(one.record)
        with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
            parts: dict[PeerId, deque[Challenge]] = {}
            for contact, records in asked.items():
                batches = batched(records, limits.PROVEN_MAX)
                chunks = deque(Challenge(core.environment.entropy, batch) for batch in batches)
                parts[contact.peer] = chunks
                self._ask_next(asking, contact, chunks)
            while (answer := await asking.next()) is not None:
                chunks = parts[answer.contact.peer]
                if answer.reply is None:
                    continue  # it is given the records, and may then refuse them
                self._note_proven(answer.contact.peer, chunks.popleft(), answer.reply)
                self._ask_next(asking, answer.contact, chunks)

    @staticmethod
    def _ask_next(asking: Asking, contact: Contact, chunks: deque[Challenge]) -> None:
        if chunks:
            asking.ask(contact, Prove, chunks[0].nonce, chunks[0].versions, silent_after_s=0, tries_max=SENT_MAX)

    def _note_proven(self, peer: PeerId, challenge: Challenge, reply: Reply) -> None:
        try:
            shown = challenge.judge(reply)
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return
        for record, proof in zip(challenge.records, shown, strict=True):
            if proof == PROVEN:
                self._core.copies.note(record.key, record.version.digest, (peer,))
                self._core.backoff.shown(peer, record.version.digest)
            elif proof == FALSE:
                self._core.trust.note(peer, "wrong_proof")

    def _due(self, key: Key, raw: bytes) -> Due | None:
        """Return what is to be done for a record, None where nothing is, or it is another's turn."""
        core = self._core
        if not core.returning.confirmed(key):
            return None  # we are back, and it may be old or deleted
        found = self._holders(key)
        contacts = found.contacts
        record = read_record(raw)
        have = core.copies.of(key, record.version.digest) or ()
        lack = [contact for contact in contacts if contact.peer not in have]
        if not lack:
            return None
        if found.crowded:
            # Nobody's turn: of a crowd the nearest may be there to do nothing. Those that lack it are asked first.
            weight = max(found.own_weight, RECORD_HOLDERS / len(contacts))
            return Due(record, lack, found.ours, CROWD_GIVERS * weight / RECORD_HOLDERS)
        if not found.ours:
            # We keep what others should: the nearest of them is told, and sees to the rest.
            return Due(record, [contacts[0]], owed=False) if contacts[0] is lack[0] else None
        if key not in core.missing_since and not self._our_turn(key, contacts):
            return None
        return Due(record, lack, owed=True)

    def _holders(self, key: Key) -> Responsible:
        """Return who should hold a key, of those that have room."""
        now = self._core.now()
        while self._full and next(iter(self._full.values())) < now:
            self._full.popitem(last=False)
        found = self._core.members.responsible(key, exclude=self._full)
        shunned = {contact.peer for contact in found.contacts if self._core.trust.shunned(contact.peer)}
        if not shunned:
            return found
        others = self._core.members.responsible(key, exclude={*self._full, *shunned}).contacts
        if len(others) >= min(RECORD_HOLDERS, len(found.contacts)):
            return replace(found, contacts=others)  # the next nearest have it in their place
        return replace(found, contacts=[*found.contacts, *(each for each in others if each not in found.contacts)])

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

    async def _give(self, due: Due) -> bool:
        """Store a record, or what proves to be newer, on those that lack it; return whether all of them have it now.

        What goes wrong with one key ends nothing for the others: it lacks copies, and the next round comes.
        """
        core = self._core
        try:
            for _ in range(GIVING_ROUNDS_MAX):
                all_have_it, newest = await self._give_to(due)
                if newest is None or newest.version <= due.record.version:
                    return all_have_it
                # We were the stale one: what is newer is kept here and goes to all.
                await keep_record(core, newest, None)
                due = Due(newest, self._holders(newest.key).contacts, due.owed)
        except WireError as error:
            core.counts.rejected[error.reason] += 1
        except (NoRoomError, StoreError) as error:
            logger.warning("a record could not be restored for now", reason=str(error))
        return False

    async def _give_to(self, due: Due) -> tuple[bool, Record | None]:
        """Store a record on those that lack it; return whether all have it now, and the newest that they showed."""
        core, rng, record = self._core, self._core.environment.rng, due.record
        life_s = await left_s(core, record)
        if life_s == 0:
            return True, None
        missing = {contact.peer: contact for contact in due.to}
        newest: Record | None = None
        over: list[PeerId] = []
        with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
            for contact in due.to:
                may_give = core.backoff.may_give(contact.peer, record.version.digest, core.now())
                if may_give and rng.random() < due.chance:
                    asking.ask(contact, Store, record.raw, life_s, silent_after_s=0, tries_max=SENT_MAX)
            while (answer := await asking.next()) is not None:
                peer = answer.contact.peer
                self._note_answered(answer)
                if isinstance(answer.error, RefusedError) and answer.error.reason == "floor":
                    missing.pop(peer, None)
                    over.append(peer)
                elif isinstance(answer.error, RefusedError):
                    self._refused(peer, answer.error)
                elif answer.reply is not None:
                    newer = self._take(peer, record, answer.reply)
                    newest = newer if newest is None or (newer and newer.version > newest.version) else newest
                    missing.pop(peer, None)
        if over and record.deleted:
            core.copies.note(record.key, record.version.digest, over)  # they let the tombstone go before us
        elif over:
            await core.tombstones.check(record)
        return not missing, newest

    def _take(self, peer: PeerId, record: Record, reply: Reply) -> Record | None:
        """Note what a holder answered; return the newer version that it showed."""
        core = self._core
        try:
            if isinstance(reply, Stored):
                check_record_receipt(core, reply.receipt, record, peer)
                core.copies.note(record.key, record.version.digest, (peer,))
            elif isinstance(reply, Newer):
                return record_of(core, reply, record.key)
        except WireError as error:
            core.counts.rejected[error.reason] += 1
        return None

    def _note_answered(self, answer: Answer) -> None:
        backoff, peer = self._core.backoff, answer.contact.peer
        if isinstance(answer.error, UnreachableError):
            backoff.silent(peer, self._core.now())
        else:
            backoff.answered(peer)

    def _refused(self, peer: PeerId, error: RefusedError) -> None:
        if error.reason == "no_room":
            self._full[peer] = self._core.now() + self._core.settings.repair_interval_s / 2
            self._full.move_to_end(peer)  # in the order in which they end
            if len(self._full) > FULL_MAX:
                self._full.popitem(last=False)


def batched(records: list[Record], size: int) -> list[list[Record]]:
    """Return the records in parts of at most `size`."""
    return [records[at : at + size] for at in range(0, len(records), size)]
