"""Several questions under way at once, answers in order of arrival, silence noticed peer by peer."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peerd.errors import RemoteError
from peerd.kad.contact import Contact
from peerd.node.endpoint import LAG_GRACE_S, LAG_MAX_S, REQUEST_TIMEOUT_S, TRIES_MAX, Endpoint
from peerd.wire.messages import Reply, Request


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question: a reply, an error, or neither: the peer is silent for longer than it ever was."""

    contact: Contact
    reply: Reply | None
    error: RemoteError | None

    @property
    def silent(self) -> bool:
        """Whether the peer has not answered yet; a late reply still comes as another Answer."""
        return self.reply is None and self.error is None


class Asking:
    """Questions of one operation. Use as a context manager: what is still asked at its end is given up."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._futures: dict[asyncio.Future[Reply], tuple[Contact, asyncio.TimerHandle | None]] = {}
        self._answers: deque[Answer] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *exc_info: object) -> None:
        for future, (_, timer) in self._futures.items():
            if timer is not None:
                timer.cancel()
            future.cancel()
        self._futures.clear()

    @property
    def open_count(self) -> int:
        """How many questions have no final answer yet."""
        return len(self._futures)

    def ask(
        self,
        contact: Contact,
        kind: Callable[..., Request],
        *fields: Any,
        silent_after_s: float,
        wait_min_s: float = 0.0,
        tries_max: int = TRIES_MAX,
    ) -> None:
        """Ask; after `silent_after_s` without a reply an Answer says that the peer is silent.

        `wait_min_s` is for answers that take longer than a round trip: it is not sent again before. It is sent at most
        `tries_max` times.
        """
        future = self._endpoint.ask(
            contact, kind, *fields, timeout_s=self._timeout_s, wait_min_s=wait_min_s, tries_max=tries_max
        )
        timer = None
        if silent_after_s:
            due = self._loop.time() + silent_after_s
            timer = self._loop.call_later(silent_after_s, self._on_silent, contact, due)
        self._futures[future] = (contact, timer)
        future.add_done_callback(self._on_done)

    async def next(self, within_s: float | None = None) -> Answer | None:
        """Return the next answer, or None where nothing is under way any more, or nothing came `within_s`."""
        while not self._answers:
            if not self._futures:
                return None
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(within_s, self._wake) if within_s is not None else None
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
            if within_s is not None and not self._answers:
                return None
        return self._answers.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _on_done(self, future: asyncio.Future[Reply]) -> None:
        entry = self._futures.pop(future, None)
        if entry is None or future.cancelled():
            return
        contact, timer = entry
        if timer is not None:
            timer.cancel()
        error = future.exception()
        if error is None:
            self._push(Answer(contact, future.result(), None))
        else:
            assert isinstance(error, RemoteError)
            self._push(Answer(contact, None, error))

    def _on_silent(self, contact: Contact, due: float) -> None:
        if self._loop.time() - due > LAG_MAX_S:  # we stood still: first read what came meanwhile
            self._loop.call_later(LAG_GRACE_S, self._on_silent, contact, float("inf"))
            return
        self._push(Answer(contact, None, None))

    def _push(self, answer: Answer) -> None:
        self._answers.append(answer)
        self._wake()
