"""Entries of build caches: kept, replaced, bounded, counted, ended, and there after a restart."""

from pathlib import Path

import pytest

from peerd.errors import NoRoomError
from peerd.io.store import bounds
from peerd.io.store.entries import EntryRow
from peerd.io.store.interface import Store
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store import samples
from tests.unit.io.store.samples import HandClock, key


def row(number: int, *, kept: int = 0, expires: float = 100.0) -> EntryRow:
    return EntryRow(b"statement %d" % number, expires, float(number), kept)


async def test_an_entry_is_known_until_another_takes_its_place(store: Store) -> None:
    assert await store.entry(key(1)) is None
    await store.put_entry(key(1), row(1, kept=7))
    assert await store.entry(key(1)) == row(1, kept=7)
    await store.put_entry(key(1), row(2))
    assert await store.entry(key(1)) == row(2)
    await store.touch_entry(key(1), 50.5)
    assert await store.entry(key(1)) == row(2)._replace(used_at=50.5)


async def test_the_longest_unused_go_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ENTRIES_MAX", 3)
    for number in range(3):
        await store.put_entry(key(number), row(number))
    await store.touch_entry(key(0), 9.0)
    await store.put_entry(key(2), row(5))
    await store.put_entry(key(7), row(7))
    assert [await store.entry(key(number)) is not None for number in (0, 1, 2, 7)] == [True, False, True, True]


async def test_what_is_kept_for_entries_is_counted_and_given_out_by_use(store: Store) -> None:
    for number, kept in ((3, 30), (1, 10), (2, 0), (4, 40)):
        await store.put_entry(key(number), row(number, kept=kept))
    assert await store.entry_bytes() == 80
    assert [found for found, _ in await store.idle_entries(2)] == [key(1), key(3)]
    await store.release_entry(key(1))
    await store.put_entry(key(3), row(9))
    assert await store.entry_bytes() == 40
    assert await store.idle_entries(9) == [(key(4), row(4, kept=40))]


async def test_entries_end(store: Store) -> None:
    for number in range(4):
        await store.put_entry(key(number), row(number, kept=5, expires=10.0 * number))
    assert await store.drop_entries(20.0, 2) == [row(0, kept=5, expires=0.0), row(1, kept=5, expires=10.0)]
    assert await store.drop_entries(20.0, 2) == [row(2, kept=5, expires=20.0)]
    assert await store.drop_entries(20.0, 2) == []
    assert await store.entry_bytes() == 5
    assert await store.entry(key(0)) is None


async def test_entries_count_for_the_quota_and_where_there_is_no_room_none_is_kept(store: Store) -> None:
    before = (await store.usage()).used_bytes
    for number in (1, 2, 3, 1):
        await store.put_entry(key(number), row(number))
    cost = len(row(1).statement) + bounds.ENTRY_ROW_BYTES
    assert (await store.usage()).used_bytes == before + 3 * cost
    with pytest.raises(NoRoomError):
        await store.put_entry(key(1), EntryRow(bytes(samples.QUOTA_BYTES), 1.0, 1.0, 0))
    assert await store.entry(key(1)) == row(1)
    await store.drop_entries(1000.0, 10)
    assert (await store.usage()).used_bytes == before


async def test_entries_are_there_after_a_restart(clock: HandClock, tmp_path: Path) -> None:
    made = await SqliteStore.open(tmp_path / "store", samples.QUOTA_BYTES, samples.entropy, clock)
    await made.put_entry(key(1), row(1, kept=7))
    await made.close()
    again = await SqliteStore.open(tmp_path / "store", samples.QUOTA_BYTES, samples.entropy, clock)
    assert await again.entry(key(1)) == row(1, kept=7)
    assert await again.entry_bytes() == 7
    await again.close()
