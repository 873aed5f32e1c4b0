"""A leave notice: its signer goes of its own accord, so it is `left` and not suspected.

`stamp` is larger than that of any earlier notice of the same peer; one from an earlier life is told by it.
"""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.records.statement import Statements
from peerd.wire import limits
from peerd.wire.fields import Bytes32


class LeaveNotice(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`stamp` is Unix milliseconds by the signer's clock, or its last stamp and one: compared with its own alone."""

    format: Annotated[int, Meta(ge=1, le=1)]
    peer: Bytes32
    stamp: Annotated[int, Meta(ge=0, le=limits.STAMP_MAX)]


leave_notices = Statements(
    LeaveNotice, tag=b"peerd/1 leave\x00", signer_field="peer", max_bytes=limits.NOTICE_MAX_BYTES
)
