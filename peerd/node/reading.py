"""Reading a key: `one` takes the first valid answer, `quorum` the newest that a majority of those that answer knows.

A quorum read has a majority hold the newest version before it returns (Attiya, Bar-Noy, Dolev 1995), and mends holders
that were stale or empty. Not here: what a record names (get), writing new versions (writing).
"""

from dataclasses import dataclass

from loguru import logger

from peerd.errors import NoRoomError, NotFoundError, StoreError, TimedOutError, WireError
from peerd.ids import Key, PeerId
from peerd.kad.contact import Contact
from peerd.kad.lookup import Hop
from peerd.node import holding
from peerd.node.asking import Answer, Asking
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.nearest import Holders, holders_of, search
from peerd.records.record import Record
from peerd.trust.quorum import ReadQuorum
from peerd.wire.messages import FindValue, Newer, Reply, Store, Stored, Value

# Where the peers asked are silent, a read is over after this at the latest: "not known in time".
READ_TIMEOUT_S = 4.0
# "Not found" is final to a script: a holder that is only slow is waited for a little, though a majority has denied.
ABSENT_PATIENCE_S = 0.3
# How many more are asked by `one` when those asked before are silent.
HEDGE_COUNT = 2


@dataclass(slots=True)
class Reading:
    """What a read came to: the newest record (a tombstone too), None where the holders say that there is nothing."""

    record: Record | None
    local: bool
    hops: int
    have: list[PeerId]
    trace: list[Hop]


async def read(core: Core, key: Key, *, consistency: str, timeout_s: float, for_write: bool = False) -> Reading:
    """Return what is known of a key; `for_write` waits for nobody who is silent.

    Raises TimedOutError where too few holders answered to know.
    """
    own = await holding.own_record(core, key)
    if consistency == "one":
        if own is not None:
            return Reading(own, local=True, hops=0, have=[core.peer], trace=[])
        if not core.members.complete:
            return await _search_one(core, key, timeout_s)
    holders = await holders_of(core, key)
    return await _Read(
        core, key, own, holders, one=consistency == "one", timeout_s=timeout_s, for_write=for_write
    ).run()


