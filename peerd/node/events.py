"""What happens in this peer, for whoever listens: the API's event stream, tests. Slow listeners lose events."""

import asyncio
from typing import Any
from weakref import WeakSet

from msgspec import Struct

QUEUE_MAX = 256
LISTENERS_MAX = 64


class Event(Struct, frozen=True):
    """One thing that happened; `fields` are JSON values, ids and names in full."""

    kind: str
    fields: dict[str, Any]


class Listener:
    """Yields events from its making on; one that is QUEUE_MAX behind loses the oldest. Ends by being let go."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_MAX)

    def __aiter__(self) -> "Listener":
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event."""
        return await self._queue.get()

    def tell(self, event: Event) -> None:
        """Take one event."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(event)


class Events:
    """Hands every event to every listener."""

    def __init__(self) -> None:
        self._listeners: WeakSet[Listener] = WeakSet()

    def emit(self, kind: str, **fields: Any) -> None:
        """Tell all listeners; never waits."""
        if self._listeners:
            event = Event(kind, fields)
            for listener in list(self._listeners):
                listener.tell(event)

    def listen(self) -> Listener:
        """Return a listener for what happens from now on; beyond LISTENERS_MAX it hears nothing."""
        listener = Listener()
        if len(self._listeners) < LISTENERS_MAX:
            self._listeners.add(listener)
        return listener
