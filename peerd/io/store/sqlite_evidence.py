"""The store's calls on receipts and evidence, on disk. The rows are `evidence_table`'s."""

from collections.abc import Sequence
from functools import partial

from peerd.ids import Key, PeerId
from peerd.io.store import bounds, evidence_table
from peerd.io.store.handover import Handover


class SqliteEvidence(Handover):
    """See `Store`."""

    async def put_receipts(self, rows: Sequence[tuple[Key, PeerId, bytes]]) -> None:
        """See `Store.put_receipts`."""
        most = bounds.receipts_max(self.quota_bytes)
        put = partial(evidence_table.put_receipts, room=self._room, rows=list(rows), most=most)
        await self._write("writing receipts", put)

    async def receipt(self, key: Key, holder: PeerId) -> bytes | None:
        """See `Store.receipt`."""
        return await self._read("reading a receipt", partial(evidence_table.receipt, key=key, holder=holder))

    async def put_evidence(self, accused: PeerId, evidence: bytes) -> None:
        """See `Store.put_evidence`."""
        put = partial(evidence_table.put_evidence, room=self._room, accused=accused, evidence=evidence)
        await self._write("writing evidence", put)

    async def evidence(self) -> list[bytes]:
        """See `Store.evidence`."""
        return await self._read("reading evidence", evidence_table.evidence)
