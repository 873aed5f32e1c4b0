"""Types of fields that messages of several modules have."""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.wire import limits

RequestId = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
LeftSeconds = Annotated[int, Meta(ge=1, le=limits.TTL_MAX_S)]


class Answering(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What replies are and requests are not: one look tells, where a union would be gone through."""
