"""The newest version of each key that this peer has read: no later read of it returns an older one.

A holder never goes back, for it has the record or its floor. Who only reads has neither, and would believe holders that
all show an old version. Noted on disk a moment after the read; what a crash takes away in that moment may be read older
once. A version with a life is let go of when its holders forget it too. Not here: what is done where only older ones
are shown (reading).
"""

import asyncio
from collections import OrderedDict

from loguru import logger

from peerd.errors import NoRoomError, StoreError
from peerd.ids import Key
from peerd.io.store.interface import Store
from peerd.io.store.seen import Seen
from peerd.node.tasks import Tasks
from peerd.records.floor import FloorVersion
from peerd.records.record import Record
from peerd.trust.quorum import ReadQuorum

# Read again and again; the others are looked up on disk. Also what waits to be written: a flood of reads drops the
# first, which then may be read older.
RECENT_MAX = 4096
# Reads of so long are noted by one write.
GATHERED_S = 0.2


class SeenVersions:
    """What this peer has read."""

    def __init__(self, store: Store, tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._recent: OrderedDict[Key, Seen | None] = OrderedDict()
        self._unwritten: dict[Key, Seen] = {}
        self._writing = False

    async def of(self, key: Key) -> Seen | None:
        """Return the newest version of a key that was read here, None where none is known to have been."""
        if key not in self._recent:
            try:
                found = await self._store.seen(key)
            except StoreError as error:
                logger.warning("what was read before is not known", reason=str(error))
                return None
            self._recent.setdefault(key, found)
            self._bound()
        seen = self._recent.get(key)
        if seen is None or (seen.ends is not None and seen.ends <= self._store.now_s()):
            return None
        self._recent.move_to_end(key)
        return seen

    def note(self, key: Key, newest: Record | None, quorum: ReadQuorum, left_s: int | None, grace_s: float) -> None:
        """What most holders have is what later reads must not fall behind; a holder itself has it on its disk.

        Not what one showed to a reader in haste: a liar could show it a version that nobody else ever has.
        """
        until = self._store.now_s() + grace_s
        if newest is not None and quorum.is_held:
            self.raise_to(key, newest.version[:3], newest.body.strong, until + left_s if left_s else None)
        elif newest is None and quorum.agreed_floor is not None:
            self.raise_to(key, quorum.agreed_floor, False, until)

    def raise_to(self, key: Key, version: FloorVersion, strong: bool, ends: float | None) -> None:
        """A version was read; one with a life may be forgotten at `ends` (the store's seconds)."""
        seen = Seen(*version, strong, ends)
        before = self._recent.get(key)
        if before is not None and (before.order > seen.order or before == seen):
            return
        if before is not None and before.order == seen.order and (before.ends is None or (ends or 0) <= before.ends):
            return
        self._recent[key] = self._unwritten[key] = seen
        self._recent.move_to_end(key)
        self._bound()
        if not self._writing:
            self._writing = self._tasks.spawn(self._write_soon(), "note what was read")

    async def _write_soon(self) -> None:
        try:
            await asyncio.sleep(GATHERED_S)
            await self.flush()
        finally:
            self._writing = False

    async def flush(self) -> None:
        """Have what was read noted on disk; where that fails it is known until this peer ends."""
        while self._unwritten:
            entries, self._unwritten = list(self._unwritten.items()), {}
            try:
                await self._store.note_seen(entries)
            except (NoRoomError, StoreError) as error:
                logger.warning("what was read could not be noted", keys=len(entries), reason=str(error))

    def _bound(self) -> None:
        if len(self._recent) > RECENT_MAX:
            self._recent.popitem(last=False)
        if len(self._unwritten) > RECENT_MAX:
            del self._unwritten[next(iter(self._unwritten))]


def is_older(record: Record, seen: Seen) -> bool:
    """Return whether a version is older than one that was read before."""
    sequence, writer, nonce = record.version[:3]
    return (record.body.strong, sequence, writer, nonce) < seen.order
