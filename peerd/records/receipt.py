"""A receipt: a holder's signed promise that a version, or every block of some content, is on its disk.

It names the run of the holder's store that it speaks of (`store`: another after each start, so that what a crash, a
lost disk or a restored backup took is never a broken word), how long the promise lasts, and when in the order of the
holder's own statements it was given: no clock of anybody else counts (DESIGN.md 8).
"""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.records.statement import Statements
from peerd.wire import limits
from peerd.wire.fields import Bytes32

OF_RECORD, OF_CONTENT = 1, 2
STORE_ID_BYTES = 16
RECEIPT_LIFE_S = 30 * 86400
FORMAT = 2

RunId = Annotated[bytes, Meta(min_length=STORE_ID_BYTES, max_length=STORE_ID_BYTES)]
Stamp = Annotated[int, Meta(ge=0, le=limits.STAMP_MAX)]


class Receipt(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`digest` is the record's body digest or the root's; `sequence` is 0 for content; `stamp` is in milliseconds."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    kind: Annotated[int, Meta(ge=OF_RECORD, le=OF_CONTENT)]
    holder: Bytes32
    store: RunId
    key: Bytes32
    digest: Bytes32
    sequence: Annotated[int, Meta(ge=0, le=limits.SEQUENCE_MAX)]
    life_s: Annotated[int, Meta(ge=1, le=limits.RECEIPT_LIFE_MAX_S)]
    stamp: Stamp


receipts = Statements(Receipt, tag=b"peerd/1 receipt\x00", signer_field="holder", max_bytes=limits.RECEIPT_MAX_BYTES)
