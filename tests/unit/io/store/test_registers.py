"""Registers in the store: compared and put in one step, still there after a restart, counted in the quota."""

from pathlib import Path

from peerd.ids import Key
from peerd.io.store.interface import Store
from peerd.io.store.memory import MemoryStore
from peerd.io.store.sqlite import SqliteStore
from tests.unit.io.store import samples

A, B = Key(b"a" * 32), Key(b"b" * 32)


async def test_a_register_is_put_only_over_what_was_read(store: Store) -> None:
    assert not store.may_have_register(A)
    assert await store.register(A) is None
    assert not await store.put_register(A, b"one", only_if=b"other")
    assert await store.put_register(A, b"one", only_if=None)
    assert store.may_have_register(A)
    assert not await store.put_register(A, b"two", only_if=None)
    assert not await store.put_register(A, b"two", only_if=b"none")
    assert await store.register(A) == b"one"
    assert await store.put_register(A, b"two", only_if=b"one")
    assert await store.register(A) == b"two"


async def test_registers_are_paged_in_the_order_of_keys(store: Store) -> None:
    for key in (B, A):
        await store.put_register(key, bytes(key[:1]), only_if=None)
    assert await store.registers(None, 10) == [(A, b"a"), (B, b"b")]
    assert await store.registers(None, 1) == [(A, b"a")]
    assert await store.registers(A, 10) == [(B, b"b")]


async def test_registers_count_in_the_quota(store: Store) -> None:
    before = (await store.usage()).used_bytes
    await store.put_register(A, bytes(100), only_if=None)
    one = (await store.usage()).used_bytes - before
    assert one > 100
    await store.put_register(A, bytes(300), only_if=bytes(100))
    assert (await store.usage()).used_bytes - before == one + 200


async def test_a_register_is_there_after_a_restart(tmp_path: Path, clock: samples.HandClock) -> None:
    path = tmp_path / "again"
    store = await SqliteStore.open(path, samples.QUOTA_BYTES, samples.entropy, clock)
    await store.put_register(A, b"one", only_if=None)
    await store.close()
    store = await SqliteStore.open(path, samples.QUOTA_BYTES, samples.entropy, clock)
    assert store.may_have_register(A)
    assert not store.may_have_register(B)
    assert await store.register(A) == b"one"
    await store.close()


async def test_what_a_crash_found_unsynced_is_not_there(clock: samples.HandClock) -> None:
    store = MemoryStore(samples.QUOTA_BYTES, samples.entropy, clock)
    await store.put_register(A, b"one", only_if=None)
    store.crash()
    assert await store.register(A) == b"one"
