import asyncio
import time

import pytest

from peerd.sim.loop import TICKS_PER_S, DeadlockError, LivelockError, VirtualLoop


def _run(work):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def test_an_hour_of_sleep_takes_no_time():
    async def work():
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    began = time.perf_counter()
    assert _run(work()) == 3600
    assert time.perf_counter() - began < 1


def test_timers_and_arrivals_come_in_the_order_of_their_instants():
    async def work():
        loop, came = asyncio.get_running_loop(), []
        loop.call_at(2, came.append, "timer 2")
        loop.arrive_at(1, came.append, "arrival 1", context=None)
        loop.arrive_at(3, came.append, "arrival 3", context=None)
        loop.call_at(1.5, came.append, "timer 1.5")
        loop.arrive_at(3, came.append, "arrival 3, later made", context=None)
        await asyncio.sleep(4)
        return came

    assert _run(work()) == ["arrival 1", "timer 1.5", "timer 2", "arrival 3", "arrival 3, later made"]


def test_what_should_have_arrived_already_arrives_now():
    async def work():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(5)
        arrived = loop.create_future()
        loop.arrive_at(1, lambda: arrived.set_result(loop.time()), context=None)
        return await arrived

    assert _run(work()) == 5


def test_a_wait_for_ever_is_a_deadlock_that_names_the_task_and_its_place():
    async def forgotten():
        await asyncio.get_running_loop().create_future()

    async def work():
        async with asyncio.TaskGroup() as group:
            group.create_task(forgotten(), name="alice")

    with pytest.raises(DeadlockError) as caught:
        _run(work())
    (alice,) = [line for line in caught.value.waiting if line.startswith("alice at ")]
    assert alice.endswith("forgotten)")
    assert __file__ in alice


def test_to_go_on_for_ever_in_one_instant_is_a_livelock(monkeypatch):
    monkeypatch.setattr("peerd.sim.loop.TURNS_AT_ONCE_MAX", 100)

    async def work():
        while True:
            await asyncio.sleep(0)

    with pytest.raises(LivelockError):
        _run(work())


def test_who_waits_for_the_rest_of_an_interval_gets_there():
    async def work():
        loop = asyncio.get_running_loop()
        for count in range(1, 200):
            begin = loop.time()
            loop.arrive_at(begin + 0.1 / count, lambda: None, context=None)
            while (left := 1 / 3 - (loop.time() - begin)) > 0:
                await asyncio.sleep(left / 2 if left > 1e-9 else left)
            assert loop.time() * TICKS_PER_S == int(loop.time() * TICKS_PER_S)
        return True

    assert _run(work())
