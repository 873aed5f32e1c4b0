import asyncio

import pytest

from peerd.errors import NoRoomError, StoreError
from peerd.io.store.memory import MemoryStore
from tests.unit.io.store.samples import QUOTA_BYTES, HandClock, block, entropy, key, row


async def test_a_crash_loses_what_is_not_synced_and_keeps_what_is(clock: HandClock) -> None:
    store = MemoryStore(QUOTA_BYTES, entropy, clock)
    await store.put_record(key(1), b"old", row=row(1))
    store.sync_delay = lambda: 0.0
    putting = asyncio.ensure_future(store.put_record(key(1), b"new", row=row(2)))
    await asyncio.sleep(0)
    assert store.peek_record(key(1)) == b"old"

    store.crash()

    with pytest.raises(StoreError):
        await putting
    assert await store.record(key(1)) == b"old"
    assert await store.put_record(key(1), b"newer", row=row(3))


async def test_unlinked_blocks_from_before_a_crash_go_whatever_their_age(clock: HandClock) -> None:
    store = MemoryStore(QUOTA_BYTES, entropy, clock)
    await store.put_blocks([block(1)])
    clock.now += 1
    store.crash()
    await store.put_blocks([block(2)])

    assert await store.drop_unlinked(3_600.0) == (1_000, 1)

    assert await store.has_blocks([block(1).cid, block(2).cid]) == [False, True]


async def test_a_fault_is_raised_by_the_operation_it_names_and_changes_nothing(clock: HandClock) -> None:
    def full(operation: str) -> None:
        if operation == "put_blocks":
            raise NoRoomError("injected")

    store = MemoryStore(QUOTA_BYTES, entropy, clock, fault=full)

    with pytest.raises(NoRoomError):
        await store.put_blocks([block(1)])

    assert await store.has_blocks([block(1).cid]) == [False]


async def test_a_closed_store_opens_again_with_what_it_had(clock: HandClock) -> None:
    store = MemoryStore(QUOTA_BYTES, entropy, clock)
    await store.put_record(key(1), b"a", row=row())
    await store.close()

    store.reopen()

    assert await store.record(key(1)) == b"a"
