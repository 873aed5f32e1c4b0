"""A sick disk: nothing is promised that is not on it, reads go on, the reason is said, and it mends itself."""

import asyncio
import errno
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peerd.errors import DamagedError, NoRoomError, StoreError, UsageError
from peerd.io.datadir import DataDirectory, KnownStore
from peerd.io.store import ballast, keeper
from peerd.io.store import health as reasons
from peerd.io.store.blockfiles import Staged
from peerd.io.store.health import StoreHealth
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store.samples import (
    LARGE_BYTES,
    QUOTA_BYTES,
    HandClock,
    block,
    entropy,
    key,
    raws,
    root,
    row,
)

SYNCS = ["blockfiles.sync_file", "writer.sync_directory", "place.sync_file"]


async def check(store: SqliteStore) -> None:
    """Have the disk looked at now, and what follows from it done."""
    await asyncio.to_thread(store._keeper.check)
    await asyncio.sleep(0)


def fail_with(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def files_under(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("sync", SYNCS)
async def test_from_a_failed_sync_on_nothing_is_written_and_what_was_there_is_read(
    disk_store: SqliteStore, monkeypatch: pytest.MonkeyPatch, sync: str
) -> None:
    await disk_store.put_record(key(1), b"before", row=row())
    await disk_store.put_blocks([block(1, LARGE_BYTES), block(2)])
    monkeypatch.setattr(f"peerd.io.store.{sync}", fail_with(errno.EIO))
    if "place" in sync:
        await check(disk_store)
    else:
        with pytest.raises(StoreError):
            await disk_store.put_blocks([block(3, LARGE_BYTES)])

    assert disk_store.health.reasons == [reasons.SYNC_FAILED]
    for refused in (
        disk_store.put_record(key(2), b"after", row=row()),
        disk_store.put_blocks([block(4)]),
        disk_store.put_blocks([block(5, LARGE_BYTES)]),
    ):
        with pytest.raises(StoreError, match=reasons.SYNC_FAILED):
            await refused
    assert await disk_store.record(key(1)) == b"before"
    assert await disk_store.record(key(2)) is None
    assert await disk_store.block(block(1, LARGE_BYTES).cid) == block(1, LARGE_BYTES).data
    assert await disk_store.block(block(2).cid) == block(2).data


async def test_once_syncs_work_all_is_read_again_and_writes_go_on(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await disk_store.put_record(key(1), b"before", row=row())
    monkeypatch.setattr("peerd.io.store.writer.sync_directory", fail_with(errno.EIO))
    monkeypatch.setattr("peerd.io.store.place.sync_file", fail_with(errno.EIO))
    with pytest.raises(StoreError):
        await disk_store.put_blocks([block(1, LARGE_BYTES)])
    for _ in range(3):
        await check(disk_store)
    assert disk_store.health.reasons == [reasons.SYNC_FAILED]
    hot, database = disk_store._hot, disk_store._writer._database

    monkeypatch.undo()
    await check(disk_store)

    assert disk_store.health.reasons == []
    assert disk_store._hot is not hot
    assert disk_store._writer._database is not database
    assert disk_store.peek_record(key(2)) is None
    assert await disk_store.record(key(1)) == b"before"
    assert await disk_store.put_record(key(1), b"after", row=row(2), only_if=b"before")
    await disk_store.put_blocks([block(1, LARGE_BYTES)])
    assert await disk_store.block(block(1, LARGE_BYTES).cid) == block(1, LARGE_BYTES).data
    assert files_under(tmp_path / "store" / "tmp") == []


async def test_a_commit_that_may_not_be_on_the_disk_is_not_promised_and_not_remembered(disk_store: SqliteStore) -> None:
    """SQLite says of a sync that failed only that there was an error of I/O."""
    await disk_store.put_record(key(1), b"before", row=row())
    real = disk_store._writer._database

    class Failing:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def execute(self, statement: str, *arguments: object) -> object:
            found = real.execute(statement, *arguments)
            if statement == "COMMIT":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = 1034
                raise error
            return found

    disk_store._writer._database = Failing()  # type: ignore[assignment]
    with pytest.raises(StoreError):
        await disk_store.put_record(key(1), b"after", row=row(2))
    assert disk_store.health.reasons == [reasons.SYNC_FAILED]
    assert disk_store.peek_record(key(1)) == b"before"

    await check(disk_store)

    assert disk_store.health.trusted
    # What was not acknowledged is there whole, and now it is on the disk.
    assert await disk_store.record(key(1)) == b"after"


async def test_blocks_that_were_being_written_are_hashed_before_they_count(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's copy was right, the sync failed, and what is on the disk is something else."""
    one, other = block(1, LARGE_BYTES), block(2, LARGE_BYTES)
    await disk_store.put_blocks([one, other])
    await disk_store.put_root(root(1))
    await disk_store.link_blocks(root(1).cid, raws(one, other))
    files = {path.name: path for path in files_under(tmp_path / "store" / "blocks")}
    staged = []
    for each in (one, other):
        temporary = tmp_path / "store" / "tmp" / f"{each.cid.to_bytes().hex()}.99"
        temporary.write_bytes(each.data)
        staged.append(Staged(each.cid.to_bytes(), temporary))
    files[one.cid.text].write_bytes(bytes(LARGE_BYTES))
    disk_store.health.distrust("sync", reasons.SYNC_FAILED)

    await check(disk_store)

    assert await disk_store.has_blocks([one.cid, other.cid]) == [False, True]
    assert await disk_store.block(other.cid) == other.data
    assert (await disk_store.usage()).rotten == 1
    assert not any(each.temporary.exists() for each in staged)


async def test_a_sync_that_fails_while_all_is_read_again_counts(
    disk_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_store.health.distrust("sync", reasons.SYNC_FAILED)
    settle = keeper.disk.settle

    def fails_again(*arguments: object) -> None:
        settle(*arguments)  # type: ignore[arg-type]
        disk_store.health.distrust("sync", reasons.SYNC_FAILED)

    monkeypatch.setattr(keeper.disk, "settle", fails_again)
    await check(disk_store)
    assert not disk_store.health.trusted

    monkeypatch.undo()
    await check(disk_store)
    assert disk_store.health.trusted
    assert await disk_store.put_record(key(1), b"a", row=row())


async def test_a_damaged_database_is_said_and_takes_no_writes_again(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.gather(*(disk_store.put_record(key(at), bytes(1_000), row=row()) for at in range(200)))
    await disk_store._write("folding", lambda database: None)
    disk_store._writer._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = tmp_path / "store" / "store.db"
    raw = bytearray(path.read_bytes())
    for page in range(10, len(raw) // 4096, 3):
        raw[page * 4096 : page * 4096 + 64] = bytes(64)
    path.write_bytes(raw)
    disk_store.health.distrust("sync", reasons.SYNC_FAILED)

    await check(disk_store)

    assert reasons.DAMAGED in disk_store.health.reasons
    with pytest.raises(StoreError):
        await disk_store.put_record(key(1_000), b"a", row=row())


async def test_while_a_sync_hangs_it_is_said_and_the_loop_goes_on(
    disk_store: SqliteStore, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, began = threading.Event(), threading.Event()

    def hang(descriptor: int) -> None:
        began.set()
        assert gate.wait(30)

    monkeypatch.setattr("peerd.io.store.blockfiles.sync_file", hang)
    putting = asyncio.ensure_future(disk_store.put_blocks([block(1, LARGE_BYTES)]))
    await asyncio.to_thread(began.wait, 30)
    assert disk_store.health.reasons == []
    clock.now += 2.0

    assert disk_store.health.reasons == ["syncing takes 2.0 s"]
    assert disk_store.health.trusted

    gate.set()
    await putting
    assert disk_store.health.reasons == ["syncing takes 2.0 s"]
    assert await disk_store.block(block(1, LARGE_BYTES).cid) == block(1, LARGE_BYTES).data
    clock.now += 6.0
    assert disk_store.health.reasons == []


DISK_FIELDS = {"f_bavail": 4, "f_files": 5, "f_favail": 7, "f_flag": 8}


@contextmanager
def disk_says(monkeypatch: pytest.MonkeyPatch, **changes: int) -> Iterator[None]:
    fields = list(os.statvfs("/"))[:10]
    for name, value in changes.items():
        fields[DISK_FIELDS[name]] = value
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
        yield


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"f_bavail": 10}, "the disk is full"),
        ({"f_files": 1_000, "f_favail": 0}, "no inodes left"),
    ],
)
async def test_a_disk_without_room_is_said_and_takes_what_needs_none(
    disk_store: SqliteStore, monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], reason: str
) -> None:
    await disk_store.put_blocks([block(1, LARGE_BYTES)])
    with disk_says(monkeypatch, **changes):
        await check(disk_store)
        assert disk_store.health.reasons == [reason]
        with pytest.raises(NoRoomError, match=reason):
            await disk_store.put_blocks([block(2, LARGE_BYTES)])
        await disk_store.delete_blocks([block(1, LARGE_BYTES).cid])

    await check(disk_store)

    assert disk_store.health.reasons == []
    await disk_store.put_blocks([block(2, LARGE_BYTES)])


async def test_a_read_only_file_system_is_said_and_writes_go_on_after_it(
    disk_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await disk_store.put_record(key(1), b"before", row=row())
    with disk_says(monkeypatch, f_flag=os.ST_RDONLY):
        await check(disk_store)
        assert disk_store.health.reasons == ["the file system is read-only"]
        with pytest.raises(StoreError, match="the file system is read-only"):
            await disk_store.put_record(key(2), b"after", row=row())
        assert await disk_store.record(key(1)) == b"before"

    await check(disk_store)

    assert disk_store.health.reasons == []
    await disk_store.put_record(key(2), b"after", row=row())


@pytest.mark.parametrize("shadow", [False, True], ids=["nothing there", "an empty directory there"])
async def test_a_directory_that_is_gone_is_neither_written_nor_made_anew(
    disk_store: SqliteStore, tmp_path: Path, shadow: bool
) -> None:
    directory, away = tmp_path / "store", tmp_path / "away"
    await disk_store.put_record(key(1), b"before", row=row())
    await disk_store.put_blocks([block(1, LARGE_BYTES), block(2)])
    await check(disk_store)
    directory.rename(away)
    if shadow:
        directory.mkdir(0o700)

    # Before anybody has looked.
    with pytest.raises(StoreError, match="the data directory is gone"):
        await disk_store.put_record(key(2), b"after", row=row())
    with pytest.raises(StoreError, match="the data directory is gone"):
        await disk_store.block(block(1, LARGE_BYTES).cid)
    await check(disk_store)
    assert disk_store.health.reasons == ["the data directory is gone"]
    assert await disk_store.block(block(2).cid) == block(2).data
    assert await disk_store.record(key(1)) == b"before"
    assert sorted(path.name for path in directory.rglob("*")) == []

    if shadow:
        directory.rmdir()
    away.rename(directory)
    await check(disk_store)

    assert disk_store.health.reasons == []
    assert await disk_store.block(block(1, LARGE_BYTES).cid) == block(1, LARGE_BYTES).data
    await disk_store.put_record(key(2), b"after", row=row())
    assert (await disk_store.usage()).rotten == 0


async def test_another_store_in_its_place_is_not_taken_for_it(disk_store: SqliteStore, tmp_path: Path) -> None:
    await check(disk_store)
    (tmp_path / "store").rename(tmp_path / "away")
    other = await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, lambda count: b"o" * count, HandClock())
    await check(other)
    await other.close()

    await check(disk_store)

    assert disk_store.health.reasons == ["the data directory is gone"]


async def test_a_copy_that_is_mounted_in_its_place_is_taken_on(disk_store: SqliteStore, tmp_path: Path) -> None:
    """Another device number and inode: what a disk can have after it was unplugged."""
    await disk_store.put_record(key(1), b"before", row=row())
    await check(disk_store)
    (tmp_path / "store").rename(tmp_path / "away")
    await check(disk_store)
    await asyncio.to_thread(os.system, f"cp -a {tmp_path}/away {tmp_path}/store")

    await check(disk_store)

    assert disk_store.health.reasons == []
    await disk_store.put_record(key(2), b"after", row=row())
    assert await disk_store.record(key(1)) == b"before"
    assert len(files_under(tmp_path / "away")) > 0


async def test_a_store_that_closes_while_its_disk_is_sick_closes(
    disk_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerd.io.store.place.sync_file", fail_with(errno.EIO))
    disk_store._touch(b"cid", 1.0)
    await check(disk_store)

    await disk_store.close()

    with pytest.raises(StoreError):
        await disk_store.record(key(1))


async def test_the_checks_are_made_without_being_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock(), check_interval_s=0.02)
    monkeypatch.setattr("peerd.io.store.place.sync_file", fail_with(errno.EIO))
    async with asyncio.timeout(20):
        while store.health.reasons != [reasons.SYNC_FAILED]:
            await asyncio.sleep(0.01)
        monkeypatch.undo()
        while not store.health.trusted:
            await asyncio.sleep(0.01)
    assert await store.put_record(key(1), b"a", row=row())
    await store.close()


def test_trust_comes_back_only_where_nothing_failed_meanwhile() -> None:
    health = StoreHealth(HandClock())
    health.distrust("sync", reasons.SYNC_FAILED)
    seen = health.failures
    health.distrust("sync", reasons.SYNC_FAILED)

    assert not health.restore_trust(seen)
    assert health.restore_trust(health.failures)
    assert health.reasons == []


# Gone, restored.


async def test_a_store_that_was_there_and_is_gone_is_an_error_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the store of this peer is gone") as caught:
        await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock(), known=KnownStore())

    assert "to begin anew" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


async def test_an_empty_database_where_a_store_was_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(0o700)
    (tmp_path / "store" / "store.db").write_bytes(b"")

    with pytest.raises(UsageError, match="the store of this peer is gone"):
        await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock(), known=KnownStore())

    assert (tmp_path / "store" / "store.db").read_bytes() == b""


async def test_a_store_older_than_it_was_is_known_as_restored_and_gets_another_id(tmp_path: Path) -> None:
    known = KnownStore()
    for _ in range(3):
        store = await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock(), known=None)
        assert not store.restored
        assert not store.is_copy
        known = KnownStore(store.store_id, store.run + 1)
        await store.close()

    store = await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, lambda n: b"n" * n, HandClock(), known=known)
    assert (store.restored, store.store_id, store.run) == (True, b"n" * 16, known.run + 1)
    known = KnownStore(store.store_id, store.run)
    await store.close()

    store = await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock(), known=known)
    assert (store.restored, store.store_id) == (False, b"n" * 16)
    assert store.is_copy  # that stays so
    await store.close()


