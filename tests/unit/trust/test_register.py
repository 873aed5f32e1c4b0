"""The register under loss, repetition, reordering, crashes and changes of holders: every history is linearizable."""

import random
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import WireError
from peerd.identity import STAND_IN, Identity
from peerd.ids import PeerId, name_key, network_id
from peerd.records.record import INLINE, Record, RecordBody, make_record
from peerd.trust.attempts import Attempt, Attempts, Fate
from peerd.trust.register import (
    Accepting,
    Acceptor,
    Ballot,
    Preparing,
    Shown,
    State,
    created,
    decode_acceptor,
    encode_acceptor,
    fits,
    learned_again,
    mark,
    next_counter,
    unpack_past,
    unpack_peers,
)
from peerd.wire import limits

from .linear import CAS, NEVER, READ, WRITE, Operation, is_linearizable

NETWORK = network_id("register")
WRITERS = [Identity(STAND_IN.signing_key(bytes([n]) * 32), NETWORK, STAND_IN) for n in range(4)]
KEY = name_key(NETWORK, "a")
STORE = b"store"
PEERS = tuple(PeerId(bytes([n]) * 32) for n in range(7))
A, B, C, D = PEERS[:4]
ROUNDS_MAX = 12
_nonces = iter(range(1, 10**9))


def record(value: bytes, sequence: int = 1, writer: int = 0) -> Record:
    """A strong version of the key; each is another, also with the same value."""
    who = WRITERS[writer]
    nonce = next(_nonces).to_bytes(6, "big") + b"\x00\x00"
    body = RecordBody(1, KEY, "a", None, sequence, who.peer, nonce, INLINE, value, len(value), 3, None, strong=True)
    return make_record(who, body)


# A world of acceptors and proposers in which every message may be late, lost or doubled.


class Disk:
    """One acceptor: what it keeps is bytes, as on its disk."""

    def __init__(self, peer: PeerId) -> None:
        self.peer = peer
        self.kept: bytes | None = None
        self.forgets = False

    @property
    def acceptor(self) -> Acceptor:
        return decode_acceptor(self.kept, STORE)

    def keep(self, acceptor: Acceptor) -> None:
        self.kept = encode_acceptor(acceptor, STORE)

    def on_prepare(self, ballot: Ballot) -> Shown:
        acceptor = self.acceptor
        promised = acceptor.promise(ballot) if ballot.counter else acceptor
        if promised is not None and promised != acceptor and not self.forgets:
            self.keep(promised)
        return Shown(promised is not None, acceptor.promised.counter, acceptor.accepted, acceptor.state)

    def on_accept(self, ballot: Ballot, state: State) -> int | None:
        """None where it is accepted, else the counter promised."""
        acceptor = self.acceptor
        accepted = acceptor.accept(self.peer, ballot, state)
        if accepted is None:
            return acceptor.promised.counter
        self.keep(accepted)
        return None


Event = tuple[Any, ...]
TIMEOUT: Event = ("timeout",)
Doing = Generator[None, Event, None]


