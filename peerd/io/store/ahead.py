"""Blocks on their way into the store: written where a kill of the process leaves them, before anything is promised.

A large block that has arrived is written to its temporary file at once, and synced. When it is put, the file is named;
when the process is killed before, the next start finds it, checks its hash and puts it. What a power cut made of it is
not its hash, and goes. What is done with one block's bytes is done by one thread, one thing after the other: each time
that they go from thread to thread costs as much as hashing a part of them.
"""

import os
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

from peerd.content.block import Block, check
from peerd.io.datadir import sync_file
from peerd.io.store.blockfiles import BlockFiles, Staged
from peerd.io.store.health import StoreHealth

AHEAD_MAX = 256
"""Blocks written before they are put; more wait in memory: many slow transfers at once must not fill `tmp/`."""


class StagesBlocks(Protocol):
    """What of the store is about them."""

    def stage_block(self, block: Block) -> None:
        """Have a block that is to be put soon outlive the process, as well as that goes. Never waits, never raises."""

    def receive_block(self, block: Block, land: Callable[[], None] | None = None) -> Awaitable[bool]:
        """Check a block that came, stage it where that is so, and call `land` with it, all in one thread.

        Returns whether it is what its CID says, as soon as that is known. `land` never raises.
        """

    def unstage_blocks(self, blocks: Iterable[Block]) -> None:
        """Let go of blocks that will not be put after all."""


class Ahead:
    """What was written ahead, by the raw CID; used in the event loop, works in the staging threads."""

    def __init__(self, files: BlockFiles, health: StoreHealth, threads: ThreadPoolExecutor) -> None:
        self._files = files
        self._health = health
        self._threads = threads
        self._staged: dict[bytes, Future[Staged]] = {}
        self._unsynced: set[bytes] = set()
        """Of those, what an earlier run has written."""

    def stage(self, block: Block) -> None:
        """Begin to write a block."""
        raw = block.cid.to_bytes()
        if raw in self._staged or len(self._staged) >= AHEAD_MAX or not self._health.trusted:
            return
        with suppress(RuntimeError):  # threads that have ended take nothing more
            self._staged[raw] = self._threads.submit(self._files.stage, raw, block.data)

    def receive(
        self, block: Block, report: Callable[[bool], None], land: Callable[[], None] | None, *, stage: bool
    ) -> None:
        """Have a block checked, `report` the outcome and go on where it is right, in a thread."""
        raw = block.cid.to_bytes()
        if raw in self._staged or len(self._staged) >= AHEAD_MAX or not self._health.trusted or not stage:
            self._threads.submit(_check, block, report, land)
        else:
            self._staged[raw] = self._threads.submit(self._receive, raw, block, report, land)

    def _receive(
        self, raw: bytes, block: Block, report: Callable[[bool], None], land: Callable[[], None] | None
    ) -> Staged:
        if not _check(block, report, land):
            raise OSError("nothing is written of a wrong block")
        return self._files.stage(raw, block.data)

    def found(self, staged: Iterable[Staged]) -> None:
        """Take over whole blocks that an earlier run left."""
        for one in staged:
            done: Future[Staged] = Future()
            done.set_result(one)
            self._staged[one.raw] = done
            self._unsynced.add(one.raw)

    def synced(self, raw: bytes, data: bytes) -> Future[Staged]:
        """Return when a block's bytes are durable under their temporary name, written now where they were not yet."""
        ahead = self._staged.pop(raw, None)
        unsynced = raw in self._unsynced
        self._unsynced.discard(raw)
        if ahead is None:
            return self._threads.submit(self._files.stage, raw, data)
        if unsynced:
            return self._threads.submit(self._sync, ahead, raw, data)
        if ahead.done() and ahead.exception() is None:
            return ahead
        return self._threads.submit(self._wait, ahead, raw, data)

    def drop(self, raws: Iterable[bytes]) -> None:
        """Delete what was written of blocks that are not put."""
        named = list(raws)
        gone = [one for raw in named if (one := self._staged.pop(raw, None)) is not None]
        self._unsynced.difference_update(named)
        if gone:
            with suppress(RuntimeError):
                self._threads.submit(self._delete, gone)

    def _wait(self, ahead: Future[Staged], raw: bytes, data: bytes) -> Staged:
        """In a thread; `ahead` was begun before, so that it is done or another thread is at it."""
        try:
            return ahead.result()
        except OSError:  # the disk was full then
            return self._files.stage(raw, data)

    def _sync(self, ahead: Future[Staged], raw: bytes, data: bytes) -> Staged:
        """Sync what an earlier run has written."""
        try:
            staged = ahead.result()
            descriptor = os.open(staged.temporary, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # whoever read the store again has tidied
            return self._files.stage(raw, data)
        try:
            with self._health.syncing():
                sync_file(descriptor)
        except BaseException:
            self._files.discard([staged])
            raise
        finally:
            os.close(descriptor)
        return staged

    def _delete(self, gone: Iterable[Future[Staged]]) -> None:
        self._files.discard(one.result() for one in gone if one.exception() is None)


def _check(block: Block, report: Callable[[bool], None], land: Callable[[], None] | None) -> bool:
    right = check(block.cid, block.data)
    report(right)
    if right and land is not None:
        land()
    return right
