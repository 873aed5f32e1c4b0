"""Cached copies of content on this peer: which are kept, and which go when room is needed.

The choice is cache.admission's; here it meets the store. What was cached before this start is taken over in the order
of its last use, with no counts: they are made anew. Unclaimed copies go first, whatever anybody uses. Only copies of
class cache that nothing claims are ever let go of: the store looks at that in the same change. Not here: records of
others, what is promised (placing).
"""

import asyncio
from collections.abc import Awaitable, Callable

from loguru import logger

from peerd.cache.admission import Admission
from peerd.errors import StoreError
from peerd.io.store.bounds import limit_bytes
from peerd.io.store.interface import Freed, Root, Store

# Cached copies that are told apart; more go by age alone, as the store has it.
ROOTS_MAX = 16_384
# So many are looked at, and let go of, at a time.
PAGE = 64

LetGo = Callable[[bytes], Awaitable[Freed | None]]


class Caching:
    """Which cached copies this peer keeps."""

    def __init__(self, store: Store, seed: bytes, most_bytes: int | None) -> None:
        self._store = store
        self._admission = Admission(0, entries_max=ROOTS_MAX, seed=seed)
        self.tally = self._admission.tally
        self._most_bytes = most_bytes

    async def begin(self) -> None:
        """Take over what is cached already, the last used in the best place."""
        after: Root | None = None
        looked_at = 0
        try:
            while looked_at < ROOTS_MAX and (page := await self._store.idle_roots(after, PAGE)):
                looked_at += len(page)
                for root in page:
                    if root.copies > 0:
                        self._admission.resume(root.cid, _size(root.size, root.dag_size))
                after = page[-1]
        except StoreError as error:
            logger.warning("what is cached is not known yet", reason=str(error))

    def used(self, root: bytes) -> None:
        """Count one use of some content, here or not."""
        self._admission.used(root)

    async def admits(self, root: bytes, size: int) -> bool:
        """Return whether a copy of so many bytes would stay. Raises StoreError."""
        await self._measure()
        return self._admission.admits(root, size)

    async def kept(self, root: bytes, size: int, let_go: LetGo) -> None:
        """Note a copy that is here now, and let go of what has to go for it. Raises StoreError."""
        await self._measure()
        self._admission.add(root, size)
        await self._let_go(self._admission.excess(), let_go)

    async def free(self, wanted: int, let_go: LetGo) -> int:
        """Let copies go until so many bytes are free: first those that nobody wants, then those used least.

        Returns the bytes freed: fewer where there is no more to give. Raises StoreError.
        """
        freed = 0
        oldest = await self._store.idle_roots(None, PAGE)
        for root in oldest:
            if root.copies > 0:
                self._admission.adopt(root.cid, _size(root.size, root.dag_size))
            elif freed < wanted:
                freed += await self._let_go([root.cid], let_go)
        while freed < wanted and (out := self._admission.victims(wanted - freed)):
            freed += await self._let_go(out, let_go)
        return freed

    async def _let_go(self, roots: list[bytes], let_go: LetGo) -> int:
        freed = 0
        for at in range(0, len(roots), PAGE):
            gone = await asyncio.gather(*[let_go(root) for root in roots[at : at + PAGE]])
            freed += sum(each.bytes for each in gone if each is not None)
        return freed

    async def _measure(self) -> None:
        """See how much room there is for copies that may go."""
        usage = await self._store.usage()
        free = limit_bytes(usage.quota_bytes, reserve=False) - usage.used_bytes + usage.cache_bytes
        self._admission.resize(free if self._most_bytes is None else min(free, self._most_bytes))


def _size(size: int, dag_size: int) -> int:
    return max(1, size, dag_size)
