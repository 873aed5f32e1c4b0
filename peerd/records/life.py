"""What is signed of who is there: a peer that it lives, and an operator's peer that another will not come back.

A statement of life refutes a suspicion by its stamp, which is above that of the suspicion (SWIM 4.2: incarnation), or
answers a nonce, which shows that it was made just now. See also the leave notice (notice).
"""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.records.statement import Statements
from peerd.wire import limits
from peerd.wire.fields import Bytes32

NONCE_BYTES = 8


class Life(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`stamp` never falls; `nonce` is what somebody chose who asks for `peer`, or empty."""

    format: Annotated[int, Meta(ge=1, le=1)]
    peer: Bytes32
    stamp: Annotated[int, Meta(ge=0, le=limits.STAMP_MAX)]
    nonce: Annotated[bytes, Meta(max_length=NONCE_BYTES)]


class Forgotten(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`signer` says that `peer` will not come back; `stamp` grows with each statement of one signer."""

    format: Annotated[int, Meta(ge=1, le=1)]
    signer: Bytes32
    peer: Bytes32
    stamp: Annotated[int, Meta(ge=0, le=limits.STAMP_MAX)]


def _check_life(body: Life) -> None:
    if len(body.nonce) not in (0, NONCE_BYTES):
        raise WireError("nonce")


def _check_forgotten(body: Forgotten) -> None:
    if body.signer == body.peer:
        raise WireError("ourselves")


lives = Statements(
    Life, tag=b"peerd/1 life\x00", signer_field="peer", max_bytes=limits.NOTICE_MAX_BYTES, check=_check_life
)

forgotten_notices = Statements(
    Forgotten,
    tag=b"peerd/1 forgotten\x00",
    signer_field="signer",
    max_bytes=limits.NOTICE_MAX_BYTES,
    check=_check_forgotten,
)
