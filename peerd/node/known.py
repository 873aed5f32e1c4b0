"""What this peer knows of all its keys, as marks by key: read at the start, kept up with every change of the store.

Reconciliation compares these sets; nothing here asks anybody.
"""

import asyncio

from peerd.ids import Key
from peerd.io.store.interface import MISS, Floor, Store
from peerd.node.tasks import Tasks
from peerd.records.record import Record, read_record
from peerd.swarm.itemset import ItemSet
from peerd.wire.reconcile import mark_of_deleted, mark_of_value

PAGE = 256


def mark_of(record: Record) -> bytes:
    """Return the mark of a record."""
    if record.deleted:
        return mark_of_deleted(record.body.sequence, record.body.writer, record.body.nonce)
    return mark_of_value(record.body.sequence, record.version.digest)


class Known:
    """The set of items of one store; `ready` once it was read whole."""

    def __init__(self, store: Store, tasks: Tasks) -> None:
        self.items = ItemSet()
        self.ready = asyncio.Event()
        self._store = store
        self._tasks = tasks
        self._changed: set[Key] | None = set()
        """What changed while the store is read; None afterwards."""

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
        self._changed = None
        self.ready.set()

    def _on_change(self, key: Key) -> None:
        raw, floor = self._store.peek_record(key), self._store.peek_floor(key)
        if raw is MISS or (raw is None and floor is MISS):
            self._tasks.spawn(self._look(key), "look at what changed")
        else:
            self._note(key, raw, None if floor is MISS else floor)

    async def _look(self, key: Key) -> None:
        raw = await self._store.record(key)
        self._note(key, raw, None if raw is not None else await self._store.floor(key))

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
