"""Frames of the bulk connection (PROTOCOL.md, "Bulk"): a length, a kind, an id, a payload.

Header, 9 bytes, big-endian: payload length (4), kind (1), id (4). Requests carry an id chosen by their sender; answers
repeat it. Both ends may ask. Control payloads are canonical MessagePack, blocks are raw bytes after their CID.
"""

import struct
from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.wire import limits
from peerd.wire.codec import Codec
from peerd.wire.fields import CID_BYTES, Bytes32, Cid36

_HEADER = struct.Struct(">IBI")
HEADER_BYTES = _HEADER.size
NONCE_BYTES = 32
PROOF_BYTES = 32 + 64
KEY_BYTES = 32
AUDIT_NONCE_BYTES = 16
PROOF_OF_BYTES = 16
DIGEST_BYTES = 16
ITEM_BYTES = KEY_BYTES + 24
"""An item of reconciliation: a key and the mark of what is known of it (wire.reconcile)."""

# Opening: the acceptor's nonce, the caller's proof, the acceptor's consent.
NONCE, PROOF, READY = 1, 2, 3
# Requests.
WANT, HOLD, VERSIONS, AUDIT, ROOTS, PROVE, EVIDENCE = 16, 17, 18, 24, 25, 26, 27
RECONCILE, PULL, OFFER, GIVE = 20, 21, 22, 23
REVOCATIONS = 28
# A WANT of one who can wait: content that is one block may be MISSING for a moment where very many want it.
WISH = 80
# Answers.
BLOCK, MISSING, HELD, PROGRESS, HISTORY, FAILED, AUDITED, KEPT, PROVED, SHOWN = 32, 33, 34, 35, 36, 37, 44, 45, 46, 47
RANGES, ENTRIES, WANTED, TAKEN = 40, 41, 42, 43
REVOKED = 48
# Of those who fetch the same (node.sharing): a question and its answer, and what is told without either.
JOIN, JOINED, HAVE, CREDIT, SHARE, LEAVE, PROPOSE, DECIDE = 64, 65, 66, 67, 68, 69, 70, 71

ANSWER_OF = {
    HOLD: HELD,
    VERSIONS: HISTORY,
    AUDIT: AUDITED,
    ROOTS: KEPT,
    PROVE: PROVED,
    EVIDENCE: SHOWN,
    RECONCILE: RANGES,
    PULL: ENTRIES,
    OFFER: WANTED,
    GIVE: TAKEN,
    REVOCATIONS: REVOKED,
    JOIN: JOINED,
}
"""What answers a request that has one answer; a WANT has one for each block."""

SHARING = frozenset({JOIN, HAVE, CREDIT, LEAVE, PROPOSE, DECIDE})
"""What is said among those who share a root, but for the blocks themselves; none of it waits behind a request."""

REQUESTS = frozenset({WANT, WISH, *ANSWER_OF} - SHARING)
ANSWERS = frozenset({BLOCK, MISSING, PROGRESS, FAILED, *ANSWER_OF.values()})

# What a peer says of a root: nothing of it is there, not all of it, a cached copy, a promised one, one pinned besides.
ABSENT, INCOMPLETE, CACHED, PROMISED, PINNED = range(5)

