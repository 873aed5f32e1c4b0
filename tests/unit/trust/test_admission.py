"""Token buckets, and sets that no crowd can fill."""

from peerd.trust.admission import Buckets, Crowd


def test_a_bucket_gives_what_was_saved_up_and_then_its_rate() -> None:
    buckets = Buckets(per_s=10, burst=5)

    assert [buckets.take("mallory", 0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [buckets.take("mallory", 0.1) for _ in range(2)] == [True, False]
    assert [buckets.take("mallory", 100.0) for _ in range(7)] == [True] * 5 + [False] * 2


def test_what_one_uses_up_another_still_has() -> None:
    buckets = Buckets(per_s=1, burst=1)

    assert buckets.take("mallory", 0.0)
    assert not buckets.take("mallory", 0.0)
    assert buckets.take("alice", 0.0)


def test_a_dear_request_takes_more_and_nothing_where_it_is_refused() -> None:
    buckets = Buckets(per_s=1, burst=4)

    assert buckets.take("a", 0.0, 3)
    assert not buckets.take("a", 0.0, 2)
    assert buckets.take("a", 0.0, 1)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    buckets = Buckets(per_s=10, burst=1)

    assert buckets.take("a", 100.0)
    assert not buckets.take("a", 0.0)


def test_buckets_are_bounded_and_the_longest_untouched_go() -> None:
    buckets = Buckets(per_s=0.001, burst=1, most=3)
    for key in "abc":
        buckets.take(key, 0.0)
    buckets.take("a", 0.0)
    buckets.take("d", 0.0)

    assert len(buckets) == 3
    assert not buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)


def test_a_crowd_of_one_group_pushes_out_its_own_oldest() -> None:
    crowd: Crowd[str] = Crowd(4)
    assert crowd.add("alice", b"lan") is None
    for number in range(3):
        assert crowd.add(f"mallory {number}", b"far") is None

    assert [crowd.add(f"mallory {number}", b"far") for number in (3, 4)] == ["mallory 0", "mallory 1"]
    assert "alice" in crowd
    assert len(crowd) == 4


def test_a_newcomer_of_another_group_takes_the_place_of_one_of_the_largest() -> None:
    crowd: Crowd[int] = Crowd(4)
    for number in range(4):
        crowd.add(number, b"far")

    assert crowd.add(9, b"lan") == 0
    assert 9 in crowd


def test_what_was_removed_makes_room() -> None:
    crowd: Crowd[int] = Crowd(2)
    crowd.add(1, b"a")
    crowd.add(2, b"a")
    crowd.remove(1)
    crowd.remove(1)

    assert crowd.add(3, b"a") is None
    assert crowd.add(3, b"b") is None
    assert len(crowd) == 2