async def test_a_damaged_database_is_refused_with_a_hint(disk_store: SqliteStore, tmp_path: Path) -> None:
    await disk_store.close()
    path = tmp_path / "store" / "store.db"
    path.write_bytes(b"\xff" * path.stat().st_size)

    with pytest.raises(StoreError) as caught:
        await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock(), known=KnownStore())

    assert "restore the data directory from a backup" in (caught.value.hint or "")


def test_what_is_noted_of_a_store_is_read_again_and_nonsense_is_nothing(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path / "data") as data:
        assert data.known_store() == KnownStore()
        data.note_store(KnownStore(b"i" * 16, 7))
        assert data.known_store() == KnownStore(b"i" * 16, 7)
        for nonsense in ("", "zz 1", "00 1", "no"):
            (tmp_path / "data" / "store-seen").write_text(nonsense)
            assert data.known_store() == KnownStore()


# Bit rot in the database.


async def rot(store: SqliteStore, number: int) -> None:
    """Change one bit of a record as a disk would, unseen by the triggers."""
    record = bytearray((await store.record(key(number))) or b"")
    record[3] ^= 4
    await store._write(
        "rotting",
        lambda database: (
            database.execute("UPDATE records SET record = ? WHERE key = ?", (bytes(record), key(number))).rowcount
        ),
    )