# The least and most bytes of each kind's payload.
_PAYLOAD_BYTES = {
    NONCE: (NONCE_BYTES, NONCE_BYTES),
    PROOF: (PROOF_BYTES, PROOF_BYTES),
    READY: (0, 0),
    WANT: (CID_BYTES, limits.WANTS_PER_FRAME_MAX * CID_BYTES),
    WISH: (CID_BYTES, limits.WANTS_PER_FRAME_MAX * CID_BYTES),
    HOLD: (1, limits.HOLD_MAX_BYTES),
    VERSIONS: (32, 32),
    AUDIT: (KEY_BYTES, limits.AUDITED_PER_FRAME_MAX * KEY_BYTES),
    ROOTS: (CID_BYTES, limits.AUDITED_PER_FRAME_MAX * CID_BYTES),
    PROVE: (AUDIT_NONCE_BYTES + CID_BYTES, AUDIT_NONCE_BYTES + limits.PROVEN_ROOTS_MAX * CID_BYTES),
    EVIDENCE: (DIGEST_BYTES, limits.EVIDENCE_PER_FRAME_MAX * DIGEST_BYTES),
    BLOCK: (CID_BYTES, limits.FRAME_MAX_BYTES),
    MISSING: (CID_BYTES, CID_BYTES),
    HELD: (1, limits.RECEIPT_MAX_BYTES),
    PROGRESS: (0, 0),
    HISTORY: (1, limits.HISTORY_MAX_BYTES),
    FAILED: (1, limits.REFUSAL_CODE_MAX),
    AUDITED: (1, limits.AUDITED_MAX_BYTES),
    KEPT: (1, limits.AUDITED_PER_FRAME_MAX),
    PROVED: (PROOF_OF_BYTES, limits.PROVEN_ROOTS_MAX * PROOF_OF_BYTES),
    SHOWN: (1, 3 + limits.EVIDENCE_PER_FRAME_MAX * (limits.EVIDENCE_MAX_BYTES + 3)),
    RECONCILE: (1, limits.RANGES_MAX_BYTES),
    RANGES: (1, limits.RANGES_MAX_BYTES),
    PULL: (KEY_BYTES, limits.ENTRIES_MAX * KEY_BYTES),
    ENTRIES: (1, limits.ENTRIES_MAX_BYTES),
    OFFER: (ITEM_BYTES, limits.ENTRIES_MAX * ITEM_BYTES),
    WANTED: (1, limits.ENTRIES_MAX),
    GIVE: (1, limits.ENTRIES_MAX_BYTES),
    TAKEN: (1, limits.ENTRIES_MAX),
    REVOCATIONS: (KEY_BYTES + limits.REVOKED_DIGEST_BYTES, KEY_BYTES + limits.REVOKED_DIGEST_BYTES),
    REVOKED: (1, limits.REVOKED_MAX_BYTES),
    JOIN: (CID_BYTES, CID_BYTES),
    JOINED: (1, 1 + limits.SHARERS_TOLD_MAX * KEY_BYTES),
    HAVE: (2 * CID_BYTES, (1 + limits.HAVE_PER_FRAME_MAX) * CID_BYTES),
    CREDIT: (CID_BYTES + 1, CID_BYTES + 1),
    SHARE: (2 * CID_BYTES, limits.FRAME_MAX_BYTES + CID_BYTES),
    LEAVE: (CID_BYTES, CID_BYTES),
    PROPOSE: (2 * CID_BYTES, 2 * CID_BYTES),
    DECIDE: (2 * CID_BYTES + 1, 2 * CID_BYTES + 1),
}


