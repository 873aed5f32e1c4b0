"""A receipt: a holder's signed promise that a version, or every block of some content, is on its disk.

It names the store it speaks of (`store`, new whenever the holder's store is lost or restored) and how long the promise
lasts (DESIGN.md 8).
"""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.records.statement import Statements
from peerd.wire import limits
from peerd.wire.messages import Bytes32

OF_RECORD, OF_CONTENT = 1, 2
STORE_ID_BYTES = 16
RECEIPT_LIFE_S = 30 * 86400


class Receipt(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`digest` is the record's body digest or the root's; `sequence` is 0 for content."""

    format: Annotated[int, Meta(ge=1, le=1)]
    kind: Annotated[int, Meta(ge=OF_RECORD, le=OF_CONTENT)]
    holder: Bytes32
    store: Annotated[bytes, Meta(min_length=STORE_ID_BYTES, max_length=STORE_ID_BYTES)]
    key: Bytes32
    digest: Bytes32
    sequence: Annotated[int, Meta(ge=0, le=limits.SEQUENCE_MAX)]
    life_s: Annotated[int, Meta(ge=1, le=limits.RECEIPT_LIFE_MAX_S)]


receipts = Statements(Receipt, tag=b"peerd/1 receipt\x00", signer_field="holder", max_bytes=limits.RECEIPT_MAX_BYTES)
