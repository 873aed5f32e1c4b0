"""The forms of the fields of control messages: each with its bounds, checked while it is decoded."""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.wire import limits

CID_BYTES = 36
FLOOR_BYTES = 84
PROVEN_BYTES = 64
PROOF_BYTES = 16
CID_RAW, CID_DAG_PB = b"\x01\x55\x12\x20", b"\x01\x70\x12\x20"
"""What the 36 bytes of a CID begin with: version 1, the codec, sha2-256 of 32 bytes."""

RequestId = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Cid36 = Annotated[bytes, Meta(min_length=CID_BYTES, max_length=CID_BYTES)]
PackedContacts = Annotated[bytes, Meta(max_length=limits.CONTACTS_MAX * 51)]
RecordBytes = Annotated[bytes, Meta(max_length=limits.RECORD_MAX_BYTES)]
ReceiptBytes = Annotated[bytes, Meta(max_length=limits.RECEIPT_MAX_BYTES)]
ProviderBytes = Annotated[bytes, Meta(max_length=limits.PROVIDER_MAX_BYTES)]
NoticeBytes = Annotated[bytes, Meta(max_length=limits.NOTICE_MAX_BYTES)]
PingPadding = Annotated[bytes, Meta(max_length=limits.PING_PADDING_BYTES)]
VouchPadding = Annotated[bytes, Meta(min_length=limits.VOUCH_PADDING_BYTES, max_length=limits.VOUCH_PADDING_BYTES)]
VouchNonce = Annotated[bytes, Meta(min_length=8, max_length=8)]
NewsItem = Annotated[bytes, Meta(min_length=1, max_length=1 + limits.NOTICE_MAX_BYTES)]
News = Annotated[tuple[NewsItem, ...], Meta(max_length=limits.NEWS_MAX)]
Places = Annotated[bytes, Meta(max_length=4 * limits.MEMBERS_HAVE_MAX)]
RefusalCode = Annotated[str, Meta(pattern=rf"\A[a-z_]{{1,{limits.REFUSAL_CODE_MAX}}}\Z")]
AttestationBytes = Annotated[bytes, Meta(max_length=limits.ATTESTATION_MAX_BYTES)]
AuditNonce = Annotated[bytes, Meta(min_length=16, max_length=16)]
PackedFloors = Annotated[bytes, Meta(min_length=FLOOR_BYTES, max_length=limits.FLOORS_MAX * FLOOR_BYTES)]
FloorBytes = Annotated[bytes, Meta(max_length=48)]
StrongRecordBytes = Annotated[bytes, Meta(min_length=1, max_length=limits.STRONG_RECORD_MAX_BYTES)]
PeerIds = Annotated[bytes, Meta(max_length=limits.REGISTER_HOLDERS_MAX * 32)]
BallotCounter = Annotated[int, Meta(ge=0, le=limits.BALLOT_MAX)]
Origin = Annotated[bytes, Meta(max_length=8)]
Epoch = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Past = Annotated[bytes, Meta(max_length=limits.REGISTER_PAST_MAX * 6)]
LeftSeconds = Annotated[int, Meta(ge=1, le=limits.TTL_MAX_S)]


class Answering(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What replies are and requests are not: one look tells, where a union would be gone through."""
