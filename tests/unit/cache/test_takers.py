"""Who is told of a change: bounded for each record, each taker and in all; who has no place is not noted."""

from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.cache.takers import PER_KEY_MAX, TAKER_PARTS, Takers


def test_who_took_is_known_until_the_end() -> None:
    takers = Takers()
    assert takers.note(b"a", b"bob", 10.0, 0.0)
    assert takers.note(b"a", b"carol", 20.0, 0.0)
    assert takers.of(b"a", 9.0) == {b"bob": 10.0, b"carol": 20.0}
    assert takers.of(b"a", 15.0) == {b"carol": 20.0}
    assert takers.of(b"b", 0.0) == {}


def test_who_takes_again_has_it_until_the_later_end() -> None:
    takers = Takers()
    takers.note(b"a", b"bob", 10.0, 0.0)
    takers.note(b"a", b"bob", 5.0, 0.0)
    assert takers.of(b"a", 0.0) == {b"bob": 10.0}
    assert len(takers) == 1


def test_one_record_has_so_many_takers_until_some_have_ended() -> None:
    takers = Takers()
    for number in range(PER_KEY_MAX):
        assert takers.note(b"a", bytes([number]), 10.0, 0.0)
    assert not takers.note(b"a", b"late", 10.0, 0.0)
    assert takers.note(b"a", b"late", 30.0, 11.0)


def test_who_asks_for_everything_leaves_others_their_place() -> None:
    takers = Takers(all_max=160)
    noted = sum(takers.note(number.to_bytes(4, "big"), b"mallory", 10.0, 0.0) for number in range(1000))
    assert noted == 160 // TAKER_PARTS
    assert takers.note(b"a", b"bob", 10.0, 0.0)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 20), st.booleans())))
def test_the_counts_are_of_what_is_noted(steps: list[tuple[int, int, int, bool]]) -> None:
    takers = Takers(all_max=48)
    now = 0.0
    for key, taker, lasts, drops in steps:
        now += 0.5
        if drops:
            takers.drop(bytes([key]), bytes([taker]))
        else:
            takers.note(bytes([key]), bytes([taker]), now + lasts, now)
        assert len(takers) == sum(len(each) for each in takers._until.values()) == takers._count.total() <= 48
        assert all(takers._until.values())
