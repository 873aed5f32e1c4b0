"""Writing a key: one more than the newest that a majority knows, stored on the holders, counted by signed receipts."""

from dataclasses import dataclass

from loguru import logger

from peerd.errors import ConflictError, NoRoomError, RefusedError, StoreError, TimedOutError, WireError
from peerd.ids import Key, PeerId, distance, node_id
from peerd.kad.contact import Contact
from peerd.node import holding
from peerd.node.agreeing import Draft, following, read_strong, reserve_sequence, write_strong
from peerd.node.asking import Answer, Asking
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.found import need
from peerd.node.holding import Outdone, Over
from peerd.node.nearest import Holders, holders_of
from peerd.node.reading import read
from peerd.node.waiting_out import Patience
from peerd.records.record import Record
from peerd.trust.quorum import WriteQuorum, majority
from peerd.wire.messages import Newer, Store, Stored

# How often a write that met a newer version takes the next sequence and tries again.
ATTEMPTS_MAX = 5
# Holders beyond the nearest eight that may take the share of silent ones.
SPARES_MAX = 8


class StrongKeyError(RefusedError):
    """A holder refused a plain version of a key that has a register."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a version says, without its place in the order: the kind and its bytes.

    `reserved` is the sequence that was drafted for it, if one was.
    """

    kind: int
    value: bytes
    size: int
    reserved: int | None = None


@dataclass(slots=True)
class Written:
    """An acknowledged write: the record, who has it, what was there before."""

    record: Record
    holders: list[PeerId]
    wanted: int
    before: Record | None


async def write(
    core: Core,
    key: Key,
    name: str,
    owner: PeerId | None,
    value: Value,
    *,
    consistency: str,
    require: int | None,
    ttl_s: int | None,
    timeout_s: float,
    only_existing: bool = False,
    if_version: str | None = None,
) -> Written:
    """Write the next version of a key and return when a majority of its holders has it.

    `strong`, a condition, or a key that is strong already: through the key's register (agreeing).

    Raises TimedOutError (no majority by the deadline), NoRoomError, ConflictError (others wrote faster each time, or
    the condition does not hold), NotFoundError where `only_existing` and there is nothing.
    """
    draft = Draft(key, name, owner, value.kind, value.value, value.size, ttl_s, value.reserved)
    async with core.locks.hold(b"write " + key), core.changes.leases.writing(key):
        if consistency != "strong" and if_version is None:
            try:
                return await _write_plainly(
                    core,
                    draft,
                    consistency=consistency,
                    require=require,
                    timeout_s=timeout_s,
                    only_existing=only_existing,
                )
            except StrongKeyError:
                pass
        chosen, holders = await write_strong(
            core, draft, if_version=if_version, only_existing=only_existing, require=require, timeout_s=timeout_s
        )
        core.cached.saw(chosen.record)
        core.changes.wrote(chosen.record)
        return Written(chosen.record, holders, len(chosen.state.holders), chosen.before)


async def _write_plainly(
    core: Core, draft: Draft, *, consistency: str, require: int | None, timeout_s: float, only_existing: bool
) -> Written:
    """As `write`; raises StrongKeyError for a key that has a register."""
    key = draft.key
    before, known = await _newest(
        core, key, draft.name, consistency=consistency, timeout_s=timeout_s, existing=only_existing
    )
    newest = before
    for _ in range(ATTEMPTS_MAX):
        if newest is not None and newest.body.strong:
            raise StrongKeyError("strong")
        sequence = await draft.next_sequence(core, following(known))
        record = draft.version(core, sequence, strong=False)
        outcome = await store_record(
            core,
            record,
            one=consistency == "one",
            require=require,
            ttl_s=draft.ttl_s,
            timeout_s=timeout_s,
            replaces=newest is not None and not newest.deleted,
        )
        if isinstance(outcome, Record):
            newest, known = outcome, outcome.body.sequence
            continue
        if outcome is None:
            # A floor that the reading did not show: those who refused are asked for it.
            found = await _newest(core, key, draft.name, consistency="quorum", timeout_s=timeout_s, existing=False)
            known = max(known, sequence, found[1])
            continue
        outcome.before = before
        core.cached.saw(record)
        core.changes.wrote(record)
        return outcome
    raise ConflictError("others write this key faster than this peer can", hint="try again")


