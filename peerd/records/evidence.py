"""Evidence: signed statements of one peer that cannot both be honest, put together so that anybody can check them.

It is not signed itself: who brings it counts for nothing. What it takes to convict is `trust.evidence`'s.
"""

import hashlib
from typing import Annotated, Literal

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.wire import limits
from peerd.wire.codec import Codec, encode
from peerd.wire.fields import Bytes32

EQUIVOCATION, BROKEN_PROMISE, FALSE_PROOF, RETRACTION = 1, 2, 3, 4
"""Two records of one version; a receipt and an attestation that denies it; an attestation whose proof the record shows
to be none; an attestation and a later one that denies it."""

KindName = Literal["equivocation", "broken_promise", "false_proof", "retraction"]
KIND_NAMES: dict[int, KindName] = {
    EQUIVOCATION: "equivocation",
    BROKEN_PROMISE: "broken_promise",
    FALSE_PROOF: "false_proof",
    RETRACTION: "retraction",
}

DIGEST_BYTES = 16

_Part = Annotated[bytes, Meta(min_length=65, max_length=limits.RECORD_MAX_BYTES)]


class Evidence(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`first` and `second` are the statements as they travelled, in the order that the kind gives."""

    format: Annotated[int, Meta(ge=1, le=1)]
    kind: Annotated[int, Meta(ge=EQUIVOCATION, le=RETRACTION)]
    accused: Bytes32
    first: _Part
    second: _Part


_codec: Codec[Evidence] = Codec(Evidence)


def pack_evidence(kind: int, accused: bytes, first: bytes, second: bytes) -> bytes:
    """Return the evidence as it is kept and sent; two records are put in the order of their bytes."""
    if kind == EQUIVOCATION and second < first:
        first, second = second, first
    return encode(Evidence(1, kind, accused, first, second))


def read_evidence(raw: bytes) -> Evidence:
    """Return what was packed, not checked against anything. Raises WireError."""
    if len(raw) > limits.EVIDENCE_MAX_BYTES:
        raise WireError("evidence_size")
    return _codec.decode_canonical(raw)


def digest_of(raw: bytes) -> bytes:
    """Return what names a piece of evidence, 16 bytes."""
    return hashlib.sha256(raw).digest()[:DIGEST_BYTES]
