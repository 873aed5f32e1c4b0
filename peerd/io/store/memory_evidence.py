"""The store's calls on receipts and evidence, in memory."""

from collections.abc import Sequence
from typing import Any

from peerd.ids import Key, PeerId
from peerd.io.store import bounds
from peerd.io.store.memory_base import MemoryBase


class MemoryEvidence(MemoryBase):
    """See `Store`."""

    def __init__(self, *arguments: Any, **hooks: Any) -> None:
        super().__init__(*arguments, **hooks)
        self._receipts: dict[tuple[Key, PeerId], bytes] = {}
        self._evidence: dict[PeerId, bytes] = {}

    async def put_receipts(self, rows: Sequence[tuple[Key, PeerId, bytes]]) -> None:
        """See `Store.put_receipts`."""
        await self._sync("put_receipts")
        merged = dict(self._receipts)
        for key, holder, receipt in rows:
            merged.pop((key, holder), None)  # the newest of all is the last
            merged[key, holder] = receipt
        most = bounds.receipts_max(self.quota_bytes)
        kept = dict(list(merged.items())[max(0, len(merged) - most) :])
        self._charge(_cost(kept) - _cost(self._receipts), reserve=False)
        self._receipts = kept

    async def receipt(self, key: Key, holder: PeerId) -> bytes | None:
        """See `Store.receipt`."""
        self._check("receipt")
        return self._receipts.get((key, holder))

    async def put_evidence(self, accused: PeerId, evidence: bytes) -> None:
        """See `Store.put_evidence`."""
        await self._sync("put_evidence")
        if accused in self._evidence:
            return
        self._charge(len(evidence) + bounds.EVIDENCE_ROW_BYTES, reserve=True)
        self._evidence[accused] = evidence
        if len(self._evidence) > bounds.EVIDENCE_MAX:
            gone = self._evidence.pop(next(iter(self._evidence)))
            self._metadata_bytes -= len(gone) + bounds.EVIDENCE_ROW_BYTES

    async def evidence(self) -> list[bytes]:
        """See `Store.evidence`."""
        self._check("evidence")
        return list(self._evidence.values())


def _cost(receipts: dict[tuple[Key, PeerId], bytes]) -> int:
    return sum(len(receipt) + bounds.RECEIPT_ROW_BYTES for receipt in receipts.values())
