"""The SHA-256 of a whole file while it streams by, up to a size; large pieces are hashed off the event loop."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

Offload = Callable[..., Awaitable[Any]]


class WholeDigest:
    """Fed a file's bytes in order; above `most_bytes` it gives up, and costs nothing from there on."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._size = 0
        self._hash = hashlib.sha256()

    async def feed(self, piece: bytes | bytearray | memoryview, offload: Offload | None = None) -> None:
        """Take the next bytes; they must not change until this returns."""
        self._size += len(piece)
        if self._size > self._most_bytes:
            return
        if offload is not None:
            await offload(self._hash.update, piece)
        else:
            self._hash.update(piece)

    def digest(self) -> bytes | None:
        """Return the 32 bytes, None where the file was too large."""
        return self._hash.digest() if self._size <= self._most_bytes else None
