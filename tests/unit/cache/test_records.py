"""Cached records: bounded, ending, and no giver's flood pushes out what others gave."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.cache.lives import placed_life_s
from peerd.cache.records import GIVER_PARTS, Cached, CachedRecords
from peerd.cache.sketch import SEED_BYTES


def made(most: int) -> CachedRecords[str]:
    return CachedRecords(most, bytes(SEED_BYTES))


def of(budget: str, until: float = 100.0) -> Cached[str]:
    return Cached("value", budget.encode(), budget.encode(), 0.0, until, True)


def test_who_gives_ever_more_pushes_out_its_own() -> None:
    table = made(64)
    for number in range(5):
        table.put(b"bob" + bytes([number]), of("bob"))
    for number in range(1000):
        table.put(number.to_bytes(4, "big"), of("mallory"))
    assert all(table.get(b"bob" + bytes([number]), 1.0) for number in range(5))
    for number in range(64 // GIVER_PARTS):
        assert table.put(b"carol" + bytes([number]), of("carol"))
    assert all(table.get(b"carol" + bytes([number]), 1.0) for number in range(64 // GIVER_PARTS))
    assert all(table.get(b"bob" + bytes([number]), 1.0) for number in range(5))
    assert len(table) == 64


def test_in_a_full_table_what_is_asked_for_more_gets_in() -> None:
    table = made(64)
    for number in range(64):
        table.put(number.to_bytes(4, "big"), of(str(number)))
        for _ in range(3):
            table.asked(number.to_bytes(4, "big"))
    for _ in range(20):
        table.asked(b"wanted")
    assert table.put(b"wanted", of("dave"))
    assert table.get(b"wanted", 1.0) is not None


def test_what_has_ended_is_gone() -> None:
    table = made(8)
    table.put(b"a", of("bob", until=5.0))
    assert table.get(b"a", 4.9) is not None
    assert table.get(b"a", 5.0) is None
    assert len(table) == 0


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5), st.booleans())))
def test_the_bound_holds_and_nothing_is_left_behind(steps: list[tuple[int, int, bool]]) -> None:
    table = made(16)
    for key, giver, drops in steps:
        table.asked(bytes([key]))
        if drops:
            table.drop(bytes([key]))
            assert table.get(bytes([key]), 1.0) is None
        else:
            kept = table.put(bytes([key]), of(str(giver)))
            assert kept == (table.get(bytes([key]), 1.0) is not None)
        assert len(table) <= 16
        assert sum(len(each) for each in table._of.values()) == len(table) == len(table._admission)


@pytest.mark.parametrize(("own", "giver", "life_s"), [(1, 1, 80), (2, 1, 40), (4, 1, 20), (2**200, 1, 10), (1, 9, 80)])
def test_lives_shrink_by_half_with_each_bit_of_distance(own: int, giver: int, life_s: float) -> None:
    assert placed_life_s(80.0, own, giver) == life_s