async def draft_sequence(core: Core, key: Key, *, consistency: str, timeout_s: float) -> int:
    """Return a sequence above all that the holders know, by which the content of a coming version is claimed."""
    if consistency == "strong":
        newest = (await read_strong(core, key, timeout_s=timeout_s)).record
        known = newest.body.sequence if newest is not None else 0
    else:
        _, known = await _newest(core, key, "", consistency=consistency, timeout_s=timeout_s, existing=False)
    return await reserve_sequence(core, key, following(known))


async def _newest(
    core: Core, key: Key, name: str, *, consistency: str, timeout_s: float, existing: bool
) -> tuple[Record | None, int]:
    """Return the newest record known and the highest sequence, that of floors included."""
    try:
        reading = await read(core, key, consistency=consistency, timeout_s=timeout_s, for_write=not existing)
    except TimedOutError:
        # Nobody need prove that a key is new: a higher version that shows up later is met by a newer attempt.
        if existing:
            raise
        here = await holding.standing(core, key)
        sequence = here.floor.sequence if here.floor is not None else 0
        return here.record, here.record.body.sequence if here.record is not None else sequence
    return need(reading, name) if existing else reading.record, reading.sequence


async def store_record(
    core: Core,
    record: Record,
    *,
    one: bool,
    require: int | None,
    ttl_s: int | None,
    timeout_s: float,
    replaces: bool,
) -> "Written | Record | None":
    """Store a version on the key's holders; return who has it, or the newer version that one of them showed.

    None where a floor is above it: as many refused it for that as took it. Raises TimedOutError, NoRoomError: also
    where it `replaces` a value which most of those whom reads will ask keep for want of room.
    """
    holders = await holders_of(core, record.key)
    write = _Write(core, record, holders, one=one, require=require, ttl_s=ttl_s, timeout_s=timeout_s)
    written = await write.run()
    if isinstance(written, Written) and replaces and not one and write.most_are_full():
        raise NoRoomError(
            "most of the peers that keep it have no room for the new value", hint="free some, or raise --quota on them"
        )
    return written


