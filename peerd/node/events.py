"""What happens in this peer, for whoever listens: the API's event stream, tests. Slow listeners lose events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct

QUEUE_MAX = 256
LISTENERS_MAX = 64


class Event(Struct, frozen=True):
    """One thing that happened; `fields` are JSON values."""

    kind: str
    fields: dict[str, Any]


class Events:
    """Hands every event to every listener."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event]] = set()

    def emit(self, kind: str, **fields: Any) -> None:
        """Tell all listeners; never waits."""
        if not self._queues:
            return
        event = Event(kind, fields)
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    async def listen(self) -> AsyncIterator[Event]:
        """Yield events from now on; a listener that is QUEUE_MAX behind loses the oldest."""
        if len(self._queues) >= LISTENERS_MAX:
            return
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_MAX)
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)
