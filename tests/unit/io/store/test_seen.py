"""Versions that were read: noted, replaced, bounded, counted, and there after a restart."""

from pathlib import Path

import pytest

from peerd.errors import NoRoomError
from peerd.io.store import bounds
from peerd.io.store.interface import Store
from peerd.io.store.seen import Seen
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store import samples
from tests.unit.io.store.samples import HandClock, key


def seen(sequence: int, *, ends: float | None = None) -> Seen:
    return Seen(sequence, b"alice", b"\x07", strong=False, ends=ends)


async def test_what_was_seen_is_known_until_something_newer_is_noted(store: Store) -> None:
    assert await store.seen(key(1)) is None
    await store.note_seen([(key(1), seen(4)), (key(2), Seen(5, b"bob", b"\x08", strong=True, ends=9.5))])
    assert await store.seen(key(1)) == seen(4)
    assert await store.seen(key(2)) == Seen(5, b"bob", b"\x08", strong=True, ends=9.5)
    await store.note_seen([(key(1), seen(6))])
    assert await store.seen(key(1)) == seen(6)


async def test_what_was_noted_first_goes_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SEEN_MAX", 3)
    for number in range(3):
        await store.note_seen([(key(number), seen(1))])
    await store.note_seen([(key(0), seen(2)), (key(7), seen(1))])
    found = [await store.seen(key(number)) is not None for number in (0, 1, 2, 7)]
    assert found == [True, False, True, True]


async def test_what_was_seen_counts_for_the_quota(store: Store) -> None:
    before = (await store.usage()).used_bytes
    await store.note_seen([(key(number), seen(1)) for number in range(10)])
    await store.note_seen([(key(number), seen(2)) for number in range(10)])
    assert (await store.usage()).used_bytes == before + 10 * bounds.SEEN_ROW_BYTES


async def test_where_there_is_no_room_nothing_is_noted(store: Store) -> None:
    with pytest.raises(NoRoomError):
        await store.note_seen(
            [(key(number), seen(1)) for number in range(1 + samples.QUOTA_BYTES // bounds.SEEN_ROW_BYTES)]
        )
    assert await store.seen(key(0)) is None


async def test_what_was_seen_is_there_after_a_restart(clock: HandClock, tmp_path: Path) -> None:
    made = await SqliteStore.open(tmp_path / "store", samples.QUOTA_BYTES, samples.entropy, clock)
    await made.note_seen([(key(1), seen(4))])
    await made.close()
    again = await SqliteStore.open(tmp_path / "store", samples.QUOTA_BYTES, samples.entropy, clock)
    assert await again.seen(key(1)) == seen(4)
    await again.close()
