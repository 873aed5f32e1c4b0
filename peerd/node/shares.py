"""How much of this peer's disk each writer uses: promised copies, counted for the one who claims them, and records.

A memory made from claims and records when it is needed and then kept by what comes; exact again each time it is made.
Content that several claim counts for the first of them.
"""

import asyncio
from collections.abc import Callable

from peerd.ids import Key, PeerId
from peerd.io.store.bounds import record_bytes
from peerd.io.store.interface import Store
from peerd.records.record import read_record

PAGE = 128
# Writers told apart; what more of them use is counted together.
WRITERS_MAX = 4_096
# Counted anew after so many questions, and as many as were counted: what was let go meanwhile is left out then.
QUESTIONS_MIN = 64
_OTHERS = PeerId(bytes(32))


class Shares:
    """Bytes by writer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._used: dict[PeerId, int] | None = None
        self._questions_left = 0
        self._counting = asyncio.Lock()
        self.claimant: Callable[[bytes], PeerId | None] = lambda row: None
        """Tells from a claim's row who claims; set by who knows their form."""

    async def used(self, writer: PeerId) -> int:
        """Return the bytes of promised copies and records that are kept for a writer."""
        self._questions_left -= 1
        async with self._counting:
            if self._used is None or self._questions_left < 0:
                self._used = await self._count()
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
        counted = 0
        after: bytes | None = None
        while roots := await self._store.roots(after, PAGE):
            for root in roots:
                if root.class_ in ("own", "replica"):
                    rows = await self._store.claims(root.cid, limit=1)
                    writer = self.claimant(rows[0]) if rows else None
                    if writer is not None:
                        self._add(used, writer, root.size)
            counted += len(roots)
            after = roots[-1].cid
        key: Key | None = None
        while records := await self._store.records(key, PAGE):
            for _, raw in records:
                self._add(used, PeerId(read_record(raw).body.writer), record_bytes(raw))
            counted += len(records)
            key = records[-1][0]
        self._questions_left = max(QUESTIONS_MIN, counted)
        return used

    @staticmethod
    def _add(used: dict[PeerId, int], writer: PeerId, size: int) -> None:
        if writer not in used and len(used) >= WRITERS_MAX:
            writer = _OTHERS
        used[writer] = max(0, used.get(writer, 0) + size)
