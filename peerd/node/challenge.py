"""A question that only who has some records can answer, and what its answer shows.

The nonce is made for one question to one peer, so that no answer can be kept, guessed or made without the record. (It
can be had from another holder while the asker waits: that the copies are on different disks is shown by nobody.)
"""

from collections.abc import Sequence

from peerd.clock import Entropy
from peerd.errors import WireError
from peerd.records.attestation import proof_of
from peerd.records.record import Record, body_bytes
from peerd.wire.fields import PROOF_BYTES
from peerd.wire.messages import Proven, Reply

NONCE_BYTES = 16
PROVEN, DENIED, FALSE = range(3)
"""It has the version; it says that it has not; what it says is no proof."""


class Challenge:
    """At most `limits.PROVEN_MAX` records, of one peer."""

    def __init__(self, entropy: Entropy, records: Sequence[Record]) -> None:
        self.nonce = entropy(NONCE_BYTES)
        self.records = list(records)

    @property
    def versions(self) -> bytes:
        """Return what is asked about."""
        return b"".join(record.key + record.version.digest for record in self.records)

    def judge(self, reply: Reply | None) -> list[int]:
        """Return PROVEN, DENIED or FALSE for each record; raises WireError where that is no answer."""
        if not isinstance(reply, Proven) or len(reply.proofs) != len(self.records) * PROOF_BYTES:
            raise WireError("reply_kind")
        shown = [reply.proofs[at : at + PROOF_BYTES] for at in range(0, len(reply.proofs), PROOF_BYTES)]
        return [self._judge(record, proof) for record, proof in zip(self.records, shown, strict=True)]

    def _judge(self, record: Record, proof: bytes) -> int:
        if proof == proof_of(self.nonce, body_bytes(record.raw)):
            return PROVEN
        return FALSE if any(proof) else DENIED
