"""What only the store on disk promises: restarts, group commit, damage, faults, modes, nothing left behind."""

import asyncio
import errno
import os
import random
import sqlite3
import stat
import threading
import time
from pathlib import Path

import pytest

from peerd.errors import NoRoomError, StoreError, UsageError
from peerd.io import datadir
from peerd.io.store import ballast, blockfiles, bounds, schema
from peerd.io.store.blockfiles import BlockFiles, Staged
from peerd.io.store.interface import ANY, MISS
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store.samples import (
    LARGE_BYTES,
    QUOTA_BYTES,
    SMALL_BYTES,
    HandClock,
    block,
    entropy,
    key,
    peer,
    raws,
    root,
    row,
)


async def reopened(store: SqliteStore, directory: Path) -> SqliteStore:
    await store.close()
    return await SqliteStore.open(directory / "store", QUOTA_BYTES, lambda count: b"x" * count, HandClock(5.0))


def files_under(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def block_files(directory: Path) -> list[Path]:
    return files_under(directory / "store" / "blocks")


async def checked(store: SqliteStore) -> None:
    """Have the disk looked at now, and what follows from it done."""
    await asyncio.to_thread(store._keeper.check)
    await asyncio.sleep(0)


async def settled(store: SqliteStore) -> None:
    """Wait for a change behind all that are queued."""
    await store._write("nothing", lambda database: None)


async def test_everything_is_there_after_a_restart(disk_store: SqliteStore, tmp_path: Path) -> None:
    large, small = block(1, LARGE_BYTES), block(2)
    await disk_store.put_record(key(1), b"one", row=row())
    await disk_store.put_blocks([large, small])
    await disk_store.put_root(root(1))
    await disk_store.link_blocks(root(1).cid, raws(large, small))
    await disk_store.put_provider(key(1), peer(1), b"has it", 9.0)
    await disk_store.reserve_sequence(key(1), 5)
    disk_store.touch_root(root(1).cid, 77.0)
    usage = await disk_store.usage()

    again = await reopened(disk_store, tmp_path)

    assert again.store_id == disk_store.store_id == entropy(bounds.STORE_ID_BYTES)
    assert again.peek_record(key(1)) is MISS
    assert again.peek_record(key(2)) is None
    assert await again.record(key(1)) == b"one"
    assert again.peek_record(key(1)) == b"one"
    assert [await again.block(one.cid) for one in (large, small)] == [large.data, small.data]
    kept = await again.root(root(1).cid)
    assert kept is not None
    assert kept.used_at == 77.0
    assert await again.providers(key(1), 0.0) == [b"has it"]
    assert await again.reserve_sequence(key(1), 1) == 6
    assert await again.usage() == usage
    await again.close()


async def test_unlinked_blocks_of_an_earlier_run_go_whatever_their_age(disk_store: SqliteStore, tmp_path: Path) -> None:
    await disk_store.put_blocks([block(1)])

    again = await reopened(disk_store, tmp_path)
    await again.put_blocks([block(2)])

    assert await again.drop_unlinked(3_600.0) == (SMALL_BYTES, 1)
    assert await again.has_blocks([block(1).cid, block(2).cid]) == [False, True]
    await again.close()


async def test_changes_at_the_same_time_share_commits(disk_store: SqliteStore) -> None:
    await disk_store.put_record(key(0), b"warm", row=row())
    before = disk_store.commits

    await asyncio.gather(*(disk_store.put_record(key(at), b"r", row=row()) for at in range(200)))

    assert disk_store.commits - before <= 10


async def test_a_change_that_fails_leaves_its_neighbours(disk_store: SqliteStore) -> None:
    await disk_store.reserve_sequence(key(1), bounds.SEQUENCE_MAX)
    before = disk_store.commits

    results = await asyncio.gather(
        disk_store.put_record(key(2), b"a", row=row()),
        disk_store.reserve_sequence(key(1), 1),
        disk_store.put_record(key(3), b"x", row=row(name="\ud800")),
        disk_store.put_record(key(4), b"b", row=row()),
        return_exceptions=True,
    )

    assert isinstance(results[1], UsageError)
    assert isinstance(results[2], UnicodeEncodeError)
    assert [await disk_store.record(key(at)) for at in (2, 3, 4)] == [b"a", None, b"b"]
    assert disk_store.commits - before <= 2


async def test_a_change_too_large_for_the_disk_fails_alone(disk_store: SqliteStore) -> None:
    def limit(database: sqlite3.Connection) -> None:
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages + 20}")

    await disk_store._write("limiting", limit)

    results = await asyncio.gather(
        disk_store.put_record(key(1), b"a", row=row()),
        disk_store.put_record(key(2), bytes(500_000), row=row()),
        disk_store.put_blocks([block(1)]),
        return_exceptions=True,
    )

    assert results[0] is True
    assert isinstance(results[1], NoRoomError)
    assert results[2] is None
    assert disk_store.peek_record(key(2)) is None
    assert await disk_store.block(block(1).cid) == block(1).data


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