class _Write:
    """One version on its way to its holders."""

    def __init__(
        self,
        core: Core,
        record: Record,
        holders: Holders,
        *,
        one: bool,
        require: int | None,
        ttl_s: int | None,
        timeout_s: float,
    ) -> None:
        self.core = core
        self.record = record
        self.holders = holders
        self.one = one
        self.ttl_s = ttl_s
        self.timeout_s = min(timeout_s, core.settings.request_timeout_s)
        asked = [contact.peer for contact in holders.contacts]
        self.wanted = len(asked) + holders.ours
        enough = min(require, self.wanted) if require is not None else None
        self.quorum = WriteQuorum(
            [*asked, core.peer] if holders.ours else asked, required=enough, crowded=holders.crowded
        )
        self.newer: Record | None = None
        self.full: set[PeerId] = set()
        self.refused_floor = 0
        self.refused_here: NoRoomError | StoreError | None = None
        self.refused_strong = False
        self.replaced: set[PeerId] = set()
        self.patience = Patience()

    async def run(self) -> "Written | Record | None":
        with Asking(self.core.endpoint, timeout_s=self.timeout_s) as asking:
            for contact in (*self.holders.contacts, *self.holders.doubtful):
                self._ask(asking, contact)
            if self.holders.ours:
                await self._keep_here()
            while self.newer is None and not self.refused_strong and not self._over():
                answer = await asking.next()
                if answer is None:
                    break
                self._take(asking, answer)
        if self.newer is not None:
            return self.newer
        if self.refused_strong:
            raise StrongKeyError("strong")
        if self.refused_floor and self.refused_floor >= self._believed_floors:
            return None
        if not self.quorum.acknowledged and not (self.one and self.quorum.receipts):
            if self.full and not self.quorum.receipts:
                raise NoRoomError(
                    "the peers that should keep it have no room", hint="free some, or raise --quota on them"
                )
            if isinstance(self.refused_here, StoreError) and not self.quorum.receipts and self.wanted == 1:
                raise self.refused_here
            if not self.quorum.receipts:
                raise TimedOutError("no majority of the key's holders acknowledged it in time")
        holders = list(self.quorum.receipts)
        self.core.copies.note(self.record.key, self.record.version.digest, self.quorum.receipts)
        return Written(self.record, holders, self.wanted, None)

    @property
    def _believed_floors(self) -> int:
        """How many must say that there is a floor above it; where most may lie all, the honest show it in the read."""
        receipts = len(self.quorum.receipts)
        return self.wanted if self.holders.crowded and receipts else receipts

    def _over(self) -> bool:
        """Whether to return: at the first receipt for `one`, else when all answered or are silent.

        A majority of those that answer is enough, and those only a little later are waited for, so that the count shown
        is the count that is. Fewer receipts than a majority of all that were thought to be there (lost datagrams, a
        sudden death) are enough only once nobody else has answered in the whole time of a request: what is acknowledged
        must not hang on one host because of a moment's loss.
        """
        if self.one and self.quorum.receipts:
            return True
        if self.holders.crowded:
            return self.quorum.acknowledged
        enough = len(self.quorum.receipts) >= majority(self.wanted)
        return enough and self.quorum.acknowledged and not self.quorum.waiting

    def most_are_full(self) -> bool:
        """Whether of those nearest that answered more had no room than took it: a majority that knows nothing of it.

        In a crowded region any that took it is found.
        """
        if self.holders.crowded:
            return False
        network, key = self.core.identity.network, self.record.key
        answered = self.full | set(self.quorum.receipts)
        nearest = sorted(answered, key=lambda peer: distance(node_id(network, peer), key))[:RECORD_HOLDERS]
        return 2 * sum(peer in self.full for peer in nearest) > len(nearest)

    async def _keep_here(self) -> None:
        try:
            outcome = await holding.keep_record(self.core, self.record, self.ttl_s)
        except (NoRoomError, StoreError) as error:
            logger.warning("this peer could not keep what it should hold", reason=str(error))
            if isinstance(error, NoRoomError):
                self.full.add(self.core.peer)
            self.refused_here = error
            self.quorum.on_left_out(self.core.peer)
            return
        except WireError as error:
            if error.reason != "strong":
                raise
            self.refused_strong = True
            return
        if isinstance(outcome, Over):
            self.refused_floor += 1
            self.quorum.on_left_out(self.core.peer)
        elif isinstance(outcome, Outdone):
            self.newer = outcome.newer
        else:
            self.quorum.on_receipt(self.core.peer, outcome.receipt)

    def _ask(self, asking: Asking, contact: Contact) -> None:
        silent_s = self.core.silent_after_s(contact, durable=True)
        asking.ask(contact, Store, self.record.raw, self.ttl_s, silent_after_s=silent_s)

    def _take(self, asking: Asking, answer: Answer) -> None:
        peer = answer.contact.peer
        try:
            match answer.reply:
                case Stored(receipt=receipt):
                    holding.check_record_receipt(self.core, receipt, self.record, peer)
                    self.quorum.on_receipt(peer, receipt)
                    return
                case Newer():
                    newer = holding.record_of(self.core, answer.reply, self.record.key)
                    if newer is None or newer.version <= self.record.version:
                        raise WireError("not_newer")
                    self.newer = newer
                    return
        except WireError as error:
            self.core.counts.rejected[error.reason] += 1
        if self.patience.asks_again(asking, answer, self.record, self.ttl_s):
            self.quorum.on_asked(peer)
            return
        if isinstance(answer.error, RefusedError):
            if answer.error.reason == "no_room":
                self.full.add(peer)
            # What is too far above what most have is over for them as well.
            self.refused_floor += answer.error.reason in ("floor", "sequence_jump")
            self.refused_strong = self.refused_strong or answer.error.reason == "strong"
        self.quorum.on_left_out(peer)
        self._replace(asking, peer)

    def _replace(self, asking: Asking, peer: PeerId) -> None:
        """The next nearest takes the share of a holder that is silent, failed or full."""
        if self.holders.crowded or peer in self.replaced or len(self.replaced) >= SPARES_MAX:
            return
        self.replaced.add(peer)
        asked = {contact.peer for contact in (*self.holders.contacts, *self.holders.doubtful)}
        for contact in self.core.members.closest(self.record.key, RECORD_HOLDERS + SPARES_MAX):
            if contact.peer not in asked:
                self.holders.contacts.append(contact)
                self.quorum.on_asked(contact.peer)
                self._ask(asking, contact)
                return
