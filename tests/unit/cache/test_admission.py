"""What stays of that which cannot all stay: against plain LRU on traces, and what holds whatever comes."""

import random
from collections import OrderedDict
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.cache.admission import Admission
from peerd.cache.sketch import SEED_BYTES

Trace = list[tuple[bytes, int]]
Cache = Callable[[Trace, int], float]


def made(capacity: int, entries_max: int = 4096) -> Admission:
    return Admission(capacity, entries_max=entries_max, seed=bytes(SEED_BYTES))


def read(cache: Admission, key: bytes, size: int = 1) -> bool:
    """One read through a cache; returns whether it was there."""
    cache.used(key)
    if key in cache:
        return True
    if cache.admits(key, size):
        cache.add(key, size)
        cache.excess()
    return False


def ours(trace: Trace, capacity: int) -> float:
    cache = made(capacity)
    return sum(read(cache, key, size) for key, size in trace) / len(trace)


def lru(trace: Trace, capacity: int) -> float:
    kept: OrderedDict[bytes, int] = OrderedDict()
    hits = used = 0
    for key, size in trace:
        if key in kept:
            kept.move_to_end(key)
            hits += 1
        elif size <= capacity:
            kept[key] = size
            used += size
            while used > capacity:
                used -= kept.popitem(last=False)[1]
    return hits / len(trace)


def zipf(count: int, *, names: int = 2000, seed: int = 1) -> list[int]:
    return random.Random(seed).choices(range(names), [1 / (rank + 1) for rank in range(names)], k=count)


def _named(numbers: Iterable[int], size: Callable[[int], int] = lambda _: 1) -> Trace:
    return [(number.to_bytes(8, "big"), size(number)) for number in numbers]


def _scanned() -> list[int]:
    """Reads by popularity, and now and then a walk over a thousand things that nobody reads again."""
    found: list[int] = []
    fresh = 10**6
    for at, each in enumerate(zipf(12_000)):
        found.append(each)
        if at % 2000 == 1999:
            found += range(fresh, fresh + 1000)
            fresh += 1000
    return found


def _sized(number: int) -> int:
    return int(min(4000, max(1, random.Random(number).lognormvariate(3, 1.5))))


@pytest.mark.parametrize(
    ("trace", "capacity", "times"),
    [
        (_named(zipf(12_000)), 100, 1.10),
        (_named(_scanned()), 100, 1.15),
        (_named(_scanned(), _sized), 4000, 1.15),
        (_named(number % 120 for number in range(12_000)), 100, 100.0),
    ],
    ids=["by popularity", "with scans", "with scans, of many sizes", "a loop longer than the cache"],
)
def test_more_is_found_than_with_plain_lru(trace: Trace, capacity: int, times: float) -> None:
    assert ours(trace, capacity) >= times * max(lru(trace, capacity), 0.004)


def test_where_only_the_new_is_wanted_the_window_grows_to_it() -> None:
    rng = random.Random(5)
    numbers = [at for each in range(10_000) for at in (each, max(0, each - rng.randrange(40)))]
    trace = _named(numbers)
    assert ours(trace, 100) > 0.75 * lru(trace, 100)


def test_a_scan_leaves_what_is_read_often_where_it_is() -> None:
    cache = made(100)
    hot = [b"hot" + bytes([number]) for number in range(60)]
    for _ in range(5):
        for key in hot:
            read(cache, key)
    for number in range(5000):
        read(cache, number.to_bytes(4, "big"))
    assert sum(key in cache for key in hot) >= 54


def test_what_would_push_out_more_used_things_is_not_kept_and_counted() -> None:
    cache = made(1000)
    for _ in range(3):
        for number in range(10):
            read(cache, bytes([number]), 90)
    assert not cache.admits(b"large and new", 500)
    assert cache.tally.declined == 1
    for _ in range(30):
        cache.used(b"large and new")
    assert cache.admits(b"large and new", 270)


def test_what_is_larger_than_all_is_never_kept() -> None:
    assert not made(100).admits(b"a", 101)


def test_while_there_is_room_everything_stays() -> None:
    cache = made(100)
    for number in range(100):
        assert not read(cache, bytes([number]))
    assert len(cache) == 100
    assert cache.tally.evicted == 0


def test_what_makes_room_for_others_is_what_is_used_least() -> None:
    cache = made(100)
    for number in range(10):
        for _ in range(1 + number):
            read(cache, bytes([number]), 10)
    assert sorted(cache.victims(25)) == [bytes([0]), bytes([1]), bytes([2])]
    assert cache.size == 70


def test_what_was_kept_before_a_restart_goes_in_the_order_of_its_last_use() -> None:
    cache = made(100)
    for number in range(10):
        cache.resume(bytes([number]), 10)
    cache.adopt(b"forgotten", 5)
    assert cache.victims(25) == [b"forgotten", bytes([0]), bytes([1])]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 60), st.sampled_from(["read", "gone", "free", "resize"]))),
    st.integers(0, 200),
)
def test_the_bounds_hold_whatever_comes(steps: list[tuple[int, int, str]], capacity: int) -> None:
    cache = made(capacity, entries_max=12)
    for number, size, what in steps:
        key = bytes([number])
        if what == "read":
            read(cache, key, size)
        elif what == "gone":
            cache.gone(key)
            assert key not in cache
        elif what == "free":
            before = cache.size
            for victim in cache.victims(size):
                assert victim not in cache
            assert cache.size <= max(0, before - size)
        else:
            capacity = 3 * size
            cache.resize(capacity)
            cache.excess()
        assert cache.size <= capacity
        assert len(cache) <= 12
        assert cache.size >= 0
        assert (cache.size == 0) == (len(cache) == 0)
