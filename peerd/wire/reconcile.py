"""What frames of reconciliation carry (PROTOCOL.md, "Reconciliation"): ranges of the key space, items, entries.

A mark is the sequence of what is known of a key (8 bytes, big-endian) and 16 bytes of digest: of a record with a value
the first of the SHA-256 of its body, of a tombstone or floor those of the SHA-256 of a tag, writer and nonce; so a
floor is marked as the tombstone that it stands for. 24 zeros say that there is nothing.
"""

import hashlib
from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.wire import limits
from peerd.wire.codec import Codec
from peerd.wire.fields import LeftSeconds, RecordBytes
from peerd.wire.frames import ITEM_BYTES, KEY_BYTES

MARK_BYTES = ITEM_BYTES - KEY_BYTES
NO_MARK = bytes(MARK_BYTES)
_DIGEST_BYTES = 16
_SEQUENCE_BYTES = 8
_TAG_DELETED = b"peerd/1 deleted\x00"

# What is said of a range: that it is the same (or not spoken of), its fingerprint, its items, to ask again.
SAME, FINGERPRINT, ITEMS, LATER = 0, 1, 2, 3
# What an entry has: nothing, a record, one that its holder has not confirmed since it returned, a floor.
NOTHING, RECORD, UNCONFIRMED, FLOOR = 0, 1, 2, 3
# What is said to an offered item: it is known or on its way, it is wanted, something newer is here.
KNOWN, WISHED, NEWER = 0, 1, 2
# What is said to an entry that was given.
ACCEPTED, DECLINED = 0, 1


class RangeBody(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What is said of the keys below `upper` (empty: all) that the range before left; `data` by `kind`."""

    upper: Annotated[bytes, Meta(max_length=KEY_BYTES)]
    kind: Annotated[int, Meta(ge=SAME, le=LATER)]
    data: Annotated[bytes, Meta(max_length=limits.RANGES_MAX_BYTES)]


class EntryBody(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What is known of one key: `data` is a record, with the seconds of life it has left, or a packed floor."""

    kind: Annotated[int, Meta(ge=NOTHING, le=FLOOR)]
    data: RecordBytes
    left_s: LeftSeconds | None


ranges_codec: Codec[list[RangeBody]] = Codec(Annotated[list[RangeBody], Meta(max_length=limits.RANGES_MAX)])
entries_codec: Codec[list[EntryBody]] = Codec(Annotated[list[EntryBody], Meta(max_length=limits.ENTRIES_MAX)])


def mark_of_value(sequence: int, digest: bytes) -> bytes:
    """Return the mark of a record that has a value, by the SHA-256 of its body."""
    return sequence.to_bytes(_SEQUENCE_BYTES, "big") + digest[:_DIGEST_BYTES]


def mark_of_deleted(sequence: int, writer: bytes, nonce: bytes) -> bytes:
    """Return the mark of a tombstone, and of the floor that stands for it."""
    digest = hashlib.sha256(_TAG_DELETED + writer + nonce).digest()
    return sequence.to_bytes(_SEQUENCE_BYTES, "big") + digest[:_DIGEST_BYTES]


def mark_sequence(mark: bytes) -> int:
    """Return the sequence in a mark."""
    return int.from_bytes(mark[:_SEQUENCE_BYTES], "big")


def split_items(payload: bytes) -> list[tuple[bytes, bytes]]:
    """Return (key, mark) of each item; raises WireError where it is not a whole number of them."""
    if len(payload) % ITEM_BYTES:
        raise WireError("items")
    return [
        (payload[at : at + KEY_BYTES], payload[at + KEY_BYTES : at + ITEM_BYTES])
        for at in range(0, len(payload), ITEM_BYTES)
    ]
