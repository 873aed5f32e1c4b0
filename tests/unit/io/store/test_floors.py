"""Floors and who has a tombstone: on both stores, and across a restart of the one on disk."""

import asyncio
from pathlib import Path

import pytest

from peerd.errors import NoRoomError, StoreError
from peerd.io.store import bounds
from peerd.io.store.interface import MISS, Floor, Store
from peerd.io.store.memory import MemoryStore
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store import samples
from tests.unit.io.store.samples import HandClock, key, peer, row


def floor(sequence: int, *, ends: float | None = None, writer: bytes = b"alice") -> Floor:
    return Floor(sequence, writer, b"\x07", ends)


async def test_a_floor_takes_the_place_of_a_record_and_of_all_that_is_known_of_it(store: Store) -> None:
    await store.put_record(key(1), b"gone", row=row(4, deleted=True))
    await store.note_holders(key(1), [peer(1)])
    used = (await store.usage()).used_bytes

    await store.put_floor(key(1), floor(4))

    assert await store.floor(key(1)) == floor(4)
    assert store.peek_floor(key(1)) in (MISS, floor(4))
    assert await store.record(key(1)) is None
    assert await store.history(key(1)) == []
    assert await store.holders(key(1)) == {}
    assert await store.tombstones(None, 10) == []
    assert await store.record_count() == 0
    assert (await store.usage()).used_bytes < used


async def test_the_higher_floor_stays_and_of_the_same_the_longer(store: Store) -> None:
    for put, kept in [
        (floor(4, ends=10.0), floor(4, ends=10.0)),
        (floor(3), floor(4, ends=10.0)),
        (floor(4, ends=20.0), floor(4, ends=20.0)),
        (floor(4, ends=15.0), floor(4, ends=20.0)),
        (floor(4), floor(4)),
        (floor(4, ends=99.0), floor(4)),
        (floor(4, writer=b"bob", ends=5.0), floor(4, writer=b"bob", ends=5.0)),
    ]:
        await store.put_floor(key(1), put)
        assert await store.floor(key(1)) == kept


async def test_a_record_above_its_floor_takes_the_place_of_it(store: Store) -> None:
    await store.put_floor(key(1), floor(4))

    await store.put_record(key(1), b"new", row=row(5))

    assert await store.floor(key(1)) is None
    assert store.peek_floor(key(1)) is None
    assert await store.record(key(1)) == b"new"


async def test_floors_are_paged_in_key_order(store: Store) -> None:
    for number in range(5):
        await store.put_floor(key(number), floor(number + 1))
    order = sorted(key(number) for number in range(5))

    first = await store.floors(None, 2)
    rest = await store.floors(first[-1][0], 10)

    assert [each for each, _ in first + rest] == order


async def test_floors_that_end_are_found_and_dropped(store: Store) -> None:
    for number, ends in enumerate([30.0, None, 10.0, 20.0]):
        await store.put_floor(key(number), floor(1, ends=ends))

    assert await store.ended_floors(20.0, 10) == [key(2), key(3)]
    assert await store.ended_floors(20.0, 1) == [key(2)]
    await store.drop_floor(key(2))

    assert store.peek_floor(key(2)) is None
    assert await store.floor(key(2)) is None
    assert await store.ended_floors(20.0, 10) == [key(3)]


async def test_tombstones_are_paged_with_when_they_came(store: Store, clock: HandClock) -> None:
    began = store.now_s()
    await store.put_record(key(1), b"value", row=row(1))
    for number in range(2, 5):
        clock.now += 10
        await store.put_record(key(number), b"gone", row=row(1, deleted=True))
    await store.put_record(key(2), b"again", row=row(2))

    first = await store.tombstones(None, 1)
    rest = await store.tombstones(first[-1][0], 10)

    came = {key(3): began + 20, key(4): began + 30}
    assert dict(first + rest) == {each: pytest.approx(at) for each, at in came.items()}
    assert [each for each, _ in first + rest] == sorted(came)


