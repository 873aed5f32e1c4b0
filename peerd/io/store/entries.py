"""Entries of build caches, as the store keeps them: opaque statements that may go at any time."""

from typing import NamedTuple, Protocol

from peerd.ids import Key


class EntryRow(NamedTuple):
    """A statement and until when it counts; `kept` are the bytes of content that this peer keeps for it.

    Times are the store's seconds (`now_s`).
    """

    statement: bytes
    expires: float
    used_at: float
    kept: int


class KeepsEntries(Protocol):
    """What of the store is about them."""

    @property
    def quota_bytes(self) -> int:
        """How much may be kept in all."""

    async def entry(self, key: Key) -> EntryRow | None:
        """Return what is known of an entry, also where its life is over."""

    async def put_entry(self, key: Key, row: EntryRow) -> None:
        """Keep an entry in place of the last; at most `bounds.entries_max`, the longest unused go."""

    async def touch_entry(self, key: Key, used_at: float) -> None:
        """Note that an entry was used."""

    async def release_entry(self, key: Key) -> None:
        """Note that this peer keeps no content for an entry any more."""

    async def entry_bytes(self) -> int:
        """Return how many bytes of content are kept for entries; from a counter."""

    async def idle_entries(self, limit: int) -> list[tuple[Key, EntryRow]]:
        """Return so many entries for which content is kept, the longest unused first."""

    async def drop_entries(self, now: float, limit: int) -> list[EntryRow]:
        """Forget at most `limit` entries whose life ended by `now`, and return them."""
