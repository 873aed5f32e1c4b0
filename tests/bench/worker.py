"""The child process of one subject: `python -m tests.bench.worker NAME ROW,… [PROFILE]`, the plan on standard input.

Prints one JSON object: the version, seconds to start the network, and what the workload noted. The standard library
alone, apart from the subject itself and uvloop where the entry asks for it. With PROFILE, what `cProfile` saw of the
workload (not of the start) is written there.
"""

import asyncio
import contextlib
import cProfile
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator

from tests.bench.plan import Plan
from tests.bench.registry import Entry, entry
from tests.bench.relay import Relay
from tests.bench.subject import Direct, running
from tests.bench.workload import Workload


async def measure(chosen: Entry, rows: list[str], plan: Plan, profile: str | None) -> dict[str, object]:
    """Start the network, run the workload, return what was noted."""
    subject = chosen.build()
    workload = Workload(subject, plan)
    began = time.perf_counter()
    async with contextlib.AsyncExitStack() as stack:
        delayed = rows == ["delay"]
        publisher = await stack.enter_async_context(Relay(plan.round_trip_ms / 2000)) if delayed else Direct()
        await stack.enter_async_context(running(subject, plan.peers, publisher, plan.seed))
        started_s = time.perf_counter() - began
        with _profiled(profile):
            await (workload.run_delayed() if delayed else workload.run(rows))
    return {"version": subject.version, "start_s": started_s, "measures": workload.measures}


@contextlib.contextmanager
def _profiled(path: str | None) -> Iterator[None]:
    if path is None:
        yield
        return
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        yield
    finally:
        profiler.disable()
        profiler.dump_stats(path)


def main() -> None:
    """Measure what the arguments name."""
    chosen = entry(sys.argv[1])
    plan = Plan.from_json(sys.stdin.read())
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if chosen.uvloop:
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        result = runner.run(measure(chosen, sys.argv[2].split(","), plan, sys.argv[3] if len(sys.argv) > 3 else None))
        print(json.dumps(result), flush=True)
        # A hundred sessions of a C++ library take seconds to be destroyed, which nobody waits for.
        os._exit(0)


if __name__ == "__main__":
    main()
