"""What every test stands under: no blocked event loop, no leftover task, and a seed that is printed when it fails."""

import asyncio
import gc
import inspect
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from loguru import logger

# loguru's own sink writes out the values of all variables of a trace: seconds for a test that holds megabytes. Which
# tests met it hung on what ran before them in the same worker.
logger.remove()

# Its deadline for one example is of the wall clock, and fails tests on a busy machine.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# CPU time, so that a busy machine fails no test; and far above it wall time in which it was not kept from a processor,
# for what sleeps in the loop.
BLOCKED_CPU_S = 0.25
BLOCKED_WALL_S = 2.0

# The clock of CPU time costs as much as a short callback does: it is read no more often than this, and what was
# computed since counts for the callback that is looked at.
CPU_READ_EVERY_S = 0.005

SEED_VARIABLE = "TEST_SEED"

_LIVE = Path(__file__).parent / "live"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the live tests on one worker, one after the other: they measure time and share the machine's limits."""
    for item in items:
        if item.path.is_relative_to(_LIVE):
            item.add_marker(pytest.mark.xdist_group("live"))


@pytest.fixture(scope="session", autouse=True)
def heard() -> None:
    """What imports the daemon, as collecting the tests does, hears peerd only once it says so."""
    logger.enable("peerd")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run of the test: TEST_SEED or a new one; shown when the test fails."""
    value = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(2**32))
    request.node.add_report_section("setup", "seed", f"{SEED_VARIABLE}={value} runs this test again as it was")
    return value


@pytest.fixture
def rng(seed: int) -> random.Random:
    """Chance from the seed."""
    return random.Random(seed)


class _Longest:
    """The longest that one callback of an asyncio loop has held it, since `start`.

    Collections of garbage do not count: what they take goes by all that the tests before have left in the process. Nor
    does waiting for a processor: that goes by what else the machine does.
    """

    def __init__(self) -> None:
        self._collected_cpu_s = 0.0
        self._began_s = 0.0
        self.start()

    def start(self) -> None:
        self.cpu_s = 0.0
        self.wall_s = 0.0
        self.what = ""
        self._queued_s = _queued_s()

    def watch(self) -> None:
        """Measure every callback of asyncio's loops from now on; costs under a microsecond for each."""
        run = asyncio.Handle._run
        gc.callbacks.append(self._on_collection)
        last = (0, 0.0, 0.0, 0.0)

        def measured(handle: asyncio.Handle) -> None:
            nonlocal last
            wall, collected = time.perf_counter(), self._collected_cpu_s
            thread, read_s, cpu, cpu_collected = last
            if wall - read_s > CPU_READ_EVERY_S or thread != threading.get_ident():
                cpu, cpu_collected = time.thread_time(), collected
                last = (threading.get_ident(), wall, cpu, cpu_collected)
            try:
                run(handle)
            finally:
                wall_s = time.perf_counter() - wall
                if wall_s > BLOCKED_CPU_S:
                    self._look(
                        handle,
                        time.thread_time() - cpu - (self._collected_cpu_s - cpu_collected),
                        wall_s - (self._collected_cpu_s - collected),
                    )

        asyncio.Handle._run = measured

    def _look(self, handle: asyncio.Handle, cpu_s: float, wall_s: float) -> None:
        if wall_s > BLOCKED_WALL_S:
            # Of the whole test so far: to read it before every callback costs too much.
            wall_s -= _queued_s() - self._queued_s
        if cpu_s > self.cpu_s or wall_s > self.wall_s:
            self.cpu_s, self.wall_s = max(cpu_s, self.cpu_s), max(wall_s, self.wall_s)
            if cpu_s > BLOCKED_CPU_S or wall_s > BLOCKED_WALL_S:
                self.what = repr(handle)

    def _on_collection(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began_s = time.thread_time()
        else:
            self._collected_cpu_s += time.thread_time() - self._began_s


def _queued_s() -> float:
    """How long this thread has waited for a processor in all."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


_longest = _Longest()
_longest.watch()


@pytest.fixture(autouse=True)
def no_blocked_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail an async test in which something held the event loop; `may_block` lets one off."""
    _longest.start()
    yield
    if not _longest.what or not _is_async(request) or request.node.get_closest_marker("may_block"):
        return
    pytest.fail(f"the event loop was held for {_longest.wall_s:.2f} s ({_longest.cpu_s:.2f} s CPU) by {_longest.what}")


@pytest.fixture(autouse=True)
def no_leftover_task(request: pytest.FixtureRequest) -> None:
    """Fail an async test that ends while a task it started still runs."""
    if _is_async(request):
        request.getfixturevalue("_tasks_gone")


@pytest.fixture
async def _tasks_gone() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    # One turn, for tasks that were cancelled and have only to end.
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    names = sorted(f"{task.get_name()}: {task.get_coro()!r}" for task in left if not task.done())
    if names:
        pytest.fail(f"{len(names)} tasks still run: {'; '.join(names)}")


def _is_async(request: pytest.FixtureRequest) -> bool:
    function = getattr(request, "function", None)
    # Hypothesis wraps a coroutine function in a plain one and keeps it inside.
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inspect.iscoroutinefunction(inner)