class _Read:
    """One read of one key."""

    def __init__(
        self,
        core: Core,
        key: Key,
        own: Record | None,
        holders: Holders,
        *,
        one: bool,
        timeout_s: float,
        for_write: bool,
    ) -> None:
        self.core = core
        self.key = key
        self.own = own
        self.holders = holders
        self.one = one
        self.for_write = for_write
        self.patient_until = core.now() + ABSENT_PATIENCE_S
        self.timeout_s = min(timeout_s, READ_TIMEOUT_S)
        asked = [contact.peer for contact in holders.contacts]
        self.quorum = ReadQuorum([*asked, core.peer] if holders.ours else asked)
        self.lives: dict[PeerId, int | None] = {}
        self.left_s: int | None = None
        self.trace: list[Hop] = []
        self.hops_by_peer: dict[PeerId, Hop] = {}
        self.pushed: dict[PeerId, Record] = {}
        self.expected: list[PeerId] | None = None

    async def run(self) -> Reading:
        if self.holders.ours:
            self.quorum.on_answer(self.core.peer, self.own)
        to_ask = [*self.holders.contacts, *self.holders.doubtful]
        with Asking(self.core.endpoint, timeout_s=self.timeout_s) as asking:
            for contact in to_ask[: 1 if self.one else len(to_ask)]:
                self._ask(asking, contact)
            rest = to_ask[1:] if self.one else []
            while not self._over():
                answer = await asking.next(self._patience_s() if self._absent() else None)
                if answer is None:
                    break
                self._take(answer)
                if rest and self.quorum.newest is None:
                    # Silent: the next two at once. Nothing there: who else has it is known only by asking all.
                    for contact in rest[: HEDGE_COUNT if answer.reply is None else len(rest)]:
                        self._ask(asking, contact)
                        rest.remove(contact)
                if not self.one and self.quorum.decided and not self.quorum.settled:
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

    def _absent(self) -> bool:
        """Whether enough holders said that there is nothing, and nobody who is not silent can still say else."""
        return self.quorum.denied and not self.quorum.waiting and self.quorum.absent(self._expected())

    def _patience_s(self) -> float:
        return max(0.0, self.patient_until - self.core.now())

    def _expected(self) -> list[PeerId]:
        if self.expected is None:
            self.expected = self._find_expected()
        return self.expected

    def _find_expected(self) -> list[PeerId]:
        if self.core.members.complete:
            return self.core.members.expected_holders(self.key, RECORD_HOLDERS)
        asked = [contact.peer for contact in self.holders.contacts]
        return [*asked, self.core.peer] if self.holders.ours else asked

    def _ask(self, asking: Asking, contact: Contact) -> None:
        roundtrips = self.core.endpoint.roundtrips
        silent_s = roundtrips.hedge_s(contact.peer) if self.one else roundtrips.rto_s(contact.peer)
        asking.ask(contact, FindValue, self.key, silent_after_s=silent_s)
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
            record = record_of(self.core, reply, self.key)
        except WireError as error:
            self.core.counts.rejected[error.reason] += 1
            self.quorum.on_left_out(peer)
            return None
        if record is not None and isinstance(reply, Value):
            self.lives[peer] = reply.left_s
            self.left_s = reply.left_s
        self.quorum.on_answer(peer, record)
        return record

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
            await holding.keep_record(self.core, newest, self.left_s)
        except (NoRoomError, StoreError, WireError) as error:
            logger.warning("this peer could not keep what it should hold", reason=str(error))
            self.quorum.on_failed(self.core.peer)
            return
        self.quorum.on_answer(self.core.peer, newest)

    def _result(self) -> Reading:
        newest = self.quorum.newest
        own = self.own
        if own is not None and (newest is None or own.version > newest.version):
            newest = own  # never older than what this peer has seen
        if newest is None:
            if not self.quorum.absent(self._expected()):
                raise TimedOutError(
                    "too few of the key's holders answered to know whether it exists",
                    hint="`peer peers` shows who is silent; try again when they are back",
                )
        elif not self.one and not self.quorum.decided:
            raise TimedOutError("too few of the key's holders answered in time")
        stale = [peer for peer in self.quorum.stale if peer not in self.pushed]
        if newest is not None and stale and not self.one:
            self.core.tasks.spawn(self._mend(newest, stale), "read repair")
        have = self.quorum.agreeing
        local = bool(newest is not None and own is not None and newest.version == own.version and self.one)
        return Reading(newest, local, self.holders.hops, have, self.trace)

    async def _mend(self, record: Record, stale: list[PeerId]) -> None:
        if self.core.peer in stale:
            await self._keep_here(record)
        with Asking(self.core.endpoint) as asking:
            for contact in (*self.holders.contacts, *self.holders.doubtful):
                if contact.peer in stale:
                    asking.ask(contact, Store, record.raw, self.left_s, silent_after_s=0)
            while await asking.next() is not None:
                pass


async def _search_one(core: Core, key: Key, timeout_s: float) -> Reading:
    """Search hop by hop and stop at the first valid record."""
    found: list[tuple[Record, PeerId]] = []
    denials: list[PeerId] = []

    def on_reply(contact: Contact, reply: Reply) -> str | None:
        try:
            record = record_of(core, reply, key)
        except WireError as error:
            core.counts.rejected[error.reason] += 1
            return "malformed"
        if record is None:
            denials.append(contact.peer)
            return "nothing"
        found.append((record, contact.peer))
        return None

    holders = await search(core, key, FindValue, on_reply=on_reply)
    if found:
        record, peer = found[0]
        return Reading(record, local=False, hops=holders.hops, have=[peer], trace=holders.trace)
    nearest = [contact.peer for contact in holders.contacts]
    if len([peer for peer in nearest if peer in denials]) * 2 <= len(nearest):
        raise TimedOutError("too few of the key's holders answered to know whether it exists")
    return Reading(None, local=False, hops=holders.hops, have=[], trace=holders.trace)


def record_of(core: Core, reply: Reply, key: Key) -> Record | None:
    """Return the record in a reply to FindValue or Store, verified and of that key; raises WireError."""
    if not isinstance(reply, Value | Newer):
        raise WireError("reply_kind")
    if not reply.record:
        return None
    record = holding.check_incoming(core, reply.record)
    if record.key != key:
        raise WireError("other_key")
    return record


def need(reading: Reading, name: str) -> Record:
    """Return the record of a reading that names something; raises NotFoundError."""
    record = reading.record
    if record is None or record.deleted:
        raise NotFoundError(f"not found: {name}")
    return record