class ClaimBody(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A signed claim, and the seconds of life that its name has left; nil where that has no end."""

    claim: Annotated[bytes, Meta(min_length=65, max_length=limits.CLAIM_MAX_BYTES)]
    left_s: Annotated[int, Meta(ge=0, le=limits.TTL_MAX_S)] | None


class HoldBody(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Please hold this content, which these claims want kept.

    `kind` is 0 for a single block, 1 for a file, 2 for a directory.
    """

    root: Cid36
    kind: Annotated[int, Meta(ge=0, le=2)]
    size: Annotated[int, Meta(ge=0, le=limits.CONTENT_MAX_BYTES)]
    claims: Annotated[list[ClaimBody], Meta(min_length=1, max_length=limits.CLAIMS_PER_HOLD_MAX)]


class VersionBody(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One version known of a key."""

    sequence: Annotated[int, Meta(ge=0, le=limits.SEQUENCE_MAX)]
    writer: Bytes32
    nonce: Annotated[bytes, Meta(min_length=8, max_length=8)]
    cid: Cid36 | None
    size: Annotated[int, Meta(ge=0, le=limits.CONTENT_MAX_BYTES)]
    deleted: bool
    conflict: bool


class AuditedBody(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a peer has under a key. `known` is 0 for a value, 1 for a tombstone, 2 for a floor, which has no digest.

    `digest` is the beginning of the record's: one version with two contents differs too.
    """

    sequence: Annotated[int, Meta(ge=0, le=limits.SEQUENCE_MAX)]
    writer: Bytes32
    nonce: Annotated[bytes, Meta(min_length=8, max_length=8)]
    digest: Annotated[bytes, Meta(max_length=16)]
    known: Annotated[int, Meta(ge=0, le=2)]


hold_codec: Codec[HoldBody] = Codec(HoldBody)
history_codec: Codec[list[VersionBody]] = Codec(Annotated[list[VersionBody], Meta(max_length=limits.VERSIONS_MAX)])

shown_codec: Codec[list[bytes]] = Codec(
    Annotated[
        list[Annotated[bytes, Meta(max_length=limits.EVIDENCE_MAX_BYTES)]],
        Meta(max_length=limits.EVIDENCE_PER_FRAME_MAX),
    ]
)

revoked_codec: Codec[list[bytes]] = Codec(
    Annotated[
        list[Annotated[bytes, Meta(min_length=65, max_length=limits.NOTICE_MAX_BYTES)]],
        Meta(max_length=limits.REVOCATIONS_PER_FRAME_MAX),
    ]
)

audited_codec: Codec[list[AuditedBody | None]] = Codec(
    Annotated[list[AuditedBody | None], Meta(min_length=1, max_length=limits.AUDITED_PER_FRAME_MAX)]
)


def pack(kind: int, rid: int, payload: bytes = b"") -> bytes:
    """Return a whole frame."""
    return _HEADER.pack(len(payload), kind, rid) + payload


def pack_header(kind: int, rid: int, length: int) -> bytes:
    """Return the header of a frame whose payload is written after it."""
    return _HEADER.pack(length, kind, rid)


def unpack_header(raw: bytes) -> tuple[int, int, int]:
    """Return (payload length, kind, id).

    Raises WireError for an unknown kind (`frame_kind`) and for a payload shorter or longer than its kind may have
    (`frame_size`), before any of it is read.
    """
    length, kind, rid = _HEADER.unpack(raw)
    bounds = _PAYLOAD_BYTES.get(kind)
    if bounds is None:
        raise WireError("frame_kind")
    if not bounds[0] <= length <= bounds[1]:
        raise WireError("frame_size")
    return length, kind, rid


def split_cids(payload: bytes) -> list[bytes]:
    """Return the CIDs of a WANT or ROOTS; raises WireError where it is not a whole number of them."""
    if not payload or len(payload) % CID_BYTES:
        raise WireError("want")
    return [payload[at : at + CID_BYTES] for at in range(0, len(payload), CID_BYTES)]


def split_keys(payload: bytes) -> list[bytes]:
    """Return the keys of an AUDIT or PULL; raises WireError where it is not a whole number of them."""
    if not payload or len(payload) % KEY_BYTES:
        raise WireError("audit")
    return [payload[at : at + KEY_BYTES] for at in range(0, len(payload), KEY_BYTES)]


def split_prove(payload: bytes) -> tuple[bytes, list[bytes]]:
    """Return the nonce and the CIDs of a PROVE; raises WireError where these are not a whole number."""
    return payload[:AUDIT_NONCE_BYTES], split_cids(payload[AUDIT_NONCE_BYTES:])


def split_digests(payload: bytes) -> list[bytes]:
    """Return the digests of an EVIDENCE; raises WireError where it is not a whole number of them."""
    if not payload or len(payload) % DIGEST_BYTES:
        raise WireError("evidence")
    return [payload[at : at + DIGEST_BYTES] for at in range(0, len(payload), DIGEST_BYTES)]


def split_joined(payload: bytes) -> tuple[bool, list[bytes]]:
    """Return whether all blocks are there, and who else shares the root; WireError where it is malformed."""
    if payload[:1] not in (b"\0", b"\1") or len(payload) % KEY_BYTES != 1:
        raise WireError("joined")
    return payload[0] == 1, [payload[at : at + KEY_BYTES] for at in range(1, len(payload), KEY_BYTES)]
