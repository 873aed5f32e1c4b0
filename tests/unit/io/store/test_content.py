import pytest

from peerd.content.block import dag_pb_block
from peerd.errors import NoRoomError, UsageError
from peerd.io.store import bounds
from peerd.io.store.interface import Store
from tests.unit.io.store.samples import LARGE_BYTES, QUOTA_BYTES, SMALL_BYTES, HandClock, block, raws, root

SIZES = [0, 1, bounds.INLINE_MAX_BYTES, bounds.INLINE_MAX_BYTES + 1, 1024 * 1024]


async def test_blocks_of_every_size_are_read_back(store: Store) -> None:
    blocks = [block(size, size) for size in SIZES]

    await store.put_blocks(blocks)

    assert [await store.block(one.cid) for one in blocks] == [one.data for one in blocks]
    assert await store.has_blocks([blocks[0].cid, block(9).cid, blocks[4].cid]) == [True, False, True]
    assert await store.block(block(9).cid) is None


async def test_a_block_put_twice_counts_once(store: Store) -> None:
    await store.put_blocks([block(1, LARGE_BYTES), block(2), block(1, LARGE_BYTES)])
    once = await store.usage()

    await store.put_blocks([block(1, LARGE_BYTES), block(2)])

    assert await store.usage() == once
    assert once.used_bytes == LARGE_BYTES + SMALL_BYTES + 2 * bounds.BLOCK_ROW_BYTES + bounds.padding_bytes(LARGE_BYTES)


async def test_the_same_bytes_under_two_codecs_are_two_blocks(store: Store) -> None:
    raw = block(1, LARGE_BYTES)
    pb = dag_pb_block(raw.data)

    await store.put_blocks([raw, pb])
    await store.delete_blocks([raw.cid])

    assert await store.has_blocks([raw.cid, pb.cid]) == [False, True]
    assert await store.block(pb.cid) == raw.data


async def test_deleted_blocks_are_gone_and_their_room_is_back(store: Store) -> None:
    blocks = [block(1), block(2, LARGE_BYTES)]
    await store.put_blocks(blocks)

    await store.delete_blocks([one.cid for one in blocks])
    await store.delete_blocks([block(3).cid])

    assert await store.has_blocks([one.cid for one in blocks]) == [False, False]
    assert (await store.usage()).used_bytes == 0


@pytest.mark.parametrize("size", [20_000, 1024 * 1024])
async def test_over_quota_nothing_of_a_put_is_kept(store: Store, size: int) -> None:
    cost = size + bounds.padding_bytes(size) + bounds.BLOCK_ROW_BYTES
    fits = bounds.limit_bytes(QUOTA_BYTES, reserve=False) // cost
    blocks = [block(at, size) for at in range(fits + 1)]
    with pytest.raises(NoRoomError):
        await store.put_blocks(blocks)
    assert (await store.usage()).used_bytes == 0

    await store.put_blocks(blocks[:fits])

    with pytest.raises(NoRoomError):
        await store.put_blocks(blocks[-1:])
    await store.put_blocks(blocks[:3])
    assert (await store.usage()).used_bytes <= QUOTA_BYTES


async def test_a_root_is_kept_changed_and_deleted(store: Store) -> None:
    await store.put_root(root(1))
    assert await store.root(root(1).cid) == root(1)

    changed = root(1, "pinned", complete=False, name="b", copies=5, size=11)
    await store.put_root(changed)

    assert await store.root(root(1).cid) == changed
    await store.delete_root(root(1).cid)
    assert await store.root(root(1).cid) is None
    assert await store.usage() == await store.usage()
    assert (await store.usage()).used_bytes == 0


async def test_roots_come_in_pages_in_the_order_of_their_cids(store: Store) -> None:
    for at in range(7):
        await store.put_root(root(at))
    ordered = sorted((root(at) for at in range(7)), key=lambda one: one.cid)

    first = await store.roots(None, 3)
    rest = await store.roots(first[-1].cid, 100)

    assert first == ordered[:3]
    assert rest == ordered[3:]
    assert (await store.usage()).blobs == 7


