"""A real process that writes to a store is killed, its disk filled, its syncs failed: what it acknowledged is there."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from peerd.errors import NoRoomError
from peerd.io.store.sqlite import SqliteStore
from tests.live import store_writer
from tests.live.store_writer import LARGE_BYTES, QUOTA_BYTES, SystemClock

KILLS = 20
REPOSITORY = Path(__file__).parents[2]


def run_and_kill(directory: Path, first: int, seconds: float, *wrapper: str) -> list[str]:
    """Let a writer work that long after it has opened the store, kill it, and return the lines it said whole."""
    command = [*wrapper, sys.executable, "-m", "tests.live.store_writer", str(directory), str(first)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        time.sleep(seconds)
    finally:
        # The writer, and strace round it, are one session of ours.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        out, errors = process.communicate()
        print(errors)
    return out[: out.rfind("\n") + 1].split()


async def reopened(directory: Path) -> SqliteStore:
    return await SqliteStore.open(directory, QUOTA_BYTES, os.urandom, SystemClock())


async def require_whole(store: SqliteStore, numbers: set[int], released: set[int]) -> None:
    for number in numbers:
        assert await store.record(store_writer.key(number)) == store_writer.record(number)
        if number in released:
            continue
        made = store_writer.blocks(number)
        assert [await store.block(one.cid) for one in made] == [one.data for one in made], number
        assert await store.root(store_writer.root(number).cid) == store_writer.root(number)


async def test_every_acknowledged_write_survives_kill_nine(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    acknowledged: set[int] = set()
    for round_number in range(KILLS):
        first, seconds = 1_000_000 * (round_number + 1), chance.uniform(0.0, 0.15)
        lines = await asyncio.to_thread(run_and_kill, directory, first, seconds)
        acknowledged |= {int(line) for line in lines}
    numbers = {number for number in acknowledged if number > 0}
    # A release whose acknowledgement was cut off may have been made: those numbers prove nothing of their blocks.
    released = {number for number in numbers if number % 7 == 0}
    assert len(numbers) > KILLS

    store = await reopened(directory)

    await require_whole(store, numbers, released)
    gone = [store_writer.root(-number).cid for number in acknowledged if number < 0]
    assert [await store.root(cid) for cid in gone] == [None] * len(gone)
    for _ in range(3):
        await store.drop_unlinked(0.0)
    roots = await store.roots(None, 100_000)
    usage = await store.usage()
    await store.close()
    assert usage.rotten == 0
    assert list((directory / "tmp").iterdir()) == []
    files = [path for path in (directory / "blocks").rglob("*") if path.is_file()]
    assert len(files) == len(roots)


@contextmanager
def mounted(directory: Path, *options: str) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root")
    directory.mkdir(mode=0o700)
    if subprocess.run(["mount", *options, str(directory)], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let us mount")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


async def test_a_full_disk_is_no_room_nothing_half_written_and_can_be_emptied(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs") as disk:
        store = await reopened(disk / "store")
        kept, number = [], 0
        while number < 1_000:
            try:
                await store_writer.put(store, number)
            except NoRoomError:
                break
            kept.append(number)
            number += 1
        assert 10 < number < 1_000
        # Then somebody else takes the rest, and even the database has no page left.
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(65_536))
        with pytest.raises(NoRoomError):
            for more in range(2_000, 4_000):
                await store.put_record(
                    store_writer.key(more), bytes(1_000), row=(await store.history(store_writer.key(0)))[0].row
                )
        await store.close()

        (disk / "filler").unlink()
        store = await reopened(disk / "store")
        await require_whole(store, set(kept), set())
        assert list((disk / "store" / "tmp").iterdir()) == []
        for number in kept[: len(kept) // 2]:
            assert await store.release_root(store_writer.root(number).cid) > LARGE_BYTES
        await store_writer.put(store, 5_000)
        await require_whole(store, {5_000}, set())
        assert (await store.usage()).rotten == 0
        await store.close()


async def test_what_was_acknowledged_before_syncs_began_to_fail_is_there(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("failing syncs needs strace")
    directory = tmp_path / "store"
    failing = [strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]
    failing += ["-e", "inject=fsync,fdatasync:error=EIO:when=60+"]
    lines = await asyncio.to_thread(run_and_kill, directory, 1, 3.0, *failing)
    numbers = {int(line) for line in lines if line.isdecimal()}
    assert "StoreError" in lines
    assert lines.index("StoreError") > 0
    assert all(not line.isdecimal() for line in lines[lines.index("StoreError") + 50 :])

    store = await reopened(directory)

    await require_whole(store, numbers, {number for number in numbers if number % 7 == 0})
    assert (await store.usage()).rotten == 0
    await store.close()


def cut_the_power(image: Path, mount_point: Path, copy: Path) -> list[str]:
    """Let a writer work on a disk in a file, stop it dead, copy the disk as it is; return what the writer said."""
    with mounted(mount_point, "-o", "loop", str(image)):
        mount_point.chmod(0o700)
        command = [sys.executable, "-m", "tests.live.store_writer", str(mount_point / "store"), "1"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            time.sleep(1.0)
            process.send_signal(signal.SIGSTOP)
            shutil.copyfile(image, copy)
        finally:
            process.kill()
            out, _ = process.communicate()
    return out[: out.rfind("\n") + 1].split()


async def test_every_acknowledged_write_survives_a_power_cut(tmp_path: Path) -> None:
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("a disk in a file needs mkfs.ext4")
    image, copy = tmp_path / "image", tmp_path / "copy"
    with image.open("wb") as file:
        file.truncate(256 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    lines = await asyncio.to_thread(cut_the_power, image, tmp_path / "before", copy)
    numbers = {int(line) for line in lines if line.isdecimal()}
    assert len(numbers) > 10

    with mounted(tmp_path / "after", "-o", "loop", str(copy)) as disk:
        store = await reopened(disk / "store")
        await require_whole(store, numbers, {number for number in numbers if number % 7 == 0})
        assert (await store.usage()).rotten == 0
        await store.close()
