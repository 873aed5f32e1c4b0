import asyncio

import pytest

from peerd.errors import StoreError, UsageError
from peerd.io.store import bounds
from peerd.io.store.interface import HistoryRow, Store
from tests.unit.io.store.samples import block, key, raws, row


async def test_a_record_put_is_read_back_and_peeked(store: Store) -> None:
    assert store.peek_record(key(1)) is None

    assert await store.put_record(key(1), b"one", row=row())

    assert await store.record(key(1)) == b"one"
    assert store.peek_record(key(1)) == b"one"
    assert await store.record(key(2)) is None
    assert store.peek_record(key(2)) is None
    assert await store.record_count() == 1


async def test_put_replaces_the_record_under_its_key(store: Store) -> None:
    await store.put_record(key(1), b"one", row=row(1))

    await store.put_record(key(1), b"two, longer", row=row(2))

    assert await store.record(key(1)) == b"two, longer"
    assert await store.record_count() == 1


async def test_only_if_lets_through_only_what_is_there(store: Store) -> None:
    assert not await store.put_record(key(1), b"one", row=row(1), only_if=b"zero")
    assert await store.put_record(key(1), b"one", row=row(1), only_if=None)
    assert not await store.put_record(key(1), b"other", row=row(1), only_if=None)
    assert not await store.put_record(key(1), b"other", row=row(1), only_if=b"zero")
    assert await store.put_record(key(1), b"two", row=row(2), only_if=b"one")

    assert await store.record(key(1)) == b"two"
    assert [known.row.sequence for known in await store.history(key(1))] == [2, 1]


async def test_of_puts_at_the_same_time_with_one_condition_one_wins(store: Store) -> None:
    puts = (store.put_record(key(1), b"%d" % at, row=row(at), only_if=None) for at in range(20))

    done = await asyncio.gather(*puts)

    assert done.count(True) == 1
    assert await store.record(key(1)) == b"%d" % done.index(True)


async def test_history_is_newest_first_with_all_its_fields(store: Store) -> None:
    cid = raws(block(1))[0]
    full = row(3, owner=b"o" * 32, cid=cid, size=9, deleted=True, expires=5.5)
    await store.put_record(key(1), b"a", row=row(2, writer=b"bob"))
    await store.put_record(key(1), b"b", row=full)
    await store.add_history(key(1), row(2, writer=b"alice"), conflict=True)

    assert await store.history(key(1)) == [
        HistoryRow(full, conflict=False),
        HistoryRow(row(2, writer=b"bob"), conflict=False),
        HistoryRow(row(2, writer=b"alice"), conflict=True),
    ]


async def test_a_version_noted_again_changes_its_conflict_and_adds_nothing(store: Store) -> None:
    await store.put_record(key(1), b"a", row=row(1))

    await store.add_history(key(1), row(1), conflict=True)

    assert await store.history(key(1)) == [HistoryRow(row(1), conflict=True)]


async def test_history_keeps_the_newest_sixteen(store: Store) -> None:
    for sequence in range(1, 21):
        await store.put_record(key(1), b"%d" % sequence, row=row(sequence))
    await store.add_history(key(1), row(2), conflict=True)

    kept = [known.row.sequence for known in await store.history(key(1))]

    assert kept == list(range(20, 4, -1))
    assert len(kept) == bounds.HISTORY_MAX


async def test_records_come_in_pages_in_key_order(store: Store) -> None:
    for at in range(10):
        await store.put_record(key(at), b"%d" % at, row=row())
    ordered = sorted((key(at), b"%d" % at) for at in range(10))

    first = await store.records(None, 4)
    second = await store.records(first[-1][0], 100)

    assert first == ordered[:4]
    assert second == ordered[4:]


async def test_expired_records_are_listed_longest_expired_first(store: Store) -> None:
    await store.put_record(key(1), b"a", row=row(expires=20.0))
    await store.put_record(key(2), b"b", row=row(expires=10.0))
    await store.put_record(key(3), b"c", row=row(expires=30.0))
    await store.put_record(key(4), b"d", row=row())
    await store.put_record(key(5), b"e", row=row(1, expires=1.0))
    await store.put_record(key(5), b"e", row=row(2))

    assert await store.expired_records(20.0, 10) == [key(2), key(1)]
    assert await store.expired_records(20.0, 1) == [key(2)]


async def test_a_dropped_record_is_gone_with_its_history(store: Store) -> None:
    await store.put_record(key(1), b"a", row=row())
    before = await store.usage()

    await store.drop_record(key(1))
    await store.drop_record(key(2))

    assert store.peek_record(key(1)) is None
    assert await store.record(key(1)) is None
    assert await store.history(key(1)) == []
    assert await store.record_count() == 0
    assert (await store.usage()).used_bytes == 0 < before.used_bytes


async def test_a_record_is_found_by_the_content_it_names(store: Store) -> None:
    cid = raws(block(1))[0]
    await store.put_record(key(1), b"a", row=row(cid=cid))
    assert await store.record_with_cid(cid) == b"a"

    await store.put_record(key(1), b"b", row=row(2, cid=None))

    assert await store.record_with_cid(cid) is None


async def test_a_sequence_is_never_given_twice(store: Store) -> None:
    assert await store.reserve_sequence(key(1), 1) == 1
    assert await store.reserve_sequence(key(1), 1) == 2
    assert await store.reserve_sequence(key(1), 10) == 10
    assert await store.reserve_sequence(key(1), 5) == 11
    assert await store.reserve_sequence(key(2), 5) == 5

    many = await asyncio.gather(*(store.reserve_sequence(key(1), 1) for _ in range(50)))

    assert sorted(many) == list(range(12, 62))


async def test_dropping_a_record_keeps_its_reserved_sequence(store: Store) -> None:
    await store.put_record(key(1), b"a", row=row())
    await store.reserve_sequence(key(1), 7)

    await store.drop_record(key(1))

    assert await store.reserve_sequence(key(1), 1) == 8


async def test_a_sequence_beyond_the_databases_integers_is_refused(store: Store) -> None:
    with pytest.raises(UsageError):
        await store.put_record(key(1), b"a", row=row(bounds.SEQUENCE_MAX + 1))
    with pytest.raises(UsageError):
        await store.reserve_sequence(key(1), bounds.SEQUENCE_MAX + 1)
    await store.reserve_sequence(key(1), bounds.SEQUENCE_MAX)
    with pytest.raises(UsageError):
        await store.reserve_sequence(key(1), 1)

    assert await store.record(key(1)) is None


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.close()

    with pytest.raises(StoreError):
        await store.put_record(key(1), b"a", row=row())
    with pytest.raises(StoreError):
        await store.record(key(1))
    await store.close()
