"""What others promised us: their receipts, kept as proofs against who gives one and drops what it was for.

The newest of each holder for a key. New ones wait in memory and reach the disk together: losing some costs nothing but
that a lie is found a round later.
"""

from collections import OrderedDict
from contextlib import suppress

from peerd.errors import NoRoomError
from peerd.ids import Key, PeerId
from peerd.io.store.interface import Store
from peerd.records.receipt import Receipt, receipts

# Receipts that wait for the disk; of more the oldest are not kept. About 0.5 MB.
WAITING_MAX = 1024


class Proofs:
    """Receipts of others."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: OrderedDict[tuple[Key, PeerId], bytes] = OrderedDict()

    def keep(self, receipt: Receipt, raw: bytes) -> None:
        """Keep a receipt that was verified. No I/O."""
        at = Key(receipt.key), PeerId(receipt.holder)
        self._waiting[at] = raw
        self._waiting.move_to_end(at)
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)

    async def of(self, key: Key, holder: PeerId) -> Receipt | None:
        """Return what a holder promised last of a key. Raises StoreError."""
        raw = await self.raw(key, holder)
        return receipts.read(raw) if raw is not None else None

    async def raw(self, key: Key, holder: PeerId) -> bytes | None:
        """Return it as it was signed. Raises StoreError."""
        return self._waiting.get((key, holder)) or await self._store.receipt(key, holder)

    async def save(self) -> None:
        """Have what waits written to the disk. Raises StoreError, and then it waits on; without room it is let go."""
        waiting = dict(self._waiting)
        if not waiting:
            return
        with suppress(NoRoomError):
            await self._store.put_receipts([(key, holder, raw) for (key, holder), raw in waiting.items()])
        for at, raw in waiting.items():
            if self._waiting.get(at) is raw:
                del self._waiting[at]
