"""A claim: its signer wants content kept, for a version of a name that it writes, or because it added it nameless.

Holders keep content for as long as they have a claim on it, and hand claims on with it. The number of copies wanted
travels with the claim. A claim has no stamp: to claim again what was claimed before is to say the same.
"""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.records.floor import FloorVersion
from peerd.records.record import DIRECTORY, FILE, Record
from peerd.records.statement import Statements
from peerd.wire import limits
from peerd.wire.fields import CID_DAG_PB, CID_RAW, Bytes32, Cid36


class Claim(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`key` and `sequence` are those of the name's version, nil and 0 without a name; `name` is only shown."""

    format: Annotated[int, Meta(ge=1, le=1)]
    root: Cid36
    claimant: Bytes32
    key: Bytes32 | None
    sequence: Annotated[int, Meta(ge=0, le=limits.SEQUENCE_MAX)]
    copies: Annotated[int, Meta(ge=1, le=limits.COPIES_MAX)]
    name: Annotated[str, Meta(max_length=limits.NAME_MAX_BYTES)]

    def ended_by(self, record: Record) -> bool:
        """Whether a version of the name shows that this claim has ended: not below it in order, of other content."""
        order = (record.body.sequence, record.body.writer)
        return record.key == self.key and (self.sequence, self.claimant) <= order and content_of(record) != self.root

    def over_by(self, floor: FloorVersion) -> bool:
        """Whether a floor of the name shows that this claim has ended: not below it in order."""
        return self.key is not None and (self.sequence, self.claimant) <= floor[:2]


def content_of(record: Record) -> bytes | None:
    """Return the root that a record names, 36 bytes; None of a tombstone and of a value inside the record."""
    return record.body.value if record.body.kind in (FILE, DIRECTORY) else None


def _check(body: Claim) -> None:
    if not body.root.startswith((CID_RAW, CID_DAG_PB)):
        raise WireError("cid")
    if len(body.name.encode()) > limits.NAME_MAX_BYTES:
        raise WireError("claim_name")
    if (body.key is None) != (body.sequence == 0):
        raise WireError("claim_version")


claims = Statements(
    Claim,
    tag=b"peerd/1 claim\x00",
    signer_field="claimant",
    max_bytes=limits.CLAIM_MAX_BYTES,
    check=_check,
)
