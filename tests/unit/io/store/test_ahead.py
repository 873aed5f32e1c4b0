"""Blocks staged before they are put: a kill leaves them, and the next start has those that a root waits for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from peerd.content.block import Block
from peerd.io.store import ahead
from peerd.io.store.interface import Store
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store.samples import LARGE_BYTES, QUOTA_BYTES, HandClock, block, entropy, raws, root

ONE = block(1, LARGE_BYTES)


def staged(directory: Path) -> list[Path]:
    return [path for path in (directory / "store" / "tmp").iterdir() if path.is_file()]


async def killed(
    store: SqliteStore, directory: Path, *, damage: Callable[[Path], None] = lambda path: None
) -> SqliteStore:
    """Start again from what a kill would have left: `close` puts nothing of what is only staged."""
    await store.close()
    for path in staged(directory):
        damage(path)
    return await SqliteStore.open(directory / "store", QUOTA_BYTES, entropy, HandClock(5.0))


async def test_a_staged_block_that_a_root_waits_for_is_there_after_a_kill(
    disk_store: SqliteStore, tmp_path: Path
) -> None:
    await disk_store.link_blocks(root(1).cid, raws(ONE))
    disk_store.stage_block(ONE)
    assert await disk_store.block(ONE.cid) is None

    again = await killed(disk_store, tmp_path)

    assert await again.block(ONE.cid) == ONE.data
    assert (await again.usage()).cache_bytes == LARGE_BYTES
    assert staged(tmp_path) == []
    await again.close()


async def test_a_staged_block_that_nothing_waits_for_goes(disk_store: SqliteStore, tmp_path: Path) -> None:
    disk_store.stage_block(ONE)
    again = await killed(disk_store, tmp_path)
    assert await again.block(ONE.cid) is None
    assert staged(tmp_path) == []
    await again.close()


def _cut_short(path: Path) -> None:
    os.truncate(path, LARGE_BYTES // 2)


def _zeroed(path: Path) -> None:
    path.write_bytes(bytes(LARGE_BYTES))


@pytest.mark.parametrize("damage", [_cut_short, _zeroed])
async def test_what_a_power_cut_made_of_a_staged_block_is_no_block(
    disk_store: SqliteStore, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    await disk_store.link_blocks(root(1).cid, raws(ONE))
    disk_store.stage_block(ONE)
    again = await killed(disk_store, tmp_path, damage=damage)
    assert await again.has_blocks([ONE.cid]) == [False]
    assert staged(tmp_path) == []
    await again.close()


async def test_a_staged_block_is_written_once(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_store.stage_block(ONE)
    monkeypatch.setattr(disk_store._files, "stage", None)  # what is staged is not written again
    await disk_store.put_blocks([ONE])
    assert await disk_store.block(ONE.cid) == ONE.data
    assert staged(tmp_path) == []


async def test_a_staged_file_that_is_gone_is_written_again(disk_store: SqliteStore, tmp_path: Path) -> None:
    disk_store.stage_block(ONE)
    disk_store._ahead._staged[ONE.cid.to_bytes()].result()
    for path in staged(tmp_path):
        path.unlink()
    await disk_store.put_blocks([ONE])
    assert await disk_store.block(ONE.cid) == ONE.data


async def test_what_is_not_put_after_all_leaves_nothing(disk_store: SqliteStore, tmp_path: Path) -> None:
    disk_store.stage_block(ONE)
    disk_store.unstage_blocks([ONE])
    await disk_store.close()
    assert staged(tmp_path) == []


async def test_no_more_than_so_many_are_staged(
    disk_store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "AHEAD_MAX", 2)
    many = [block(at, LARGE_BYTES) for at in range(4)]
    for one in many:
        disk_store.stage_block(one)
    await disk_store.put_blocks(many[2:])
    await disk_store.close()
    assert len(staged(tmp_path)) == 2


async def test_what_has_no_room_any_more_is_let_go_at_the_start(disk_store: SqliteStore, tmp_path: Path) -> None:
    await disk_store.link_blocks(root(1).cid, raws(ONE))
    disk_store.stage_block(ONE)
    await disk_store.close()
    again = await SqliteStore.open(tmp_path / "store", LARGE_BYTES // 2, entropy, HandClock(5.0))
    assert await again.has_blocks([ONE.cid]) == [False]
    await again.close()
    assert staged(tmp_path) == []


async def test_staging_is_no_promise(store: Store) -> None:
    many: list[Block] = [ONE, block(2)]
    for one in many:
        store.stage_block(one)
    assert await store.has_blocks([one.cid for one in many]) == [False, False]
    await store.put_blocks(many)
    assert await store.has_blocks([one.cid for one in many]) == [True, True]
    store.unstage_blocks(many)
    assert await store.has_blocks([one.cid for one in many]) == [True, True]
