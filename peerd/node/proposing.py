"""The proposer of registers: rounds of prepare and accept with the listed holders (trust.register).

Here is who is asked, what silence means and when to begin again; what is written into a register is agreeing's.
"""

import asyncio
from collections.abc import Callable, Iterable

from peerd.errors import NoRoomError, RefusedError, StoreError, TimedOutError, WireError
from peerd.ids import Key, PeerId
from peerd.kad.contact import Contact
from peerd.node import accepting, holding
from peerd.node.asking import Answer, Asking
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.nearest import search
from peerd.node.reading import REFUSED_RETURNING, RETURNING_POLL_S
from peerd.records.record import Record
from peerd.trust.forgotten import Gone
from peerd.trust.register import (
    Accepting,
    Ballot,
    Preparing,
    State,
    has_majority,
    next_counter,
    pack_peers,
    unpack_peers,
)
from peerd.wire.messages import Accept, Accepted, FindNode, Prepare, Promise, Reply

ASK_TIMEOUT_S = 4.0
# So many rounds without a majority are a fair try: the first may have met a moment's loss.
FAIR_TRIES = 2
VIEWS_MAX = 8
BACKOFF_FIRST_S = 0.02
BACKOFF_MAX_S = 1.0
CHANCE_BYTES = 4

UNREACHED = "a majority of the key's agreed holders did not answer"


class Question(Preparing):
    """A prepare, or a question that binds nobody, and what else the answers showed."""

    def __init__(self, expected: Iterable[PeerId], gone: Gone) -> None:
        super().__init__(expected, gone)
        self.views: dict[PeerId, None] = {}
        """Whom others expect to hold the key."""
        self.plain: dict[PeerId, Record] = {}
        self.beneath = 0
        self.beyond = 0
        """The highest sequence that was chosen for all that its holder has accepted, as far as was told."""
        self.waiting: set[PeerId] = set()
        """Who is asked and neither answered nor silent for longer than it ever was."""
        self.returning: set[PeerId] = set()
        """Who is back and will answer once it knows what it missed."""

    @property
    def newest_plain(self) -> Record | None:
        """The newest of the plain records shown."""
        return max(self.plain.values(), key=lambda record: record.version, default=None)

    @property
    def may_be_parted(self) -> bool:
        """Whether a newer version than the base may have been chosen: by others of its list, forgotten meanwhile."""
        base = self.base
        if base is None:
            return False
        sequence = base.value.body.sequence
        states = [one.state for one in self.shown.values() if one.state is not None]
        return self.beyond >= sequence or any(state.value.body.sequence > sequence for state in states)

    @property
    def soon_prepared(self) -> bool:
        """Whether those that are back would make it enough."""
        base, peers = self.base, self.promisers | self.returning
        return base.has_quorum(peers) if base is not None else has_majority(self.expected, peers)

    @property
    def has_majority(self) -> bool:
        """Whether enough have answered to know what there is, if anything."""
        return self.settled or self.prepared

    @property
    def strangers(self) -> set[PeerId]:
        """Who may still answer and is in no list of the base: where two overlays met, they may have another history."""
        base = self.base
        return self.waiting.difference(base.peers) if base is not None else self.waiting

    @property
    def is_absent(self) -> bool:
        """Whether enough of those that should hold the key say that it has no register."""
        return self.base is None and self.prepared


