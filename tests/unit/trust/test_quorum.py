"""What majorities promise, for every set of holders that answer, every order of answers, and some liars.

Small enough to try all of them. Single cases of the rules stand beside the node's tests.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, combinations, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.ids import PeerId
from peerd.records.record import Record
from peerd.records.version import Version
from peerd.trust.quorum import ReadQuorum, WriteQuorum, majority
from peerd.wire.limits import SEQUENCE_JUMP_MAX
from tests.vectors.cast import identity
from tests.vectors.make import record_body

PEERS = [PeerId(bytes([n]) * 32) for n in range(8)]
BODY = record_body(identity("alice"))


def version(sequence: int) -> Record:
    return Record(b"", BODY, Version(sequence, b"", b"", b""))


OLD, NEW = version(1), version(2)


def subsets(peers: Sequence[PeerId]) -> Iterator[frozenset[PeerId]]:
    found = chain.from_iterable(combinations(peers, size) for size in range(len(peers) + 1))
    return (frozenset(each) for each in found)


def written(asked: Sequence[PeerId], by: frozenset[PeerId], silent: frozenset[PeerId]) -> bool:
    """Whether a write is acknowledged when `by` have given receipts, `silent` are left out, the rest still to come."""
    quorum = WriteQuorum(asked)
    for peer in silent:
        quorum.on_left_out(peer)
    for peer in by:
        quorum.on_receipt(peer, b"receipt")
    return quorum.acknowledged


def reading(asked: Sequence[PeerId], answers: dict[PeerId, Record | None], silent: frozenset[PeerId]) -> ReadQuorum:
    """A read to which some have answered, and some are left out."""
    quorum = ReadQuorum(asked)
    for peer in silent:
        quorum.on_left_out(peer)
    for peer, record in answers.items():
        quorum.on_answer(peer, record)
    return quorum


@pytest.mark.parametrize("count", range(1, 50))
def test_two_majorities_always_meet_and_a_half_is_none(count: int) -> None:
    assert 2 * majority(count) > count
    assert 2 * (majority(count) - 1) <= count


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_read_sees_the_last_acknowledged_write_while_the_same_holders_answer(count: int) -> None:
    """All sets of dead holders, of holders that took the write, and of holders that answered the read so far."""
    holders, tried = PEERS[:count], 0
    for dead in subsets(holders):
        living = [peer for peer in holders if peer not in dead]
        for took in subsets(living):
            if not written(holders, took, dead):
                continue
            for answered in subsets(living):
                quorum = reading(holders, {peer: NEW if peer in took else OLD for peer in answered}, dead)
                if quorum.decided:
                    tried += 1
                    assert quorum.newest is NEW
    assert tried > 0


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_after_a_settled_read_no_later_read_returns_less(count: int) -> None:
    """A write may have reached any holders and be acknowledged by none: once it was read it stays."""
    holders = PEERS[:count]
    for have in subsets(holders):
        state = {peer: NEW if peer in have else OLD for peer in holders}
        for first in subsets(holders):
            quorum = reading(holders, {peer: state[peer] for peer in first}, frozenset())
            if not (quorum.decided and quorum.newest is NEW):
                continue
            for peer in list(quorum.stale):
                if quorum.settled:
                    break
                quorum.on_answer(peer, NEW)  # it was given the newest, and has it
            assert quorum.settled == (len(quorum.agreeing) >= majority(count))
            if not quorum.settled:
                continue
            now_have = have | set(quorum.agreeing)
            for second in subsets(holders):
                later = reading(holders, {peer: NEW if peer in now_have else OLD for peer in second}, frozenset())
                assert not later.decided or later.newest is NEW


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_nothing_is_said_to_be_absent_that_a_majority_of_its_holders_has(count: int) -> None:
    holders = PEERS[:count]
    for have, answered in product(subsets(holders), repeat=2):
        if len(have) < majority(count):
            continue
        silent = frozenset(holders) - answered
        quorum = reading(holders, {peer: NEW if peer in have else None for peer in answered}, silent)
        assert not quorum.absent(holders)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_absent_needs_a_majority_of_all_that_should_have_it_the_silent_counted(count: int) -> None:
    holders = PEERS[:count]
    for denying in subsets(holders):
        quorum = reading(holders, dict.fromkeys(denying), frozenset(holders) - denying)
        assert quorum.absent(holders) == (2 * len(denying) > count)
    assert not reading(holders, dict.fromkeys(holders), frozenset()).absent([])


@pytest.mark.parametrize("liars", [1, 2])
def test_liars_among_eight_holders_cannot_hide_a_write_that_enough_hold(liars: int) -> None:
    """Malkhi and Reiter: f liars of n, a write on ceil((n + f + 1) / 2). By symmetry it is on the first ones."""
    took = set(PEERS[: -(-(8 + liars + 1) // 2)])
    for lying in combinations(PEERS, liars):
        for answered in combinations(PEERS, majority(8)):
            told = {peer: NEW if peer in took and peer not in lying else OLD for peer in answered}
            quorum = reading(PEERS, told, frozenset())
            assert quorum.decided and quorum.newest is NEW


def test_the_order_of_answers_changes_nothing() -> None:
    answers = {PEERS[0]: OLD, PEERS[1]: NEW, PEERS[2]: None, PEERS[3]: NEW}
    outcomes = set()
    for order in permutations(answers):
        quorum = reading(PEERS[:5], {peer: answers[peer] for peer in order}, frozenset([PEERS[4]]))
        outcomes.add(
            (quorum.newest, quorum.decided, quorum.settled, frozenset(quorum.agreeing), frozenset(quorum.stale))
        )
    assert len(outcomes) == 1


EVENTS = st.lists(
    st.tuples(st.sampled_from(["ask", "answer", "nothing", "left out", "failed"]), st.sampled_from(PEERS[:5])),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_a_holder_counts_once_whatever_it_does(events: list[tuple[str, PeerId]]) -> None:
    read, write = ReadQuorum(PEERS[:5]), WriteQuorum(PEERS[:5])
    answered: set[PeerId] = set()
    for what, peer in events:
        if what == "ask":
            read.on_asked(peer)
            write.on_asked(peer)
        elif what == "left out":
            read.on_left_out(peer)
            write.on_left_out(peer)
        elif what == "failed":
            if peer in answered:
                continue
            read.on_failed(peer)
            write.on_left_out(peer)
        else:
            read.on_answer(peer, NEW if what == "answer" else None)
            write.on_receipt(peer, b"receipt")
            answered.add(peer)
    assert set(read.agreeing) | set(read.stale) == answered == set(write.receipts)
    assert not answered & read.waiting and not answered & write.waiting and not answered & write.failed
    assert len(read.agreeing) + len(read.stale) == len(answered)
    expected = 0 < len(answered) >= majority(len(answered) + len(read.waiting))
    assert read.decided == write.acknowledged == expected


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_an_answer_that_failed_counts_for_nothing_and_a_later_one_counts_again(count: int) -> None:
    for answered in subsets(PEERS[:count]):
        for failing in answered:
            quorum = reading(PEERS[:count], dict.fromkeys(answered, NEW), frozenset())
            without = reading(PEERS[:count], dict.fromkeys(answered - {failing}, NEW), frozenset([failing]))
            quorum.on_failed(failing)
            assert (quorum.decided, set(quorum.agreeing)) == (without.decided, set(without.agreeing))
            assert failing not in quorum.waiting
            quorum.on_answer(failing, NEW)
            assert set(quorum.agreeing) == answered


def test_nobody_is_decided_by_nobody() -> None:
    for silent in (frozenset[PeerId](), frozenset(PEERS[:3])):
        quorum = reading(PEERS[:3], {}, silent)
        assert not quorum.decided and not quorum.settled and not quorum.denied and not quorum.absent(PEERS[:3])
        assert not written(PEERS[:3], frozenset(), silent)


@pytest.mark.parametrize("required", [1, 3, 5])
def test_copies_that_were_asked_for_are_waited_for(required: int) -> None:
    quorum = WriteQuorum(PEERS[:5], required=required)
    for count, peer in enumerate(PEERS[:5], 1):
        quorum.on_receipt(peer, b"receipt")
        assert quorum.acknowledged == (count >= max(required, 3))


def test_among_few_a_version_is_over_where_as_many_show_a_floor_above_it_as_show_it() -> None:
    read = ReadQuorum(PEERS[:3])
    read.on_answer(PEERS[0], OLD)
    assert read.newest == OLD
    read.on_answer(PEERS[1], None, OLD.version[:3])
    assert (read.newest, read.over, read.denied, read.settled) == (None, OLD, True, True)
    read.on_answer(PEERS[2], OLD)
    assert (read.newest, read.over) == (OLD, None)
    read.on_answer(PEERS[0], None, NEW.version[:3])
    assert (read.newest, read.floor) == (None, NEW.version[:3])
    assert read.showing == [PEERS[2]]


@pytest.mark.parametrize("count", [4, 5, 8])
def test_a_version_is_over_where_most_of_all_that_were_asked_show_a_floor_above_it(count: int) -> None:
    for floors, having in product(range(count + 1), repeat=2):
        if floors + having > count or not having:
            continue
        read = ReadQuorum(PEERS[:count])
        for peer in PEERS[:having]:
            read.on_answer(peer, OLD)
        for peer in PEERS[having : having + floors]:
            read.on_answer(peer, None, OLD.version[:3])
        assert (read.newest is None) == (floors > having and floors >= majority(count))
        assert read.unsure == (read.newest is not None and floors > 0 and floors >= having)
        assert read.unknown == (read.newest is not None and floors > having)
        assert read.is_held == (having >= majority(count))


def test_three_liars_of_eight_hide_nothing_behind_floors_while_two_are_slow() -> None:
    read = ReadQuorum(PEERS[:8])
    for peer in PEERS[:3]:
        read.on_answer(peer, None, (2**61, b"", b""))
        read.on_answer(PEERS[3 + PEERS.index(peer)], OLD)
    assert read.newest == OLD
    assert read.unsure, "the slow ones are heard first"
    for peer in PEERS[6:8]:
        read.on_answer(peer, OLD)
    assert read.newest == OLD
    assert not read.unsure


FAR = version(SEQUENCE_JUMP_MAX + 2)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_version_out_of_reach_is_passed_over_unless_most_have_it(order: tuple[int, ...]) -> None:
    said = [FAR, OLD, OLD]
    read = ReadQuorum(PEERS[:5])
    for index in order:
        read.on_answer(PEERS[index], said[index])
    assert read.newest == OLD
    for peer in PEERS[3:5]:
        read.on_answer(peer, FAR)
    assert read.newest == FAR


def test_a_floor_out_of_reach_of_one_is_nothing_to_write_above() -> None:
    read = ReadQuorum(PEERS[:5])
    read.on_answer(PEERS[0], OLD)
    read.on_answer(PEERS[1], None, (2**61, b"", b""))
    assert read.floor is None
    read.on_answer(PEERS[2], None, (7, b"", b""))
    assert read.floor == (7, b"", b"")
    for peer in PEERS[3:5]:
        read.on_answer(peer, None, (2**61, b"", b""))
    assert read.floor == (2**61, b"", b"")


def test_a_version_above_all_floors_lives_however_many_they_are() -> None:
    read = ReadQuorum(PEERS[:5])
    for peer in PEERS[:4]:
        read.on_answer(peer, None, OLD.version[:3])
    read.on_answer(PEERS[4], NEW)

    assert read.newest == NEW
    assert read.floor == OLD.version[:3]


def test_the_floor_that_most_agree_on_is_what_no_minority_can_raise() -> None:
    for shown in product((None, OLD, NEW), repeat=5):
        read = ReadQuorum(PEERS[:5])
        for peer, each in zip(PEERS, shown, strict=False):
            read.on_answer(peer, None, each.version[:3] if each is not None else None)
        agreed = read.agreed_floor
        saying = {each: sum(e is not None and e.version >= each.version for e in shown) for each in (OLD, NEW)}
        assert agreed == next((each.version[:3] for each in (NEW, OLD) if saying[each] >= majority(5)), None)


# A crowded region: most of those asked may be there to lie.


def crowd(own: PeerId | None = None) -> ReadQuorum:
    return ReadQuorum(PEERS, crowded=True, own=own)


def test_in_a_crowded_region_only_our_own_floor_hides_a_record() -> None:
    read = crowd(own=PEERS[7])
    read.on_answer(PEERS[0], OLD)
    for peer in PEERS[1:7]:
        read.on_answer(peer, None, NEW.version[:3])
    assert (read.newest, read.agreed_floor) == (OLD, None)
    read.on_answer(PEERS[7], None, NEW.version[:3])
    assert (read.newest, read.over) == (None, OLD)
    assert read.agreed_floor == NEW.version[:3]


def test_in_a_crowded_region_one_record_counts_and_nobody_is_left_unheard() -> None:
    read = crowd()
    for peer in PEERS[1:7]:
        read.on_answer(peer, None)
    assert not read.decided
    assert not read.absent(PEERS)
    read.on_answer(PEERS[0], NEW)
    assert not read.settled
    read.on_answer(PEERS[7], OLD)
    assert (read.newest, read.decided, read.settled, read.stale) == (NEW, True, False, [PEERS[7]])
    read.on_failed(PEERS[7])
    assert read.settled


def test_in_a_crowded_region_a_key_is_absent_only_where_all_say_so() -> None:
    read = crowd()
    for peer in PEERS[1:]:
        read.on_answer(peer, None)
    read.on_left_out(PEERS[0])
    assert not read.absent(PEERS)
    read.on_answer(PEERS[0], None)
    assert read.absent(PEERS)


def test_in_a_crowded_region_a_write_waits_for_all_that_are_not_silent() -> None:
    write = WriteQuorum(PEERS, crowded=True)
    for peer in PEERS[1:]:
        write.on_receipt(peer, b"receipt")
    assert not write.acknowledged
    write.on_left_out(PEERS[0])
    assert write.acknowledged


def doubting(asked: Sequence[PeerId], **more: object) -> ReadQuorum:
    """A read in which the new version may have been signed by who stole a key."""
    return ReadQuorum(asked, is_doubted=lambda record: record is NEW, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", range(1, 9))
def test_what_is_doubted_counts_where_most_of_those_asked_show_it(count: int) -> None:
    for showing in range(count + 1):
        quorum = doubting(PEERS[:count])
        for number, peer in enumerate(PEERS[:count]):
            quorum.on_answer(peer, NEW if number < showing else OLD)
            if number + 1 < majority(count):
                assert quorum.newest is not NEW  # the others may still show something else
        assert quorum.newest is (NEW if showing >= majority(count) else OLD)


def test_who_is_left_out_has_no_voice_on_what_is_doubted() -> None:
    quorum = doubting(PEERS[:4])
    quorum.on_answer(PEERS[0], NEW)
    quorum.on_answer(PEERS[1], NEW)
    assert quorum.newest is None
    quorum.on_left_out(PEERS[2])
    assert quorum.newest is NEW


def test_in_a_crowd_what_is_doubted_counts_where_it_is_here() -> None:
    quorum = doubting(PEERS, crowded=True, own=PEERS[7])
    for peer in PEERS[:7]:
        quorum.on_answer(peer, NEW)
    assert quorum.newest is None
    quorum.on_answer(PEERS[7], OLD)
    assert quorum.newest is OLD
    quorum.on_answer(PEERS[7], NEW)
    assert quorum.newest is NEW
