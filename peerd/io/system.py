"""The real clock and entropy, and the thread that long work is handed to."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 4

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """The host's clocks."""

    @staticmethod
    def monotonic() -> float:
        """Seconds since some instant; never steps."""
        return time.monotonic()

    @staticmethod
    def wall() -> float:
        """Unix seconds."""
        return time.time()

    @staticmethod
    def boot() -> tuple[str, float]:
        """Which start of the host this is, and the seconds since it."""
        return _boot_id(), time.clock_gettime(_SINCE_BOOT)


# Counts the time asleep too, where there is one that does (Linux); then the start is unknown on the others.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@cache
def _boot_id() -> str:
    try:
        return BOOT_ID_FILE.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def system_entropy(count: int) -> bytes:
    """Return `count` bytes from the kernel."""
    return os.urandom(count)


class ThreadOffload:
    """Runs blocking or long work in a few threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="peerd-work")

    async def __call__(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `work` returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """Let the threads end; work under way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
