"""What is told to one who shares a root (node.sharing): as few writes as may be.

A crowd of n tells n² times what each has: most of what a getter of many small pieces would spend. So what somebody
waits for is told at once, and all else goes with it in the same write, or is told a moment later together. Who gives
may so believe for a moment that a block is lacking that is not: then it is told so when it proposes it, with all else.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice

from peerd.errors import UnreachableError
from peerd.node.bulk import BulkConnection
from peerd.node.tasks import Tasks
from peerd.wire import frames
from peerd.wire.limits import HAVE_PER_FRAME_MAX

# What nobody waits for is told within this time, and as soon as so many blocks are to be told of.
TOLD_WITHIN_S = 0.25
NEWS_MAX = 16


class Telling:
    """What is still to be told over one connection."""

    def __init__(self, connection: BulkConnection, root: bytes, tasks: Tasks) -> None:
        self.connection = connection
        self.alone: Callable[[], bool] = bool
        """Whether nobody else sends blocks of the root to us."""
        self.failed: Callable[[], None] = lambda: None
        """Called where the connection turns out to be lost."""
        self._root = root
        self._tasks = tasks
        self._news: dict[bytes, None] = {}
        self._credits = 0
        self._leaving = False
        self._answers: list[bytes] = []
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    @property
    def answers_count(self) -> int:
        """How many answers wait to be written."""
        return len(self._answers)

    @property
    def credits_waiting(self) -> int:
        """How many blocks more may be sent than it was told."""
        return self._credits

    def news(self, cids: Iterable[bytes], *, soon: bool = False) -> None:
        """Blocks are here, or about to be."""
        self._news.update(dict.fromkeys(cids))
        self._tell(soon=soon or len(self._news) >= NEWS_MAX)

    def credit(self, count: int, *, soon: bool) -> None:
        """So many more blocks may be sent."""
        self._credits += count
        self._tell(soon=soon)

    def answer(self, answer: bytes) -> None:
        """What was proposed is wanted, or not."""
        self._answers.append(answer)
        self._tell(soon=True)

    async def propose(self, cid: bytes) -> None:
        """Propose a block. Raises UnreachableError."""
        self._wait_no_more()
        await self.connection.tell(self._frames() + frames.pack(frames.PROPOSE, 0, self._root + cid))

    def leave(self) -> None:
        """Nothing more is wanted."""
        self._credits, self._leaving = 0, True
        self._tell(soon=True)

    def end(self) -> None:
        """Tell nothing more."""
        self._ended = True
        self._wait_no_more()

    def _tell(self, *, soon: bool) -> None:
        if self._writing or self._ended:
            return  # it goes with what is written next
        if soon:
            self._wait_no_more()
            self._writing = self._tasks.spawn(self._tell_all(), "tell a sharer")
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TOLD_WITHIN_S, self._due)

    def _due(self) -> None:
        self._timer = None
        self._tell(soon=True)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _tell_all(self) -> None:
        try:
            while not self._ended and (told := self._frames()):
                await self.connection.tell(told)
        except UnreachableError:
            self.failed()
        finally:
            self._writing = False

    def _frames(self) -> bytes:
        """Return the frames of all that is to be told, of very much news a page."""
        root, told = self._root, []
        if self._news:  # first: who is refused a block knows by then what else is here
            page = list(islice(self._news, HAVE_PER_FRAME_MAX))
            for cid in page:
                del self._news[cid]
            told.append(frames.pack(frames.HAVE, 0, root + b"".join(page)))
        told += [frames.pack(frames.DECIDE, 0, root + answer) for answer in self._answers]
        self._answers.clear()
        if self._leaving:
            self._leaving = False
            told.append(frames.pack(frames.LEAVE, 0, root))
        told += [frames.pack(frames.CREDIT, 0, root + bytes([self.alone()]))] * self._credits
        self._credits = 0
        return b"".join(told)