@dataclass
class Client:
    """A proposer that does one thing after the other."""

    name: bytes
    world: "Sea"
    doing: Doing | None = None
    highest: int = 0

    def begin(self, doing: Doing) -> None:
        self.doing = doing
        next(doing)

    def on_event(self, event: Event) -> None:
        if self.doing is not None:
            try:
                self.doing.send(event)
            except StopIteration:
                self.doing = None

    # Each of these is a generator that is sent events.

    def gather(self, counter: int) -> Generator[None, Event, Preparing]:
        preparing = Preparing(self.world.view)
        asked: set[PeerId] = set()
        number = next(
            self.world.numbers
        )  # an answer to an earlier question is none to this, also where neither promises
        while True:
            for peer in preparing.to_ask:
                if peer not in asked:
                    asked.add(peer)
                    self.world.send(self, peer, ("prepare", counter, number))
            if (preparing.prepared and counter) or preparing.settled:
                return preparing
            event = yield
            if event is TIMEOUT:
                return preparing
            if event[0] == "shown" and event[1] == number:
                preparing.on_shown(event[2], event[3])
                self.highest = max(self.highest, preparing.highest)

    def try_to_prepare(self) -> Generator[None, Event, tuple[Ballot, Preparing]]:
        counter = next_counter(self.highest, self.world.rng.getrandbits(32))
        self.highest = counter
        preparing = yield from self.gather(counter)
        return Ballot(counter, self.name), preparing

    def prepare(self) -> Generator[None, Event, tuple[Ballot, Preparing] | None]:
        ballot, preparing = yield from self.try_to_prepare()
        return (ballot, preparing) if preparing.prepared else None

    def accept(self, ballot: Ballot, base: State | None, state: State) -> Generator[None, Event, bool]:
        accepting = Accepting(base, state)
        for peer in accepting.to_ask:
            self.world.send(self, peer, ("accept", ballot.counter, state))
        while not accepting.chosen and not accepting.hopeless:
            event = yield
            if event is TIMEOUT:
                return False
            if event[0] == "accepted" and event[1] == ballot.counter:
                if event[3] is None:
                    accepting.on_accepted(event[2])
                else:
                    accepting.on_refused(event[2], event[3])
                    self.highest = max(self.highest, event[3])
        return accepting.chosen

    def read(self, operation: Operation) -> Doing:
        for _ in range(ROUNDS_MAX):
            asked = yield from self.gather(0)
            if asked.settled:
                self.world.finish(operation, value_of(asked.base))
                return
            prepared = yield from self.prepare()
            if prepared is None:
                continue
            ballot, preparing = prepared
            base = preparing.base
            if base is None or (yield from self.accept(ballot, base, base)):
                self.world.finish(operation, value_of(base))
                return

    def write(self, operation: Operation) -> Doing:
        attempts = Attempts()
        for _ in range(ROUNDS_MAX):
            ballot, preparing = yield from self.try_to_prepare()
            base = preparing.base
            fate, took = attempts.fate(preparing)
            if not preparing.prepared:
                if preparing.settled and took is not None:
                    self.world.finish(operation, operation.value)
                    return
                continue
            if fate is Fate.UNKNOWN:
                return
            if took is not None:
                assert base is not None
                if (yield from self.accept(ballot, base, base)):
                    self.world.finish(operation, operation.value)
                    return
                continue
            if operation.kind == CAS and value_of(base) != operation.wanted:
                if base is None and attempts:
                    return
                if base is None or (yield from self.accept(ballot, base, base)):
                    self.world.finish(operation, operation.value, ok=False)
                    return
                continue
            before = base.value if base is not None else None
            new = attempts.on(before) or record(operation.value, before.body.sequence + 1 if before is not None else 1)
            state = base.written(new) if base is not None else created(new, preparing.expected, None)
            attempts.add(Attempt(ballot, new, state, before))
            if (yield from self.accept(ballot, base, state)):
                self.world.finish(operation, operation.value)
                return

    def move(self, holders: tuple[PeerId, ...]) -> Doing:
        """Change the list of holders: two rounds, the second only by who knows the first to be chosen."""
        chosen: State | None = None
        for _ in range(ROUNDS_MAX):
            prepared = yield from self.prepare()
            if prepared is None or prepared[1].base is None:
                continue
            ballot, base = prepared[0], prepared[1].base
            if base.previous and chosen is not None and base.epoch == chosen.epoch:
                state = base.cleared()
            elif base.previous or set(base.holders) == set(holders):
                state = base
            else:
                state = base.joint(holders)
            if (yield from self.accept(ballot, base, state)):
                chosen = state
                if not state.previous:
                    return


def value_of(state: State | None) -> bytes | None:
    return state.value.body.value if state is not None else None


