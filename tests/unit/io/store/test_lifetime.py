"""The store's own clock: what it counts across restarts, whatever the wall clock does."""

from pathlib import Path

import pytest

from peerd.io.store.interface import Store
from peerd.io.store.lifetime import SAVE_INTERVAL_S, STAMP_AHEAD, Lifetime, Lived
from peerd.io.store.memory import MemoryStore
from peerd.io.store.sqlite import SqliteStore
from peerd.io.system import SystemClock
from tests.unit.io.store import samples
from tests.unit.io.store.samples import HandClock, key, row

DAY_S = 86_400.0


async def reopened(store: Store, tmp_path: Path, clock: HandClock, *, closed: bool = True) -> Store:
    """The store after a restart of its process."""
    if closed:
        await store.close()
    if isinstance(store, MemoryStore):
        store.reopen()
        return store
    return await SqliteStore.open(tmp_path / "store", samples.QUOTA_BYTES, samples.entropy, clock)


async def test_it_counts_what_the_host_counts_and_not_the_wall(store: Store, clock: HandClock) -> None:
    began = store.now_s()

    clock.now += 100
    clock.skew -= DAY_S

    assert store.now_s() == pytest.approx(began + 100)


async def test_it_never_goes_back(store: Store, clock: HandClock) -> None:
    clock.now += 100
    seen = store.now_s()

    clock.now -= 50

    assert store.now_s() == seen


async def test_it_counts_the_time_closed_where_the_host_stayed_up(
    store: Store, tmp_path: Path, clock: HandClock
) -> None:
    clock.now += 100
    seen = store.now_s()
    await store.close()
    clock.now += 1_000

    again = await reopened(store, tmp_path, clock)

    assert again.now_s() == pytest.approx(seen + 1_000)
    await again.close()


async def test_it_stands_still_while_the_host_is_down(store: Store, tmp_path: Path, clock: HandClock) -> None:
    clock.now += 100
    seen = store.now_s()
    await store.close()
    clock.now, clock.started, clock.skew = 5.0, "second", 3_650 * DAY_S

    again = await reopened(store, tmp_path, clock)

    assert again.now_s() == pytest.approx(seen)
    clock.now += 7
    assert again.now_s() == pytest.approx(seen + 7)
    await again.close()


async def test_a_crash_of_the_host_forgets_a_little_at_most(clock: HandClock) -> None:
    store = MemoryStore(samples.QUOTA_BYTES, samples.entropy, clock)
    clock.now += 1_000
    await store.put_record(key(1), b"noted with it", row=row())
    seen = store.now_s()
    clock.now += SAVE_INTERVAL_S - 1
    store.crash()
    clock.now, clock.started = 0.0, "second"
    store.reopen()

    assert seen <= store.now_s() <= seen + SAVE_INTERVAL_S


async def test_time_is_noted_without_any_change(disk_store: SqliteStore, clock: HandClock) -> None:
    clock.now += SAVE_INTERVAL_S
    before = disk_store.commits
    disk_store.note_time()
    disk_store.note_time()
    await disk_store.put_record(key(1), b"one", row=row())

    noted = await disk_store._read(
        "meta", lambda database: database.execute("SELECT value FROM meta WHERE name = 'lived'").fetchone()[0]
    )

    assert float(noted.split("|")[0]) == pytest.approx(disk_store.now_s())
    assert disk_store.commits - before <= 2


async def test_stamps_grow_whatever_the_wall_does_also_across_restarts(
    store: Store, tmp_path: Path, clock: HandClock
) -> None:
    stamps = [await store.next_stamp(), await store.next_stamp()]
    assert stamps[0] == int(clock.wall() * 1000)
    clock.skew = 3_650 * DAY_S
    stamps += [await store.next_stamp()]
    assert stamps[-1] == int(clock.wall() * 1000)
    clock.skew = -DAY_S
    stamps += [await store.next_stamp() for _ in range(5)]
    again = await reopened(store, tmp_path, clock)
    stamps += [await again.next_stamp() for _ in range(5)]

    assert stamps == sorted(set(stamps))
    await again.close()


def test_a_stamp_is_noted_on_disk_before_it_is_given_and_seldom() -> None:
    clock = HandClock()
    lifetime = Lifetime(clock, Lived())
    first, must_note = lifetime.stamp()
    assert must_note
    lived = lifetime.lived()
    assert lived.stamp == first + STAMP_AHEAD
    assert lifetime.stamp()[1], "not on disk yet"
    lifetime.noted(lived)

    clock.now += STAMP_AHEAD / 1000 - 1
    assert not lifetime.stamp()[1]
    clock.now += 2
    assert lifetime.stamp()[1]


def test_the_hosts_start_is_known_and_its_time_grows() -> None:
    boot, up_s = SystemClock.boot()

    assert SystemClock.boot()[0] == boot
    assert SystemClock.boot()[1] >= up_s > 0
