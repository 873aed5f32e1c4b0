"""Locks, tasks, events: the small parts, with their bounds."""

import asyncio

import pytest

from peerd.errors import UnreachableError
from peerd.node.events import LISTENERS_MAX, QUEUE_MAX, Event, Events, Listener
from peerd.node.keylocks import KeyLocks
from peerd.node.tasks import TASKS_MAX, Tasks

# Locks.


async def test_one_holds_a_key_at_a_time_in_order_of_asking() -> None:
    locks = KeyLocks()
    order: list[int] = []

    async def work(number: int) -> None:
        async with locks.hold(b"a"):
            order.append(number)
            await asyncio.sleep(1)
            order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(work(number))
    assert order == [0, 0, 1, 1, 2, 2]


async def test_another_key_is_another_lock() -> None:
    locks = KeyLocks()
    async with locks.hold(b"a"), asyncio.timeout(1), locks.hold(b"b"):
        pass


async def test_a_cancelled_waiter_and_a_failed_holder_leave_the_key_free() -> None:
    locks = KeyLocks()

    async def hold() -> None:
        async with locks.hold(b"a"):
            await asyncio.sleep(1)

    async with locks.hold(b"a"):
        waiting = asyncio.create_task(hold())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    with pytest.raises(ZeroDivisionError):
        async with locks.hold(b"a"):
            raise ZeroDivisionError
    async with asyncio.timeout(1), locks.hold(b"a"):
        pass
    assert locks._locks == {}


# Tasks.


async def test_work_beyond_the_bound_is_dropped_and_counted() -> None:
    tasks = Tasks()
    for _ in range(TASKS_MAX):
        assert tasks.spawn(asyncio.sleep(1), "wait")
    assert not tasks.spawn(asyncio.sleep(1), "one too many")
    assert tasks.dropped_count == 1
    await asyncio.sleep(2)
    assert tasks.spawn(asyncio.sleep(0), "room again")
    await asyncio.sleep(1)
    await tasks.close()


async def test_closing_ends_all_and_takes_no_more() -> None:
    tasks = Tasks()
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("work")
            assert not tasks.spawn(asyncio.sleep(0), "too late")

    tasks.spawn(work(), "work")
    await asyncio.sleep(0)
    await tasks.close()
    assert ended == ["work"]


async def test_what_others_did_wrong_is_no_fault_of_ours() -> None:
    tasks = Tasks()

    async def fail() -> None:
        raise UnreachableError("gone")

    tasks.spawn(fail(), "fail")
    await asyncio.sleep(1)
    await tasks.close()


async def test_a_fault_is_logged_and_nothing_else_ends_by_it(faults_logged: list[str]) -> None:
    tasks = Tasks()
    done: list[str] = []

    async def fail() -> None:
        raise ZeroDivisionError

    async def go_on() -> None:
        await asyncio.sleep(1)
        done.append("went on")

    tasks.spawn(fail(), "fail")
    tasks.spawn(go_on(), "go on")
    await asyncio.sleep(2)
    assert done == ["went on"]
    assert [fault for fault in faults_logged if "ZeroDivisionError" in fault]
    faults_logged.clear()
    await tasks.close()


async def test_work_that_was_to_begin_ends_without_a_word() -> None:
    tasks = Tasks()
    tasks.spawn(asyncio.sleep(1), "not begun")
    await tasks.close()


# Events.


def heard(listener: Listener) -> list[Event]:
    """What waits for a listener."""
    return [listener._queue.get_nowait() for _ in range(listener._queue.qsize())]


async def test_every_listener_hears_every_event_in_order_from_its_making_on() -> None:
    events = Events()
    events.emit("before")
    first, second = events.listen(), events.listen()
    for number in range(3):
        events.emit("tick", number=number)
    told = heard(first)
    assert [event.fields["number"] for event in told] == [0, 1, 2]
    assert heard(second) == told


async def test_a_listener_waits_for_what_is_to_come() -> None:
    events = Events()
    listener = events.listen()
    waiting = asyncio.create_task(anext(aiter(listener)))
    await asyncio.sleep(1)
    events.emit("tick")
    assert (await waiting).kind == "tick"


async def test_a_slow_listener_loses_the_oldest_and_no_memory() -> None:
    events = Events()
    listener = events.listen()
    for number in range(QUEUE_MAX + 10):
        events.emit("tick", number=number)
    assert [event.fields["number"] for event in heard(listener)] == list(range(10, QUEUE_MAX + 10))


async def test_listeners_are_bounded_and_one_that_goes_makes_room() -> None:
    events = Events()
    listeners = [events.listen() for _ in range(LISTENERS_MAX)]
    refused = events.listen()
    events.emit("tick")
    assert heard(refused) == []
    assert all(len(heard(listener)) == 1 for listener in listeners)
    listeners.pop()
    taken = events.listen()
    events.emit("tick")
    assert len(heard(taken)) == 1


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    tasks = Tasks()
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    tasks.spawn(deaf(), "deaf")
    await asyncio.sleep(0)
    await tasks.close()
    assert swallowed == 2