async def test_a_record_that_rotted_is_never_shown_and_a_whole_one_takes_its_place(
    disk_store: SqliteStore, tmp_path: Path
) -> None:
    for number in range(4):
        await disk_store.put_record(key(number), b"record", row=row(cid=b"c"))
    await rot(disk_store, 1)
    await disk_store.close()
    again = await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock())

    with pytest.raises(DamagedError):
        await again.record(key(1))
    first = await again.records(None, 2)
    rest = await again.records(first[-1][0], 2)
    assert [found for found, _ in first + rest] == sorted(key(number) for number in (0, 2, 3))
    assert await again.record_with_cid(b"c") == b"record"
    assert await again.record_count() == 4

    assert await again.put_record(key(1), b"newer", row=row(2), only_if=None)
    assert await again.record(key(1)) == b"newer"
    assert await again.record_count() == 4
    assert len(await again.records(None, 10)) == 4
    await again.close()


async def test_a_file_of_the_database_that_rotted_anywhere_shows_no_wrong_byte(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock())
    records = {key(number): chance.randbytes(300) for number in range(300)}
    await asyncio.gather(*(store.put_record(one, record, row=row()) for one, record in records.items()))
    blocks = [block(number) for number in range(100)]
    await store.put_blocks(blocks)
    await store.close()
    path = tmp_path / "store" / "store.db"
    raw = bytearray(path.read_bytes())
    for _ in range(60):
        raw[chance.randrange(8_192, len(raw))] ^= 1 << chance.randrange(8)
    path.write_bytes(raw)
    try:
        store = await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock(), known=KnownStore())
    except StoreError:
        return  # what is damaged is what the start needs: it says so

    wrong = 0
    for one, record in records.items():
        try:
            found = await store.record(one)
        except StoreError:
            continue
        wrong += found is not None and found != record
    for each in blocks:
        try:
            data = await store.block(each.cid)
        except StoreError:
            continue
        wrong += data is not None and data != each.data
    await store.close()
    assert wrong == 0


async def test_tables_whose_names_have_rotted_are_damage_and_said_to_be(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock())).close()
    path = tmp_path / "store" / "store.db"
    raw = path.read_bytes()
    assert b"CREATE TABLE records" in raw and b"tablerecordsrecords" in raw
    raw = raw.replace(b"CREATE TABLE records", b"CREATE TABEL records")
    path.write_bytes(raw.replace(b"tablerecordsrecords", b"table\xc8ecordsrecords"))
    with pytest.raises(StoreError, match="cannot be opened") as raised:
        await SqliteStore.open(tmp_path / "store", QUOTA_BYTES, entropy, HandClock(), known=KnownStore())
    assert raised.value.hint is not None


async def test_room_is_kept_back_given_up_when_others_fill_the_disk_and_taken_again(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_back = tmp_path / "store" / "ballast"
    await check(disk_store)
    assert kept_back.stat().st_size == ballast.size_on(QUOTA_BYTES) <= QUOTA_BYTES / 30
    with disk_says(monkeypatch, f_bavail=10):
        await check(disk_store)
        assert not kept_back.exists()
        await check(disk_store)

    await check(disk_store)

    assert kept_back.exists()
