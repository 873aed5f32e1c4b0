"""The checker of histories, held against known ones and against every order there is."""

import itertools
import random

import pytest

from peerd.errors import UsageError
from peerd.sim import linear
from peerd.sim.linear import Operation, apply, unordered


def _read(began_s, returned_s, value):
    return Operation("read", began_s, returned_s, value)


def _write(began_s, returned_s, value):
    return Operation("write", began_s, returned_s, value)


def _delete(began_s, returned_s, *, done=True):
    return Operation("delete", began_s, returned_s, done=done)


def _cas(began_s, returned_s, expected, value, *, done=True):
    return Operation("cas", began_s, returned_s, value, expected, done)


GOOD = {
    "nothing happened": [],
    "one after the other": [_write(0, 1, b"a"), _read(2, 3, b"a"), _delete(4, 5), _read(6, 7, None)],
    "a read beside a write may see either": [_write(0, 9, b"a"), _read(1, 2, None), _read(3, 4, b"a")],
    "writes beside each other, in either order": [_write(0, 9, b"a"), _write(0, 9, b"b"), _read(10, 11, b"a")],
    "a write without an answer takes effect late": [_write(0, None, b"a"), _read(5, 6, None), _read(7, 8, b"a")],
    "a write without an answer never takes effect": [_write(0, None, b"a"), _read(5, 6, None), _read(7, 8, None)],
    "a read without an answer says nothing": [_read(0, None, b"never")],
    "a refused cas": [_write(0, 1, b"a"), _cas(2, 3, b"b", b"c", done=False), _read(4, 5, b"a")],
    "a cas without an answer may have lost": [_cas(0, None, b"z", b"c"), _read(4, 5, None)],
    "increments in a row": [_cas(i, i + 0.5, b"%d" % i if i else None, b"%d" % (i + 1)) for i in range(20)],
    "rm of nothing": [_delete(0, 1, done=False)],
    "ends that touch overlap": [_write(0, 1, b"a"), _read(1, 2, None)],
}
BAD = {
    "a stale read": [_write(0, 1, b"a"), _write(2, 3, b"b"), _read(4, 5, b"a")],
    "a value that comes back": [_write(0, 9, b"a"), _read(1, 2, b"a"), _read(3, 4, None)],
    "a lost update": [_write(0, 1, b"a"), _read(2, 3, None)],
    "a doubled increment": [_cas(0, 5, None, b"1"), _cas(0, 5, None, b"1")],
    "a resurrected key": [_write(0, 1, b"a"), _delete(2, 3), _read(4, 5, b"a")],
    "bytes that nobody wrote": [_read(0, 1, b"x")],
    "a cas refused though it matched": [_write(0, 1, b"a"), _cas(2, 3, b"a", b"b", done=False)],
    "readers that disagree": [
        *(_write(0, 1, b"a"), _write(0, 1, b"b")),
        *(_read(2, 3, b"a"), _read(4, 5, b"b"), _read(6, 7, b"a")),
    ],
    "rm of nothing though there was something": [_write(0, 1, b"a"), _delete(2, 3, done=False)],
    "an effect before its cause": [_read(0, 1, b"a"), _write(2, None, b"a")],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_a_history_that_a_register_could_show_is_taken(history):
    assert unordered(history) == []


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_a_history_that_no_register_could_show_is_refused(history):
    assert unordered(history) != []


def test_what_could_not_be_placed_is_named():
    stale = _read(4, 5, b"a")
    assert unordered([_write(0, 1, b"a"), _write(2, 3, b"b"), stale]) == [stale]
    assert stale.text() == "[4.000000..5.000000]  read a"


def _some(rng):
    """Return a short history, most of them wrong in one way or another."""
    history = []
    for _ in range(rng.randrange(1, 6)):
        began_s = rng.randrange(8)
        returned_s = None if rng.random() < 0.3 else began_s + rng.randrange(1, 5)
        kind = rng.choice(["read", "write", "delete", "cas", "read"])
        value, expected = rng.choice([b"a", b"b"]), rng.choice([b"a", b"b", None])
        if kind == "read":
            value = rng.choice([b"a", b"b", None])
        history.append(Operation(kind, began_s, returned_s, value, expected, done=rng.random() < 0.8))
    return history


def _by_trying_all(history):
    """Return whether some choice and order of the operations fits, by going through them all."""
    told = [operation for operation in history if operation.kind != "read" or operation.returned_s is not None]
    known = [operation for operation in told if operation.returned_s is not None]
    for count in range(len(known), len(told) + 1):
        for order in itertools.permutations(range(len(told)), count):
            chosen = [told[number] for number in order]
            if all(any(one is other for other in chosen) for one in known) and _fits(chosen):
                return True
    return False


def _fits(order):
    for earlier, later in itertools.combinations(order, 2):
        if later.returned_s is not None and later.returned_s < earlier.began_s:
            return False
    value = None
    for operation in order:
        fits, value = apply(value, operation)
        if not fits:
            return False
    return True


def test_it_agrees_with_going_through_all_orders(seed):
    rng = random.Random(seed)
    verdicts = []
    for _ in range(1500):
        history = _some(rng)
        verdicts.append(unordered(history) == [])
        assert verdicts[-1] == _by_trying_all(history), history
    assert 100 < sum(verdicts) < 1400


@pytest.mark.slow
def test_long_histories_of_many_writers_are_checked_in_time(rng):
    """Twenty that increment at a time, an eighth without an answer: the true order is hidden, and found."""
    history, now_s = [], 0.0
    for count in range(300):
        now_s += rng.random()
        took_s = rng.expovariate(0.1)
        returned_s = None if rng.random() < 0.12 else now_s + took_s
        history.append(_cas(now_s - took_s, returned_s, b"%d" % count if count else None, b"%d" % (count + 1)))
        history.append(_cas(now_s - took_s, now_s + took_s, b"never", b"x", done=False))
        history.append(_read(now_s - took_s / 2, now_s + 0.001, b"%d" % (count + 1)))
    rng.shuffle(history)
    assert unordered(history) == []
    lost = max(number for number, operation in enumerate(history) if operation.kind == "read")
    history[lost] = _read(now_s + 1000, now_s + 1001, b"7")
    assert unordered(history) != []


def test_a_search_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(linear, "POSITIONS_MAX", 100)
    history = [_write(0, 10, b"%d" % number) for number in range(20)]
    with pytest.raises(UsageError, match="too much"):
        unordered([*history, _read(11, 12, b"never")])


@pytest.mark.parametrize("stale", [False, True])
def test_many_writes_that_nobody_was_told_of_are_no_burden(monkeypatch, stale):
    """Clients that go on writing through a cut, with refusals and reads beside: what was never seen stands for one."""
    monkeypatch.setattr(linear, "POSITIONS_MAX", 2_000)
    history = [_write(0, 1, b"first")]
    history += [_write(2 + number / 100, None, b"lost %d" % number) for number in range(24)]
    history += [_cas(10 + number, 11 + number, b"first", b"no", done=False) for number in range(0, 8, 2)]
    history += [_write(30, 40, b"one"), _write(30, 40, b"two"), _read(41, 42, b"one"), _read(43, 44, b"lost 7")]
    if stale:
        history.append(_read(45, 46, b"first"))
    assert (unordered(history) == []) is not stale