async def test_releasing_a_root_leaves_the_blocks_that_another_links(store: Store) -> None:
    shared, mine, theirs = block(1, LARGE_BYTES), block(2, LARGE_BYTES), block(3)
    await store.put_blocks([shared, mine, theirs])
    await store.put_root(root(1))
    await store.put_root(root(2))
    await store.link_blocks(root(1).cid, raws(shared, mine))
    await store.link_blocks(root(2).cid, raws(shared, theirs))

    freed = await store.release_root(root(1).cid)

    assert freed == LARGE_BYTES
    assert await store.root(root(1).cid) is None
    assert await store.has_blocks([shared.cid, mine.cid, theirs.cid]) == [True, False, True]
    assert await store.release_root(root(1).cid) == 0
    assert await store.release_root(root(2).cid) == LARGE_BYTES + SMALL_BYTES
    assert (await store.usage()).used_bytes == 0


async def test_releasing_a_root_of_many_blocks_frees_them_all(store: Store) -> None:
    blocks = [block(at, 100) for at in range(1_500)]
    await store.put_blocks(blocks)
    await store.put_root(root(1))
    await store.link_blocks(root(1).cid, raws(*blocks))

    assert await store.release_root(root(1).cid) == 150_000
    assert (await store.usage()).used_bytes == 0


async def test_a_root_put_again_after_its_release_begins_anew(store: Store) -> None:
    await store.put_blocks([block(1), block(2)])
    await store.put_root(root(1))
    await store.link_blocks(root(1).cid, raws(block(1)))
    await store.release_root(root(1).cid)

    await store.put_root(root(1))
    await store.link_blocks(root(1).cid, raws(block(2)))

    assert await store.release_root(root(1).cid) == SMALL_BYTES


async def test_deleting_a_root_leaves_its_blocks_unlinked(store: Store, clock: HandClock) -> None:
    await store.put_blocks([block(1), block(2)])
    await store.put_root(root(1))
    await store.put_root(root(2))
    await store.link_blocks(root(1).cid, raws(block(1), block(2), block(3)))
    await store.link_blocks(root(2).cid, raws(block(2)))

    await store.delete_root(root(1).cid)

    assert await store.has_blocks([block(1).cid, block(2).cid]) == [True, True]
    assert await store.drop_unlinked(0.0) == (SMALL_BYTES, 1)
    assert await store.has_blocks([block(1).cid, block(2).cid]) == [False, True]


async def test_blocks_may_be_linked_before_they_come(store: Store) -> None:
    await store.put_root(root(1))
    await store.link_blocks(root(1).cid, raws(block(1), block(2, LARGE_BYTES)))
    assert await store.has_blocks([block(1).cid]) == [False]
    assert (await store.usage()).replica_bytes == 0

    await store.put_blocks([block(1), block(2, LARGE_BYTES)])

    assert (await store.usage()).replica_bytes == LARGE_BYTES + SMALL_BYTES
    assert await store.drop_unlinked(0.0) == (0, 0)
    assert await store.release_root(root(1).cid) == LARGE_BYTES + SMALL_BYTES


async def test_a_block_deleted_under_its_root_can_be_mended(store: Store) -> None:
    await store.put_blocks([block(1, LARGE_BYTES)])
    await store.put_root(root(1))
    await store.link_blocks(root(1).cid, raws(block(1, LARGE_BYTES)))
    await store.delete_blocks([block(1, LARGE_BYTES).cid])
    assert (await store.usage()).replica_bytes == 0

    await store.put_blocks([block(1, LARGE_BYTES)])

    assert (await store.usage()).replica_bytes == LARGE_BYTES
    assert await store.release_root(root(1).cid) == LARGE_BYTES


async def test_linking_to_an_unknown_root_makes_an_incomplete_cached_one(store: Store, clock: HandClock) -> None:
    await store.link_blocks(root(1).cid, raws(block(1)))

    made = await store.root(root(1).cid)

    assert made is not None
    assert (made.class_, made.complete, made.added_at) == ("cache", False, store.now_s())


async def test_linking_twice_counts_once(store: Store) -> None:
    await store.put_root(root(1))
    await store.link_blocks(root(1).cid, raws(block(1), block(1)))
    once = await store.usage()

    await store.link_blocks(root(1).cid, raws(block(1)))
    await store.link_blocks(root(1).cid, [])

    assert await store.usage() == once


