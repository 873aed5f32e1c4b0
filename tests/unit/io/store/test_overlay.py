import pytest

from peerd.errors import NoRoomError
from peerd.io.store import bounds
from peerd.io.store.interface import Store
from peerd.io.store.remembered import RememberedPeer
from tests.unit.io.store.samples import QUOTA_BYTES, block, key, peer, raws, root, row


async def test_providers_are_those_that_have_not_ended_latest_first(store: Store) -> None:
    await store.put_provider(key(1), peer(1), b"one", 10.0)
    await store.put_provider(key(1), peer(2), b"two", 30.0)
    await store.put_provider(key(1), peer(3), b"three", 20.0)
    await store.put_provider(key(2), peer(1), b"other", 99.0)

    assert await store.providers(key(1), 10.0) == [b"two", b"three"]
    assert await store.providers(key(3), 0.0) == []


async def test_a_peers_new_statement_takes_the_place_of_its_last(store: Store) -> None:
    await store.put_provider(key(1), peer(1), b"one", 10.0)
    before = await store.usage()

    await store.put_provider(key(1), peer(1), b"two", 5.0)

    assert await store.providers(key(1), 0.0) == [b"two"]
    assert await store.usage() == before


async def test_providers_of_a_key_are_bounded_and_the_first_to_end_go(store: Store) -> None:
    for at in range(bounds.PROVIDERS_PER_KEY_MAX + 5):
        await store.put_provider(key(1), peer(at), b"%d" % at, 1_000.0 - at)

    kept = await store.providers(key(1), 0.0)

    assert kept == [b"%d" % at for at in range(bounds.PROVIDERS_PER_KEY_MAX)]


async def test_providers_in_all_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PROVIDERS_MAX", 10)
    for at in range(12):
        await store.put_provider(key(at), peer(at), b"%d" % at, float(at + 1))

    kept = [await store.providers(key(at), 0.0) for at in range(12)]

    assert kept == [[], []] + [[b"%d" % at] for at in range(2, 12)]


async def test_a_peer_with_more_than_its_part_of_all_providers_displaces_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "PROVIDERS_MAX", 64)
    await store.put_provider(key(0), peer(1), b"honest", 10.0)
    for at in range(1, 100):
        await store.put_provider(key(at), peer(2), b"%d" % at, 1000.0 + at)

    assert await store.providers(key(0), 0.0) == [b"honest"]
    assert await store.providers(key(99), 0.0) == [b"99"]
    assert await store.providers(key(1), 0.0) == []


async def test_remembered_peers_are_the_last_seen_first_one_address_each(store: Store) -> None:
    await store.remember_peers([(peer(1), "10.0.0.1", 7433, 1.0), (peer(2), "10.0.0.2", 7433, 3.0)])
    await store.remember_peers([(peer(1), "fe80::1", 7434, 2.0)])

    assert await store.remembered_peers(10) == [
        RememberedPeer(peer(2), "10.0.0.2", 7433, 3.0),
        RememberedPeer(peer(1), "fe80::1", 7434, 2.0),
    ]
    assert len(await store.remembered_peers(1)) == 1


async def test_the_longest_unseen_peers_are_forgotten_beyond_the_bound(store: Store) -> None:
    extra = 3
    await store.remember_peers([(peer(at), "10.0.0.1", 1, float(at)) for at in range(bounds.PEERS_MAX + extra)])

    kept = await store.remembered_peers(10_000)

    assert len(kept) == bounds.PEERS_MAX
    assert kept[-1].last_seen == extra


async def test_the_longest_known_peers_stay_whatever_flood_comes_after_them(store: Store) -> None:
    old = [RememberedPeer(peer(at), "10.0.0.1", 1, 1.0, 100.0 + at) for at in range(5)]
    await store.remember_peers(old)
    flood = [RememberedPeer(peer(100 + at), "10.0.0.2", 1, 2.0 + at, 0.5) for at in range(2 * bounds.PEERS_MAX)]
    for at in range(0, len(flood), 256):
        await store.remember_peers(flood[at : at + 256])
    await store.remember_peers([old[0]._replace(last_seen=9.0, lived_s=3.0)])  # what is known is not unlearnt

    assert [known.peer for known in await store.anchors(5)] == [each.peer for each in reversed(old)]
    kept = await store.remembered_peers(10_000)
    assert len(kept) == bounds.PEERS_MAX
    assert kept[0] == flood[-1]


