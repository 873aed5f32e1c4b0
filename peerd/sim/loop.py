"""An asyncio event loop whose clock is virtual: nothing is waited for, the clock goes to whatever comes next.

It has no selector, no sockets and no threads: besides timers there are only arrivals, which the simulated network puts
in. Where somebody waits and nothing will ever come, that is a deadlock, reported with the tasks that wait; where
something goes on for ever without any time passing, a livelock, reported with what goes on.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context, ContextVar
from math import ceil, inf
from types import CoroutineType, GeneratorType
from typing import Any

Arrival = tuple[float, int, Context | None, Callable[..., object], tuple[Any, ...]]

# The clock moves in whole ticks of a power of two, so that sums and differences of instants are exact (for 48 days, a
# host's uptime included): who waits for what is left of an interval would else wait for a rounding error, for ever.
TICKS_PER_S = 2**30
# Turns of the loop in one instant, beyond any honest work.
TURNS_AT_ONCE_MAX = 200_000

running_on: ContextVar[str] = ContextVar("running_on", default="world")
"""On which host the present code runs: for the logs, and for hosts that stand still."""

SHOWN_TASKS_MAX = 20
SHOWN_FUNCTIONS_MAX = 5


class DeadlockError(Exception):
    """Nothing is scheduled and nothing under way, yet the run is not over; `waiting` says who waits where."""

    def __init__(self, waiting: list[str]) -> None:
        shown = waiting[:SHOWN_TASKS_MAX]
        more = [f"and {len(waiting) - len(shown)} more"] if len(waiting) > len(shown) else []
        super().__init__("\n  ".join(["deadlock: nothing will ever happen, and these wait:", *shown, *more]))
        self.waiting = waiting


class LivelockError(Exception):
    """The loop turns and turns while no time passes; `running` says what there is, some of it busy."""

    def __init__(self, running: list[str]) -> None:
        super().__init__("\n  ".join(["livelock: no time passes, and some of these are busy:", *running]))
        self.running = running


def on_tick(instant: float) -> float:
    """Return the first tick at or after an instant."""
    return ceil(instant * TICKS_PER_S) / TICKS_PER_S


class _Gate(deque[asyncio.Handle]):
    """The loop's queue while somebody stands still: what would run there is laid aside, in order."""

    def __init__(self, handles: Iterable[asyncio.Handle], still: dict[str, list[asyncio.Handle]]) -> None:
        super().__init__()
        self._still = still
        for handle in handles:
            self.append(handle)

    def append(self, handle: asyncio.Handle) -> None:
        context: Context = handle._context  # type: ignore[attr-defined]
        aside = self._still.get(context.get(running_on, "world"))
        if aside is None:
            super().append(handle)
        else:
            aside.append(handle)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks at once, timers and arrivals in the order of their instants; equal instants in order of making."""

    def __init__(self, start_s: float = 0.0) -> None:
        super().__init__()
        self._now = on_tick(start_s)
        self._arrivals: list[Arrival] = []
        self._arrival_count = 0
        self.turn_count = 0
        self._still_count = 0
        # The base class asks its selector how long nothing comes in, and hands over what did.
        self._selector = self
        self._ready: deque[asyncio.Handle]
        self._still: dict[str, list[asyncio.Handle]] = {}

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._now

    def arrive_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None) -> None:
        """Call `callback` at `when`, as something that comes from outside does: it cannot be taken back.

        Costs a third of `call_at`.
        """
        self._arrival_count += 1
        heapq.heappush(self._arrivals, (when, self._arrival_count, context, callback, args))

    def pause(self, host: str) -> None:
        """Let nothing run on that host, as SIGSTOP does: its timers and what reaches it wait, and time goes on."""
        self._still.setdefault(host, [])
        self._ready = _Gate(self._ready, self._still)

    def resume(self, host: str) -> None:
        """Let it go on; what waited comes first, in order."""
        waited = self._still.pop(host, [])
        self._ready.extendleft(reversed(waited))
        if not self._still:
            self._ready = deque(self._ready)

    def select(self, timeout: float | None) -> list[Arrival]:
        """Move the clock by `timeout`, or only to the first arrival where that is sooner; return what arrives then."""
        self.turn_count += 1
        arrivals = self._arrivals
        before = self._now
        if timeout is not None:
            until = before if timeout == 0 else on_tick(before + timeout)
        elif arrivals:
            until = inf
        else:
            raise DeadlockError(waiting_tasks(self))
        if arrivals and arrivals[0][0] < until:
            until = max(before, on_tick(arrivals[0][0]))
        self._note_progress(until)
        due = []
        while arrivals and arrivals[0][0] <= until:
            due.append(heapq.heappop(arrivals))
        return due

    def _note_progress(self, until: float) -> None:
        if until > self._now:
            self._now = until
            self._still_count = 0
            return
        self._still_count += 1
        if self._still_count > TURNS_AT_ONCE_MAX:
            self._still_count = 0
            raise LivelockError(waiting_tasks(self))

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
