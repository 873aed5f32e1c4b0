"""Two sides that reconcile end with exactly what differs, at a cost in proportion to it."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import WireError
from peerd.swarm.itemset import END, ItemSet
from peerd.swarm.ranges import ASKED_MAX, Answered, Comparing, answer, cut
from peerd.wire import limits
from peerd.wire.codec import encode
from peerd.wire.frames import ITEM_BYTES, KEY_BYTES
from peerd.wire.reconcile import FINGERPRINT, ITEMS, LATER, MARK_BYTES, NO_MARK, SAME, RangeBody, ranges_codec

ALL = [(b"", END)]


def key(number: int) -> bytes:
    return hashlib.sha256(b"key %d" % number).digest()


def mark(number: int) -> bytes:
    return hashlib.sha256(b"mark %d" % number).digest()[:MARK_BYTES]


def made(items: Iterable[tuple[bytes, bytes]]) -> ItemSet:
    made = ItemSet()
    for each, its in items:
        made.put(each, its)
    return made


def whole(items: ItemSet, asked: list[RangeBody]) -> Answered:
    *_, last = answer(items, asked)
    return last


class Session:
    """One whole session, over the wire's own form, counted."""

    def __init__(self, ours: ItemSet, theirs: ItemSet, scope: list[tuple[bytes, bytes]] | None = None) -> None:
        self.rounds = self.sent_bytes = 0
        self.differing: dict[bytes, bytes | None] = {}
        self.ranges: list[tuple[bytes, bytes]] = []
        comparing = Comparing(ours, scope or ALL)
        while (question := comparing.next()) is not None:
            asked = encode(question)
            told = whole(theirs, ranges_codec.decode_canonical(asked))
            said = encode(told.answer)
            assert len(asked) <= limits.RANGES_MAX_BYTES
            assert len(said) <= limits.RANGES_MAX_BYTES
            comparing.receive(ranges_codec.decode_canonical(said))
            found = comparing.found()
            self.differing.update(found.differing)
            self.ranges += found.ranges
            self.rounds += 1
            self.sent_bytes += len(asked) + len(said)
            assert self.rounds < 1000


