"""The store's calls on versions that were read, in memory."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from peerd.ids import Key
from peerd.io.store import bounds
from peerd.io.store.memory_base import MemoryBase
from peerd.io.store.seen import Seen


class MemorySeen(MemoryBase):
    """See `Store`."""

    def __init__(self, *arguments: Any, **hooks: Any) -> None:
        super().__init__(*arguments, **hooks)
        self._seen: OrderedDict[Key, Seen] = OrderedDict()

    async def seen(self, key: Key) -> Seen | None:
        """See `Store.seen`."""
        self._check("seen")
        return self._seen.get(key)

    async def note_seen(self, entries: Sequence[tuple[Key, Seen]]) -> None:
        """See `Store.note_seen`."""
        for _, seen in entries:
            bounds.check_sequence(seen.sequence)
        await self._sync("note_seen")
        new = len({key for key, _ in entries if key not in self._seen})
        self._require_room(new * bounds.SEEN_ROW_BYTES, reserve=False)
        self._metadata_bytes += new * bounds.SEEN_ROW_BYTES
        for key, seen in entries:
            self._seen[key] = seen
            self._seen.move_to_end(key)
        while len(self._seen) > bounds.SEEN_MAX:
            self._seen.popitem(last=False)
            self._metadata_bytes -= bounds.SEEN_ROW_BYTES
