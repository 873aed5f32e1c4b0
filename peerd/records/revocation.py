"""A revocation: a key is no peer any more, for good. Nothing takes it back; a peer that goes on makes another key.

Signed by the key itself, which its owner and whoever stole it can do, and both may: to revoke is all that a thief gains
nothing by. `authority` lets others sign it too: the coordinator of a network that certifies its members. Without a
life: it is kept and passed on for as long as there is a network.
"""

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.ids import PeerId
from peerd.records.statement import Statements, Verifier
from peerd.wire import limits
from peerd.wire.fields import Bytes32

TEXT_MAX_BYTES = 2 * limits.NOTICE_MAX_BYTES + 64
"""Of a file: the digits, and room for the white space around them."""

UNSAID, STOLEN, RETIRED = range(3)
REASONS = ("unsaid", "stolen", "retired")


class Revocation(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`signer` says that the key `peer` counts no more; `stamp` is Unix milliseconds by its clock, only shown."""

    format: Annotated[int, Meta(ge=1, le=1)]
    signer: Bytes32
    peer: Bytes32
    stamp: Annotated[int, Meta(ge=0, le=limits.STAMP_MAX)]
    reason: Annotated[int, Meta(ge=0, le=len(REASONS) - 1)]


revocations = Statements(
    Revocation, tag=b"peerd/1 revocation\x00", signer_field="signer", max_bytes=limits.NOTICE_MAX_BYTES
)


def nobody_else(signer: PeerId) -> bool:
    """Say that only the key itself may sign: so it is where no coordinator certifies."""
    return False


def verify_revocation(raw: bytes, verifier: Verifier, authority: Callable[[PeerId], bool] = nobody_else) -> Revocation:
    """Return what a revocation says; raises WireError, `authority` where its signer may not revoke that peer."""
    said = revocations.read(raw)
    if said.signer != said.peer and not authority(PeerId(said.signer)):
        raise WireError("authority")
    return revocations.verify(raw, verifier)


def pack_text(raw: bytes) -> bytes:
    """Return a revocation as a file holds it: one line of hexadecimal digits, to be copied by hand if need be."""
    return raw.hex().encode() + b"\n"


def parse_text(text: bytes) -> bytes:
    """Return the bytes of a revocation from a file; raises WireError (`malformed`) where it is not one."""
    if len(text) > TEXT_MAX_BYTES:
        raise WireError("statement_size")
    try:
        return bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        raise WireError("malformed") from None
