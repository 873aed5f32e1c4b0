"""An asyncio event loop whose clock is virtual: nothing is waited for, the clock goes to whatever comes next.

It has no selector, no sockets and no threads: besides timers there are only arrivals, which the simulated network puts
in. Where somebody waits and nothing will ever come, that is a deadlock, reported with the tasks that wait.
"""

import asyncio
import heapq
from collections.abc import Callable
from contextvars import Context
from types import CoroutineType, GeneratorType
from typing import Any

Arrival = tuple[float, int, Context | None, Callable[..., object], tuple[Any, ...]]

SHOWN_TASKS_MAX = 20
SHOWN_FUNCTIONS_MAX = 5


class DeadlockError(Exception):
    """Nothing is scheduled and nothing under way, yet the run is not over; `waiting` says who waits where."""

    def __init__(self, waiting: list[str]) -> None:
        shown = waiting[:SHOWN_TASKS_MAX]
        more = [f"and {len(waiting) - len(shown)} more"] if len(waiting) > len(shown) else []
        super().__init__("\n  ".join(["deadlock: nothing will ever happen, and these wait:", *shown, *more]))
        self.waiting = waiting


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks at once, timers and arrivals in the order of their instants; equal instants in order of making."""

    def __init__(self, start_s: float = 0.0) -> None:
        super().__init__()
        self._now = start_s
        self._arrivals: list[Arrival] = []
        self._arrival_count = 0
        self.turn_count = 0
        # The base class asks its selector how long nothing comes in, and hands over what did.
        self._selector = self

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._now

    def arrive_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None) -> None:
        """Call `callback` at `when`, as something that comes from outside does: it cannot be taken back.

        Costs a third of `call_at`.
        """
        self._arrival_count += 1
        heapq.heappush(self._arrivals, (when, self._arrival_count, context, callback, args))

    def select(self, timeout: float | None) -> list[Arrival]:
        """Move the clock by `timeout`, or only to the first arrival where that is sooner; return what arrives then."""
        self.turn_count += 1
        arrivals = self._arrivals
        if not arrivals:
            if timeout is None:
                raise DeadlockError(waiting_tasks(self))
            self._now += timeout
            return []
        first = arrivals[0][0]
        if timeout is not None and first > self._now + timeout:
            self._now += timeout
            return []
        self._now = max(self._now, first)
        due = []
        while arrivals and arrivals[0][0] <= self._now:
            due.append(heapq.heappop(arrivals))
        return due

    def _process_events(self, event_list: list[Arrival]) -> None:
        for _, _, context, callback, args in event_list:
            self.call_soon(callback, *args, context=context)

    def _write_to_self(self) -> None:
        """Wake the selector: it never sleeps."""

    def close(self) -> None:
        """Drop everything that is still to come."""
        self._arrivals.clear()
        super().close()


def waiting_tasks(loop: asyncio.AbstractEventLoop, *, but: asyncio.Task[Any] | None = None) -> list[str]:
    """Return the name of each unfinished task and where it waits, sorted; one may be left out."""
    tasks = (task for task in asyncio.all_tasks(loop) if task is not but and not task.done())
    return sorted(f"{task.get_name()} at {where(task)}" for task in tasks)


def where(task: asyncio.Task[Any]) -> str:
    """Return `file:line` where a task is suspended, and the innermost functions it is in, the outer first."""
    coroutine: object = task.get_coro()
    place, functions = "its beginning", []
    while coroutine is not None:
        if isinstance(coroutine, CoroutineType):
            frame, inner = coroutine.cr_frame, coroutine.cr_await
        elif isinstance(coroutine, GeneratorType):
            frame, inner = coroutine.gi_frame, coroutine.gi_yieldfrom
        else:
            break
        if frame is None:
            break
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        functions.append(frame.f_code.co_qualname)
        coroutine = inner
    return f"{place} ({' > '.join(functions[-SHOWN_FUNCTIONS_MAX:])})"
