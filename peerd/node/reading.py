"""Reading a key: `one` takes the first valid answer, `quorum` the newest that a majority of those that answer knows.

A quorum read has a majority hold the newest version before it returns (Attiya, Bar-Noy, Dolev 1995), and mends holders
that were stale or empty. Not here: what a record names (get), writing new versions (writing).
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from loguru import logger

from peerd.errors import IntegrityError, NoRoomError, RefusedError, StoreError, TimedOutError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.seen import Seen
from peerd.kad.contact import Contact
from peerd.kad.lookup import Hop
from peerd.node import holding, mending
from peerd.node.asked_first import AskedFirst
from peerd.node.asking import Answer, Asking
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.found import Reading
from peerd.node.freshness import unshown_s
from peerd.node.further import ask_further
from peerd.node.holding import Over, Standing
from peerd.node.lifetimes import Lifetimes
from peerd.node.nearest import Holders, holders_of, read_quorum, search
from peerd.node.reading_one import read_one
from peerd.node.seen import is_older
from peerd.node.waiting_out import Patience
from peerd.records.floor import unpack_version
from peerd.records.record import Record
from peerd.wire.messages import FindNode, FindValue, Reply, Store, Stored, Value

# Where the peers asked are silent, a read is over after this at the latest: "not known in time".
READ_TIMEOUT_S = 4.0
# "Not found" is final to a script: a holder that is only slow is waited for a little, though a majority has denied.
ABSENT_PATIENCE_S = 0.3
# Where all are silent the next nearest are asked, until so many are.
IN_PLACE_MAX = 3 * RECORD_HOLDERS
# What a peer that is back answers for keys that are not confirmed yet, and how soon it is asked again.
REFUSED_RETURNING = "returning"
RETURNING_POLL_S = 0.15


async def read(core: Core, key: Key, *, consistency: str, timeout_s: float, for_write: bool = False) -> Reading:
    """Return what is known of a key; `for_write` waits for nobody who is silent.

    Raises TimedOutError where too few holders answered to know.
    """
    here, known = await holding.readable(core, key)
    own = here.record
    least = await core.seen.of(key)
    if own is not None and least is not None and is_older(own, least):
        own = None  # it was read newer than what is here
    if consistency == "one" and (found := await read_one(core, key, own, least, for_write=for_write)) is not None:
        return found
    leases = core.changes.leases if consistency == "quorum" and not for_write else None
    if leases is not None and (leased := leases.reading(key, here, least)) is not None:
        return leased
    if own is None and not for_write:
        await core.settled.wait()
    holders = await holders_of(core, key)
    if not known:
        if not holders.contacts and not holders.doubtful:
            raise StoreError("this peer cannot read its disk, and there is nobody else to ask")
        holders = replace(holders, ours=False)  # as one that is silent: what others say counts

    async def reading(of: Holders) -> Reading:
        one = consistency == "one"
        each = _Read(core, key, here, of, one=one, timeout_s=timeout_s, for_write=for_write, least=least)
        return replace(await each.run(), stale_since_s=unshown_s(core, key, each.quorum))

    first = await reading(holders)
    if leases is not None:
        leases.was_read(key, first, holders)
    if first.record is not None or for_write or core.members.complete or holders.crowded:
        return first
    # Whoever was met on the way may have led to liars that deny it.
    others = await search(core, key, FindNode, after=holders)
    asked = {contact.peer for contact in holders.contacts}
    if all(contact.peer in asked for contact in others.contacts):
        return first
    return await reading(others)


class _Read:
    """One read of one key."""

    def __init__(
        self,
        core: Core,
        key: Key,
        here: Standing,
        holders: Holders,
        *,
        one: bool,
        timeout_s: float,
        for_write: bool,
        least: Seen | None,
    ) -> None:
        self.core = core
        self.key = key
        self.here = here
        self.own = here.record
        self.holders = holders
        self.one = one
        self.for_write = for_write
        self.patient_until = core.now() + ABSENT_PATIENCE_S
        self.timeout_s = min(timeout_s, READ_TIMEOUT_S)
        self.later = list(holders.waves[1:])
        """Of a crowded region those that are asked only where the first have nothing."""
        self.quorum = read_quorum(core, holders)
        self.lives = Lifetimes()
        self.trace: list[Hop] = []
        self.hops_by_peer: dict[PeerId, Hop] = {}
        self.pushed: dict[PeerId, Record] = {}
        self.forged: set[PeerId] = set()
        """Who answered with what is no record of this key."""
        self.least = least
        self.expected: list[PeerId] | None = None
        self.deadline = core.now() + self.timeout_s
        self.returning: dict[PeerId, Contact] = {}
        """Who is back and does not answer for this key yet."""
        self.we_return = False
        self.patience = Patience()

    async def run(self) -> Reading:
        if self.own is not None and self.own.body.ttl_s is not None:
            self.lives.left_s[self.core.peer] = await holding.left_s(self.core, self.own)
        self._ask_here()
        # Who should have it and has not cannot be one of a majority that does.
        all_at_once = not self.one and (self.for_write or (self.holders.ours and self.own is None))
        order = AskedFirst(self.core, self.holders, one=self.one, all_at_once=all_at_once)
        with Asking(self.core.endpoint, timeout_s=self.timeout_s) as asking:
            self._ask_each(asking, order.first)
            while not self._over():
                if self._asks_the_next(asking) or (not order.rest and self._asks_in_their_place(asking)):
                    continue
                answer = await asking.next(order.late_s or self._wait_s())
                if answer is None and order.late_s is not None:
                    self._ask_each(asking, order.everybody())
                    continue
                if answer is None:
                    if await self._ask_again(asking):
                        continue
                    break
                self._take(asking, answer)
                self._ask_each(asking, order.after(answer, self.quorum, has_enough=self._has_enough()))
                if self._is_to_be_spread():
                    await self._push(asking)
        if not self.for_write and self._has_too_little():
            return await self._further()
        return self._result()

    def _is_to_be_spread(self) -> bool:
        """Whether most must be given the newest: what they do not have may be over, so all that answer are heard first.

        What as many say is over is given to nobody, nor what is older than what was read here.
        """
        quorum = self.quorum
        if self.one or not quorum.decided or quorum.settled or quorum.waiting or quorum.unsure:
            return False
        return quorum.newest is None or self._has_enough()

    def _has_enough(self) -> bool:
        """Whether something was shown that is not older than what was read here before."""
        return self.quorum.newest is not None and not self._is_older(self.quorum.newest)

    def _has_too_little(self) -> bool:
        """Whether what was shown is older than what was read here before, or nothing but lies."""
        if self.quorum.newest is not None:
            return not self._has_enough()
        return bool(self.forged) and not self._absent()

    def _is_older(self, record: Record) -> bool:
        if self.least is not None and is_older(record, self.least):
            return True
        floor = self.here.floor  # what we know to be over is over for us; when a life ends, most clocks say
        if floor is None or record.body.strong:
            return False
        return record.version[:3] < floor.version or (record.version[:3] == floor.version and floor.ends is None)

    async def _further(self) -> Reading:
        """Ask the next nearest; raises IntegrityError where nobody shows anything but lies, TimedOutError."""
        asked = {contact.peer for contact in self._all}
        found = await ask_further(self.core, self.key, asked, self.least)
        if found is not None and not self._is_older(found[0]):
            record, peer = found
            return Reading(record, False, self.holders.hops, [peer], self.trace, self._floor_sequence())
        if self.own is not None and self.core.returning.confirmed(self.key) and not self._is_older(self.own):
            return self._result()
        if self.quorum.newest is None and not self.quorum.denied and self.forged:
            raise IntegrityError("every holder that answered sent something else than the record of this key")
        raise TimedOutError(
            "what the key's holders show is older than what this peer has read before, or no record of it",
            hint="wait for the holders that are silent; written anew, the name is there again",
        )

    def _over(self) -> bool:
        if self.quorum.unsure and self.quorum.waiting:
            return False  # one that is slow may tell which of the two it is
        if self.for_write and self.quorum.decided and not self.quorum.waiting:
            return True  # a writer need not prove that there is nothing
        if self.one and self._has_enough():
            return True
        if self.quorum.newest is None:
            return self._absent() and self.core.now() >= self.patient_until
        return self.quorum.decided and self.quorum.settled

    def _asks_the_next(self, asking: Asking) -> bool:
        """Where those of a crowded region that were asked have nothing, ask its others; return whether any were."""
        if not self.later or self.quorum.newest is not None or self.quorum.waiting:
            return False
        for contact in self.later.pop(0):
            self.quorum.on_asked(contact.peer)
            self._ask(asking, contact)
        return True

    def _asks_in_their_place(self, asking: Asking) -> bool:
        """Where too many are silent to know anything, ask the next nearest; return whether there are any.

        Eight that came at once and are silent, whether they died or came for that, must not hide what others have.
        """
        knows_nothing = self.quorum.unheard or (self.quorum.denied and not self.quorum.waiting and not self._absent())
        hopeless = self.forged or self.holders.crowded or len(self._all) > IN_PLACE_MAX
        if not knows_nothing or hopeless or self._some_return():
            return False
        others = self.core.members.closest(self.key, RECORD_HOLDERS, {contact.peer for contact in self._all})
        for contact in others:
            self.quorum.on_asked(contact.peer)
            self._ask(asking, contact)
        if self.own is not None and not self.holders.ours:
            self.quorum.on_asked(self.core.peer)
            self._answer_here()
        self.holders = replace(self.holders, contacts=[*self.holders.contacts, *others])
        return bool(others)

    def _absent(self) -> bool:
        """Whether enough holders said that there is nothing, and nobody who is not silent can still say else."""
        if self.later:
            return False
        return self.quorum.denied and not self.quorum.waiting and self.quorum.absent(self._expected())

    def _expected(self) -> list[PeerId]:
        if self.expected is None:
            self.expected = self._find_expected()
        return self.expected

    def _find_expected(self) -> list[PeerId]:
        if self.core.members.complete:
            return self.core.members.expected_holders(self.key)
        asked = [contact.peer for contact in self.holders.contacts]
        return [*asked, self.core.peer] if self.holders.ours else asked

    def _ask_here(self) -> None:
        if not self.holders.ours:
            return
        self.we_return = not self.core.returning.confirmed(self.key)
        if self.we_return:
            self.quorum.on_left_out(self.core.peer)
        else:
            self._answer_here()

    def _answer_here(self) -> None:
        floor = self.here.floor
        self.quorum.on_answer(self.core.peer, self.own, floor.version if floor is not None else None)

    def _some_return(self) -> bool:
        """Whether some holders, we among them, are back and do not answer yet."""
        return bool(self.returning) or self.we_return

    def _wait_s(self) -> float | None:
        """Return for how long the next answer is waited for before something else is done."""
        if self._absent():
            return max(0.0, self.patient_until - self.core.now())
        return RETURNING_POLL_S if self._some_return() else None

    async def _ask_again(self, asking: Asking) -> bool:
        """Ask those once more that are back and will answer soon; return False where there is no use in it."""
        if self._absent() or not self._some_return() or self.core.now() + RETURNING_POLL_S >= self.deadline:
            return False
        if not asking.open_count:
            await asyncio.sleep(RETURNING_POLL_S)
        if self.we_return and self.core.returning.confirmed(self.key):
            self.we_return = False
            self.here = await holding.standing(self.core, self.key)
            self.own = self.here.record
            self._answer_here()
        contacts, self.returning = self.returning, {}
        for contact in contacts.values():
            self._ask(asking, contact)
        return True

    def _ask_each(self, asking: Asking, contacts: Iterable[Contact]) -> None:
        for contact in contacts:
            self._ask(asking, contact)

    def _ask(self, asking: Asking, contact: Contact) -> None:
        roundtrips = self.core.endpoint.roundtrips
        silent_s = roundtrips.hedge_s(contact.peer) if self.one else roundtrips.rto_s(contact.peer)
        cached = self.one and not self.for_write
        asking.ask(contact, FindValue, self.key, False, cached, silent_after_s=silent_s)
        hop = Hop(contact, 1, self.core.now())
        self.trace.append(hop)
        self.hops_by_peer[contact.peer] = hop

    def _take(self, asking: Asking, answer: Answer) -> None:
        peer = answer.contact.peer
        hop = self.hops_by_peer[peer]
        if answer.reply is None and peer in self.pushed:
            if not self.patience.asks_again(asking, answer, self.pushed[peer], self.left_s):
                self.quorum.on_failed(peer)
            return
        if answer.silent:
            self.quorum.on_left_out(peer)
            if hop.answered_at is None:
                hop.result = "slow"
            return
        if answer.reply is None:
            self.quorum.on_left_out(peer)
            hop.result = "failed"
            if isinstance(answer.error, RefusedError) and answer.error.reason == REFUSED_RETURNING:
                self.returning[peer] = answer.contact
                hop.result = REFUSED_RETURNING
            return
        if isinstance(answer.reply, Stored):
            self._on_stored(peer, answer.reply)
            return
        record = self._record_in(peer, answer.reply)
        hop.answered_at = self.core.now()
        hop.result = "value" if record is not None else "nothing"

    def _on_stored(self, peer: PeerId, reply: Stored) -> None:
        """A holder has taken what was pushed to it, which need not be the newest any more."""
        try:
            holding.check_record_receipt(self.core, reply.receipt, self.pushed[peer], peer)
        except (WireError, KeyError):
            self.core.counts.rejected["receipt"] += 1
            self.quorum.on_left_out(peer)
            return
        self.quorum.on_answer(peer, self.pushed[peer])

    def _record_in(self, peer: PeerId, reply: Reply) -> Record | None:
        try:
            record = holding.record_of(self.core, reply, self.key, self.quorum.newest)
            floor = unpack_version(reply.floor) if isinstance(reply, Value) and reply.floor else None
        except WireError as error:
            self.core.counts.rejected[error.reason] += 1
            self.core.trust.note(peer, "wrong_record")
            self.forged.add(peer)
            self.quorum.on_left_out(peer)
            return None
        if record is not None and isinstance(reply, Value):
            self.lives.left_s[peer] = reply.left_s
            self.core.cached.take(record, self.hops_by_peer[peer].contact, reply)
        self.quorum.on_answer(peer, record, floor)
        return record

    @property
    def left_s(self) -> int | None:
        """The seconds of life that the newest has left."""
        return self.lives.of(self.quorum.newest, self.quorum.agreeing)

    async def _push(self, asking: Asking) -> None:
        """Have the stale ones that answered store the newest; a majority must before the read returns."""
        newest = self.quorum.newest
        assert newest is not None
        for peer in self.quorum.stale:
            if peer == self.core.peer:
                await self._keep_here(newest)
            elif self.pushed.get(peer) is not newest:
                self.pushed[peer] = newest
                contact = next(contact for contact in self._all if contact.peer == peer)
                asking.ask(
                    contact,
                    Store,
                    newest.raw,
                    self.left_s,
                    silent_after_s=self.core.silent_after_s(contact, durable=True),
                )

    async def _keep_here(self, newest: Record) -> None:
        """Mend our own copy; a disk of ours that is full or fails is no reason not to read."""
        try:
            outcome = await holding.keep_record(self.core, newest, self.left_s)
        except (NoRoomError, StoreError, WireError) as error:
            logger.warning("this peer could not keep what it should hold", reason=str(error))
            self.quorum.on_failed(self.core.peer)
            return
        self.core.returning.wrote(self.key)
        if isinstance(outcome, Over):
            self.quorum.on_answer(self.core.peer, None, outcome.floor.version)
        else:
            self.quorum.on_answer(self.core.peer, newest)

    def _result(self) -> Reading:
        newest = self.quorum.newest
        own = self.own
        confirmed = self.core.returning.confirmed(self.key)
        over = self.quorum.over
        if own is not None and self.quorum.is_over(own):
            over, own = own, None
        if own is not None and confirmed and (newest is None or own.version > newest.version):
            newest = own  # never older than what this peer has seen
        if over is not None and not self.one:
            showing = mending.those(self._all, self.quorum.showing)
            spread = mending.spread_floor(self.core, self.quorum.floor, showing, own=self.own, over=over)
            self.core.tasks.spawn(spread, "spread a floor")
        if newest is None:
            if self.later or not self.quorum.absent(self._expected()):
                raise TimedOutError(
                    "too few of the key's holders answered to know whether it exists",
                    hint="`peer peers` shows who is silent: wait for them, or `peer forget` those that are gone",
                )
        elif self.quorum.unknown and not self.for_write:
            raise TimedOutError("the key's holders do not agree whether it was deleted")
        elif not self.one and not self.quorum.decided:
            raise TimedOutError("too few of the key's holders answered in time")
        stale = [peer for peer in self.quorum.stale if peer not in self.pushed]
        if newest is not None and stale and not self.one:
            self.core.tasks.spawn(self._mend(newest, stale), "read repair")
        have = self.quorum.agreeing
        if newest is not None and own is newest and not self.one:
            self._mend_life(newest)
        if not self.holders.ours and not self.one:
            self.core.seen.note(self.key, newest, self.quorum, self.left_s, self.core.settings.tombstone_grace_s)
        local = bool(newest is not None and own is not None and newest.version == own.version and self.one)
        floor = self._floor_sequence()
        return Reading(newest, local, self.holders.hops, have, self.trace, floor, self.quorum.agreed_floor)

    async def _mend(self, newest: Record, stale: list[PeerId]) -> None:
        if self.core.peer in stale:
            await self._keep_here(newest)
        await mending.give(self.core, newest, self.left_s, mending.those(self._all, stale))

    @property
    def _all(self) -> list[Contact]:
        return [*self.holders.contacts, *self.holders.doubtful]

    def _floor_sequence(self) -> int:
        floors = [self.quorum.floor, self.here.floor.version if self.here.floor is not None else None, self.least]
        return max((floor[0] for floor in floors if floor is not None), default=0)

    def _mend_life(self, newest: Record) -> None:
        """Let our copy live as long as most say, where that is something else."""
        life_s = self.lives.mended(newest, self.quorum.agreeing, self.core.peer)
        if life_s is not None:
            self.core.tasks.spawn(mending.mend_life(self.core, newest, life_s), "mend a life")
