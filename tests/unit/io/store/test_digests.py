"""Plain digests of files: noted, replaced, bounded, counted, listed, and there after a restart."""

from pathlib import Path

import pytest

from peerd.io.store import bounds
from peerd.io.store.digests import DigestRow
from peerd.io.store.interface import Store
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store import samples
from tests.unit.io.store.samples import HandClock

ROOT, OTHER = b"\x01\x70\x12\x20" + bytes(32), b"\x01\x70\x12\x20" + b"\x01" * 32


def digest(number: int) -> bytes:
    return bytes([number]) * 32


async def test_what_was_noted_last_is_known_and_listed(store: Store) -> None:
    assert await store.digest_root(digest(1)) is None
    for number, root in ((2, ROOT), (1, ROOT), (1, OTHER)):
        await store.note_digest(digest(number), root)
    assert await store.digest_root(digest(1)) == OTHER
    assert await store.digests(None, 1) == [DigestRow(digest(1), OTHER)]
    assert await store.digests(digest(1), 5) == [DigestRow(digest(2), ROOT)]


async def test_what_was_noted_first_goes_first_and_all_counts_for_the_quota(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "DIGESTS_MAX", 3)
    before = (await store.usage()).used_bytes
    for number in (0, 1, 2, 0, 7):
        await store.note_digest(digest(number), ROOT)
    assert [row.digest for row in await store.digests(None, 9)] == [digest(0), digest(2), digest(7)]
    assert (await store.usage()).used_bytes == before + 3 * bounds.DIGEST_ROW_BYTES


async def test_what_was_noted_is_there_after_a_restart(clock: HandClock, tmp_path: Path) -> None:
    made = await SqliteStore.open(tmp_path / "store", samples.QUOTA_BYTES, samples.entropy, clock)
    await made.note_digest(digest(1), ROOT)
    await made.close()
    again = await SqliteStore.open(tmp_path / "store", samples.QUOTA_BYTES, samples.entropy, clock)
    assert await again.digest_root(digest(1)) == ROOT
    await again.close()
