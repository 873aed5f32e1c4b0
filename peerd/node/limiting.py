"""A rate that content may have, up or down, over all connections: a bucket of tokens that fills by the clock.

Whoever takes more than there is waits until its share has come, in the order of asking; nothing runs meanwhile. Only
content counts: questions and answers without blocks are small, and others wait for them.
"""

import asyncio

# So much of the rate may be saved up while nothing is moved, and so much is taken at a time.
SAVED_S = 0.25
PIECE_S = 0.05
PIECE_LEAST_BYTES = 4096


class Limit:
    """One rate; None is without limit."""

    def __init__(self, bytes_per_s: int | None) -> None:
        self.bytes_per_s = bytes_per_s
        self._free_at = 0.0

    def piece_bytes(self, most: int) -> int:
        """Return how much to move at a time, so that it goes evenly; at most that."""
        if self.bytes_per_s is None:
            return most
        return max(PIECE_LEAST_BYTES, min(most, int(self.bytes_per_s * PIECE_S)))

    async def take(self, count: int) -> None:
        """Wait until so many bytes may be moved."""
        if self.bytes_per_s is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - SAVED_S) + count / self.bytes_per_s
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


class Limits:
    """The rates of all content that a peer sends and is sent."""

    def __init__(self, up_bytes_per_s: int | None, down_bytes_per_s: int | None) -> None:
        self.up = Limit(up_bytes_per_s)
        self.down = Limit(down_bytes_per_s)
