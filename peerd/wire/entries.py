"""The control messages about entries of build caches (records.entry); `messages` has the union of all."""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.wire import limits
from peerd.wire.fields import Answering, Bytes32, LeftSeconds, RequestId

EntryBytes = Annotated[bytes, Meta(max_length=limits.ENTRY_MAX_BYTES)]


class FindEntry(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=48):
    """What do you know of this entry of a build cache, and is its content with you."""

    rid: RequestId
    key: Bytes32


class KeepEntry(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=49):
    """Remember this entry; with `copy`, fetch its content from the sender too and keep it as a cached copy."""

    rid: RequestId
    entry: EntryBytes
    left_s: LeftSeconds
    copy: bool


class EntryFound(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=112):
    """The entry with the seconds of life it has left, or empty; `has` says that all of its content is here now."""

    rid: RequestId
    entry: EntryBytes
    left_s: LeftSeconds | None
    has: bool