async def test_holders_are_noted_beside_tombstones_only(store: Store) -> None:
    await store.put_record(key(1), b"value", row=row(1))
    await store.put_record(key(2), b"gone", row=row(1, deleted=True))

    await store.note_holders(key(1), [peer(1)])
    await store.note_holders(key(2), [peer(1), peer(2), peer(1)])
    await store.confirm_holder(peer(1), [key(1), key(2), key(3)])
    await store.confirm_holder(peer(3), [key(2)])
    await store.note_holders(key(2), [peer(3)])

    assert await store.holders(key(1)) == {}
    assert await store.holders(key(2)) == {peer(1): True, peer(2): False, peer(3): True}
    assert await store.holders(key(3)) == {}


async def test_a_later_tombstone_must_be_confirmed_anew_and_a_value_ends_it(store: Store) -> None:
    await store.put_record(key(1), b"gone", row=row(1, deleted=True))
    await store.confirm_holder(peer(1), [key(1)])

    await store.put_record(key(1), b"gone again", row=row(2, deleted=True))
    assert await store.holders(key(1)) == {peer(1): False}
    await store.put_record(key(1), b"back", row=row(3))

    assert await store.holders(key(1)) == {}
    assert await store.tombstones(None, 10) == []


async def test_only_so_many_holders_of_a_key_are_noted(store: Store) -> None:
    await store.put_record(key(1), b"gone", row=row(1, deleted=True))

    await store.note_holders(key(1), [peer(number) for number in range(bounds.HOLDERS_PER_KEY_MAX + 5)])
    await store.confirm_holder(peer(bounds.HOLDERS_PER_KEY_MAX + 1), [key(1)])
    await store.confirm_holder(peer(0), [key(1)])

    kept = await store.holders(key(1))
    assert len(kept) == bounds.HOLDERS_PER_KEY_MAX
    assert kept[peer(0)]


async def test_floors_are_counted_and_use_the_reserve(store: Store) -> None:
    quota = samples.QUOTA_BYTES
    with pytest.raises(NoRoomError):
        for number in range(100):
            await store.put_record(key(number), bytes(quota // 20), row=row())
    for number in range(200, 300):
        await store.put_floor(key(number), floor(1))
    await store.put_record(key(900), b"gone", row=row(deleted=True))
    before = (await store.usage()).used_bytes

    await store.note_holders(key(900), [peer(1)])
    await store.put_floor(key(300), floor(1))

    assert (await store.usage()).used_bytes - before == bounds.HOLDER_ROW_BYTES + bounds.FLOOR_ROW_BYTES
    await store.drop_record(key(900))
    for number in range(200, 301):
        await store.drop_floor(key(number))
    assert (await store.usage()).used_bytes < quota


async def test_floors_and_confirmations_are_there_after_a_restart(
    disk_store: SqliteStore, tmp_path: Path, clock: HandClock
) -> None:
    await disk_store.put_floor(key(1), floor(4))
    await disk_store.put_record(key(2), b"gone", row=row(1, deleted=True))
    await disk_store.confirm_holder(peer(1), [key(2)])
    tombstones = await disk_store.tombstones(None, 10)
    await disk_store.close()

    again = await SqliteStore.open(tmp_path / "store", samples.QUOTA_BYTES, samples.entropy, clock)

    assert again.peek_floor(key(1)) is MISS
    assert await again.floor(key(1)) == floor(4)
    assert await again.tombstones(None, 10) == tombstones
    assert await again.holders(key(2)) == {peer(1): True}
    await again.close()


async def test_a_floor_not_synced_when_the_host_crashed_is_not_there(clock: HandClock) -> None:
    store = MemoryStore(samples.QUOTA_BYTES, samples.entropy, clock)
    await store.put_floor(key(1), floor(4))
    store.sync_delay = lambda: 0.0
    putting = asyncio.ensure_future(store.put_floor(key(1), floor(9)))
    await asyncio.sleep(0)

    store.crash()

    with pytest.raises(StoreError):
        await putting

    assert await store.floor(key(1)) == floor(4)