async def test_a_revocation_is_kept_for_good_and_the_first_one_counts(store: Store) -> None:
    before = (await store.usage()).used_bytes
    await store.put_revocation(peer(2), b"second", known=False)
    await store.put_revocation(peer(1), b"first", known=True)
    await store.put_revocation(peer(1), b"again", known=False)

    assert sorted(await store.revocations()) == [(b"first", True), (b"second", False)]
    assert (await store.usage()).used_bytes == before + 2 * bounds.REVOKED_ROW_BYTES


async def test_everything_kept_is_counted_and_counted_off_again(store: Store) -> None:
    await store.put_blocks([block(1)])
    await store.put_root(root(1))
    await store.link_blocks(root(1).cid, raws(block(1)))
    await store.add_claim(root(1).cid, b"added")
    await store.put_record(key(1), b"12345", row=row())

    used = await store.usage()

    assert used.used_bytes == sum(
        [
            1_000 + bounds.BLOCK_ROW_BYTES,
            bounds.ROOT_ROW_BYTES + bounds.LINK_ROW_BYTES,
            bounds.claim_bytes(b"added"),
            bounds.RECORD_ROW_BYTES + 5 + bounds.HISTORY_ROW_BYTES,
        ]
    )
    assert (used.records, used.blobs, used.quota_bytes, used.rotten) == (1, 1, QUOTA_BYTES, 0)
    await store.release_root(root(1).cid)
    await store.remove_claim(root(1).cid, b"added")
    await store.drop_record(key(1))
    assert (await store.usage()).used_bytes == 0


async def test_a_full_store_takes_tombstones_but_no_values(store: Store) -> None:
    size = 1024 * 1024
    await store.put_record(key(1), bytes(1_000), row=row(1))
    limit = bounds.limit_bytes(QUOTA_BYTES, reserve=False)
    for at in range(limit // size - 1):
        await store.put_blocks([block(at, size)])
    room = limit - (await store.usage()).used_bytes
    await store.put_record(key(2), bytes(room - bounds.RECORD_ROW_BYTES - bounds.HISTORY_ROW_BYTES), row=row(1))

    with pytest.raises(NoRoomError):
        await store.put_record(key(3), b"new", row=row(1))
    with pytest.raises(NoRoomError):
        await store.put_blocks([block(999)])
    await store.put_record(key(1), b"gone", row=row(2, deleted=True))
    await store.put_record(key(4), b"gone", row=row(2, deleted=True))
    await store.add_claim(root(1).cid, b"added")

    assert await store.record(key(3)) is None
    assert await store.history(key(3)) == []
    assert await store.record(key(1)) == b"gone"


async def test_what_is_kept_can_be_deleted_also_where_the_reserve_is_used_up(store: Store) -> None:
    for number in range(5):
        for sequence in (1, 2):
            await store.put_record(key(number), b"v", row=row(sequence))
    limit = bounds.limit_bytes(QUOTA_BYTES, reserve=True)
    row_bytes = bounds.RECORD_ROW_BYTES + bounds.HISTORY_ROW_BYTES
    room = limit - (await store.usage()).used_bytes
    await store.put_record(key(100), bytes(room - row_bytes), row=row(1, deleted=True))
    with pytest.raises(NoRoomError):
        await store.put_record(key(101), b"t", row=row(1, deleted=True))

    for number in range(5):
        assert await store.put_record(key(number), b"t", row=row(3, deleted=True), only_if=b"v")

    assert [known.row.sequence for known in await store.history(key(0))] == [3]
    assert [known.row.sequence for known in await store.history(key(1))] == [3, 2, 1]  # the first had made room
    assert (await store.usage()).used_bytes <= limit
