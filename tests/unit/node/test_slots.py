"""Few blocks at a time, by turns of the peers, and nobody keeps others waiting for long."""

import asyncio

import pytest

from peerd.ids import PeerId
from peerd.node.slots import SLOT_S, Slots

ALICE, BOB, CAROL = (PeerId(bytes([number]) * 32) for number in range(3))


async def send(slots: Slots, peer: PeerId, log: list[PeerId], took_s: float) -> None:
    async with slots.one(peer):
        log.append(peer)
        await asyncio.sleep(took_s)


async def test_so_many_at_a_time() -> None:
    slots, log = Slots(2), list[PeerId]()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(send(slots, ALICE, log, 0.1))
    assert loop.time() - began == pytest.approx(0.3)
    assert len(log) == 6


async def test_each_peer_has_its_turn_however_much_one_asks_for() -> None:
    slots, log = Slots(1), list[PeerId]()
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(send(slots, ALICE, log, 0.1))
        await asyncio.sleep(0.05)
        for peer in (BOB, CAROL, BOB):
            group.create_task(send(slots, peer, log, 0.1))
    assert log[:4] == [ALICE, BOB, CAROL, ALICE]
    assert log[4] == BOB


async def test_one_that_is_slow_keeps_its_slot_for_a_moment_only() -> None:
    slots, log = Slots(1), list[PeerId]()
    loop = asyncio.get_running_loop()
    began = loop.time()
    slow = loop.create_task(send(slots, ALICE, log, 100 * SLOT_S))
    await asyncio.sleep(0)
    await send(slots, BOB, log, 0.1)
    assert loop.time() - began == pytest.approx(SLOT_S + 0.1)
    assert slots.waiting_count == 0
    await slow
    async with asyncio.timeout(1.0):
        await send(slots, CAROL, log, 0.1)


async def test_who_gives_up_waiting_leaves_the_turn_to_the_next() -> None:
    slots, log = Slots(1), list[PeerId]()
    loop = asyncio.get_running_loop()
    first = loop.create_task(send(slots, ALICE, log, 0.2))
    await asyncio.sleep(0)
    waits = loop.create_task(send(slots, BOB, log, 0.1))
    await asyncio.sleep(0)
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    await first
    await send(slots, CAROL, log, 0.1)
    assert log == [ALICE, CAROL]
    assert slots.waiting_count == 0
