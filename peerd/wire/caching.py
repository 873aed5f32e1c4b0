"""The messages by which small records are cached near those who ask for them (PROTOCOL.md, "Cached records")."""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.wire import limits
from peerd.wire.fields import Bytes32, LeftSeconds, RecordBytes, RequestId

KeepSeconds = Annotated[int, Meta(ge=0, le=limits.CACHED_LIFE_MAX_S)]
AgeSeconds = Annotated[int, Meta(ge=0, le=limits.CACHED_LIFE_MAX_S)]


class KeepCached(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=10):
    """Answer from this record for `keep_s` at most; or, in place of an older one that you cache: here is the newer.

    `left_s` is as in `Store`. Sent by who will tell of a newer version until then.
    """

    rid: RequestId
    record: RecordBytes
    left_s: LeftSeconds | None
    keep_s: KeepSeconds


class Place(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=11):
    """A look-up for `key` that you ended asked `peer` before, and it had nothing: give it your record to cache."""

    rid: RequestId
    key: Bytes32
    peer: Bytes32
