"""What the parts of the store in memory share: syncs that take time and may be lost, faults, and the quota."""

import asyncio
import copy
from collections.abc import Callable
from typing import Any

from peerd.clock import Clock, Entropy
from peerd.errors import NoRoomError, StoreError
from peerd.io.store import bounds
from peerd.io.store.health import StoreHealth
from peerd.io.store.lifetime import Lifetime, Lived

# What belongs to the host and not to what it keeps.
_NOT_KEPT = {
    *("_clock", "_watching", "_entropy", "_closed", "_crashes", "_restarted_at", "_lifetime"),
    *("sync_delay", "sync_fault", "fault", "health"),
}


class MemoryBase:
    """What every part works with; `MemoryStore` says what its arguments are."""

    def __init__(
        self,
        quota_bytes: int,
        entropy: Entropy,
        clock: Clock,
        *,
        sync_delay: Callable[[], float] | None = None,
        fault: Callable[[str], None] | None = None,
    ) -> None:
        self.store_id = entropy(bounds.STORE_ID_BYTES)
        self.restored = False
        self.is_copy = False
        self.health = StoreHealth(clock)
        self.quota_bytes = quota_bytes
        self.sync_delay = sync_delay
        self.fault = fault
        self.sync_fault: Callable[[str], None] | None = None
        """Called with each operation that changes something, and may raise."""
        self._clock = clock
        self._entropy = entropy
        self._closed = False
        self._crashes = 0
        self._metadata_bytes = 0
        self._class_bytes = [0] * (bounds.RANK_MAX + 1)
        self._restarted_at = clock.monotonic()
        self._lived = Lived()
        self._lifetime = Lifetime(clock, self._lived)

    def now_s(self) -> float:
        """See `Store.now_s`."""
        return self._lifetime.now_s()

    def note_time(self) -> None:
        """See `Store.note_time`."""
        if not self._closed and self._lifetime.due:
            self._lived = self._lifetime.lived()

    async def next_stamp(self) -> int:
        """See `Store.next_stamp`."""
        stamp, must_note = self._lifetime.stamp()
        if must_note:
            lived = self._lifetime.lived()
            await self._sync("next_stamp")
            self._lived = lived
            self._lifetime.noted(lived)
        return stamp

    def crash(self) -> None:
        """Lose what is not synced yet; the store is then as a restart finds it."""
        self._crashes += 1
        self.reopen()

    def reopen(self) -> None:
        """Take calls again after `close` or a crash, with what was durable."""
        self._closed = False
        self._restarted_at = self._clock.monotonic()
        self._lifetime = Lifetime(self._clock, self._lived)

    def backup(self) -> dict[str, Any]:
        """Return a copy of all that is kept, for `restore`."""
        kept = {name: value for name, value in vars(self).items() if name not in _NOT_KEPT}
        return copy.deepcopy(kept)

    def restore(self, kept: dict[str, Any]) -> None:
        """Go back to a copy, as whoever puts a backup in place does: what came since is lost, the store id is new."""
        vars(self).update(copy.deepcopy(kept))
        self.store_id = self._entropy(bounds.STORE_ID_BYTES)
        self.restored = self.is_copy = True

    async def close(self) -> None:
        """See `Store.close`; `reopen` makes it usable again."""
        if not self._closed:
            self._lived = self._lifetime.lived()
        self._closed = True

    def _check(self, operation: str) -> None:
        if self._closed:
            raise StoreError("the store is closed")
        if self.fault is not None:
            self.fault(operation)

    async def _sync(self, operation: str) -> None:
        """Wait for the disk; what follows in the caller is the change itself and must not wait."""
        self._check(operation)
        if self.sync_fault is not None:
            self.sync_fault(operation)
        self.health.require_trusted()
        if self.sync_delay is None:
            self.note_time()
            return
        crashes = self._crashes
        await asyncio.sleep(self.sync_delay())
        if crashes != self._crashes:
            raise StoreError("the host crashed before this was synced")
        self.note_time()

    def _charge(self, cost: int, *, reserve: bool) -> None:
        """Add `cost` to the rows' bytes; raises NoRoomError where it would not fit."""
        self._require_room(cost, reserve=reserve)
        self._metadata_bytes += cost

    def _require_room(self, cost: int, *, reserve: bool) -> None:
        if cost > 0 and self._used() + cost > bounds.limit_bytes(self.quota_bytes, reserve=reserve):
            raise NoRoomError("the quota is used up", hint=bounds.ROOM_HINT)

    def _used(self) -> int:
        return self._metadata_bytes + sum(self._class_bytes)
