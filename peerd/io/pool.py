"""Memory for large reads, used again: a block is read, checked and written to the disk where it was decrypted.

Fresh memory for each block would be mapped, filled with zeros page by page and unmapped, a gigabyte of it for each that
is fetched; and what goes past the page cache must begin at a page (open(2), O_DIRECT). A piece is free again when
nobody has a view of it any more: `mmap.resize` refuses as long as somebody has.
"""

import mmap
import threading
from collections.abc import Callable

# A block of the largest usual size, and the node of a file.
PIECE_BYTES = 1024 * 1024 + 4096
# Reads that are smaller, or larger, have memory of their own.
LEAST_BYTES = 256 * 1024
# What is being read, checked and written at a time; more is not used again.
PIECES_MAX = 32
# So long after the last read it is given back.
KEPT_S = 5.0


class Pool:
    """Pieces of memory, those in use and those that are free; used from any thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._pieces: list[mmap.mmap] = []
        self._used_at = 0.0
        self._lock = threading.Lock()

    def take(self, count: int) -> memoryview:
        """Return memory for `count` bytes that nobody else has, at the beginning of a page."""
        if count > PIECE_BYTES:
            return memoryview(_map(count))[:count]
        with self._lock:
            self._used_at = self._monotonic()
            return memoryview(self._free())[:count]

    def trim(self) -> float | None:
        """Give back what was not used lately; return in how long to look again, None where there is nothing."""
        with self._lock:
            left_s = self._used_at + KEPT_S - self._monotonic()
            if left_s <= 0:
                self._pieces.clear()
            return left_s if self._pieces else None

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


def _map(count: int) -> mmap.mmap:
    if hasattr(mmap, "MAP_PRIVATE") and hasattr(mmap, "MAP_ANONYMOUS"):
        return mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, count)
