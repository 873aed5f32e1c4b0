"""The store's calls on plain digests of files, in memory."""

from collections import OrderedDict
from typing import Any

from peerd.io.store import bounds
from peerd.io.store.digests import DigestRow
from peerd.io.store.memory_base import MemoryBase


class MemoryDigests(MemoryBase):
    """See `Store`."""

    def __init__(self, *arguments: Any, **hooks: Any) -> None:
        super().__init__(*arguments, **hooks)
        self._digests: OrderedDict[bytes, bytes] = OrderedDict()

    async def digest_root(self, digest: bytes) -> bytes | None:
        """See `Store.digest_root`."""
        self._check("digest_root")
        return self._digests.get(digest)

    async def note_digest(self, digest: bytes, root: bytes) -> None:
        """See `Store.note_digest`."""
        await self._sync("note_digest")
        if digest not in self._digests:
            self._require_room(bounds.DIGEST_ROW_BYTES, reserve=False)
            self._metadata_bytes += bounds.DIGEST_ROW_BYTES
        self._digests[digest] = root
        self._digests.move_to_end(digest)
        while len(self._digests) > bounds.DIGESTS_MAX:
            self._digests.popitem(last=False)
            self._metadata_bytes -= bounds.DIGEST_ROW_BYTES

    async def digests(self, after: bytes | None, limit: int) -> list[DigestRow]:
        """See `Store.digests`."""
        self._check("digests")
        found = sorted(digest for digest in self._digests if digest > (after or b""))[:limit]
        return [DigestRow(digest, self._digests[digest]) for digest in found]
