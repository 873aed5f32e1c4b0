"""How much of this peer's disk each writer uses: promised copies, counted for the one who claims them, and records.

A memory made from claims, records and registers when it is needed and then kept by what comes; exact again each time it
is made. Content that several claim counts for the first of them; each claim counts for who made it.

Shares are those of address groups, for keys cost nothing: of all members of one group together, and within it of each.
Writers that were never met are one group. What a group has in any case is a part of the kept tenth for each group
there is, so that a flood of others, however many, leaves it that.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection

from peerd.ids import Key, PeerId
from peerd.io.store.bounds import CLAIM_ROW_BYTES, REGISTER_ROW_BYTES, record_bytes
from peerd.io.store.interface import Store
from peerd.records.record import read_record

PAGE = 128
# Writers told apart; what more of them use is counted together.
WRITERS_MAX = 4_096
# Counted anew after so many questions, and as many as were counted: what was let go meanwhile is left out then.
QUESTIONS_MIN = 64
_OTHERS = PeerId(bytes(32))
# Claims on one root that are counted: beyond, who claims what others claimed costs a row each.
CLAIMS_COUNTED_MAX = 64


class Shares:
    """Bytes by writer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._used: dict[PeerId, int] | None = None
        self._questions_left = 0
        self._counting = asyncio.Lock()
        self.claimant: Callable[[bytes], PeerId | None] = lambda row: None
        """Tells from a claim's row who claims; set by who knows their form."""
        self.proposer: Callable[[bytes], PeerId | None] = lambda state: None
        """Tells from what is kept of a register who made it; set by who knows its form."""
        self.group_of: Callable[[PeerId], bytes] = bytes
        """The address group of a writer; set by who knows the members."""
        self.groups: Callable[[], Collection[bytes]] = tuple
        """All groups that members live in."""

    async def used(self, writer: PeerId) -> int:
        """Return the bytes of promised copies and records that are kept for a writer."""
        self._questions_left -= 1
        async with self._counting:
            if self._used is None or self._questions_left < 0:
                self._used = await self._count()
            return self._used.get(writer, 0)

    def refuses(self, writer: PeerId, size: int, *, most: int, kept: int, free: int) -> bool:
        """Return whether `size` bytes more are too many for a writer, once `used` was asked.

        `most` is what all may use, `kept` the part of it that is kept for who uses little, `free` what is left of it.
        """
        by_group: Counter[bytes] = Counter()
        peers_in: Counter[bytes] = Counter()
        for peer, used in (self._used or {}).items():
            if used > 0 or peer == writer:
                by_group[self.group_of(peer)] += used
                peers_in[self.group_of(peer)] += 1
        own = self.group_of(writer)
        in_group, alone = by_group[own] + size, (self._used or {}).get(writer, 0) + size
        sharers = max(1, peers_in[own] + (writer not in (self._used or {})))
        every = {*self.groups(), *by_group, own}
        surely = kept // (len(every) + 1)
        if in_group <= surely and alone <= surely // sharers:
            return False
        fair = most // max(2, len({*by_group, own}))
        if in_group > fair or alone > fair // sharers:
            return True
        return free - size < sum(max(0, surely - by_group[group]) for group in every if group != own)

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
                    rows = await self._store.claims(root.cid, limit=CLAIMS_COUNTED_MAX)
                    for index, row in enumerate(rows):
                        writer = self.claimant(row)
                        if writer is not None:
                            self._add(used, writer, root.size if index == 0 else len(row) + CLAIM_ROW_BYTES)
            counted += len(roots)
            after = roots[-1].cid
        key: Key | None = None
        while records := await self._store.records(key, PAGE):
            for _, raw in records:
                self._add(used, PeerId(read_record(raw).body.writer), record_bytes(raw))
            counted += len(records)
            key = records[-1][0]
        counted += await self._count_registers(used)
        self._questions_left = max(QUESTIONS_MIN, counted)
        return used

    async def _count_registers(self, used: dict[PeerId, int]) -> int:
        counted = 0
        key: Key | None = None
        while registers := await self._store.registers(key, PAGE):
            for _, raw in registers:
                writer = self.proposer(raw)
                if writer is not None:
                    self._add(used, writer, len(raw) + REGISTER_ROW_BYTES)
            counted += len(registers)
            key = registers[-1][0]
        return counted

    @staticmethod
    def _add(used: dict[PeerId, int], writer: PeerId, size: int) -> None:
        if writer not in used and len(used) >= WRITERS_MAX:
            writer = _OTHERS
        used[writer] = max(0, used.get(writer, 0) + size)
