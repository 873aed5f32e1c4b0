"""A version that this peer has read of a key: what it reads later is not older."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from peerd.ids import Key


class Seen(NamedTuple):
    """`ends` (in the store's seconds) is when it may be forgotten, as the key's holders then have: None: never."""

    sequence: int
    writer: bytes
    nonce: bytes
    strong: bool = False
    ends: float | None = None

    @property
    def order(self) -> tuple[bool, int, bytes, bytes]:
        """What orders it among the key's versions, as `Version` does."""
        return self.strong, self.sequence, self.writer, self.nonce


class KeepsSeen(Protocol):
    """What of the store is about them."""

    async def seen(self, key: Key) -> Seen | None:
        """Return which version of a key this peer has read, as far as it was noted."""

    async def note_seen(self, entries: Sequence[tuple[Key, Seen]]) -> None:
        """Note versions that were read, in place of those noted before; at most SEEN_MAX, the first noted go."""
