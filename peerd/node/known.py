"""What this peer knows of all its keys, as marks by key: read at the start, kept up with every change of the store.

Reconciliation compares these sets; nothing here asks anybody.
"""

import asyncio

from loguru import logger

from peerd.errors import DamagedError, StoreError
from peerd.ids import Key
from peerd.io.store.interface import MISS, Floor, Store
from peerd.records.record import Record, read_record
from peerd.swarm.itemset import ItemSet
from peerd.wire.reconcile import mark_of_deleted, mark_of_value

PAGE = 256
# Between two tries to read what a failing disk did not tell.
LOOK_AGAIN_S = 5.0


def mark_of(record: Record) -> bytes:
    """Return the mark of a record."""
    if record.deleted:
        return mark_of_deleted(record.body.sequence, record.body.writer, record.body.nonce)
    return mark_of_value(record.body.sequence, record.version.digest)


class Known:
    """The set of items of one store; `ready` once it was read whole."""

    def __init__(self, store: Store) -> None:
        self.items = ItemSet()
        self.ready = asyncio.Event()
        self._store = store
        self._changed: set[Key] | None = set()
        """What changed while the store is read; None afterwards."""
        self._unsure: dict[Key, object] = {}
        """What changed and has to be read to be known, with a mark of its last change; no more than the store keeps."""
        self._wake = asyncio.Event()

    async def load(self) -> None:
        """Read the store, page by page; raises StoreError."""
        self._store.watch(self._on_change)
        after: Key | None = None
        while page := await self._store.records(after, PAGE):
            for key, raw in page:
                self._set(key, mark_of(read_record(raw)), loading=True)
            after = page[-1][0]
            await asyncio.sleep(0)
        after = None
        while floors := await self._store.floors(after, PAGE):
            for key, floor in floors:
                self._set(key, mark_of_deleted(*floor.version), loading=True)
            after = floors[-1][0]
            await asyncio.sleep(0)
        await self._look()
        self._changed = None
        self.ready.set()

    async def follow(self) -> None:
        """For ever read what changed where only the disk can say what it is now, again where that fails."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._look()
            except StoreError as error:
                logger.warning("what changed could not be read yet", keys=len(self._unsure), reason=str(error))
                await asyncio.sleep(LOOK_AGAIN_S)
                self._wake.set()

    def _on_change(self, key: Key) -> None:
        raw, floor = self._store.peek_record(key), self._store.peek_floor(key)
        if raw is MISS or (raw is None and floor is MISS):
            self._unsure[key] = object()
            self._wake.set()
        else:
            self._unsure.pop(key, None)
            self._note(key, raw, None if floor is MISS else floor)

    async def _look(self) -> None:
        """Read all that is unsure; raises StoreError."""
        for key in list(self._unsure):
            while (change := self._unsure.get(key)) is not None:
                try:
                    raw = await self._store.record(key)
                except DamagedError:
                    raw = None  # it comes again once the scrub has found it
                floor = None if raw is not None else await self._store.floor(key)
                if self._unsure.get(key) is change:
                    del self._unsure[key]
                    self._note(key, raw, floor)

    def _note(self, key: Key, raw: bytes | None, floor: Floor | None) -> None:
        if raw is not None:
            self._set(key, mark_of(read_record(raw)))
        else:
            self._set(key, mark_of_deleted(*floor.version) if floor is not None else None)

    def _set(self, key: Key, mark: bytes | None, *, loading: bool = False) -> None:
        if self._changed is not None:
            if loading and key in self._changed:
                return
            if not loading:
                self._changed.add(key)
        if mark is None:
            self.items.discard(key)
        else:
            self.items.put(key, mark)