class Sea:
    """All acceptors, all proposers, all that is on its way."""

    def __init__(self, seed: int, *, peers: Iterable[PeerId] = PEERS, listed: int = 3, clients: int = 3) -> None:
        self.rng = random.Random(seed)
        self.disks = {peer: Disk(peer) for peer in peers}
        self.view = tuple(self.disks)[:listed]
        self.clients = [Client(bytes([n]), self) for n in range(clients)]
        self.flying: list[Callable[[], None]] = []
        self.history: list[Operation] = []
        self.time = 0
        self.down: set[PeerId] = set()
        self.operations = 12
        self.numbers = count()

    def send(self, client: Client, peer: PeerId, message: tuple[Any, ...]) -> None:
        self.flying.append(lambda: self._arrive(client, peer, message))

    def _arrive(self, client: Client, peer: PeerId, message: tuple[Any, ...]) -> None:
        if peer in self.down:
            return
        disk, ballot = self.disks[peer], Ballot(message[1], client.name)
        answer: Event
        if message[0] == "prepare":
            answer = ("shown", message[2], peer, disk.on_prepare(ballot))
        else:
            answer = ("accepted", message[1], peer, disk.on_accept(ballot, message[2]))
        self.flying.append(lambda: client.on_event(answer))

    def finish(self, operation: Operation, value: Any, *, ok: bool = True) -> None:
        self.time += 1
        operation.returned, operation.value, operation.ok = self.time, value, ok

    def start(self, client: Client) -> None:
        self.time += 1
        kind = self.rng.choice((READ, WRITE, CAS))
        values = [one.value for one in self.history if one.kind != READ]
        operation = Operation(kind, self.time, wanted=self.rng.choice([None, *values]))
        if kind != READ:
            operation.value = b"%d" % len(self.history)
        self.history.append(operation)
        client.begin(client.read(operation) if kind == READ else client.write(operation))

    def step(self, *, loss: float, moves: bool) -> None:
        """One thing happens."""
        chance = self.rng.random()
        if self.flying and chance < 0.9:
            at = self.rng.randrange(len(self.flying))
            arrive = self.flying[at]
            if self.rng.random() > loss / 2:  # else it comes once more
                self.flying[at] = self.flying[-1]
                self.flying.pop()
            if self.rng.random() > loss:
                arrive()
            return
        client = self.rng.choice(self.clients)
        if client.doing is None:
            if moves and self.rng.random() < 0.3:
                client.begin(client.move(tuple(self.rng.sample(sorted(self.disks), len(self.view)))))
            elif len(self.history) < self.operations:
                self.start(client)
        elif self.rng.random() < 0.3:
            client.on_event(TIMEOUT)
        elif self.rng.random() < 0.06:
            client.doing = None  # it crashed: what it did may yet take effect
        if self.rng.random() < 0.1:
            self.down = set(self.rng.sample(sorted(self.disks), self.rng.randrange(0, len(self.disks) // 2)))

    def run(self, steps: int, *, loss: float = 0.1, moves: bool = False) -> None:
        for _ in range(steps):
            if len(self.history) == self.operations and all(client.doing is None for client in self.clients):
                break
            self.step(loss=loss, moves=moves)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([1, 2, 3, 5]))
def test_every_history_is_linearizable(seed: int, loss: float, listed: int) -> None:
    sea = Sea(seed, listed=listed)
    sea.run(1500, loss=loss)
    assert is_linearizable(sea.history)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([1, 2, 3, 4]))
def test_every_history_is_linearizable_while_the_holders_change(seed: int, loss: float, listed: int) -> None:
    sea = Sea(seed, listed=listed)
    sea.run(2500, loss=loss, moves=True)
    assert is_linearizable(sea.history)


def test_an_answer_to_an_earlier_read_is_none_to_a_later_one() -> None:
    sea = Sea(447957983)
    sea.run(2500, loss=0.0, moves=True)
    assert is_linearizable(sea.history)


def any_sea(seed: int) -> Sea:
    """A history of some length in some weather."""
    chance = random.Random(seed)
    sea = Sea(seed, listed=chance.choice([1, 2, 3, 4, 5]), clients=chance.choice([2, 3, 4]))
    sea.operations = chance.choice([8, 12])
    sea.run(chance.choice([800, 2500]), loss=chance.choice([0, 0.05, 0.1, 0.3]), moves=chance.random() < 0.7)
    return sea


@pytest.mark.parametrize(
    "seed",
    [
        6741,  # what was proposed first, found by another after a second proposal, was taken for another's
    ],
)
def test_what_failed_once_does_not_again(seed: int) -> None:
    assert is_linearizable(any_sea(seed).history)


def found_by(plant: Callable[[Sea], None], *, moves: bool = False, seeds: int = 400) -> bool:
    """Whether some history shows a fault that was planted."""
    for seed in range(seeds):
        sea = Sea(seed, listed=3)
        plant(sea)
        sea.run(1500, moves=moves)
        if not is_linearizable(sea.history):
            return True
    return False


def test_the_checker_finds_acceptors_that_forget_their_promises() -> None:
    def plant(sea: Sea) -> None:
        for disk in sea.disks.values():
            disk.forgets = True

    assert found_by(plant)


def test_the_checker_finds_a_majority_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.trust.register.majority", lambda count: max(1, count // 2))
    assert found_by(lambda sea: None)


def test_the_checker_finds_a_change_of_holders_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def joint(self: State, holders: Iterable[PeerId]) -> State:
        return replace(self, epoch=self.epoch + 1, holders=tuple(holders))

    monkeypatch.setattr(State, "joint", joint)
    monkeypatch.setattr(Accepting, "chosen", property(lambda self: self.state.has_quorum(self.accepted)))
    assert found_by(lambda sea: None, moves=True)


def test_every_history_is_linearizable_where_marks_reach_back_one_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REGISTER_PAST_MAX", 1)
    assert not found_by(lambda sea: None, seeds=100)


@pytest.mark.parametrize("instead", ["made_from_it", "not_from_it"])
def test_the_checker_finds_what_is_noted_wrongly(monkeypatch: pytest.MonkeyPatch, instead: str) -> None:
    def noting(self: Attempt, preparing: Preparing) -> Attempt:
        base = preparing.base
        return self if base is None else replace(self, **{instead: (mark(base.value),)})

    monkeypatch.setattr(limits, "REGISTER_PAST_MAX", 1)
    monkeypatch.setattr(Attempt, "noting", noting)
    assert found_by(lambda sea: None)


def test_histories_without_faults_come_to_their_end() -> None:
    ended = [one.returned < NEVER for seed in range(50) for one in history_of(seed)]
    assert sum(ended) > len(ended) * 0.6


def history_of(seed: int) -> list[Operation]:
    sea = Sea(seed)
    sea.run(1500, loss=0.0)
    return sea.history


# What the parts say, one by one.


def test_an_acceptor_promises_nothing_below_what_it_promised() -> None:
    acceptor = Acceptor().promise(Ballot(5, b"b"))
    assert acceptor is not None
    assert acceptor.promise(Ballot(5, b"a")) is None
    assert acceptor.promise(Ballot(5, b"b")) == acceptor
    state = created(record(b"v"), [A, B, C], None)
    assert acceptor.accept(A, Ballot(5, b"a"), state) is None
    accepted = acceptor.accept(A, Ballot(6, b"a"), state)
    assert accepted is not None
    assert accepted.promised == accepted.accepted == Ballot(6, b"a")


def test_an_acceptor_takes_no_older_epoch_and_no_list_without_it() -> None:
    first = created(record(b"v"), [A, B, C], None)
    joint = first.joint([B, C, D])
    acceptor = Acceptor().accept(B, Ballot(1, b"a"), joint)
    assert acceptor is not None
    assert acceptor.accept(B, Ballot(9, b"a"), first) is None
    assert Acceptor().accept(PEERS[5], Ballot(1, b"a"), joint) is None
    assert joint.cleared().epoch == first.epoch + 2


def test_a_joint_list_needs_majorities_of_both() -> None:
    joint = created(record(b"v"), [A, B, C], None).joint([C, D, PEERS[4]])
    assert not joint.has_quorum({A, B, C})
    assert not joint.has_quorum({C, D, PEERS[4]})
    assert joint.has_quorum({A, C, D})


def test_a_store_that_came_back_from_a_copy_answers_for_nothing_until_it_is_taken_in_anew() -> None:
    state = created(record(b"v"), [A, B, C], None)
    acceptor = Acceptor().accept(A, Ballot(1, b"a"), state)
    assert acceptor is not None
    restored = decode_acceptor(encode_acceptor(acceptor, STORE), b"another store")
    assert restored.lost
    assert restored.promise(Ballot(9, b"a")) is None
    assert restored.accept(A, Ballot(9, b"a"), state) is None
    without = replace(state, epoch=3, holders=(B, C))
    again = restored.accept(A, Ballot(9, b"a"), without.joint([A, B, C]))
    assert again is not None
    assert not again.lost


@pytest.mark.parametrize(
    ("holders", "promised", "learns"),
    [
        ([A], [], True),
        ([A, B], [B], True),
        ([A, B], [], False),
        ([A, B, C], [B], False),
        ([A, B, C], [B, C], True),
        (PEERS[:5], PEERS[1:3], False),
        (PEERS[:5], PEERS[1:4], True),
    ],
)
def test_who_came_back_from_a_copy_learns_where_nothing_was_chosen_without_one_that_promised(
    holders: list[PeerId], promised: list[PeerId], learns: bool
) -> None:
    old = created(record(b"v"), holders, None)
    new = old.written(record(b"w", sequence=2))
    preparing = Preparing(holders)
    for peer in promised:
        preparing.on_shown(peer, Shown(True, 9, Ballot(5, b"b"), new))
    lost = Acceptor(Ballot(1, b"a"), Ballot(1, b"a"), old, lost=True)
    learned = learned_again(A, lost, Ballot(9, b"a"), preparing)
    if not learns:
        assert learned is None
    else:
        assert learned is not None
        assert (learned.lost, learned.promised) == (False, Ballot(9, b"a"))
        assert learned.state == (new if promised else old)


def test_of_two_histories_the_higher_version_wins_everywhere() -> None:
    ours = created(record(b"x", sequence=3), [A, B], None)
    theirs = created(record(b"y", sequence=5), [C, D], None)
    assert not ours.is_related(theirs)
    acceptor = Acceptor().accept(A, Ballot(1, b"a"), ours)
    assert acceptor is not None
    assert acceptor.accept(A, Ballot(2, b"a"), theirs.joint([A, C, D])) is not None
    other = Acceptor().accept(C, Ballot(1, b"a"), theirs)
    assert other is not None
    assert other.accept(C, Ballot(2, b"a"), ours.joint([A, B, C])) is None


def test_those_who_create_on_one_list_are_of_one_history() -> None:
    one, two = created(record(b"x"), [A, B, C], None), created(record(b"y"), [C, B, A], None)
    assert one.origin == two.origin
    wider = created(record(b"z"), [A, B, C, D], None)
    assert wider.origin != one.origin
    assert wider.is_related(one)


@pytest.mark.parametrize(
    ("named", "view", "fitting"),
    [
        ((A, B), (A, B), True),
        ((A, B, C), (A, B), True),
        ((A, B), (A, B, C), False),
        ((), (A,), False),
        ((A, B, C, D), (A, B, C, PEERS[4]), True),
        ((A, B, C, PEERS[4]), (A, B, C, D), False),
    ],
)
def test_a_list_may_leave_out_nobody_who_is_nearer(
    named: tuple[PeerId, ...], view: tuple[PeerId, ...], fitting: bool
) -> None:
    assert fits(named, view, full=4, far={peer: peer[0] for peer in PEERS}) == fitting


@pytest.mark.parametrize("raw", [bytes(31), bytes(64), bytes(33)])
def test_what_is_no_list_of_peers_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        unpack_peers(raw)


def test_what_are_no_marks_is_refused() -> None:
    with pytest.raises(WireError):
        unpack_past(bytes(5))


def test_counters_grow_by_whole_rounds() -> None:
    assert next_counter(0, 7) == 2**32 + 7
    assert next_counter(2**33 + 5, 0) == 3 * 2**32


def test_a_change_of_the_list_that_reached_one_old_holder_alone_can_be_finished() -> None:
    old = created(record(b"v"), [A], None)
    joint = old.joint([A, B])
    preparing = Preparing([A, B])
    preparing.on_shown(A, Shown(True, 9, Ballot(5, b"a"), joint))
    assert not preparing.prepared
    preparing.on_shown(B, Shown(True, 9))
    assert preparing.prepared
    assert preparing.base == joint


def test_two_histories_whose_lists_were_being_joined_when_they_met_go_on_as_one() -> None:
    left = created(record(b"left"), PEERS[:3], None).joint(PEERS[:6])
    right = created(record(b"right", sequence=2), PEERS[3:6], None).joint(PEERS[:6])
    preparing = Preparing(PEERS[:6])
    for peer in PEERS[:3]:
        preparing.on_shown(peer, Shown(True, 9, Ballot(7, b"l"), left))
    assert preparing.base == left
    assert not preparing.prepared
    for peer in PEERS[3:6]:
        preparing.on_shown(peer, Shown(True, 9, Ballot(5, b"r"), right))
    assert preparing.base == right
    assert preparing.prepared


def test_who_has_a_history_that_wins_promises_nothing_to_one_that_lost() -> None:
    left = created(record(b"left"), [A, B], None)
    right = created(record(b"right", sequence=2), [C, D], None)
    preparing = Preparing([A, B])
    preparing.on_shown(A, Shown(True, 9, Ballot(7, b"l"), left))
    preparing.on_shown(B, Shown(True, 9, Ballot(5, b"r"), right))
    assert preparing.base == right
    assert not preparing.prepared
