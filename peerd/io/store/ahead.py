"""Blocks on their way into the store: written where a kill of the process leaves them, before anything is promised.

A large block that has arrived is written to its temporary file at once and not synced: the kernel has it. When it is
put, the file is synced and named; when the process is killed before, the next start finds it, checks its hash and puts
it. What a power cut made of it is not its hash, and goes.
"""

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

from peerd.content.block import Block
from peerd.io.datadir import sync_file
from peerd.io.store.blockfiles import BlockFiles, Staged
from peerd.io.store.health import StoreHealth

AHEAD_MAX = 256
"""Blocks written before they are put; more wait in memory: many slow transfers at once must not fill `tmp/`."""


class StagesBlocks(Protocol):
    """What of the store is about them."""

    def stage_block(self, block: Block) -> None:
        """Have a block that is to be put soon outlive the process, as well as that goes. Never waits, never raises."""

    def unstage_blocks(self, blocks: Iterable[Block]) -> None:
        """Let go of blocks that will not be put after all."""


class Ahead:
    """What was written ahead, by the raw CID; used in the event loop, works in the staging threads."""

    def __init__(self, files: BlockFiles, health: StoreHealth, threads: ThreadPoolExecutor) -> None:
        self._files = files
        self._health = health
        self._threads = threads
        self._staged: dict[bytes, Future[Staged]] = {}

    def stage(self, block: Block) -> None:
        """Begin to write a block."""
        raw = block.cid.to_bytes()
        if raw in self._staged or len(self._staged) >= AHEAD_MAX or not self._health.trusted:
            return
        with suppress(RuntimeError):  # threads that have ended take nothing more
            self._staged[raw] = self._threads.submit(self._files.write, raw, block.data)

    def found(self, staged: Iterable[Staged]) -> None:
        """Take over whole blocks that an earlier run left."""
        for one in staged:
            done: Future[Staged] = Future()
            done.set_result(one)
            self._staged[one.raw] = done

    def synced(self, raw: bytes, data: bytes) -> Future[Staged]:
        """Return when a block's bytes are durable under their temporary name, written now where they were not yet."""
        ahead = self._staged.pop(raw, None)
        if ahead is None:
            return self._threads.submit(self._files.stage, raw, data)
        return self._threads.submit(self._sync, ahead, raw, data)

    def drop(self, raws: Iterable[bytes]) -> None:
        """Delete what was written of blocks that are not put."""
        gone = [one for raw in raws if (one := self._staged.pop(raw, None)) is not None]
        if gone:
            with suppress(RuntimeError):
                self._threads.submit(self._delete, gone)

    def _sync(self, ahead: Future[Staged], raw: bytes, data: bytes) -> Staged:
        """In a thread; `ahead` was begun before, so that it is done or another thread is at it."""
        try:
            staged = ahead.result()
            descriptor = os.open(staged.temporary, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # the disk was full then, or whoever read the store again has tidied
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
