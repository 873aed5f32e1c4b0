"""The store's calls on versions that were read, on disk. The rows are `seen_table`'s."""

from collections.abc import Sequence
from functools import partial

from peerd.ids import Key
from peerd.io.store import bounds, seen_table
from peerd.io.store.handover import Handover
from peerd.io.store.seen import Seen


class SqliteSeen(Handover):
    """See `Store`."""

    async def seen(self, key: Key) -> Seen | None:
        """See `Store.seen`."""
        return await self._read("reading what was seen", partial(seen_table.get, key=key))

    async def note_seen(self, entries: Sequence[tuple[Key, Seen]]) -> None:
        """See `Store.note_seen`."""
        for _, seen in entries:
            bounds.check_sequence(seen.sequence)
        await self._write("noting what was seen", partial(seen_table.note, room=self._room, entries=list(entries)))
