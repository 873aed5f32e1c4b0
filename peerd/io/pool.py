"""Memory for large reads, used again: a block is read, checked and written to the disk where it was decrypted.

Fresh memory for each block would be mapped, filled with zeros page by page and unmapped, a gigabyte of it for each that
is fetched; and what goes past the page cache must begin at a page (open(2), O_DIRECT). A piece is free again when
nobody has a view of it any more: `mmap.resize` refuses as long as somebody has.
"""

import asyncio
import mmap

# A block of the largest usual size, and the node of a file.
PIECE_BYTES = 1024 * 1024 + 4096
# Reads that are smaller, or larger, have memory of their own.
LEAST_BYTES = 256 * 1024
# What is being read, checked and written at a time; more is not used again.
PIECES_MAX = 32
# So long after the last read it is given back.
KEPT_S = 5.0


class Pool:
    """Pieces of memory, those in use and those that are free; used in one event loop."""

    def __init__(self) -> None:
        self._pieces: list[mmap.mmap] = []
        self._used_at = 0.0
        self._trimming: asyncio.TimerHandle | None = None

    def take(self, count: int) -> memoryview:
        """Return memory for `count` bytes that nobody else has, at the beginning of a page."""
        loop = asyncio.get_running_loop()
        self._used_at = loop.time()
        if self._trimming is None or self._trimming.cancelled():
            self._trimming = loop.call_later(KEPT_S, self._trim, loop)
        return memoryview(self._free() if count <= PIECE_BYTES else _map(count))[:count]

    def _free(self) -> mmap.mmap:
        for at, piece in enumerate(self._pieces):
            try:
                piece.resize(PIECE_BYTES)
            except BufferError:
                continue
            # Those in use for the longest time, which are free the soonest, come first.
            self._pieces.append(self._pieces.pop(at))
            return piece
        piece = _map(PIECE_BYTES)
        if len(self._pieces) < PIECES_MAX:
            self._pieces.append(piece)
        return piece

    def _trim(self, loop: asyncio.AbstractEventLoop) -> None:
        left_s = self._used_at + KEPT_S - loop.time()
        if left_s > 0:
            self._trimming = loop.call_later(left_s, self._trim, loop)
        else:
            self._trimming = None
            self._pieces.clear()


def _map(count: int) -> mmap.mmap:
    if hasattr(mmap, "MAP_PRIVATE") and hasattr(mmap, "MAP_ANONYMOUS"):
        return mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, count)