async def test_a_block_counts_for_the_highest_class_that_links_it(store: Store) -> None:
    await store.put_blocks([block(1), block(2)])
    await store.put_root(root(1, "cache"))
    await store.put_root(root(2, "replica"))
    await store.link_blocks(root(1).cid, raws(block(1), block(2)))
    await store.link_blocks(root(2).cid, raws(block(2)))
    used = await store.usage()
    assert (used.cache_bytes, used.replica_bytes) == (SMALL_BYTES, SMALL_BYTES)

    await store.put_root(root(1, "pinned"))
    used = await store.usage()
    assert (used.cache_bytes, used.replica_bytes, used.pinned_bytes) == (0, 0, 2 * SMALL_BYTES)

    await store.put_root(root(1, "own"))
    used = await store.usage()
    assert (used.pinned_bytes, used.own_bytes, used.replica_bytes) == (0, 2 * SMALL_BYTES, 0)

    await store.put_root(root(1, "cache"))
    await store.release_root(root(2).cid)
    used = await store.usage()
    assert (used.cache_bytes, used.replica_bytes, used.own_bytes) == (2 * SMALL_BYTES, 0, 0)


async def test_unlinked_blocks_go_when_they_are_old_enough(store: Store, clock: HandClock) -> None:
    await store.put_blocks([block(1), block(2, LARGE_BYTES)])
    clock.now += 60
    await store.put_blocks([block(3)])

    assert await store.drop_unlinked(60.0) == (LARGE_BYTES + SMALL_BYTES, 2)

    assert await store.has_blocks([block(1).cid, block(3).cid]) == [False, True]


async def test_eviction_releases_cached_roots_the_longest_unused_first(store: Store) -> None:
    for at in range(4):
        await store.put_blocks([block(at, LARGE_BYTES)])
        await store.put_root(root(at, "cache", used_at=float(at)))
        await store.link_blocks(root(at).cid, raws(block(at, LARGE_BYTES)))
    store.touch_root(root(0).cid, 9.0)
    touched = await store.root(root(0).cid)
    assert touched is not None
    assert touched.used_at == 9.0

    assert await store.evict_cache(LARGE_BYTES + 1) == 2 * LARGE_BYTES

    kept = {one.cid for one in await store.roots(None, 10)}
    assert kept == {root(0).cid, root(3).cid}


async def test_eviction_spares_copies_claims_and_pins(store: Store) -> None:
    for at, class_ in enumerate(["pinned", "own", "replica", "cache"]):
        await store.put_blocks([block(at)])
        await store.put_root(root(at, class_))
        await store.link_blocks(root(at).cid, raws(block(at)))
    await store.add_claim(root(3).cid, b"added")

    assert await store.evict_cache(10**9) == 0
    await store.remove_claim(root(3).cid, b"added")
    assert await store.evict_cache(0) == 0
    assert await store.evict_cache(10**9) == SMALL_BYTES

    assert (await store.usage()).blobs == 3


async def test_eviction_of_many_small_roots_goes_on_until_there_is_room(store: Store) -> None:
    for at in range(150):
        await store.put_blocks([block(at)])
        await store.link_blocks(root(at).cid, raws(block(at)))

    assert await store.evict_cache(149 * SMALL_BYTES) == 149 * SMALL_BYTES


async def test_claims_are_added_once_listed_and_removed(store: Store) -> None:
    await store.add_claim(b"c1", b"name:b")
    await store.add_claim(b"c1", b"added")
    await store.add_claim(b"c1", b"added")
    await store.add_claim(b"c0", b"added")

    assert await store.claims(b"c1") == [b"added", b"name:b"]
    assert await store.roots_with_claim(b"added") == [b"c0", b"c1"]

    await store.remove_claim(b"c1", b"added")
    await store.remove_claim(b"c1", b"never")

    assert await store.claims(b"c1") == [b"name:b"]
    assert await store.roots_with_claim(b"added") == [b"c0"]
    with pytest.raises(UsageError):
        await store.add_claim(b"c1", bytes(bounds.CLAIM_MAX_BYTES + 1))


async def test_roots_with_a_block_are_told_whether_it_is_here_or_not(store: Store) -> None:
    shared = block(1)
    await store.put_blocks([shared])
    for number in (2, 1, 3):
        await store.link_blocks(root(number).cid, raws(shared))
    await store.delete_blocks([shared.cid])

    cids = sorted(root(number).cid for number in (1, 2, 3))
    assert await store.roots_with_block(shared.cid.to_bytes(), 10) == cids
    assert await store.roots_with_block(shared.cid.to_bytes(), 2) == cids[:2]
    await store.release_root(cids[0])
    assert await store.roots_with_block(shared.cid.to_bytes(), 10) == cids[1:]
    assert await store.roots_with_block(block(2).cid.to_bytes(), 10) == []
