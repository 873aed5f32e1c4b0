"""The store's calls on plain digests of files, on disk. The rows are `digest_table`'s."""

from functools import partial

from peerd.io.store import digest_table
from peerd.io.store.digests import DigestRow
from peerd.io.store.handover import Handover


class SqliteDigests(Handover):
    """See `Store`."""

    async def digest_root(self, digest: bytes) -> bytes | None:
        """See `Store.digest_root`."""
        return await self._read("reading a digest", partial(digest_table.root, digest=digest))

    async def note_digest(self, digest: bytes, root: bytes) -> None:
        """See `Store.note_digest`."""
        row = DigestRow(digest, root)
        await self._write("noting a digest", partial(digest_table.note, room=self._room, row=row))

    async def digests(self, after: bytes | None, limit: int) -> list[DigestRow]:
        """See `Store.digests`."""
        return await self._read("reading digests", partial(digest_table.page, after=after, limit=limit))
