"""How much of this peer's disk each writer uses: promised copies, counted for the one who claims them.

A memory made from the claims when it is needed and then kept by what comes; exact again each time it is made. Content
that several claim counts for the first of them.
"""

from collections.abc import Callable

from peerd.ids import PeerId
from peerd.io.store.interface import Store

PAGE = 128
# Writers told apart; what more of them use is counted together.
WRITERS_MAX = 4_096
# Counted anew after so many questions: what was let go meanwhile is left out then.
QUESTIONS_MAX = 64
_OTHERS = PeerId(bytes(32))


class Shares:
    """Bytes by writer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._used: dict[PeerId, int] | None = None
        self._questions = 0
        self.claimant: Callable[[bytes], PeerId | None] = lambda row: None
        """Tells from a claim's row who claims; set by who knows their form."""

    async def used(self, writer: PeerId) -> int:
        """Return the bytes of promised copies that are kept for a writer."""
        self._questions += 1
        if self._used is None or self._questions >= QUESTIONS_MAX:
            self._used, self._questions = await self._count(), 0
        return self._used.get(writer, 0)

    def count_with(self, writer: PeerId) -> int:
        """Return among how many the quota is shared: all writers, this one too, and at least one more to come."""
        writers = {one for one, used in (self._used or {}).items() if used > 0}
        return max(2, len(writers | {writer}))

    def charge(self, writer: PeerId, size: int) -> None:
        """Count what comes or, negative, what did not come after all."""
        if self._used is not None:
            self._add(self._used, writer, size)

    async def _count(self) -> dict[PeerId, int]:
        used: dict[PeerId, int] = {}
        after: bytes | None = None
        while roots := await self._store.roots(after, PAGE):
            for root in roots:
                if root.class_ in ("own", "replica"):
                    rows = await self._store.claims(root.cid, limit=1)
                    writer = self.claimant(rows[0]) if rows else None
                    if writer is not None:
                        self._add(used, writer, root.size)
            after = roots[-1].cid
        return used

    @staticmethod
    def _add(used: dict[PeerId, int], writer: PeerId, size: int) -> None:
        if writer not in used and len(used) >= WRITERS_MAX:
            writer = _OTHERS
        used[writer] = max(0, used.get(writer, 0) + size)
