"""What is known of the keys kept here follows the store, also where only its disk can say what changed."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from peerd.errors import DamagedError, StoreError
from peerd.ids import Key
from peerd.io.store.interface import MISS
from peerd.node.holding import keep_record
from peerd.node.known import LOOK_AGAIN_S, mark_of
from peerd.records.record import Record
from peerd.sim.host import Host

from .hosts import World, core, joined, version


def cold(monkeypatch: pytest.MonkeyPatch, host: Host, disk: Callable[[bytes | None], Awaitable[bytes | None]]) -> None:
    """From now on only the disk can say what is kept, and does so as `disk` has it."""
    peek = host.store.peek_record

    async def record(key: Key) -> bytes | None:
        raw = peek(key)
        assert raw is not MISS
        return await disk(raw)

    monkeypatch.setattr(host.store, "peek_record", lambda key: MISS)
    monkeypatch.setattr(host.store, "record", record)


def known(host: Host, record: Record) -> bool:
    return core(host).known.items.mark(record.key) == mark_of(record)


async def whole(raw: bytes | None) -> bytes | None:
    return raw


async def test_what_a_failing_disk_did_not_tell_is_read_once_it_can(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host,) = await joined(world, 1)
    first, second = version(host, "a", 1), version(host, "a", 2)
    await keep_record(core(host), first, None)
    fails = True

    async def disk(raw: bytes | None) -> bytes | None:
        if fails:
            raise StoreError("the disk fails")
        return raw

    cold(monkeypatch, host, disk)
    await host.store.put_record(first.key, second.raw, row=(await host.store.history(first.key))[0].row)
    await asyncio.sleep(3 * LOOK_AGAIN_S)
    assert known(host, first)
    fails = False
    await asyncio.sleep(2 * LOOK_AGAIN_S)
    assert known(host, second)


async def test_many_changes_that_only_the_disk_knows_are_all_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host,) = await joined(world, 1)
    monkeypatch.setattr("peerd.node.tasks.TASKS_MAX", 0)
    cold(monkeypatch, host, whole)
    records = [version(host, str(number), 1) for number in range(50)]
    for record in records:
        await keep_record(core(host), record, None)
    await asyncio.sleep(1)
    assert all(known(host, record) for record in records)


async def test_of_two_changes_while_the_disk_is_read_the_later_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host,) = await joined(world, 1)
    first, second = version(host, "a", 1), version(host, "a", 2)
    await keep_record(core(host), first, None)
    row = (await host.store.history(first.key))[0].row

    async def slow(raw: bytes | None) -> bytes | None:
        await asyncio.sleep(2)
        return raw

    with monkeypatch.context() as patched:
        cold(patched, host, slow)
        await host.store.put_record(first.key, first.raw, row=row)
        await asyncio.sleep(1)
    await host.store.put_record(first.key, second.raw, row=row)
    assert known(host, second)
    await asyncio.sleep(5)
    assert known(host, second)


async def test_a_damaged_record_is_as_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (host,) = await joined(world, 1)
    first = version(host, "a", 1)
    await keep_record(core(host), first, None)

    async def damaged(raw: bytes | None) -> bytes | None:
        raise DamagedError("rotten")

    cold(monkeypatch, host, damaged)
    host.store._watching(first.key)
    await asyncio.sleep(1)
    assert core(host).known.items.mark(first.key) is None
