"""Upload slots: few large blocks are sent at a time, over all connections, by turns of the peers that wait.

So that a block is whole somewhere soon, where all at once would be halves of blocks everywhere: who gets one can give
it on. Whoever was served longest ago is served next, each peer alike however many connections or requests it has. A
receiver that is slow keeps a slot for a moment only: after SLOT_S its block goes on beside the others.

Small blocks need no slot: they cost hardly any of the link, and whoever asks for one waits for it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from peerd.ids import PeerId

# For how long one block keeps its slot.
SLOT_S = 1.0
# Blocks below this pass freely.
LARGE_BYTES = 64 * 1024
# Peers whose last turn is remembered.
REMEMBERED_MAX = 1024


class Slots:
    """So many sends at a time."""

    def __init__(self, count: int, hold_s: float = SLOT_S) -> None:
        self._free = count
        self._hold_s = hold_s
        self._waiting: dict[PeerId, deque[asyncio.Future[None]]] = {}
        self._turns: dict[PeerId, int] = {}
        """The number of each peer's last turn."""
        self._turn = 0

    @property
    def waiting_count(self) -> int:
        """How many sends wait."""
        return sum(len(each) for each in self._waiting.values())

    @asynccontextmanager
    async def one(self, peer: PeerId) -> AsyncIterator[None]:
        """Surround the sending of one large block to a peer; waits for its turn."""
        await self._take(peer)
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._release()

        timer = asyncio.get_running_loop().call_later(self._hold_s, release)
        try:
            yield
        finally:
            timer.cancel()
            release()

    async def _take(self, peer: PeerId) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            self._note(peer)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(peer, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            else:
                self._forget(peer, turn)
            raise

    def _forget(self, peer: PeerId, turn: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(peer)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[peer]

    def _release(self) -> None:
        self._free += 1
        while self._free and self._waiting:
            peer = min(self._waiting, key=lambda each: self._turns.get(each, 0))
            queue = self._waiting[peer]
            turn = queue.popleft()
            if not queue:
                del self._waiting[peer]
            if not turn.done():
                self._free -= 1
                self._note(peer)
                turn.set_result(None)

    def _note(self, peer: PeerId) -> None:
        self._turn += 1
        self._turns.pop(peer, None)
        self._turns[peer] = self._turn
        if len(self._turns) > REMEMBERED_MAX:
            del self._turns[next(iter(self._turns))]
