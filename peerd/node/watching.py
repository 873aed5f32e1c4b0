"""Watching what a peer stands on: the disk and what is outside the peer. Says why something does not work as it should.

And what those who hear strangers for a peer ask it and tell it. Not here: finding it out (io/store/keeper, io/mdns).
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress

from loguru import logger

from peerd.errors import StoreError
from peerd.ids import PeerId
from peerd.io.store.interface import Usage
from peerd.node.core import Core

WATCH_INTERVAL_S = 1.0
USAGE_TIMEOUT_S = 1.0
"""How long a status waits for a disk that hangs before it shows the last numbers known."""

_NUMBER = re.compile(r"[0-9.]+")


class Watching:
    """The reasons of one peer."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._usage = Usage(0, 0, 0, 0, 0, 0, 0, 0, 0)
        self.watched: list[Callable[[], str | None]] = []

    @property
    def reasons(self) -> list[str]:
        """Return why something does not work as it should; empty where all is well."""
        outside = [reason for reason in (watch() for watch in self.watched) if reason is not None]
        return [*self._core.store.health.reasons, *outside]

    @property
    def unready(self) -> str | None:
        """Return why this peer can keep nothing now, None where it can."""
        health = self._core.store.health
        return None if health.trusted else ", ".join(health.reasons) or "the store is being read again"

    async def usage(self) -> Usage:
        """Return what is used; what was last known of it where the disk cannot say."""
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(USAGE_TIMEOUT_S):
                self._usage = await self._core.store.usage()
        return self._usage

    async def run(self) -> None:
        """Tell of what begins and ends, for ever: by events and in the log."""
        told: list[str] = []
        while True:
            reasons = self.reasons
            # That syncing takes 2.1 s after 2.0 s is no news.
            if [_NUMBER.sub("", reason) for reason in reasons] != [_NUMBER.sub("", reason) for reason in told]:
                told = reasons
                if reasons:
                    logger.warning("degraded", reasons=reasons)
                    self._core.events.emit("degraded", reasons=reasons)
                else:
                    logger.info("recovered")
                    self._core.events.emit("recovered", reasons=[])
            await asyncio.sleep(WATCH_INTERVAL_S)


class Strangers:
    """One running peer, as who hears strangers for it sees it."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def knows(self, peer: PeerId) -> bool:
        """Whether that peer was met, now or in an earlier run."""
        return peer in self._core.members.all

    def refused(self, reason: str) -> None:
        """Show in the status that something was refused before it came here."""
        self._core.counts.rejected[reason] += 1
