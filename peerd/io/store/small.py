"""Reading many small blocks by one look into the database: a look for each is most of what ten thousand cost."""

from collections.abc import Sequence
from typing import Protocol

from peerd.content.cid import Cid


class ReadsSmallBlocks(Protocol):
    """A part of `Store`."""

    async def small_blocks(self, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        """Return those blocks that are here, whole, and at most INLINE_MAX_BYTES long (bounds); of the rest nothing.

        At most 1,000 are asked for at a time. What is not returned may be here: `block` tells.
        """

    async def has_blocks(self, cids: Sequence[Cid]) -> list[bool]:
        """Say for each CID whether the block is here; damage shows only when it is read."""

    async def not_linked(self, root: bytes, cids: Sequence[bytes]) -> list[bytes]:
        """Return those blocks that are not here, or that a root does not link; what is here and linked stays."""