async def test_a_rotten_block_is_set_aside_counted_and_can_be_mended(disk_store: SqliteStore, tmp_path: Path) -> None:
    good = block(1, LARGE_BYTES)
    await disk_store.put_blocks([good])
    await disk_store.put_root(root(1))
    await disk_store.link_blocks(root(1).cid, raws(good))
    damage(block_files(tmp_path)[0])

    assert await disk_store.block(good.cid) is None

    assert await disk_store.has_blocks([good.cid]) == [False]
    usage = await disk_store.usage()
    assert (usage.rotten, usage.replica_bytes) == (1, 0)
    assert len(files_under(tmp_path / "store" / "rotten")) == 1
    await disk_store.put_blocks([good])
    assert await disk_store.block(good.cid) == good.data
    assert await disk_store.release_root(root(1).cid) == LARGE_BYTES


async def test_a_block_whose_file_is_missing_or_cut_is_rotten(disk_store: SqliteStore, tmp_path: Path) -> None:
    blocks = [block(1, LARGE_BYTES), block(2, LARGE_BYTES)]
    await disk_store.put_blocks(blocks)
    missing, cut = block_files(tmp_path)
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])

    assert [await disk_store.block(one.cid) for one in blocks] == [None, None]

    assert (await disk_store.usage()).rotten == 2
    assert (await disk_store.usage()).used_bytes == 0


async def test_a_small_block_rots_in_the_database_too(disk_store: SqliteStore, tmp_path: Path) -> None:
    await disk_store.put_blocks([block(1)])
    await disk_store._write(
        "damaging", lambda database: database.execute("UPDATE block_data SET data = x'00'").rowcount
    )

    assert await disk_store.block(block(1).cid) is None

    assert (await disk_store.usage()).rotten == 1
    assert await disk_store.has_blocks([block(1).cid]) == [False]


async def test_only_so_many_rotten_files_are_kept(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blockfiles, "ROTTEN_MAX", 2)
    blocks = [block(at, LARGE_BYTES) for at in range(4)]
    await disk_store.put_blocks(blocks)
    for path in block_files(tmp_path):
        damage(path)

    assert [await disk_store.block(one.cid) for one in blocks] == [None] * 4

    assert len(files_under(tmp_path / "store" / "rotten")) == 2
    assert block_files(tmp_path) == []


async def test_files_of_deleted_blocks_go(disk_store: SqliteStore, tmp_path: Path) -> None:
    blocks = [block(at, LARGE_BYTES) for at in range(3)]
    await disk_store.put_blocks(blocks)
    await disk_store.put_root(root(1))
    await disk_store.link_blocks(root(1).cid, raws(*blocks[:2]))
    assert len(block_files(tmp_path)) == 3
    assert files_under(tmp_path / "store" / "tmp") == []

    await disk_store.release_root(root(1).cid)
    await disk_store.delete_blocks([blocks[2].cid])

    assert block_files(tmp_path) == []


async def test_a_block_deleted_and_put_at_the_same_time_is_whole_or_gone(disk_store: SqliteStore) -> None:
    one = block(1, LARGE_BYTES)
    for _ in range(20):
        await asyncio.gather(
            disk_store.put_blocks([one]), disk_store.delete_blocks([one.cid]), disk_store.put_blocks([one])
        )
        [here] = await disk_store.has_blocks([one.cid])
        assert await disk_store.block(one.cid) == (one.data if here else None)

    await disk_store.put_blocks([one])
    assert await disk_store.block(one.cid) == one.data
    assert (await disk_store.usage()).rotten == 0


