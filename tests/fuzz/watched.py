"""`python -m tests.fuzz.watched FILE peerd --flag …`: the daemon, which writes into FILE how long its loop was held.

Between two ticks of a hundredth of a second the loop's thread can use no more CPU than its callbacks of one turn take.
"""

import asyncio
import gc
import sys
import time
from pathlib import Path
from typing import Any

import peerd.daemon
from peerd.__main__ import status

TICK_S = 0.01


def main(arguments: list[str]) -> int:
    """Run the daemon to its end."""
    out = Path(arguments[0])
    run = peerd.daemon.run
    worst = 0.0

    async def watched(*args: Any) -> int:
        loop = asyncio.get_running_loop()
        collected = began = 0.0
        last = time.thread_time()
        # What starts the daemon is not what strangers make it do.
        ignored_until = loop.time() + 1.0

        def on_collection(phase: str, _: object) -> None:
            nonlocal collected, began
            if phase == "start":
                began = time.thread_time()
            else:
                collected += time.thread_time() - began

        def tick() -> None:
            nonlocal last, worst, collected
            now = time.thread_time()
            if loop.time() > ignored_until and now - last - collected > worst:
                worst = now - last - collected
                out.write_text(f"{worst:.6f}")
            last, collected = time.thread_time(), 0.0
            loop.call_later(TICK_S, tick)

        gc.callbacks.append(on_collection)
        tick()
        return await run(*args)

    peerd.daemon.run = watched
    return status(arguments[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
