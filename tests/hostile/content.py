"""Liars about blocks: they send them altered, cut, longer, late, others or none, though they promised them."""

import asyncio
from collections.abc import Sequence

from tests.hostile.base import HonestBlock, Liar, flipped

DRIP_S = 2.0


class Altered(Liar):
    """Turns one bit of each block."""

    name = "altered"

    async def block(self, cid: bytes, honest: HonestBlock) -> bytes | None:
        data = await honest()
        return None if data is None else flipped(data, self.rng.randrange(max(1, len(data))))


class Truncated(Liar):
    """Leaves the last byte of each block out."""

    name = "truncated"

    async def block(self, cid: bytes, honest: HonestBlock) -> bytes | None:
        data = await honest()
        return data[:-1] or b"\x00" if data is not None else None


class Longer(Liar):
    """Adds a byte to each block."""

    name = "longer"

    async def block(self, cid: bytes, honest: HonestBlock) -> bytes | None:
        data = await honest()
        return data + b"\x00" if data is not None else None


class Swapped(Liar):
    """Sends the block that it was asked for before, whole, in place of each."""

    name = "swapped"
    last = b"some block of something else"

    async def block(self, cid: bytes, honest: HonestBlock) -> bytes | None:
        data = await honest()
        if data is None:
            return None
        sent, self.last = self.last, data
        return sent


class Empty(Liar):
    """Sends no byte for each block."""

    name = "empty"

    async def block(self, cid: bytes, honest: HonestBlock) -> bytes | None:
        return b"" if await honest() is not None else None


class Denies(Liar):
    """Says of each block that it is missing."""

    name = "denies"

    async def block(self, cid: bytes, honest: HonestBlock) -> bytes | None:
        return None


class Drips(Liar):
    """Sends the right blocks, each so late that a connection is just not given up."""

    name = "drips"

    async def block(self, cid: bytes, honest: HonestBlock) -> bytes | None:
        data = await honest()
        await asyncio.sleep(DRIP_S)
        return data


class Sometimes(Liar):
    """Turns one bit of one block in four, so that it looks well at first."""

    name = "sometimes"
    count = 0

    async def block(self, cid: bytes, honest: HonestBlock) -> bytes | None:
        data = await honest()
        self.count += 1
        return data if data is None or self.count % 4 else flipped(data)


WAYS: Sequence[type[Liar]] = (Altered, Truncated, Longer, Swapped, Empty, Denies, Drips, Sometimes)
"""All ways to lie about blocks."""
