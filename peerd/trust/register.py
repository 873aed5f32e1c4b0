"""A register: one value for a key, agreed by a majority of a list of holders that the register itself carries.

CASPaxos (Rystsov 2018, arXiv:1802.07000): no log and no leader; each change is one round of prepare and accept in which
the new state is made from the newest accepted one. The list of holders is part of the state, and changed in two rounds
by joint majorities (Ongaro 2014, "Consensus: Bridging Theory and Practice", 4.3). Pure: no clock, no I/O, no chance.

Why a list may be changed while others write: a state's quorum is more than half of each of its lists; a round needs the
promises of a quorum of the state it starts from and acceptance by quorums of that and of the new one. Epochs say which
lists are known to be chosen: only who knows that a joint list was chosen may propose the list that follows it, for an
acceptor that took the follower early would else let a later round forget the joint one.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.ids import ID_BYTES, PeerId
from peerd.records.record import Record, read_record
from peerd.trust.forgotten import NOBODY, Gone
from peerd.trust.quorum import majority
from peerd.wire import limits
from peerd.wire.codec import Codec, encode

ORIGIN_BYTES = 8
MARK_BYTES = 6
FIRST_EPOCH = 1
_ROUND_BITS = 32
_TAG_ORIGIN = b"peerd/1 register origin\x00"


class Ballot(NamedTuple):
    """Who proposes, and the how manieth time; higher ones overtake lower ones."""

    counter: int
    peer: bytes


NO_BALLOT = Ballot(0, b"")


def next_counter(highest: int, chance: int) -> int:
    """Return a counter above `highest`; `chance` are 32 random bits, so that no restart uses one twice."""
    return min(((highest >> _ROUND_BITS) + 1) << _ROUND_BITS | chance, limits.BALLOT_MAX)


@dataclass(frozen=True, slots=True)
class State:
    """What the register says: its record, its history, and who holds it.

    `past` are the marks of the versions before this one, newest last.
    """

    record: bytes
    origin: bytes
    epoch: int
    holders: tuple[PeerId, ...]
    previous: tuple[PeerId, ...] = ()
    past: tuple[bytes, ...] = ()

    @property
    def peers(self) -> tuple[PeerId, ...]:
        """All who are in one of the lists."""
        return tuple(dict.fromkeys((*self.holders, *self.previous)))

    @property
    def value(self) -> Record:
        """The record, read."""
        return read_record(self.record)

    def has_quorum(self, peers: Collection[PeerId], gone: Gone = NOBODY) -> bool:
        """Whether `peers` hold a majority of each list; who is `gone` for good, as its people say, does not count."""
        return has_majority(self.holders, peers, gone) and (
            not self.previous or has_majority(self.previous, peers, gone)
        )

    def has_one_of_each_quorum(self, peers: Collection[PeerId]) -> bool:
        """Whether in each list whoever is not among `peers` is no majority: nothing was chosen without one of these."""
        lists = (self.holders, self.previous) if self.previous else (self.holders,)
        return not any(has_majority(each, [peer for peer in each if peer not in peers]) for each in lists)

    def is_over(self, other: "State") -> bool:
        """Whether this history wins over that of `other`, where the two began apart."""
        return self._rank() > other._rank()

    def _rank(self) -> tuple[object, ...]:
        return (self.value.version, self.epoch, self.origin)

    def is_related(self, other: "State") -> bool:
        """Whether both are of one history, so that ballots say which came later.

        Histories that began on lists whose majorities always meet are one: each proposer would have seen the other's.
        """
        if self.origin == other.origin:
            return True
        if self.epoch != FIRST_EPOCH or other.epoch != FIRST_EPOCH:
            return False
        together = len({*self.holders, *other.holders})
        return majority(len(self.holders)) + majority(len(other.holders)) > together

    def written(self, record: Record) -> "State":
        """Return the state with a new record."""
        past = (*self.past, mark(self.value))[-limits.REGISTER_PAST_MAX :]
        return replace(self, record=record.raw, past=past)

    def joint(self, holders: Iterable[PeerId]) -> "State":
        """Return the state in which the list is being changed to `holders`."""
        assert not self.previous, "one change at a time"
        return replace(self, epoch=self.epoch + 1, holders=tuple(holders), previous=self.holders)

    def cleared(self) -> "State":
        """Return the state after the change; only where the joint one is known to be chosen."""
        return replace(self, epoch=self.epoch + 1, previous=())


def created(record: Record, holders: Iterable[PeerId], before: Record | None) -> State:
    """Return the first state of a history; `before` is the plain version that it follows.

    The origin is derived from the list, so that those who create the same register at the same time agree.
    """
    members = tuple(holders)
    origin = hashlib.sha256(_TAG_ORIGIN + record.key + pack_peers(sorted(members))).digest()[:ORIGIN_BYTES]
    return State(record.raw, origin, FIRST_EPOCH, members, past=(mark(before),) if before is not None else ())


def mark(record: Record) -> bytes:
    """Return what stands for a version in `past`."""
    return record.body.nonce[:MARK_BYTES]


def has_majority(members: Collection[PeerId], peers: Collection[PeerId], gone: Gone = NOBODY) -> bool:
    """Whether more than half of `members`, those that are `gone` left out, are among `peers`."""
    away = gone.among(members)
    left = [member for member in members if member not in away]
    return bool(left) and sum(1 for member in left if member in peers) >= majority(len(left))


def pack_peers(peers: Iterable[PeerId]) -> bytes:
    """Return ids as they travel."""
    return b"".join(peers)


def unpack_peers(raw: bytes) -> tuple[PeerId, ...]:
    """Return the ids in `raw`; raises WireError where it is no list of different ids."""
    peers = tuple(PeerId(raw[at : at + ID_BYTES]) for at in range(0, len(raw), ID_BYTES))
    if len(raw) % ID_BYTES or len(set(peers)) != len(peers):
        raise WireError("peer_list")
    return peers


def unpack_past(raw: bytes) -> tuple[bytes, ...]:
    """Return the marks in `raw`; raises WireError."""
    if len(raw) % MARK_BYTES:
        raise WireError("past")
    return tuple(raw[at : at + MARK_BYTES] for at in range(0, len(raw), MARK_BYTES))


# The acceptor.


@dataclass(frozen=True, slots=True)
class Acceptor:
    """What one holder has promised and accepted; durable before it is answered for.

    `lost` says that the store came back from a copy, so that promises may be forgotten: it answers for nothing until it
    has learned again what it may have accepted, or is taken into the list anew.
    """

    promised: Ballot = NO_BALLOT
    accepted: Ballot = NO_BALLOT
    state: State | None = None
    lost: bool = False

    def promise(self, ballot: Ballot) -> "Acceptor | None":
        """Return the acceptor that has promised `ballot`, None where it cannot."""
        if self.lost or ballot < self.promised:
            return None
        return replace(self, promised=ballot)

    def accept(self, own: PeerId, ballot: Ballot, state: State) -> "Acceptor | None":
        """Return the acceptor that has accepted, None where it cannot."""
        if self.lost:
            if own not in state.holders or not state.previous or own in state.previous:
                return None
        elif ballot < self.promised:
            return None
        elif self.state is None:
            if own not in state.peers:
                return None
        elif self.state.is_related(state):
            if state.epoch < self.state.epoch:
                return None
        elif not state.is_over(self.state):
            return None
        return Acceptor(ballot, ballot, state)


def learned_again(own: PeerId, lost: Acceptor, ballot: Ballot, preparing: "Preparing") -> Acceptor | None:
    """Return the acceptor that a lost one becomes by a round of its own with `ballot`; None where too few promised.

    Whatever was chosen with it, one of those that promised accepted too; and whatever is still under way with a lower
    ballot they refuse. Who was alone in the list has nobody to ask.
    """
    preparing.on_shown(own, Shown(False, 0, lost.accepted, lost.state))
    base = preparing.base
    if base is None:
        return None
    promisers = preparing.promisers - {own}
    if set(base.peers) != {own} and not base.has_one_of_each_quorum(promisers):
        return None
    return Acceptor(ballot, preparing.base_ballot, base)


class _Row(Struct, array_like=True, frozen=True):
    """An acceptor as the store keeps it."""

    store: bytes
    promised: tuple[int, bytes]
    accepted: tuple[int, bytes]
    record: bytes
    origin: bytes
    epoch: Annotated[int, Meta(ge=0)]
    holders: bytes
    previous: bytes
    past: bytes


_rows: Codec[_Row] = Codec(_Row)


def encode_acceptor(acceptor: Acceptor, store: bytes) -> bytes:
    """Return what the store named `store` keeps."""
    state = acceptor.state or State(b"", b"", 0, ())
    return encode(
        _Row(
            store,
            (acceptor.promised.counter, acceptor.promised.peer),
            (acceptor.accepted.counter, acceptor.accepted.peer),
            state.record,
            state.origin,
            state.epoch,
            pack_peers(state.holders),
            pack_peers(state.previous),
            b"".join(state.past),
        )
    )


def encode_lost() -> bytes:
    """Return what a store keeps where it came back from a copy of before the register was made."""
    return encode_acceptor(Acceptor(), b"")


def decode_acceptor(raw: bytes | None, store: bytes) -> Acceptor:
    """Return the acceptor that the store named `store` kept; raises WireError where it is none."""
    if raw is None:
        return Acceptor()
    row = _rows.decode(raw)
    state = None
    if row.record:
        lists = unpack_peers(row.holders), unpack_peers(row.previous)
        state = State(row.record, row.origin, row.epoch, *lists, unpack_past(row.past))
    return Acceptor(Ballot(*row.promised), Ballot(*row.accepted), state, lost=row.store != store)


# The proposer.


@dataclass(frozen=True, slots=True)
class Shown:
    """What one acceptor answered to a prepare: whether it promised, and what it has."""

    ok: bool
    promised: int
    accepted: Ballot = NO_BALLOT
    state: State | None = None


class Preparing:
    """The first phase of one round, or a question that binds nobody: who promised what, and what follows from it."""

    def __init__(self, expected: Iterable[PeerId], gone: Gone = NOBODY) -> None:
        self.gone = gone
        """Who will not come back, as its people say: no list counts it any more."""
        self.expected = tuple(expected)
        """Who should hold the key, as far as the proposer knows; the list of a register that is new."""
        self.shown: dict[PeerId, Shown] = {}

    def on_shown(self, peer: PeerId, shown: Shown) -> None:
        """An acceptor answered; of two answers of one the later counts."""
        self.shown[peer] = shown

    @property
    def highest(self) -> int:
        """The highest counter that anybody has promised."""
        return max((max(one.promised, one.accepted.counter) for one in self.shown.values()), default=0)

    @property
    def preempted(self) -> bool:
        """Whether somebody promised a higher ballot to another."""
        return any(not one.ok and one.promised for one in self.shown.values())

    @property
    def base(self) -> State | None:
        """The state to go on from: of the history that wins, what was accepted last."""
        return self._base()[1]

    @property
    def base_ballot(self) -> Ballot:
        """The ballot with which it was accepted."""
        return self._base()[0]

    def _base(self) -> tuple[Ballot, State | None]:
        best: tuple[Ballot, State | None] = (NO_BALLOT, None)
        for one in sorted(self.shown.values(), key=lambda one: one.accepted):
            if one.state is None:
                continue
            if best[1] is None or one.state.is_related(best[1]) or one.state.is_over(best[1]):
                best = (one.accepted, one.state)
        return best

    @property
    def to_ask(self) -> tuple[PeerId, ...]:
        """Everybody whose answer may matter: who should hold the key, and all in any list that was shown."""
        named = [peer for one in self.shown.values() if one.state is not None for peer in one.state.peers]
        return tuple(dict.fromkeys((*self.expected, *named)))

    @property
    def promisers(self) -> set[PeerId]:
        """Whose promises count for the base."""
        base = self.base
        return {peer for peer, one in self.shown.items() if one.ok and self._counts(one, base)}

    @staticmethod
    def _counts(one: Shown, base: State | None) -> bool:
        if one.state is None:
            return True  # who has accepted nothing knows nothing that could be lost
        # Nor does who has a history that lost: along each history the versions and epochs rise, so that what it ever
        # accepted of the one that wins is older than this.
        return base is not None and (one.state.is_related(base) or base.is_over(one.state))

    @property
    def prepared(self) -> bool:
        """Whether enough have promised."""
        base, promisers = self.base, self.promisers
        if base is None:
            return has_majority(self.expected, promisers, self.gone)
        return base.has_quorum(promisers, self.gone)

    @property
    def settled(self) -> bool:
        """Whether the base is known to be chosen, and newer than all that was chosen before the question was asked."""
        ballot, base = self._base()
        if base is None:
            return False
        same = {p for p, one in self.shown.items() if one.accepted == ballot and one.state == base}
        return base.has_quorum(same, self.gone)


class Accepting:
    """The second phase: whether the new state is chosen."""

    def __init__(self, base: State | None, state: State, gone: Gone = NOBODY) -> None:
        self.gone = gone
        self.base = base
        self.state = state
        self.accepted: set[PeerId] = set()
        self.refused: set[PeerId] = set()
        self.highest = 0

    def on_accepted(self, peer: PeerId) -> None:
        """An acceptor has it on its disk."""
        self.refused.discard(peer)
        self.accepted.add(peer)

    def on_refused(self, peer: PeerId, promised: int) -> None:
        """An acceptor will not, having promised a higher ballot or accepted something newer."""
        self.refused.add(peer)
        self.highest = max(self.highest, promised)

    @property
    def to_ask(self) -> tuple[PeerId, ...]:
        """Everybody who should accept."""
        return tuple(dict.fromkeys((*self.state.peers, *(self.base.peers if self.base is not None else ()))))

    @property
    def chosen(self) -> bool:
        """Whether it is decided for good."""
        return self._is_enough(self.accepted)

    @property
    def hopeless(self) -> bool:
        """Whether too many have refused for it to be chosen with this ballot."""
        rest = [peer for peer in self.to_ask if peer not in self.refused]
        return not self._is_enough(rest)

    def _is_enough(self, peers: Collection[PeerId]) -> bool:
        return self.state.has_quorum(peers, self.gone) and (self.base is None or self.base.has_quorum(peers, self.gone))


def fits(holders: Iterable[PeerId], own_view: Iterable[PeerId], *, full: int, far: dict[PeerId, int]) -> bool:
    """Whether a list for a new register leaves out nobody whom this peer expects in it.

    `far` has the distance of each peer from the key. Peers that this one does not know may be in the list: they only
    make its majorities larger.
    """
    named = set(holders)
    if not named:
        return False
    farthest = max(far[peer] for peer in named)
    return all(peer in named for peer in own_view if len(named) < full or far[peer] <= farthest)
