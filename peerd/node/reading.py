"""Reading a key: `one` takes the first valid answer, `quorum` the newest that a majority of those that answer knows.

A quorum read has a majority hold the newest version before it returns (Attiya, Bar-Noy, Dolev 1995), and mends holders
that were stale or empty. Not here: what a record names (get), writing new versions (writing).
"""

import asyncio
from dataclasses import dataclass, replace

from loguru import logger

from peerd.errors import NoRoomError, NotFoundError, RefusedError, StoreError, TimedOutError, WireError
from peerd.ids import Key, PeerId
from peerd.kad.contact import Contact
from peerd.kad.lookup import Hop
from peerd.node import holding
from peerd.node.asking import Answer, Asking
from peerd.node.core import Core
from peerd.node.holding import Over, Standing
from peerd.node.nearest import Holders, holders_of, read_quorum
from peerd.node.searching import search_for
from peerd.records.claim import Claim
from peerd.records.floor import FloorVersion, PackedFloor, pack_floors, unpack_version
from peerd.records.record import Record
from peerd.wire.messages import FindValue, KeepFloors, Reply, Store, Stored, Value

# Where the peers asked are silent, a read is over after this at the latest: "not known in time".
READ_TIMEOUT_S = 4.0
# "Not found" is final to a script: a holder that is only slow is waited for a little, though a majority has denied.
ABSENT_PATIENCE_S = 0.3
# How many more are asked by `one` when those asked before are silent.
HEDGE_COUNT = 2
# The median of fewer lives is nobody's. What clocks drift apart in a life is no reason to write.
LIVES_MIN = 3
LIFE_SLACK_S = 5
LIFE_SLACK_PART = 0.02
# What a peer that is back answers for keys that are not confirmed yet, and how soon it is asked again.
REFUSED_RETURNING = "returning"
RETURNING_POLL_S = 0.15


@dataclass(slots=True)
class Reading:
    """What a read came to: the newest record (a tombstone too), None where the holders say that there is nothing."""

    record: Record | None
    local: bool
    hops: int
    have: list[PeerId]
    trace: list[Hop]
    floor: int = 0
    """The highest sequence that a holder knows to be over: what is written next must be above it."""

    over: FloorVersion | None = None
    """Up to which version most holders say that the key is over."""

    stale_since_s: float | None = None
    """For how long nobody has confirmed it, where nobody could be asked."""

    @property
    def sequence(self) -> int:
        """Return the highest sequence known, 0 where there is none."""
        return max(self.floor, self.record.body.sequence if self.record is not None else 0)

    def ends(self, claim: Claim) -> bool:
        """Return whether a claim of the key has ended."""
        if self.record is not None:
            return claim.ended_by(self.record)
        return self.over is not None and claim.over_by(self.over)


