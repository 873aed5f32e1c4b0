"""The node's background tasks: bounded, named, never silently failing, all ended by `close`."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from loguru import logger

from peerd.clock import Rng
from peerd.errors import PeerdError

TASKS_MAX = 2048

CANCEL_AGAIN_S = 1.0


class Tasks:
    """Owns tasks; the one place where the daemon catches everything, and logs it with its trace."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._closed = False
        self.dropped_count = 0

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> bool:
        """Run `work` in the background; where too many run already it is dropped and counted."""
        if self._closed or len(self._tasks) >= TASKS_MAX:
            work.close()
            self.dropped_count += 1
            return False
        task = asyncio.get_running_loop().create_task(self._guard(work, name), name=name)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._ended(done, work))
        return True

    def _ended(self, task: asyncio.Task[None], work: Coroutine[Any, Any, Any]) -> None:
        self._tasks.pop(task, None)
        work.close()  # cancelled before its first step it would complain; of one that ran this does nothing

    async def _guard(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        try:
            await work
        except PeerdError as error:
            logger.debug("background work ended", work=name, reason=str(error))
        except Exception:  # noqa: BLE001  the one catch-all: logged with its trace, the daemon goes on
            logger.exception("background work failed", work=name)

    async def close(self) -> None:
        """Cancel all and wait for their ends."""
        self._closed = True
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            # Whoever took a cancellation for something else is told again.
            await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)


async def every(rng: Rng, interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` again and again, with a pause of `interval_s` give or take a tenth; its failures do not end that."""
    while True:
        await asyncio.sleep(interval_s * rng.uniform(0.9, 1.1))
        try:
            await work()
        except PeerdError as error:
            logger.debug("maintenance was put off", work=work.__name__, reason=str(error))
