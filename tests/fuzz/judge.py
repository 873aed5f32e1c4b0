"""What is watched while wrong bytes come: exceptions, errors in the log, memory, how long the loop is held.

Time held is CPU time of the thread, without collections of garbage: so a busy machine fails nothing.
"""

import asyncio
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loguru import logger

HELD_MAX_S = 0.1
"""No callback may hold the event loop for longer."""

GROWTH_MAX_BYTES = 1024 * 1024
"""Memory may grow by so much in a hundred thousand tries, once tables are full."""

GROWTH_TRIES = 50_000
"""Fewer show nothing: tables and caches still fill."""

FAULTS_MAX = 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: str = "self") -> int:
    """Memory of a process that is in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


class Judge:
    """Collects what must not happen; `faults` is empty where nothing did."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.held_s = 0.0
        self.held_by = ""
        self.tries = 0
        self.growth = 0.0
        """By how many bytes memory grew in a hundred thousand tries, in the second half of the run."""
        self._collected_s = 0.0
        self._began_s = 0.0
        self._marks: list[tuple[int, int]] = []

    def __enter__(self) -> "Judge":
        gc.callbacks.append(self._on_collection)
        self._sink = logger.add(lambda line: self.fault(f"logged: {line}"), level="ERROR", backtrace=False)
        self._run = run = asyncio.Handle._run
        judge = self

        def measured(handle: asyncio.Handle) -> None:
            judge.measure(lambda: run(handle), handle)

        asyncio.Handle._run = measured  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.Handle._run = self._run  # type: ignore[method-assign]
        logger.remove(self._sink)
        gc.callbacks.remove(self._on_collection)

    def fault(self, text: str) -> None:
        """Note what must not happen."""
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(text)

    def measure(self, work: Callable[[], Any], what: object) -> Any:
        """Do something in the loop, and note how long it held it."""
        began, collected = time.thread_time(), self._collected_s
        try:
            return work()
        finally:
            held_s = time.thread_time() - began - (self._collected_s - collected)
            if held_s > self.held_s:
                self.held_s, self.held_by = held_s, repr(what)[:300]
                if held_s > HELD_MAX_S:
                    self.fault(f"the loop was held for {held_s:.3f} s by {self.held_by}")

    def mark(self, resident: int | None = None) -> None:
        """Note how much memory is in use now: this process's, where no other is told."""
        if resident is None:
            gc.collect()
            resident = resident_bytes()
        self._marks.append((self.tries, resident))

    def check_growth(self, most_bytes: int = GROWTH_MAX_BYTES) -> None:
        """Memory that grows with the tries, by more than that in a hundred thousand, is a fault."""
        if len(self._marks) < 4:
            return
        (early, before), (late, after) = self._marks[len(self._marks) // 2], self._marks[-1]
        self.growth = (after - before) / max(1, late - early) * 100_000
        if self.growth > most_bytes and self.tries >= GROWTH_TRIES:
            self.fault(f"memory grows by {self.growth / 2**20:.1f} MiB in 100,000 tries: {self._marks}")

    def _on_collection(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began_s = time.thread_time()
        else:
            self._collected_s += time.thread_time() - self._began_s
