"""Strong reads and writes: a register for each key, agreed by a majority of its listed holders (DESIGN.md 6).

A version is chosen by the register first, and only then stored on the holders as any other and counted by their signed
receipts: nothing that is not chosen can be read as a record, or rise again through repair.
"""

from collections.abc import Collection
from dataclasses import dataclass

from loguru import logger

from peerd.errors import (
    ConflictError,
    NoRoomError,
    NotFoundError,
    PeerdError,
    StoreError,
    TimedOutError,
    WireError,
)
from peerd.ids import Key, PeerId
from peerd.node import holding, reading
from peerd.node.asking import Asking
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.found import Reading
from peerd.node.holding import Kept, Outdone
from peerd.node.nearest import holders_of
from peerd.node.proposing import Question, Rounds
from peerd.node.results import ANY_VERSION, NO_VERSION
from peerd.node.waiting_out import Patience
from peerd.records.record import NONCE_BYTES, Record, RecordBody, make_record
from peerd.trust.attempts import Attempt, Attempts, Fate
from peerd.trust.register import Ballot, State, created
from peerd.wire.limits import SEQUENCE_MAX
from peerd.wire.messages import Newer, Reply, Store, Stored


@dataclass(slots=True)
class Draft:
    """A version to be: all that does not depend on what is there. `kind`, `value`, `size` as in a record.

    `reserved` is a sequence that was reserved for it, by which its content is claimed already.
    """

    key: Key
    name: str
    owner: PeerId | None
    kind: int
    value: bytes
    size: int
    ttl_s: int | None = None
    reserved: int | None = None

    async def next_sequence(self, core: Core, at_least: int) -> int:
        """Return a sequence for the next version to try: the one that is reserved, once and where it is high enough."""
        reserved, self.reserved = self.reserved, None
        if reserved is not None and reserved >= at_least:
            return reserved
        return await reserve_sequence(core, self.key, at_least)

    def version(self, core: Core, sequence: int, *, strong: bool) -> Record:
        """Return the signed record; raises WireError (`statement_size`) where it is too long."""
        body = RecordBody(
            format=1,
            key=self.key,
            name=self.name,
            owner=self.owner,
            sequence=sequence,
            writer=core.peer,
            nonce=core.environment.entropy(NONCE_BYTES),
            kind=self.kind,
            value=self.value,
            size=self.size,
            copies=core.settings.copies,
            ttl_s=self.ttl_s,
            strong=strong,
        )
        return make_record(core.identity, body)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A version that was chosen, what was there before it, and the state it was chosen in."""

    record: Record
    before: Record | None
    state: State


async def read_strong(core: Core, key: Key, *, timeout_s: float) -> Reading:
    """Return the newest version chosen, or of a key that was never strong the newest plain one.

    Raises TimedOutError where no majority of the agreed holders answers.
    """
    rounds = Rounds(core, key, timeout_s=timeout_s)
    question = await rounds.ask()
    if question.is_absent:
        return await reading.read(core, key, consistency="quorum", timeout_s=timeout_s)
    if question.may_be_parted:
        async with core.locks.hold(b"write " + key):
            await _reunite(rounds, question, timeout_s)
        question = await rounds.ask()
    state, have = question.base, question.promisers
    if not question.settled:
        async with core.locks.hold(b"write " + key):
            chosen = await _choose_again(rounds)
        if chosen is None:
            return await reading.read(core, key, consistency="quorum", timeout_s=timeout_s)
        state = chosen
    assert state is not None, "what is settled has a state"
    record = state.value
    _mend_here(core, record, state)
    if record.body.ttl_s is not None:
        plain = await reading.read(core, key, consistency="quorum", timeout_s=timeout_s)
        if plain.record is None or plain.record.version < record.version:  # its life is over, as its holders count
            return Reading(None, local=False, hops=1, have=[], trace=[])
    return Reading(record, local=False, hops=1, have=sorted(have), trace=[])


async def _choose_again(rounds: Rounds) -> State | None:
    """Have the present state chosen, unchanged; None where there is none. Raises TimedOutError."""
    while True:
        ballot, question = await rounds.prepare()
        base = question.base
        if base is None or await rounds.accept(ballot, base, base, also=question.to_ask):
            return base
        await rounds.pause()


async def _reunite(rounds: Rounds, question: Question, timeout_s: float) -> None:
    """Where a newer version was chosen than the register says, have that chosen: of two histories the newer one wins.

    Within one history no version follows an older one, and only what was chosen is a record; but where one part of a
    list was told to forget the other, both have chosen, and ballots do not say which came later. Raises TimedOutError.
    """
    newest = (await reading.read(rounds.core, rounds.key, consistency="quorum", timeout_s=timeout_s)).record
    base = question.base
    while newest is not None and newest.body.strong and base is not None and base.value.version < newest.version:
        ballot, question = await rounds.prepare()
        base = question.base
        if base is None or base.value.version >= newest.version:
            return
        if await rounds.accept(ballot, base, base.written(newest), also=question.to_ask):
            return
        await rounds.pause()


def _mend_here(core: Core, record: Record, state: State) -> None:
    if core.peer in state.holders and record.body.ttl_s is None:  # how long it still lives its holders tell
        core.tasks.spawn(_keep_chosen(core, record), "keep what was chosen")


async def _keep_chosen(core: Core, record: Record) -> None:
    try:
        present = await holding.own_record(core, record.key)
        if present is None or present.version < record.version:
            await holding.keep_record(core, record, record.body.ttl_s)
    except (NoRoomError, StoreError, WireError) as error:
        logger.warning("this peer could not keep what it should hold", reason=str(error))


async def write_strong(
    core: Core,
    draft: Draft,
    *,
    if_version: str | None = None,
    only_existing: bool = False,
    require: int | None = None,
    timeout_s: float,
) -> tuple[Chosen, list[PeerId]]:
    """Write the next version and return it with those who signed for it; the caller holds the key's write lock.

    Raises ConflictError where the present version is not `if_version`, NotFoundError where `only_existing` and there is
    nothing, TimedOutError where there is no majority of the agreed holders, or where it cannot be known whether this
    write took effect; WireError (`statement_size`) where the record is too long.
    """
    rounds = Rounds(core, draft.key, timeout_s=timeout_s)
    writing = _Writing(core, draft, rounds, if_version=if_version, only_existing=only_existing)
    chosen = await writing.run()
    return chosen, await store_chosen(core, chosen.record, chosen.state, require=require)


class _Writing:
    """One version on its way into a register."""

    def __init__(
        self, core: Core, draft: Draft, rounds: Rounds, *, if_version: str | None, only_existing: bool
    ) -> None:
        self._core = core
        self._draft = draft
        self._rounds = rounds
        self._if_version = if_version
        self._only_existing = only_existing
        self._attempts = Attempts()
        self._reunited = False

    async def run(self) -> Chosen:
        await self._check_first()
        while True:
            try:
                ballot, question = await self._rounds.try_to_prepare()
            except TimedOutError as error:
                raise self._unknown() if self._attempts else error from None
            if not question.prepared:
                seen = await self._seen(question)
                if seen is not None:
                    return seen
                continue
            fate, took = self._attempts.fate(question)
            if fate is Fate.UNKNOWN:
                raise self._unknown()
            try:
                chosen = await (self._finish(ballot, question, took) if took else self._write(ballot, question))
            except WireError as error:  # too long to be a record
                raise self._unknown() if self._attempts else error from None
            if chosen is None:
                await self._rounds.pause()
                chosen = await self._look()
            if chosen is not None:
                return chosen
            if self._rounds.over:
                raise self._unknown() if self._attempts else TimedOutError("others were faster each time")

    async def _look(self) -> Chosen | None:
        """Ask, without binding anybody, what became of our proposal, before much else is written."""
        return await self._seen(await self._rounds.glance())

    async def _seen(self, question: Question) -> Chosen | None:
        """Return what became of our proposal where the answers show it; raises what is known to be in its way."""
        base = question.base
        _, took = self._attempts.fate(question)
        if base is None or not question.settled:
            return None
        if took is not None:
            return Chosen(took.record, took.base, base)
        failure = await self._failure(base.value) if not self._attempts else None
        if failure is not None:
            raise failure
        return None

    async def _check_first(self) -> None:
        """Refuse what cannot be without making a plain key strong."""
        if self._if_version is None and not self._only_existing:
            return
        if self._core.store.may_have_register(self._draft.key):
            return
        question = await self._rounds.ask()
        if question.is_absent:
            failure = await self._failure(question.newest_plain)
            if failure is not None:
                raise failure

    async def _finish(self, ballot: Ballot, question: Question, took: Attempt) -> Chosen | None:
        """Our proposal, or what was made from it, is the newest accepted: once that is chosen, ours was."""
        base = question.base
        assert base is not None, "what took effect is there"
        if not await self._rounds.accept(ballot, base, base, also=question.to_ask):
            return None
        return Chosen(took.record, took.base, base)

    async def _write(self, ballot: Ballot, question: Question) -> Chosen | None:
        if question.may_be_parted and not self._reunited:
            self._reunited = True
            await _reunite(self._rounds, question, reading.READ_TIMEOUT_S)
            return None
        base = question.base
        before = base.value if base is not None else question.newest_plain
        failure = await self._failure(before)
        if failure is not None:
            # What the failure goes by must be chosen: what is only accepted may yet be undone, and what this write
            # proposed before may yet be done.
            if base is None and self._attempts:
                raise self._unknown()
            sure = base is None or (question.settled and not self._attempts)
            if sure or (base is not None and await self._rounds.accept(ballot, base, base, also=question.to_ask)):
                raise failure
            return None
        record = self._attempts.on(before) or await self._record(before, question.beneath)
        state = base.written(record) if base is not None else created(record, question.expected, before)
        self._attempts.add(Attempt(ballot, record, state, before))
        if await self._rounds.accept(ballot, base, state, also=question.to_ask):
            return Chosen(record, before, state)
        return None

    async def _record(self, before: Record | None, beneath: int) -> Record:
        """Return a version to propose that follows what is there."""
        at_least = max(before.body.sequence if before is not None else 0, beneath) + 1
        sequence = await self._draft.next_sequence(self._core, following(at_least - 1))
        return self._draft.version(self._core, sequence, strong=True)

    async def _failure(self, before: Record | None) -> PeerdError | None:
        """Return why not to write over what is there."""
        present = before if before is not None and not before.deleted else None
        if present is not None and present.body.ttl_s is not None and await self._is_over(present):
            present = None
        if self._only_existing and present is None:
            return NotFoundError(f"not found: {self._draft.name}")
        wanted = self._if_version
        if wanted is None or (wanted == ANY_VERSION and present is not None):
            return None
        if wanted == NO_VERSION and present is None:
            return None
        if before is not None and wanted == before.version.text:
            return None
        return ConflictError(
            f"the present version is {present.version.text if present is not None else 'none'}, not {wanted}",
            hint="read it again, and write what follows from that",
        )

    async def _is_over(self, record: Record) -> bool:
        """Whether the life of a record has ended, as its holders count."""
        plain = await reading.read(self._core, record.key, consistency="quorum", timeout_s=reading.READ_TIMEOUT_S)
        return plain.record is None or plain.record.version < record.version

    def _unknown(self) -> TimedOutError:
        return TimedOutError(
            "it is not known whether this was written: a majority of the key's agreed holders did not say",
            hint="read the key, and look whether it has this value",
        )


def following(sequence: int) -> int:
    """Return the sequence after one; raises ConflictError where there is none."""
    if sequence >= SEQUENCE_MAX:
        raise ConflictError("this name has no versions left: it cannot be written again", hint="use another name")
    return sequence + 1


async def reserve_sequence(core: Core, key: Key, at_least: int) -> int:
    """Return a sequence that this peer has not used; where its disk is full or fails, what the holders say must do.

    Two versions of one writer with one sequence, if it comes to that, still differ in their nonces.
    """
    try:
        return await core.store.reserve_sequence(key, at_least)
    except (NoRoomError, StoreError) as error:
        logger.warning("a sequence could not be noted", reason=str(error))
        return at_least


# After the choice.


async def store_chosen_again(core: Core, record: Record, state: State) -> None:
    """Store what was chosen some time ago on its holders, with the life it has left. Raises TimedOutError."""
    if record.body.ttl_s is not None:
        own = await holding.own_record(core, record.key)
        if own is None or own.version != record.version:
            return  # who has it knows how long it lives
        await store_chosen(core, record, state, life_s=await holding.left_s(core, own))
        return
    await store_chosen(core, record, state)


async def store_chosen(
    core: Core, record: Record, state: State, *, require: int | None = None, life_s: int | None = None
) -> list[PeerId]:
    """Store a chosen version on its holders; return who signed for it, at least a majority of the listed ones.

    `life_s` is what it has left of its life, where that is not all of it.
    Raises TimedOutError where those did not in time; the version is chosen all the same.
    """
    holders = await holders_of(core, record.key)
    contacts = {contact.peer: contact for contact in (*holders.contacts, *holders.doubtful)}
    for peer in state.peers:
        contact = core.members.contact(peer) or core.members.lingering(peer)
        if contact is not None:
            contacts[peer] = contact
    left_s = life_s or record.body.ttl_s
    have: dict[PeerId, None] = {}
    signed: dict[PeerId, None] = {}
    waiting, patience = set(contacts), Patience()
    with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
        for contact in contacts.values():
            silent_s = core.silent_after_s(contact, durable=True)
            asking.ask(contact, Store, record.raw, left_s, silent_after_s=silent_s)
        if holders.ours or core.peer in state.peers:
            await _store_here(core, record, left_s, have)
        while not (
            state.has_quorum(have, core.members.gone)
            and (not waiting or len(have) >= max(RECORD_HOLDERS, require or 0))
        ):
            answer = await asking.next()
            if answer is None:
                break
            if patience.asks_again(asking, answer, record, left_s):
                continue
            waiting.discard(answer.contact.peer)
            if answer.reply is not None and _has_it(core, record, answer.contact.peer, answer.reply):
                have[answer.contact.peer] = None
                if isinstance(answer.reply, Stored):
                    signed[answer.contact.peer] = None
    _note_copies(core, record, state, signed, ours=holders.ours)
    if not state.has_quorum(have, core.members.gone):
        raise TimedOutError(
            f"written, but only {len(have)} of the key's agreed holders acknowledged it in time",
            hint="`peer peers` shows who is silent",
        )
    return list(have)


def _note_copies(core: Core, record: Record, state: State, signed: Collection[PeerId], *, ours: bool) -> None:
    """Note who has it; where this peer holds it too, it gives it to those that lack it (repairing)."""
    core.copies.note(record.key, record.version.digest, signed)
    if ours and any(peer not in signed for peer in state.holders if peer != core.peer):
        core.missing_since.setdefault(record.key, core.now())


async def _store_here(core: Core, record: Record, left_s: int | None, have: dict[PeerId, None]) -> None:
    try:
        outcome = await holding.keep_record(core, record, left_s)
    except (NoRoomError, StoreError, WireError) as error:
        logger.warning("this peer could not keep what it should hold", reason=str(error))
        return
    if isinstance(outcome, Kept) or (isinstance(outcome, Outdone) and outcome.newer.body.strong):
        have[core.peer] = None


def _has_it(core: Core, record: Record, peer: PeerId, reply: Reply) -> bool:
    """Whether a holder has this version, or one that was chosen after it."""
    try:
        match reply:
            case Stored(receipt=receipt):
                holding.check_record_receipt(core, receipt, record, peer)
                return True
            case Newer():
                newer = holding.record_of(core, reply, record.key)
                return newer is not None and newer.body.strong and newer.version > record.version
    except WireError as error:
        core.counts.rejected[error.reason] += 1
    return False
