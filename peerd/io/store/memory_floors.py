"""The store's calls on floors and tombstones, in memory."""

import bisect
from collections.abc import Sequence
from typing import Any

from peerd.ids import Key, PeerId
from peerd.io.store import bounds
from peerd.io.store.interface import Floor
from peerd.io.store.memory_records import MemoryRecords


class MemoryFloors(MemoryRecords):
    """See `Store`."""

    def __init__(self, *arguments: Any, **hooks: Any) -> None:
        super().__init__(*arguments, **hooks)
        self._floors: dict[Key, Floor] = {}
        self._floor_keys: list[Key] = []
        self._deleted_at: dict[Key, float] = {}
        self._holders: dict[Key, dict[PeerId, bool]] = {}

    def peek_floor(self, key: Key) -> Floor | None:
        """See `Store.peek_floor`; memory always knows."""
        return self._floors.get(key)

    async def floor(self, key: Key) -> Floor | None:
        """See `Store.floor`."""
        self._check("floor")
        return self._floors.get(key)

    async def put_floor(self, key: Key, floor: Floor) -> None:
        """See `Store.put_floor`."""
        bounds.check_sequence(floor.sequence)
        await self._sync("put_floor")
        present = self._floors.get(key)
        self._require_room(self._floor_cost(key), reserve=True)
        if present is None:
            bisect.insort(self._floor_keys, key)
            self._metadata_bytes += bounds.FLOOR_ROW_BYTES
        if present is None or floor.over(present):
            self._floors[key] = floor
        self._drop_row(key)
        self._watching(key)

    def _floor_cost(self, key: Key) -> int:
        """Return what a key's floor takes more than its record gives back."""
        cost = 0 if key in self._floors else bounds.FLOOR_ROW_BYTES
        kept = self._records.get(key)
        if kept is not None:
            cost -= len(kept[0]) + bounds.RECORD_ROW_BYTES
        cost -= len(self._history.get(key, ())) * bounds.HISTORY_ROW_BYTES
        return cost - len(self._holders.get(key, ())) * bounds.HOLDER_ROW_BYTES

    async def floors(self, after: Key | None, limit: int) -> list[tuple[Key, Floor]]:
        """See `Store.floors`."""
        self._check("floors")
        start = 0 if after is None else bisect.bisect_right(self._floor_keys, after)
        return [(key, self._floors[key]) for key in self._floor_keys[start : start + limit]]

    async def ended_floors(self, now: float, limit: int) -> list[Key]:
        """See `Store.ended_floors`."""
        self._check("ended_floors")
        ends = sorted((floor.ends, key) for key, floor in self._floors.items() if floor.ends is not None)
        return [key for end, key in ends if end <= now][:limit]

    async def drop_floor(self, key: Key) -> None:
        """See `Store.drop_floor`."""
        await self._sync("drop_floor")
        self._drop_floor(key)
        self._watching(key)

    def _drop_floor(self, key: Key) -> None:
        if self._floors.pop(key, None) is not None:
            del self._floor_keys[bisect.bisect_left(self._floor_keys, key)]
            self._metadata_bytes -= bounds.FLOOR_ROW_BYTES

    def _superseded_bytes(self, key: Key, *, deleted: bool) -> int:
        holders = 0 if deleted else len(self._holders.get(key, ()))
        return holders * bounds.HOLDER_ROW_BYTES + (bounds.FLOOR_ROW_BYTES if key in self._floors else 0)

    def _superseded(self, key: Key, *, deleted: bool) -> None:
        self._drop_floor(key)
        if deleted:
            self._deleted_at[key] = self.now_s()
            for peer in self._holders.get(key, ()):
                self._holders[key][peer] = False
        else:
            self._forgotten(key)

    def _forgotten(self, key: Key) -> None:
        self._deleted_at.pop(key, None)
        self._metadata_bytes -= len(self._holders.pop(key, ())) * bounds.HOLDER_ROW_BYTES

    async def tombstones(self, after: Key | None, limit: int) -> list[tuple[Key, float]]:
        """See `Store.tombstones`."""
        self._check("tombstones")
        return [(key, self._deleted_at[key]) for key in sorted(self._deleted_at) if after is None or key > after][
            :limit
        ]

    async def note_holders(self, key: Key, peers: Sequence[PeerId]) -> None:
        """See `Store.note_holders`."""
        await self._sync("note_holders")
        self._add_holders([(key, peer) for peer in peers], confirmed=False)

    async def confirm_holder(self, peer: PeerId, keys: Sequence[Key]) -> None:
        """See `Store.confirm_holder`."""
        await self._sync("confirm_holder")
        self._add_holders([(key, peer) for key in keys], confirmed=True)

    def _add_holders(self, pairs: Sequence[tuple[Key, PeerId]], *, confirmed: bool) -> None:
        known: list[tuple[Key, PeerId]] = []
        new: dict[tuple[Key, PeerId], None] = {}
        counts: dict[Key, int] = {}
        for key, peer in pairs:
            kept = self._holders.get(key, {})
            if peer in kept or (key, peer) in new:
                known.append((key, peer))
            elif key in self._deleted_at and len(kept) + counts.get(key, 0) < bounds.HOLDERS_PER_KEY_MAX:
                counts[key] = counts.get(key, 0) + 1
                new[key, peer] = None
        self._charge(len(new) * bounds.HOLDER_ROW_BYTES, reserve=True)
        for key, peer in new:
            self._holders.setdefault(key, {})[peer] = confirmed
        for key, peer in known:
            self._holders[key][peer] = self._holders[key][peer] or confirmed

    async def holders(self, key: Key) -> dict[PeerId, bool]:
        """See `Store.holders`."""
        self._check("holders")
        return dict(sorted(self._holders.get(key, {}).items()))
