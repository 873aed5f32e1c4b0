from peerd.io.store.hot import HotRecords, KeySet
from peerd.io.store.interface import MISS
from tests.unit.io.store.samples import key


def test_key_set_knows_absence_exactly_but_for_shared_prefixes() -> None:
    keys = KeySet(key(at) for at in range(1_000))
    twin = key(1)[:8] + bytes(24)

    assert all(keys.may_hold(key(at)) for at in range(1_000))
    assert not any(keys.may_hold(key(at)) for at in range(1_000, 2_000))
    assert keys.may_hold(twin)

    keys.add(twin)
    keys.discard(key(1))

    assert keys.may_hold(twin)
    keys.discard(twin)
    keys.discard(twin)
    assert not keys.may_hold(twin)
    assert len(keys) == 999


def test_hot_records_are_bounded_in_number_and_the_least_used_goes() -> None:
    hot = HotRecords(KeySet(), records_max=3, bytes_max=10**6)
    for at in range(3):
        hot.written(key(at), b"r", is_new=True)
    hot.peek(key(0))

    hot.written(key(3), b"r", is_new=True)

    assert [hot.peek(key(at)) for at in range(5)] == [b"r", MISS, b"r", b"r", None]
    assert len(hot) == 3
    assert hot.count == 4


def test_hot_records_are_bounded_in_bytes() -> None:
    hot = HotRecords(KeySet(), records_max=100, bytes_max=2_000)
    for at in range(10):
        hot.written(key(at), bytes(400), is_new=True)
        hot.written(key(at), bytes(500), is_new=False)

    assert len(hot) == 2
    hot.dropped(key(9))
    hot.dropped(key(8))
    for at in range(2):
        hot.written(key(at), bytes(500), is_new=False)
    assert len(hot) == 2


def test_a_read_overtaken_by_a_write_or_a_drop_is_not_kept() -> None:
    hot = HotRecords(KeySet([key(1), key(2)]))
    first, second = hot.begin_read(key(1)), hot.begin_read(key(2))
    hot.written(key(1), b"new", is_new=False)
    hot.dropped(key(2))

    hot.end_read(key(1), first, b"old")
    hot.end_read(key(2), second, b"old")

    assert hot.peek(key(1)) == b"new"
    assert hot.peek(key(2)) is None


def test_a_read_not_overtaken_is_kept() -> None:
    hot = HotRecords(KeySet([key(1)]))
    assert hot.peek(key(1)) is MISS

    hot.end_read(key(1), hot.begin_read(key(1)), b"found")

    assert hot.peek(key(1)) == b"found"
