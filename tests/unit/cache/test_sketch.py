"""The sketch: never too low within a sample, rarely too high, forgetting, and not to be aimed at."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.cache.sketch import COUNT_MAX, SEED_BYTES, Sketch

SEED = bytes(range(SEED_BYTES))


def _keys(count: int) -> list[bytes]:
    return [number.to_bytes(4, "big") for number in range(count)]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 40), max_size=300))
def test_a_count_is_never_too_low_within_a_sample(uses: list[int]) -> None:
    sketch = Sketch(64, SEED)
    for each in uses:
        sketch.add(bytes([each]))
    for each, count in Counter(uses).items():
        assert sketch.count(bytes([each])) >= min(count, COUNT_MAX)


def test_what_was_never_used_counts_nothing_mostly() -> None:
    sketch = Sketch(1024, SEED)
    for key in _keys(1024):
        sketch.add(key)
    strangers = [b"never" + key for key in _keys(1000)]
    assert sum(sketch.count(key) > 0 for key in strangers) < 250
    assert max(sketch.count(key) for key in strangers) <= 2


def test_one_use_of_each_of_many_fills_few_counters() -> None:
    sketch = Sketch(256, SEED)
    for key in _keys(200):
        sketch.add(key)
    assert sum(map(sum, sketch._rows)) < 4 * 30


def test_counts_are_halved_after_a_sample_and_what_is_not_used_any_more_is_forgotten() -> None:
    sketch = Sketch(16, SEED)
    for _ in range(COUNT_MAX + 3):
        sketch.add(b"old")
    before = sketch.count(b"old")
    for number in range(16 * 10 * 5):
        sketch.add(b"new" + bytes([number % 8]))
    assert before >= COUNT_MAX
    assert sketch.count(b"old") <= 1


def test_who_does_not_know_the_seed_raises_no_chosen_counter() -> None:
    """Keys that collide with a victim in one sketch do not in another of another seed."""
    open_to_all, secret = Sketch(64, SEED), Sketch(64, bytes(SEED_BYTES))
    target = open_to_all._places(b"victim")
    crafted = [
        key for key in _keys(60_000) if sum(a == b for a, b in zip(open_to_all._places(key), target, strict=True)) >= 2
    ]
    assert len(crafted) > 30
    for key in crafted[:40] * 2:
        secret.add(key)
        open_to_all.add(key)
    assert secret.count(b"victim") < open_to_all.count(b"victim")


def test_rarely_is_a_count_far_too_high() -> None:
    rng = random.Random(3)
    sketch = Sketch(512, SEED)
    weights = [1 / (rank + 1) for rank in range(1000)]
    uses = rng.choices(range(1000), weights, k=4000)
    for each in uses:
        sketch.add(each.to_bytes(4, "big"))
    exact = Counter(uses)
    wrong = [each for each in range(1000) if sketch.count(each.to_bytes(4, "big")) > min(exact[each], COUNT_MAX) + 2]
    assert len(wrong) < 50


@pytest.mark.parametrize("keys", [1, 2, 3, 1000])
def test_any_size_will_do(keys: int) -> None:
    sketch = Sketch(keys, SEED)
    sketch.add(b"a")
    assert sketch.count(b"a") == 1
