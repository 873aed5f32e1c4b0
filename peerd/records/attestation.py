"""An attestation: what a holder says, signed, when it is asked for a version or content and a nonce is to prove it.

Beside a receipt of the same run of the same store it is what convicts: who promised and then says, in the same run,
that it never had it (`HAS_NOT`), and who says that it has it over a proof that is none (records.evidence). All other
answers excuse, and are worth as much as what is found when one looks.
"""

import hashlib
from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.records.receipt import OF_CONTENT, OF_RECORD, RunId, Stamp
from peerd.records.statement import Statements
from peerd.wire import limits
from peerd.wire.fields import PROOF_BYTES, AuditNonce, Bytes32

HAS, HAS_NOT, NEWER, OVER, UNKNOWN = range(5)
"""It is here, as `proof` shows; it is not, and was not promised in this run; something newer took its place; it is over
(a floor, the end of its life); it cannot be told (a return, a disk that failed, content that was let go)."""


class Attestation(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`store` is the run that the holder's receipts name; `proof` is empty unless `said` is HAS."""

    format: Annotated[int, Meta(ge=1, le=1)]
    kind: Annotated[int, Meta(ge=OF_RECORD, le=OF_CONTENT)]
    holder: Bytes32
    store: RunId
    key: Bytes32
    digest: Bytes32
    nonce: AuditNonce
    stamp: Stamp
    said: Annotated[int, Meta(ge=HAS, le=UNKNOWN)]
    proof: Annotated[bytes, Meta(max_length=PROOF_BYTES)]


def _check(body: Attestation) -> None:
    if len(body.proof) != (PROOF_BYTES if body.said == HAS else 0):
        raise WireError("attested_proof")


attestations = Statements(
    Attestation,
    tag=b"peerd/1 attestation\x00",
    signer_field="holder",
    max_bytes=limits.ATTESTATION_MAX_BYTES,
    check=_check,
)


def keyed_hash(nonce: bytes) -> "hashlib.blake2b":
    """Return the hash that makes a proof, keyed by a nonce that another chose."""
    return hashlib.blake2b(key=nonce, digest_size=PROOF_BYTES)


def proof_of(nonce: bytes, body: bytes) -> bytes:
    """Return what shows that its maker has this record now, 16 bytes.

    Of its body without the signature, which its digest covers: of two signatures of one body both are good, and nobody
    may be blamed for having the other.
    """
    keyed = keyed_hash(nonce)
    keyed.update(body)
    return keyed.digest()
