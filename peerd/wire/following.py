"""The messages by which a key's holders tell others that it changes (PROTOCOL.md, "Leases and followers")."""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.wire.fields import Answering, Bytes32, RequestId

DigestOrNone = Annotated[bytes, Meta(max_length=32)]


class Follow(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=44):
    """Tell me when this key changes: for a while, or with `lease` before it does, if you have just this version.

    `digest` is that of the record that the asker has read, empty where it has read none.
    """

    rid: RequestId
    key: Bytes32
    digest: DigestOrNone
    lease: bool


class Changed(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=45):
    """What I have of this key changed, or is about to: a lease of mine ends here. The answer says that it is known."""

    rid: RequestId
    key: Bytes32


class Following(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=108):
    """Granted or not; and the digest of the record here, empty where there is none."""

    rid: RequestId
    granted: bool
    digest: DigestOrNone
