"""The store's calls on roots, links and claims, on disk. The rows are `root_table`'s and `block_table`'s."""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from peerd.io.store import bounds, root_table
from peerd.io.store.block_table import Spare
from peerd.io.store.handover import Handover
from peerd.io.store.interface import Freed, Root
from peerd.io.store.writer import Job

LINKS_PER_WRITE = 1_024
"""Links noted in one change: the others that wait for the writer wait some 10 ms at most."""


class SqliteRoots(Handover):
    """See `Store`."""

    async def put_root(self, root: Root) -> None:
        """See `Store.put_root`."""
        self._touched.pop(root.cid, None)
        await self._write("writing a root", partial(root_table.put, room=self._room, root=root))

    async def root(self, cid: bytes) -> Root | None:
        """See `Store.root`."""
        found = await self._read("reading a root", partial(root_table.get, cid=cid))
        return None if found is None else self._as_used(found)

    async def roots(self, after: bytes | None, limit: int) -> list[Root]:
        """See `Store.roots`."""
        found = await self._read("reading roots", partial(root_table.page, after=after, limit=limit))
        return [self._as_used(root) for root in found]

    async def roots_with_block(self, cid: bytes, limit: int) -> list[bytes]:
        """See `Store.roots_with_block`."""
        return await self._read("reading links", partial(root_table.with_block, cid=cid, limit=limit))

    def _as_used(self, root: Root) -> Root:
        used_at = self._touched.get(root.cid)
        return root if used_at is None else replace(root, used_at=used_at)

    def touch_root(self, cid: bytes, used_at: float) -> None:
        """See `Store.touch_root`."""
        self._require_open()
        self._touch(cid, used_at)

    async def link_blocks(self, root: bytes, cids: Sequence[bytes]) -> None:
        """See `Store.link_blocks`."""
        rest = iter(cids)
        while (some := list(islice(rest, LINKS_PER_WRITE))) or not cids:
            link = partial(root_table.link, room=self._room, cid=root, raws=some, now=self.now_s())
            await self._write("linking blocks", link)
            if not some:
                return

    async def delete_root(self, cid: bytes) -> None:
        """See `Store.delete_root`."""
        await self._write("deleting a root", partial(root_table.delete, cid=cid))

    async def release_root(self, cid: bytes) -> int:
        """See `Store.release_root`."""
        begun = await self._begin_release(partial(root_table.release, cid=cid), None)
        assert begun is not None
        return (await self._end_release(*begun, None)).bytes

    async def release_unclaimed(self, cid: bytes, *, since: float) -> Freed | None:
        """See `Store.release_unclaimed`."""
        spare = Spare(self._run, since)
        begun = await self._begin_release(partial(root_table.release_unclaimed, cid=cid, spare=spare), spare)
        return None if begun is None else await self._end_release(*begun, spare)

    async def _begin_release(
        self, begin: Callable[[sqlite3.Connection], tuple[int | None, Freed] | None], spare: Spare | None
    ) -> tuple[int | None, Freed] | None:
        try:
            return await self._write("releasing a root", begin)
        except asyncio.CancelledError:
            self._finish_releases(spare)
            raise

    async def _end_release(self, root_id: int | None, freed: Freed, spare: Spare | None) -> Freed:
        """Release slice by slice what is left of a root; returns what was freed in all."""
        try:
            while root_id is not None:
                go_on = partial(root_table.release_slice, root_id=root_id, spare=spare)
                done, more = await self._write("releasing a root", go_on)
                freed = Freed(freed.bytes + more.bytes, freed.blocks + more.blocks)
                root_id = None if done else root_id
        except asyncio.CancelledError:
            self._finish_releases(spare)
            raise
        return freed

    async def idle_roots(self, after: Root | None, limit: int) -> list[Root]:
        """See `Store.idle_roots`."""
        found = await self._read("reading roots", partial(root_table.idle, after=after, limit=limit))
        return [self._as_used(root) for root in found]

    def _finish_releases(self, spare: Spare | None = None) -> None:
        """Have the writer end what releases were broken off, slice by slice between other changes.

        What is put from now on stays in any case: who puts it may count on it.
        """
        if self._closing is None:
            spare = spare or Spare(self._run, self._clock.monotonic())
            finish = partial(_finish_slice, spare=spare)
            self._writer.submit(Job(finish, "finishing releases", applied=partial(self._finish_next, spare)))

    def _went_on(self) -> None:
        self._finish_releases()

    def _finish_next(self, spare: Spare, more: bool) -> None:
        if more:
            self._finish_releases(spare)

    async def evict_cache(self, bytes_wanted: int, spare: Collection[bytes] = (), *, since: float | None = None) -> int:
        """See `Store.evict_cache`."""
        freed, done = 0, bytes_wanted <= 0
        spare_blocks = None if since is None else Spare(self._run, since)
        while not done:
            wanted, roots = bytes_wanted - freed, frozenset(spare)
            evict = partial(root_table.evict_slice, wanted=wanted, spare_roots=roots, spare=spare_blocks)
            done, more = await self._write("evicting", evict)
            freed += more
        return freed

    async def add_claim(self, cid: bytes, claim: bytes) -> None:
        """See `Store.add_claim`."""
        bounds.check_claim(claim)
        await self._write("writing a claim", partial(root_table.add_claim, room=self._room, cid=cid, claim=claim))

    async def remove_claim(self, cid: bytes, claim: bytes) -> None:
        """See `Store.remove_claim`."""
        await self._write("removing a claim", partial(root_table.remove_claim, cid=cid, claim=claim))

    async def claims(self, cid: bytes, *, prefix: bytes = b"", limit: int | None = None) -> list[bytes]:
        """See `Store.claims`."""
        return await self._read("reading claims", partial(root_table.claims, cid=cid, prefix=prefix, limit=limit))

    async def claims_like(
        self, prefix: bytes, after: tuple[bytes, bytes] | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """See `Store.claims_like`."""
        like = partial(root_table.claims_like, prefix=prefix, after=after, limit=limit)
        return await self._read("reading claims", like)

    async def note_addition(self, cid: bytes, withdrawn_at: float | None) -> None:
        """See `Store.note_addition`."""
        note = partial(root_table.note_addition, room=self._room, cid=cid, withdrawn_at=withdrawn_at)
        await self._write("noting what was added", note)

    async def addition(self, cid: bytes) -> tuple[float | None] | None:
        """See `Store.addition`."""
        return await self._read("reading what was added", partial(root_table.addition, cid=cid))

    async def withdrawals(self, after: bytes | None, limit: int) -> list[tuple[bytes, float]]:
        """See `Store.withdrawals`."""
        return await self._read("reading what was added", partial(root_table.withdrawals, after=after, limit=limit))

    async def drop_addition(self, cid: bytes) -> None:
        """See `Store.drop_addition`."""
        await self._write("forgetting what was added", partial(root_table.drop_addition, cid=cid))

    async def roots_with_claim(self, claim: bytes) -> list[bytes]:
        """See `Store.roots_with_claim`."""
        return await self._read("reading claims", partial(root_table.with_claim, claim=claim))


def _finish_slice(database: sqlite3.Connection, spare: Spare) -> bool:
    """Give up one slice of some broken-off release; returns whether there may be more."""
    root_id = root_table.any_released(database)
    if root_id is None:
        return False
    root_table.release_slice(database, root_id, spare)
    return True