class Rounds:
    """The rounds of one operation on one key."""

    def __init__(self, core: Core, key: Key, *, timeout_s: float) -> None:
        self.core = core
        self.key = key
        self._deadline = core.now() + timeout_s
        self._expected: tuple[PeerId, ...] = ()
        self._found: dict[PeerId, Contact] = {}
        self._highest = 0
        self._fruitless = 0
        self._tries = 0

    # The first phase.

    async def ask(self) -> Question:
        """Ask what there is, binding nobody, until a majority has answered; raises TimedOutError."""
        while True:
            question = await self._gather(0, _is_answered)
            if question.has_majority:
                return question
            await self._put_off(question)

    async def glance(self) -> Question:
        """Ask once, binding nobody; the answer may be too little."""
        return await self._gather(0, _is_answered)

    async def prepare(self) -> tuple[Ballot, Question]:
        """Have a majority promise a ballot of ours; raises TimedOutError where none does in time."""
        while True:
            ballot, question = await self.try_to_prepare()
            if question.prepared:
                return ballot, question

    async def try_to_prepare(self) -> tuple[Ballot, Question]:
        """Ask for promises of a ballot of ours once; where too few gave theirs a pause has passed when this returns.

        What the answers show is worth a look also then. Raises TimedOutError where another try is of no use.
        """
        if not self._highest:
            self._highest = await self._highest_here()
        chance = int.from_bytes(self.core.environment.entropy(CHANCE_BYTES), "big")
        ballot = Ballot(next_counter(self._highest, chance), self.core.peer)
        is_first = not self._highest  # a refusal says only what ballots there were, not that there is a rival
        question = await self._gather(ballot.counter, _is_prepared)
        self._highest = max(self._highest, ballot.counter, question.highest)
        if question.prepared:
            self._fruitless = 0
        else:
            await self._put_off(question, at_once=is_first and question.preempted)
        return ballot, question

    async def _highest_here(self) -> int:
        """Return the highest counter that this peer has promised itself: others know no lower one, as a rule."""
        try:
            _, acceptor = await self.core.registers.load(self.key)
        except StoreError:
            return 0
        return max(acceptor.promised.counter, acceptor.accepted.counter)

    async def prepare_all(self) -> tuple[Ballot, Question]:
        """Have all that are not silent promise a ballot above what was seen; it may be too few, or too low."""
        chance = int.from_bytes(self.core.environment.entropy(CHANCE_BYTES), "big")
        ballot = Ballot(next_counter(self._highest, chance), self.core.peer)
        question = await self._gather(ballot.counter, lambda question: not question.waiting)
        self._highest = max(self._highest, ballot.counter, question.highest)
        return ballot, question

    async def _gather(self, counter: int, enough: Callable[[Question], bool]) -> Question:
        core = self.core
        await self._find_expected()
        question = Question(self._expected, core.members.gone)
        asked: set[PeerId] = set()
        fields = (self.key, counter, pack_peers(self._expected))
        with Asking(core.endpoint, timeout_s=self._ask_timeout_s()) as asking:
            while True:
                new = [peer for peer in question.to_ask if peer not in asked]
                asked.update(new)
                for contact in self._contacts(new):
                    question.waiting.add(contact.peer)
                    silent_s = core.silent_after_s(contact, durable=counter > 0)
                    asking.ask(contact, Prepare, *fields, silent_after_s=silent_s)
                if core.peer in new:
                    await self._ask_here(question, Prepare(0, *fields))
                    continue
                if enough(question) or (question.preempted and not question.waiting):
                    break
                answer = await asking.next()
                if answer is None:
                    break
                question.waiting.discard(answer.contact.peer)
                if answer.reply is not None:
                    self._take(question, answer.contact.peer, answer.reply)
                elif isinstance(answer.error, RefusedError) and answer.error.reason == REFUSED_RETURNING:
                    question.returning.add(answer.contact.peer)
        return question

    async def _ask_here(self, question: Question, request: Prepare) -> None:
        try:
            self._take(question, self.core.peer, await accepting.prepare(self.core, self.core.peer, request))
        except RefusedError:
            question.returning.add(self.core.peer)
        except (StoreError, NoRoomError):
            return  # one answer less

    def _take(self, question: Question, peer: PeerId, reply: Reply) -> None:
        try:
            if not isinstance(reply, Promise):
                raise WireError("reply_kind")
            shown = accepting.shown_in(self.core, self.key, reply)
            if shown.state is None and reply.record:
                record = holding.check_incoming(self.core, reply.record)
                if record.key != self.key:
                    raise WireError("other_key")
                question.plain[peer] = record
            if shown.state is None and not reply.ok:
                question.views.update(dict.fromkeys(unpack_peers(reply.holders)))
        except WireError as error:
            self.core.counts.rejected[error.reason] += 1
            return
        if shown.state is None:
            question.beneath = max(question.beneath, reply.beneath)
        else:
            question.beyond = max(question.beyond, reply.beneath)
        question.on_shown(peer, shown)

    async def _put_off(self, question: Question, *, at_once: bool = False) -> None:
        """Wait a little before the next try; raises TimedOutError where none is of use."""
        core = self.core
        self._tries += 1
        unknown = [peer for peer in question.views if peer not in self._expected]
        if unknown and self._tries <= VIEWS_MAX:
            self._expected = self._nearest({*self._expected, *unknown})
            return
        returning = question.soon_prepared and not question.prepared
        if not question.preempted and not returning:
            self._fruitless += 1
        if core.now() >= self._deadline or self._fruitless >= FAIR_TRIES:
            raise TimedOutError(UNREACHED, hint="`peer peers` shows who is silent; `peer forget` those that are gone")
        if at_once:
            return
        longest = RETURNING_POLL_S if returning else min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(self._tries, 10))
        await asyncio.sleep(core.environment.rng.uniform(0.3, 1.0) * longest)

    # The second phase.

    async def accept(
        self,
        ballot: Ballot,
        base: State | None,
        state: State,
        *,
        also: Iterable[PeerId] = (),
        all_new: bool = False,
    ) -> bool:
        """Propose a state; return whether it is chosen (where not, it may still be).

        `also` are told and do not count: holders of another history that lost. `all_new` waits also for those that are
        beyond a majority, for as long as they are not silent.
        """
        core = self.core
        accepting_ = Accepting(base, state, core.members.gone)
        waiting: set[PeerId] = set()
        with Asking(core.endpoint, timeout_s=self._ask_timeout_s()) as asking:
            for contact in self._contacts(dict.fromkeys((*accepting_.to_ask, *also))):
                waiting.add(contact.peer)
                silent_s = core.silent_after_s(contact, durable=True)
                asking.ask(contact, Accept, *_fields(ballot, state), silent_after_s=silent_s)
            if core.peer in (*accepting_.to_ask, *also):
                await self._accept_here(accepting_, Accept(0, *_fields(ballot, state)))
            while waiting or not accepting_.refused:
                if accepting_.hopeless or (accepting_.chosen and not (all_new and waiting)):
                    break
                answer = await asking.next()
                if answer is None:
                    break
                waiting.discard(answer.contact.peer)
                self._take_accepted(accepting_, answer)
        self._highest = max(self._highest, ballot.counter, accepting_.highest)
        if not accepting_.chosen:
            self._tries += 1
            if not accepting_.refused:
                self._fruitless += 1
        return accepting_.chosen

    async def _accept_here(self, accepting_: Accepting, request: Accept) -> None:
        try:
            _on_reply(accepting_, self.core.peer, await accepting.accept(self.core, self.core.peer, request))
        except (StoreError, NoRoomError):
            return

    def _take_accepted(self, accepting_: Accepting, answer: Answer) -> None:
        if answer.reply is not None:
            _on_reply(accepting_, answer.contact.peer, answer.reply)
        elif isinstance(answer.error, RefusedError):
            accepting_.on_refused(answer.contact.peer, 0)

    async def pause(self) -> None:
        """Let a rival finish, after our proposal was refused."""
        longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(self._tries, 10))
        await asyncio.sleep(self.core.environment.rng.uniform(0.0, 1.0) * longest)

    # Who is asked.

    async def _find_expected(self) -> None:
        """Find who should hold the key, and where the listed can be reached; from the members where all are known."""
        core = self.core
        if self._expected:
            return
        if not core.store.may_have_register(self.key):
            await core.settled.wait()  # who was only just started has met nobody: it would make a register of its own
        known = core.members.expected_holders(self.key, RECORD_HOLDERS, within_grace=False)
        if not core.members.complete:
            found = await search(core, self.key, FindNode)
            self._found = {contact.peer: contact for contact in found.contacts}
            known += list(self._found)
        self._expected = self._nearest(known)

    def _nearest(self, peers: Iterable[PeerId]) -> tuple[PeerId, ...]:
        return tuple(accepting.nearest_first(self.core, self.key, dict.fromkeys(peers))[:RECORD_HOLDERS])

    def _contacts(self, peers: Iterable[PeerId]) -> list[Contact]:
        members = self.core.members
        found = [members.contact(peer) or members.lingering(peer) or self._found.get(peer) for peer in peers]
        return [contact for contact in found if contact is not None]

    def _ask_timeout_s(self) -> float:
        left_s = self._deadline - self.core.now()
        return max(0.05, min(left_s, ASK_TIMEOUT_S, self.core.settings.request_timeout_s))

    @property
    def over(self) -> bool:
        """Whether the time of the operation has come to its end."""
        return self.core.now() >= self._deadline


def _is_answered(question: Question) -> bool:
    if question.settled:
        return not question.strangers
    return question.has_majority and not question.waiting


def _is_prepared(question: Question) -> bool:
    """Whether to go on; a register that seems new may be known to somebody who has not answered yet."""
    return question.prepared and not (question.strangers if question.base is not None else question.waiting)


def _fields(ballot: Ballot, state: State) -> tuple[int, bytes, bytes, int, bytes, bytes, bytes]:
    lists = pack_peers(state.holders), pack_peers(state.previous), b"".join(state.past)
    return (ballot.counter, state.record, state.origin, state.epoch, *lists)


def _on_reply(accepting_: Accepting, peer: PeerId, reply: Reply) -> None:
    match reply:
        case Accepted():
            accepting_.on_accepted(peer)
        case Promise():
            accepting_.on_refused(peer, reply.counter)
        case _:
            accepting_.on_refused(peer, 0)
