"""An entry of a build cache: what its writer last put under a path, for a while. A help, never a promise.

Not a record: no majority holds it, nobody repairs it, an older one may be answered, and it goes when room is needed.
`stamp` grows with each statement of one writer; of two writers' the larger wins, and of equals the larger key.
"""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.records.statement import Statements
from peerd.wire import limits
from peerd.wire.fields import CID_BYTES, CID_DAG_PB, CID_RAW, Bytes32

CONTENT, INLINE, GONE = 1, 2, 3


class Entry(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`value` is a 36-byte CID (CONTENT), the bytes themselves (INLINE), or empty where it was deleted (GONE)."""

    format: Annotated[int, Meta(ge=1, le=1)]
    key: Bytes32
    writer: Bytes32
    kind: Annotated[int, Meta(ge=CONTENT, le=GONE)]
    stamp: Annotated[int, Meta(ge=0, le=limits.STAMP_MAX)]
    life_s: Annotated[int, Meta(ge=1, le=limits.ENTRY_LIFE_MAX_S)]
    size: Annotated[int, Meta(ge=0, le=limits.CONTENT_MAX_BYTES)]
    value: Annotated[bytes, Meta(max_length=limits.ENTRY_VALUE_MAX_BYTES)]

    @property
    def order(self) -> tuple[int, bytes]:
        """What orders the statements about one key."""
        return self.stamp, self.writer


def _check(body: Entry) -> None:
    if body.kind == CONTENT:
        if len(body.value) != CID_BYTES or not body.value.startswith((CID_RAW, CID_DAG_PB)):
            raise WireError("cid")
    elif body.size != len(body.value) or (body.kind == GONE and body.value):
        raise WireError("entry_size")


entries = Statements(
    Entry,
    tag=b"peerd/1 entry\x00",
    signer_field="writer",
    max_bytes=limits.ENTRY_MAX_BYTES,
    check=_check,
)