async def read(core: Core, key: Key, *, consistency: str, timeout_s: float, for_write: bool = False) -> Reading:
    """Return what is known of a key; `for_write` waits for nobody who is silent.

    Raises TimedOutError where too few holders answered to know.
    """
    here, known = await holding.readable(core, key)
    own = here.record
    if consistency == "one":
        if own is not None and core.returning.confirmed(key):
            return Reading(own, local=True, hops=0, have=[core.peer], trace=[])
        if own is not None and core.members.alive_count() == 0:
            stale_s = core.returning.unconfirmed_s
            return Reading(own, local=True, hops=0, have=[core.peer], trace=[], stale_since_s=stale_s)
        if not core.members.complete:
            found = await search_for(core, key)
            if not found.crowded:
                have = [found.holder] if found.holder is not None else []
                return Reading(found.record, local=False, hops=found.hops, have=have, trace=found.trace)
    if own is None and not for_write:
        await core.settled.wait()
    holders = await holders_of(core, key)
    if not known:
        if not holders.contacts and not holders.doubtful:
            raise StoreError("this peer cannot read its disk, and there is nobody else to ask")
        holders = replace(holders, ours=False)  # as one that is silent: what others say counts
    return await _Read(
        core, key, here, holders, one=consistency == "one", timeout_s=timeout_s, for_write=for_write
    ).run()


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
        self.lives: dict[PeerId, int | None] = {}
        self.trace: list[Hop] = []
        self.hops_by_peer: dict[PeerId, Hop] = {}
        self.pushed: dict[PeerId, Record] = {}
        self.expected: list[PeerId] | None = None
        self.deadline = core.now() + self.timeout_s
        self.returning: dict[PeerId, Contact] = {}
        """Who is back and does not answer for this key yet."""
        self.we_return = False

    async def run(self) -> Reading:
        if self.own is not None and self.own.body.ttl_s is not None:
            self.lives[self.core.peer] = await holding.left_s(self.core, self.own)
        self._ask_here()
        to_ask = [*self.holders.first, *self.holders.doubtful]
        with Asking(self.core.endpoint, timeout_s=self.timeout_s) as asking:
            for contact in to_ask[: 1 if self.one else len(to_ask)]:
                self._ask(asking, contact)
            rest = to_ask[1:] if self.one else []
            while not self._over():
                if self._asks_the_next(asking):
                    continue
                answer = await asking.next(self._wait_s())
                if answer is None:
                    if await self._ask_again(asking):
                        continue
                    break
                self._take(answer)
                if rest and self.quorum.newest is None:
                    # Silent, or one of a crowd: the next two at once. Else who has it is known only by asking all.
                    for contact in rest[: HEDGE_COUNT if answer.reply is None or self.holders.crowded else len(rest)]:
                        self._ask(asking, contact)
                        rest.remove(contact)
                # What most do not have may be over: nothing is spread before all that answer were heard.
                if not self.one and self.quorum.decided and not self.quorum.settled and not self.quorum.waiting:
                    await self._push(asking)
        return self._result()

    def _over(self) -> bool:
        if self.for_write and self.quorum.decided and not self.quorum.waiting:
            return True  # a writer need not prove that there is nothing
        if self.one and self.quorum.newest is not None:
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

    def _absent(self) -> bool:
        """Whether enough holders said that there is nothing, and nobody who is not silent can still say else."""
        if self.later:
            return False
        return self.quorum.denied and not self.quorum.waiting and self.quorum.absent(self._expected())

    def _patience_s(self) -> float:
        return max(0.0, self.patient_until - self.core.now())

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
            return self._patience_s()
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

    def _ask(self, asking: Asking, contact: Contact) -> None:
        roundtrips = self.core.endpoint.roundtrips
        silent_s = roundtrips.hedge_s(contact.peer) if self.one else roundtrips.rto_s(contact.peer)
        asking.ask(contact, FindValue, self.key, False, silent_after_s=silent_s)
        hop = Hop(contact, 1, self.core.now())
        self.trace.append(hop)
        self.hops_by_peer[contact.peer] = hop

    def _take(self, answer: Answer) -> None:
        peer = answer.contact.peer
        hop = self.hops_by_peer[peer]
        if answer.silent and peer in self.pushed:
            self.quorum.on_failed(peer)
            return
        if answer.silent:
            self.quorum.on_left_out(peer)
            if hop.answered_at is None:
                hop.result = "slow"
            return
        if answer.reply is None and peer in self.pushed:
            self.quorum.on_failed(peer)
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
            self.quorum.on_left_out(peer)
            return None
        if record is not None and isinstance(reply, Value):
            self.lives[peer] = reply.left_s
        self.quorum.on_answer(peer, record, floor)
        return record

    @property
    def left_s(self) -> int | None:
        """The seconds of life that the newest has left: the median of what those that have it say."""
        newest = self.quorum.newest
        if newest is None or newest.body.ttl_s is None:
            return None
        lives = sorted(min(life, newest.body.ttl_s) for peer in self.quorum.agreeing if (life := self.lives.get(peer)))
        return lives[len(lives) // 2] if lives else newest.body.ttl_s

    async def _push(self, asking: Asking) -> None:
        """Have the stale ones that answered store the newest; a majority must before the read returns."""
        newest = self.quorum.newest
        assert newest is not None
        for peer in self.quorum.stale:
            if peer == self.core.peer:
                await self._keep_here(newest)
            elif self.pushed.get(peer) is not newest:
                self.pushed[peer] = newest
                contact = next(c for c in (*self.holders.contacts, *self.holders.doubtful) if c.peer == peer)
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
            self.core.tasks.spawn(self._spread_floor(over), "spread a floor")
        if newest is None:
            if self.later or not self.quorum.absent(self._expected()):
                raise TimedOutError(
                    "too few of the key's holders answered to know whether it exists",
                    hint="`peer peers` shows who is silent: wait for them, or `peer forget` those that are gone",
                )
        elif not self.one and not self.quorum.decided:
            raise TimedOutError("too few of the key's holders answered in time")
        stale = [peer for peer in self.quorum.stale if peer not in self.pushed]
        if newest is not None and stale and not self.one:
            self.core.tasks.spawn(self._mend(newest, stale), "read repair")
        have = self.quorum.agreeing
        if newest is not None and own is newest and not self.one:
            self._mend_life(newest)
        local = bool(newest is not None and own is not None and newest.version == own.version and self.one)
        floor = self._floor_sequence()
        return Reading(newest, local, self.holders.hops, have, self.trace, floor, self.quorum.agreed_floor)

    def _floor_sequence(self) -> int:
        floors = [self.quorum.floor, self.here.floor.version if self.here.floor is not None else None]
        return max((floor[0] for floor in floors if floor is not None), default=0)

    def _mend_life(self, newest: Record) -> None:
        """Let our copy live as long as most say, where that is something else."""
        life_s, own_s = self.left_s, self.lives.get(self.core.peer)
        if life_s is None or own_s is None or len(self.quorum.agreeing) < LIVES_MIN:
            return
        if abs(life_s - own_s) > max(LIFE_SLACK_S, LIFE_SLACK_PART * life_s):
            self.core.tasks.spawn(self._mend_life_safely(newest, life_s), "mend a life")

    async def _mend_life_safely(self, newest: Record, life_s: int) -> None:
        try:
            await holding.mend_life(self.core, newest, life_s)
        except (NoRoomError, StoreError) as error:
            logger.warning("the life of a record could not be mended", reason=str(error))

    async def _spread_floor(self, over: Record) -> None:
        """Have the holders that showed an old version, us too, look into it."""
        core = self.core
        try:
            if self.own is not None and self.own.version <= over.version and not await core.tombstones.check(self.own):
                return
        except (NoRoomError, StoreError) as error:
            logger.warning("a floor could not be kept", reason=str(error))
        floor = self.quorum.floor
        if floor is None:
            return
        told = pack_floors([PackedFloor(self.key, floor)])
        with Asking(core.endpoint) as asking:
            for contact in (*self.holders.contacts, *self.holders.doubtful):
                if contact.peer in self.quorum.showing:
                    asking.ask(contact, KeepFloors, told, silent_after_s=0)
            while await asking.next() is not None:
                pass

    async def _mend(self, record: Record, stale: list[PeerId]) -> None:
        if self.core.peer in stale:
            await self._keep_here(record)
        with Asking(self.core.endpoint) as asking:
            for contact in (*self.holders.contacts, *self.holders.doubtful):
                if contact.peer in stale:
                    asking.ask(contact, Store, record.raw, self.left_s, silent_after_s=0)
            while await asking.next() is not None:
                pass


def need(reading: Reading, name: str) -> Record:
    """Return the record of a reading that names something; raises NotFoundError."""
    record = reading.record
    if record is None or record.deleted:
        raise NotFoundError(f"not found: {name}")
    return record
