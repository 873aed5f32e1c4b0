"""The store's calls on floors and tombstones, on disk. The rows are `floor_table`'s."""

from collections.abc import Sequence
from functools import partial

from peerd.ids import Key, PeerId
from peerd.io.store import bounds, floor_table
from peerd.io.store.handover import Handover
from peerd.io.store.interface import MISS, Floor, Miss


class SqliteFloors(Handover):
    """See `Store`."""

    def peek_floor(self, key: Key) -> Floor | Miss | None:
        """See `Store.peek_floor`."""
        return MISS if self._floor_keys.may_hold(key) else None

    async def floor(self, key: Key) -> Floor | None:
        """See `Store.floor`."""
        self._require_open()
        if self.peek_floor(key) is None:
            return None
        return await self._read("reading a floor", partial(floor_table.get, key=key))

    async def put_floor(self, key: Key, floor: Floor) -> None:
        """See `Store.put_floor`."""
        bounds.check_sequence(floor.sequence)

        def applied(outcome: floor_table.FloorOutcome) -> None:
            if outcome.is_new:
                self._floor_keys.add(key)
            if outcome.had_record:
                self._hot.dropped(key)
            self._tell(key)

        put = partial(floor_table.put, room=self._room, key=key, floor=floor)
        await self._write("writing a floor", put, applied=applied)

    async def floors(self, after: Key | None, limit: int) -> list[tuple[Key, Floor]]:
        """See `Store.floors`."""
        return await self._read("reading floors", partial(floor_table.page, after=after, limit=limit))

    async def ended_floors(self, now: float, limit: int) -> list[Key]:
        """See `Store.ended_floors`."""
        return await self._read("reading ended floors", partial(floor_table.ended, now=now, limit=limit))

    async def drop_floor(self, key: Key) -> None:
        """See `Store.drop_floor`."""

        def applied(existed: bool) -> None:
            if existed:
                self._floor_keys.discard(key)
                self._tell(key)

        await self._write("dropping a floor", partial(floor_table.drop, key=key), applied=applied)

    async def tombstones(self, after: Key | None, limit: int) -> list[tuple[Key, float]]:
        """See `Store.tombstones`."""
        return await self._read("reading tombstones", partial(floor_table.tombstones, after=after, limit=limit))

    async def note_holders(self, key: Key, peers: Sequence[PeerId]) -> None:
        """See `Store.note_holders`."""
        note = partial(floor_table.note_holders, room=self._room, key=key, peers=list(peers))
        await self._write("noting holders", note)

    async def confirm_holder(self, peer: PeerId, keys: Sequence[Key]) -> None:
        """See `Store.confirm_holder`."""
        confirm = partial(floor_table.confirm_holder, room=self._room, peer=peer, keys=list(keys))
        await self._write("noting who has a tombstone", confirm)

    async def holders(self, key: Key) -> dict[PeerId, bool]:
        """See `Store.holders`."""
        return await self._read("reading holders", partial(floor_table.holders, key=key))