async def test_a_start_sweeps_what_a_crash_left_in_files(disk_store: SqliteStore, tmp_path: Path) -> None:
    kept, orphan, unplaced = block(1, LARGE_BYTES), block(2, LARGE_BYTES), block(3, LARGE_BYTES)
    await disk_store.put_blocks([kept])
    await disk_store.close()
    files = BlockFiles(tmp_path / "store", disk_store.health)
    for one in (kept, orphan):
        files.place(files.stage(one.cid.to_bytes(), one.data))
    files.stage(unplaced.cid.to_bytes(), unplaced.data)
    (tmp_path / "store" / "tmp" / "what is this").write_bytes(b"")
    assert len(block_files(tmp_path)) == 2

    again = await reopened(disk_store, tmp_path)

    assert files_under(tmp_path / "store" / "tmp") == []
    assert len(block_files(tmp_path)) == 1
    assert await again.block(kept.cid) == kept.data
    await again.close()


async def test_a_release_broken_off_is_finished_at_the_next_start(disk_store: SqliteStore, tmp_path: Path) -> None:
    blocks = [block(at, 40_000) for at in range(5)] + [block(at) for at in range(5, 1_100)]
    await disk_store.put_blocks(blocks)
    await disk_store.put_root(root(1))
    await disk_store.link_blocks(root(1).cid, raws(*blocks))
    await disk_store._write("breaking off", lambda database: database.execute("UPDATE roots SET cid = NULL").rowcount)

    again = await reopened(disk_store, tmp_path)
    for _ in range(6):
        await settled(again)

    assert (await again.usage()).used_bytes == 0
    assert block_files(tmp_path) == []
    await again.close()


async def test_a_release_that_nobody_awaits_any_more_goes_on(disk_store: SqliteStore, clock: HandClock) -> None:
    blocks = [block(at) for at in range(2_000)]
    await disk_store.put_blocks(blocks)
    await disk_store.put_root(root(1))
    await disk_store.link_blocks(root(1).cid, raws(*blocks))

    clock.now += 1

    releasing = asyncio.create_task(disk_store.release_root(root(1).cid))
    await asyncio.sleep(0)
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    for _ in range(8):
        await settled(disk_store)

    assert (await disk_store.usage()).used_bytes == 0


async def test_two_stores_cannot_have_one_directory(disk_store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{tmp_path / 'store'} is in use by another daemon"):
        await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock())

    again = await reopened(disk_store, tmp_path)
    await again.close()


async def test_a_store_of_a_newer_form_is_refused_and_left_alone(disk_store: SqliteStore, tmp_path: Path) -> None:
    await disk_store.close()
    database = sqlite3.connect(tmp_path / "store" / "store.db")
    database.execute("INSERT INTO schema VALUES (99)")
    database.commit()
    database.close()

    with pytest.raises(UsageError, match="written by a newer peerd"):
        await reopened(disk_store, tmp_path)
    with pytest.raises(UsageError, match="written by a newer peerd"):
        await reopened(disk_store, tmp_path)


@pytest.mark.parametrize(
    "content", [b"not a database at all, but a long enough text to be read as one" * 20, b"SQLite"]
)
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store").mkdir(0o700)
    (tmp_path / "store" / "store.db").write_bytes(content)

    with pytest.raises(StoreError):
        await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock())

    assert (tmp_path / "store" / "store.db").read_bytes() == content


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(0o700)
    database = sqlite3.connect(tmp_path / "store" / "store.db")
    database.execute("CREATE TABLE mine (a)")
    database.commit()
    database.close()

    with pytest.raises(StoreError, match="not a store of peerd"):
        await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock())