def difference(ours: dict[bytes, bytes], theirs: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    return {each: theirs.get(each) for each in {*ours, *theirs} if ours.get(each) != theirs.get(each)}


small_keys = st.integers(0, 255).map(lambda number: bytes([number]) * KEY_BYTES)
marks = st.integers(1, 3).map(mark)
dicts = st.dictionaries(st.one_of(small_keys, st.integers(0, 400).map(key)), marks, max_size=200)


@given(dicts, dicts)
def test_a_session_finds_exactly_what_differs(ours: dict[bytes, bytes], theirs: dict[bytes, bytes]) -> None:
    session = Session(made(ours.items()), made(theirs.items()))
    assert session.differing == difference(ours, theirs)


@pytest.mark.slow
@given(dicts, st.lists(st.tuples(st.integers(0, 400), st.sampled_from([0, 1, 2, 3])), max_size=40))
def test_a_session_finds_few_changes_among_many(base: dict[bytes, bytes], changes: list[tuple[int, int]]) -> None:
    base = {**base, **{key(number): mark(9) for number in range(300)}}
    other = dict(base)
    for number, its in changes:
        if its:
            other[key(number)] = mark(its)
        else:
            other.pop(key(number), None)
    session = Session(made(base.items()), made(other.items()))
    assert session.differing == difference(base, other)


@given(dicts, dicts, st.lists(st.binary(min_size=1, max_size=32), max_size=6))
def test_only_what_is_in_scope_is_compared(
    ours: dict[bytes, bytes], theirs: dict[bytes, bytes], bounds: list[bytes]
) -> None:
    edges = sorted(set(bounds))
    scope = [(edges[at], edges[at + 1]) for at in range(0, len(edges) - 1, 2)]
    session = Session(made(ours.items()), made(theirs.items()), scope) if scope else None
    expected = {
        each: there
        for each, there in difference(ours, theirs).items()
        if any(low <= each < high for low, high in scope)
    }
    assert (session.differing if session else {}) == expected


@given(dicts, st.lists(st.binary(min_size=32, max_size=32), max_size=5))
def test_cuts_leave_the_scope_what_it_is(ours: dict[bytes, bytes], cuts: list[bytes]) -> None:
    scope = [(b"\x10", b"\x80"), (b"\x90", END)]
    parted = cut(scope, cuts)
    assert parted[0][0] == b"\x10"
    items = made(ours.items())
    assert sum(items.count(low, high) for low, high in parted) == sum(items.count(low, high) for low, high in scope)
    assert all(parted[at][1] <= parted[at + 1][0] for at in range(len(parted) - 1))


@pytest.mark.may_block
@pytest.mark.parametrize(("differences", "bytes_max", "rounds_max"), [(0, 100, 1), (1, 3_000, 3), (100, 200_000, 12)])
def test_the_cost_follows_the_difference(differences: int, bytes_max: int, rounds_max: int, rng: Random) -> None:
    items = {key(number): mark(number) for number in range(10_000)}
    other = dict(items)
    for each in rng.sample(sorted(items), differences):
        other[each] = mark(-1)
    session = Session(made(items.items()), made(other.items()))
    assert len(session.differing) == differences
    assert session.sent_bytes <= bytes_max, (session.sent_bytes, session.rounds)
    assert session.rounds <= rounds_max, (session.sent_bytes, session.rounds)


@pytest.mark.may_block
def test_a_peer_with_nothing_is_told_each_item_once() -> None:
    items = made((key(number), mark(number)) for number in range(10_000))
    session = Session(ItemSet(), items)
    assert len(session.differing) == 10_000
    assert session.sent_bytes < 10_000 * ITEM_BYTES * 1.02
    assert session.rounds < 8


@pytest.mark.may_block
def test_a_peer_with_everything_learns_that_the_other_has_nothing() -> None:
    items = made((key(number), mark(number)) for number in range(1_000))
    session = Session(items, ItemSet())
    assert session.differing == {key(number): None for number in range(1_000)}


def test_what_was_compared_covers_the_scope() -> None:
    ours = made((key(number), mark(number)) for number in range(500))
    theirs = made((key(number), mark(number % 499)) for number in range(10, 500))
    ranges = sorted(Session(ours, theirs).ranges)
    assert ranges[0][0] == b""
    assert all(ranges[at][1] == ranges[at + 1][0] for at in range(len(ranges) - 1))
    assert ranges[-1][1] == END


@pytest.mark.parametrize(
    "asked",
    [
        [RangeBody(b"\x20", FINGERPRINT, bytes(16)), RangeBody(b"\x20", FINGERPRINT, bytes(16))],
        [RangeBody(b"\x20", FINGERPRINT, bytes(16)), RangeBody(b"\x10", SAME, b"")],
        [RangeBody(END, SAME, b""), RangeBody(b"\x10", SAME, b"")],
        [RangeBody(END, FINGERPRINT, bytes(15))],
        [RangeBody(END, LATER, b"")],
        [RangeBody(END, ITEMS, bytes(ITEM_BYTES - 1))],
        [RangeBody(b"\x10", ITEMS, key(0)[:0] + b"\x11" * KEY_BYTES + NO_MARK)],
        [RangeBody(END, ITEMS, (b"\x12" * KEY_BYTES + NO_MARK) + (b"\x11" * KEY_BYTES + NO_MARK))],
        [RangeBody(END, ITEMS, (b"\x12" * KEY_BYTES + NO_MARK) * 2)],
        [RangeBody(number.to_bytes(2, "big"), SAME, b"") for number in range(1, 3 * ASKED_MAX)],
    ],
)
def test_a_question_that_breaks_the_rules_is_refused(asked: list[RangeBody]) -> None:
    with pytest.raises(WireError):
        whole(made([(key(1), mark(1))]), asked)


@pytest.mark.parametrize(
    "told",
    [
        [],
        [RangeBody(END, LATER, b"")],
        [RangeBody(b"\x80", SAME, b"")],
        [RangeBody(b"\x80", SAME, b""), RangeBody(b"\x70", SAME, b""), RangeBody(END, SAME, b"")],
        [RangeBody(END, ITEMS, bytes(5))],
        [RangeBody(b"\x10", ITEMS, b"\x20" * KEY_BYTES + NO_MARK), RangeBody(END, SAME, b"")],
    ],
)
def test_an_answer_that_breaks_the_rules_is_refused(told: list[RangeBody]) -> None:
    comparing = Comparing(made((key(number), mark(number)) for number in range(100)), ALL)
    comparing.next()
    with pytest.raises(WireError):
        comparing.receive(told)


def test_an_answer_of_ranges_that_were_not_asked_of_is_refused() -> None:
    comparing = Comparing(
        made((b"\x30" * 31 + bytes([number]), mark(number)) for number in range(100)), [(b"\x20", b"\x40")]
    )
    assert [body.kind for body in comparing.next() or ()] == [SAME, FINGERPRINT]
    with pytest.raises(WireError):
        comparing.receive([RangeBody(b"\x20", ITEMS, b""), RangeBody(b"\x40", SAME, b"")])


@given(st.lists(st.builds(RangeBody, st.binary(max_size=3), st.integers(0, 3), st.binary(max_size=60)), max_size=6))
def test_whatever_is_asked_ends_in_an_answer_or_a_wire_error(asked: list[RangeBody]) -> None:
    items = made((key(number), mark(number)) for number in range(50))
    try:
        for _ in answer(items, asked):
            pass
    except WireError:
        pass


@given(st.lists(st.builds(RangeBody, st.binary(max_size=3), st.integers(0, 3), st.binary(max_size=60)), max_size=6))
def test_whatever_is_answered_ends_in_progress_or_a_wire_error(told: list[RangeBody]) -> None:
    comparing = Comparing(made((key(number), mark(number)) for number in range(50)), ALL)
    comparing.next()
    with suppress(WireError):
        comparing.receive(told)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3)), max_size=600))
def test_the_set_is_that_of_its_changes_in_any_order(changes: list[tuple[int, int]]) -> None:
    items, expected = ItemSet(), {}
    for number, its in changes:
        if its:
            items.put(key(number), mark(its))
            expected[key(number)] = mark(its)
        else:
            items.discard(key(number))
            expected.pop(key(number), None)
    fresh = made(expected.items())
    assert len(items) == len(expected)
    assert [item[:KEY_BYTES] for item in items.items(b"", END)] == sorted(expected)
    assert all(items.mark(each) == its for each, its in expected.items())
    for low, high in [(b"", END), (b"\x40", b"\xa0"), (key(3), END), (b"\xf0", b"\x01")]:
        assert items.fingerprint(low, high) == fresh.fingerprint(low, high)
        assert items.count(low, high) == sum(low <= each and (high == END or each < high) for each in expected)


def test_fingerprints_differ_where_sets_do() -> None:
    items = made((key(number), mark(number)) for number in range(200))
    before = items.fingerprint(b"", END)
    items.put(key(7), mark(8))
    after = items.fingerprint(b"", END)
    items.discard(key(7))
    assert len({before, after, items.fingerprint(b"", END)}) == 3
    items.put(key(7), mark(7))
    assert items.fingerprint(b"", END) == before
