"""The two stores are one promise: whatever is asked of them, they answer alike and count alike."""

import random
from collections.abc import Awaitable, Callable

import pytest

from peerd.errors import PeerdError
from peerd.io.store import bounds
from peerd.io.store.entries import EntryRow
from peerd.io.store.interface import ANY, MISS, Floor, Store
from peerd.io.store.memory import MemoryStore
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store.samples import HandClock, block, entropy, key, peer, raws, root, row

STEPS = 400
QUOTA_BYTES = 200_000
SIZES = [0, 100, 5_000, bounds.INLINE_MAX_BYTES + 1, 60_000]

Step = Callable[[Store], Awaitable[object]]


def step(chance: random.Random, clock: HandClock) -> Step:
    """Return one call with everything in it chosen."""
    number, other = chance.randrange(6), chance.randrange(6)
    size = chance.choice(SIZES)
    some = [block(at, SIZES[at % len(SIZES)]) for at in chance.sample(range(20), chance.randrange(8))]
    class_ = chance.choice(["pinned", "own", "replica", "cache"])
    version = row(
        chance.randrange(1, 40),
        writer=chance.choice([b"alice", b"bob"]),
        deleted=chance.random() < 0.2,
        cid=chance.choice([None, raws(block(number))[0]]),
        expires=chance.choice([None, float(chance.randrange(50))]),
    )
    floor = Floor(other, b"alice", b"n", chance.choice([None, float(number)]))
    only_if = chance.choice([ANY, ANY, None, bytes(size // 8)])
    at, conflict, wanted = float(chance.randrange(100)), chance.random() < 0.5, chance.randrange(100_000)
    clock.now += chance.random()
    return chance.choice(
        [
            lambda store: store.put_record(key(number), bytes(size // 8), row=version, only_if=only_if),
            lambda store: store.put_record(key(number), bytes(size // 8), row=version),
            lambda store: store.add_history(key(number), version, conflict=conflict),
            lambda store: store.drop_record(key(number)),
            lambda store: store.put_floor(key(number), floor),
            lambda store: store.drop_floor(key(number)),
            lambda store: store.note_holders(key(number), [peer(other), peer(number)]),
            lambda store: store.confirm_holder(peer(other), [key(number), key(other)]),
            lambda store: store.reserve_sequence(key(number), other),
            lambda store: store.put_blocks(some),
            lambda store: store.put_blocks(some),
            lambda store: store.put_blocks(some, root=root(number).cid, named=raws(block(other))),
            lambda store: store.delete_blocks([one.cid for one in some[:1]]),
            lambda store: store.put_root(root(number, class_, used_at=at)),
            lambda store: store.link_blocks(root(number).cid, raws(*some)),
            lambda store: store.link_blocks(root(number).cid, raws(*some)),
            lambda store: store.delete_root(root(number).cid),
            lambda store: store.release_root(root(number).cid),
            lambda store: store.evict_cache(wanted),
            lambda store: store.drop_unlinked(at / 10),
            lambda store: store.add_claim(root(number).cid, b"claim %d" % other),
            lambda store: store.remove_claim(root(number).cid, b"claim %d" % other),
            lambda store: store.put_provider(key(number), peer(other), b"s" * number, at),
            lambda store: store.put_receipts(
                [(key(number), peer(other), bytes(size // 8)), (key(other), peer(0), b"r")]
            ),
            lambda store: store.put_evidence(peer(other), bytes(size // 8)),
            lambda store: store.put_entry(key(number), EntryRow(bytes(size // 8), at, float(other), wanted % 3)),
            lambda store: store.release_entry(key(number)),
            lambda store: store.drop_entries(at / 4, 2),
            lambda store: store.remember_peers([(peer(number), "10.0.0.1", 7433, at)]),
        ]
    )


async def outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except PeerdError as error:
        return type(error)


async def view(store: Store) -> list[object]:
    """Everything that can be asked."""
    seen: list[object] = [await store.usage(), await store.records(None, 100), await store.roots(None, 100)]
    seen += [await store.floors(None, 100), await store.ended_floors(3.0, 100), await store.tombstones(None, 100)]
    seen += [await store.expired_records(30.0, 100), await store.remembered_peers(100), await store.record_count()]
    cids = [block(at, SIZES[at % len(SIZES)]).cid for at in range(20)]
    seen += [await store.has_blocks(cids), [await store.block(cid) for cid in cids]]
    seen += [await store.evidence(), await store.entry_bytes(), await store.idle_entries(9)]
    seen += [await store.receipt(key(at // 6), peer(at % 6)) for at in range(36)]
    for number in range(6):
        seen += [await store.not_linked(root(number).cid, [cid.to_bytes() for cid in cids])]
        seen += [await store.history(key(number)), await store.providers(key(number), 20.0)]
        seen += [await store.claims(root(number).cid), await store.roots_with_claim(b"claim %d" % number)]
        seen += [await store.record_with_cid(raws(block(number))[0]), await store.record(key(number))]
        seen += [await store.entry(key(number))]
        seen += [await store.holders(key(number)), await store.floor(key(number))]
        assert store.peek_floor(key(number)) in (MISS, seen[-1])
    return seen


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_both_stores_answer_alike(disk_store: SqliteStore, clock: HandClock, seed: int) -> None:
    chance = random.Random(seed)
    memory = MemoryStore(QUOTA_BYTES, entropy, clock)
    disk_store.quota_bytes = QUOTA_BYTES
    disk_store._room = type(disk_store._room)(QUOTA_BYTES)
    refused = 0
    for at in range(STEPS):
        call = step(chance, clock)
        answers = [await outcome(call(store)) for store in (memory, disk_store)]
        assert answers[0] == answers[1], (seed, at)
        refused += isinstance(answers[0], type)
        if at % 20 == 0:
            assert await view(memory) == await view(disk_store), (seed, at)
    assert 0 < refused < STEPS / 2
