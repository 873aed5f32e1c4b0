"""Receipts of others, the newest of each holder for a key, and evidence, one piece for each accused: both bounded."""

import pytest

from peerd.io.store import bounds
from peerd.io.store.interface import Store
from tests.unit.io.store.samples import key, peer


async def test_a_holders_newest_receipt_for_a_key_takes_the_place_of_the_last(store: Store) -> None:
    await store.put_receipts([(key(1), peer(1), b"old"), (key(1), peer(2), b"other")])
    await store.put_receipts([(key(1), peer(1), b"new")])
    assert await store.receipt(key(1), peer(1)) == b"new"
    assert await store.receipt(key(1), peer(2)) == b"other"
    assert await store.receipt(key(2), peer(1)) is None


async def test_of_too_many_receipts_those_kept_longest_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "RECEIPTS_MAX", 3)
    await store.put_receipts([(key(at), peer(1), b"%d" % at) for at in range(3)])
    await store.put_receipts([(key(0), peer(1), b"again"), (key(3), peer(1), b"3")])
    found = [await store.receipt(key(at), peer(1)) for at in range(4)]
    assert found == [b"again", None, b"2", b"3"]


async def test_receipts_take_a_small_part_of_a_small_quota() -> None:
    cost = bounds.RECEIPT_ROW_BYTES + 256
    for quota_bytes in (2**20, 2**26, 2**40):
        most = bounds.receipts_max(quota_bytes)
        assert 0 < most <= bounds.RECEIPTS_MAX
        assert most * cost <= quota_bytes // 64


async def test_what_convicted_somebody_first_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "EVIDENCE_MAX", 2)
    for at, raw in ((1, b"one"), (1, b"again"), (2, b"two"), (3, b"three")):
        await store.put_evidence(peer(at), raw)
    assert await store.evidence() == [b"two", b"three"]


async def test_what_is_kept_counts_for_the_quota(store: Store) -> None:
    before = (await store.usage()).used_bytes
    await store.put_receipts([(key(1), peer(1), bytes(100))])
    await store.put_evidence(peer(1), bytes(1000))
    after = (await store.usage()).used_bytes
    assert after - before == 1100 + bounds.RECEIPT_ROW_BYTES + bounds.EVIDENCE_ROW_BYTES
