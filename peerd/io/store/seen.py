"""A version that this peer has read of a key: what it reads later is not older."""

from typing import NamedTuple


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