@pytest.mark.parametrize("umask", [0o000, 0o277])
async def test_files_and_directories_are_the_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock())
        await store.put_blocks([block(1, LARGE_BYTES), block(2)])
        await store.put_record(key(1), b"a", row=row())
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").rglob("*")}
        await store.close()
    finally:
        os.umask(before)

    assert len([path for path in modes if path.is_dir()]) == 256 + 3
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items() if path.exists())


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, NoRoomError), (errno.EIO, StoreError)])
async def test_a_disk_that_fails_while_a_block_is_written_leaves_nothing(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    good = datadir.sync_file
    calls = 0

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(number, "injected")
        good(descriptor)

    monkeypatch.setattr("peerd.io.store.blockfiles.sync_file", failing)
    blocks = [block(at, LARGE_BYTES) for at in range(6)]
    with pytest.raises(error):
        await disk_store.put_blocks(blocks)
    await asyncio.to_thread(disk_store._staging.shutdown)

    assert files_under(tmp_path / "store" / "tmp") == []
    assert block_files(tmp_path) == []
    assert await disk_store.has_blocks([one.cid for one in blocks]) == [False] * 6


async def test_a_directory_that_does_not_sync_fails_the_put(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> None:
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr("peerd.io.store.writer.sync_directory", failing)
    with pytest.raises(StoreError):
        await disk_store.put_blocks([block(1, LARGE_BYTES)])

    with pytest.raises(StoreError):
        await disk_store.put_record(key(1), b"a", row=row())
    assert await disk_store.has_blocks([block(1, LARGE_BYTES).cid]) == [False]
    monkeypatch.undo()
    await checked(disk_store)
    assert await disk_store.put_record(key(1), b"a", row=row())
    assert block_files(tmp_path) == []


async def test_a_nearly_full_disk_refuses_blocks_and_takes_deletions(
    disk_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await disk_store.put_blocks([block(1), block(2, LARGE_BYTES)])
    real = os.statvfs("/")
    fields = list(real)[:10]
    fields[4] = 10  # f_bavail

    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))

    for size in (SMALL_BYTES, LARGE_BYTES):
        with pytest.raises(NoRoomError, match="the disk is full"):
            await disk_store.put_blocks([block(3, size)])
    await disk_store.delete_blocks([block(1).cid, block(2, LARGE_BYTES).cid])
    assert (await disk_store.usage()).used_bytes == 0


async def test_the_loop_and_the_records_go_on_while_a_block_waits_for_the_disk(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    stage = BlockFiles.stage

    def slow(self: BlockFiles, raw: bytes, data: bytes) -> Staged:
        assert gate.wait(30)
        return stage(self, raw, data)

    monkeypatch.setattr(BlockFiles, "stage", slow)
    putting = asyncio.ensure_future(disk_store.put_blocks([block(1, LARGE_BYTES)]))

    await disk_store.put_record(key(1), b"a", row=row())
    assert not putting.done()
    gate.set()
    await putting

    assert await disk_store.block(block(1, LARGE_BYTES).cid) == block(1, LARGE_BYTES).data


async def test_a_put_given_up_leaves_no_file(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, began = threading.Event(), threading.Event()
    stage = BlockFiles.stage

    def slow(self: BlockFiles, raw: bytes, data: bytes) -> Staged:
        staged = stage(self, raw, data)
        began.set()
        assert gate.wait(30)
        return staged

    monkeypatch.setattr(BlockFiles, "stage", slow)
    putting = asyncio.ensure_future(disk_store.put_blocks([block(at, LARGE_BYTES) for at in range(9)]))
    await asyncio.to_thread(began.wait, 30)

    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    gate.set()
    await asyncio.to_thread(disk_store._staging.shutdown)

    assert files_under(tmp_path / "store" / "tmp") == []
    assert block_files(tmp_path) == []


async def test_a_read_overtaken_by_a_write_does_not_bring_back_the_old_record(
    disk_store: SqliteStore, tmp_path: Path
) -> None:
    await disk_store.put_record(key(1), b"old", row=row(1))
    again = await reopened(disk_store, tmp_path)
    reading = asyncio.ensure_future(again.record(key(1)))
    await asyncio.sleep(0)

    await again.put_record(key(1), b"new", row=row(2))
    assert await reading in {b"old", b"new"}

    assert again.peek_record(key(1)) == b"new"
    await again.close()


async def test_a_bug_in_a_change_reaches_its_caller_and_not_the_thread(disk_store: SqliteStore) -> None:
    def broken(database: sqlite3.Connection) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        await disk_store._write("breaking", broken)

    assert await disk_store.put_record(key(1), b"a", row=row(), only_if=ANY)


async def test_changes_queued_before_a_close_are_made(disk_store: SqliteStore, tmp_path: Path) -> None:
    putting = [asyncio.ensure_future(disk_store.put_record(key(at), b"r", row=row())) for at in range(50)]
    await asyncio.sleep(0)

    again = await reopened(disk_store, tmp_path)

    assert all(await asyncio.gather(*putting))
    assert await again.record_count() == 50
    await again.close()


async def test_ten_thousand_keys_open_in_two_seconds_of_cpu(disk_store: SqliteStore, tmp_path: Path) -> None:
    await asyncio.gather(*(disk_store.put_record(key(at), bytes(300), row=row(), only_if=ANY) for at in range(2_000)))

    def fill(database: sqlite3.Connection) -> None:
        database.executemany(
            "INSERT OR IGNORE INTO records (key, record) VALUES (?, ?)", ((key(at), bytes(300)) for at in range(10_000))
        )

    await disk_store._write("filling", fill)
    await disk_store.close()
    began = time.process_time()

    again = await reopened(disk_store, tmp_path)

    assert time.process_time() - began < 2.0
    assert await again.record_count() == 10_000
    await again.close()


async def test_pages_that_nothing_fills_are_given_back(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerd.io.store.writer._FREE_PAGES_KEPT", 10)
    blocks = [block(at, 30_000) for at in range(200)]
    await disk_store.put_blocks(blocks)
    await disk_store.delete_blocks([one.cid for one in blocks])
    for _ in range(8):
        await settled(disk_store)

    pages = await disk_store._read("pages", lambda database: database.execute("PRAGMA page_count").fetchone()[0])

    assert pages * 4096 < 30_000 * 100


@pytest.mark.slow
async def test_filled_released_and_filled_again_the_disk_has_no_more_than_the_quota(
    disk_store: SqliteStore, tmp_path: Path
) -> None:
    chance = random.Random(8)
    ballast.take(tmp_path / "store", ballast.size_on(QUOTA_BYTES), free_bytes=2**40)
    number, refused, most = 0, 0, 0
    kept: list[bytes] = []
    while refused < 4:
        # In the database, in files of their own that end within a page, and many together.
        sizes = chance.choice([[100] * 200, [30_000] * 10, [33_000] * 10, [300_001]])
        blocks = [block(number + at, size) for at, size in enumerate(sizes)]
        number += len(blocks)
        cid = root(number).cid
        try:
            await disk_store.put_blocks(blocks)
            await disk_store.put_root(root(number))
            await disk_store.link_blocks(cid, raws(*blocks))
            kept.append(cid)
        except NoRoomError:
            refused += 1
            most = max(most, on_disk(tmp_path))
            await disk_store.drop_unlinked(0.0)
            chance.shuffle(kept)
            released, kept = kept[: len(kept) * 3 // 4], kept[len(kept) * 3 // 4 :]
            for each in released:
                await disk_store.release_root(each)
        most = max(most, on_disk(tmp_path))
    assert 0.8 * QUOTA_BYTES < most <= 1.05 * QUOTA_BYTES


def on_disk(directory: Path) -> int:
    """Return what a directory takes, as du counts: whole blocks of the disk."""
    return sum(path.lstat().st_blocks * 512 for path in (directory, *directory.rglob("*")))


async def test_the_counters_are_what_a_scan_would_find(disk_store: SqliteStore) -> None:
    await disk_store.put_blocks([block(at, 100 * at + 1) for at in range(40)])
    for at, class_ in enumerate(["cache", "replica", "own", "pinned"] * 3):
        await disk_store.put_root(root(at, class_))
        await disk_store.link_blocks(root(at).cid, raws(*(block(one, 100 * one + 1) for one in range(at, 44, at + 1))))
    await disk_store.put_root(root(3, "cache"))
    await disk_store.delete_root(root(0).cid)
    await disk_store.release_root(root(2).cid)
    await disk_store.evict_cache(500)

    def scan(database: sqlite3.Connection) -> tuple[dict[int, int], dict[int, int]]:
        found = dict(
            database.execute(
                "SELECT coalesce((SELECT max(roots.rank) FROM links JOIN roots ON roots.id = links.root"
                " WHERE links.block = blocks.id), 0) AS class, sum(size) FROM blocks GROUP BY class"
            ).fetchall()
        )
        return found, dict(enumerate(schema.counters(database)[: bounds.RANK_MAX + 1]))

    scanned, counted = await disk_store._read("scanning", scan)

    assert {rank: scanned.get(rank, 0) for rank in counted} == counted
