"""A floor as it travels: a version of a key at or below which nothing is to come back, and for how long.

It is what stays when a tombstone has gone (DESIGN.md 6), and is not signed: it is believed on the word of most holders.
"""

from collections.abc import Iterable
from typing import NamedTuple

from peerd.errors import WireError
from peerd.ids import ID_BYTES, Key
from peerd.records.record import NONCE_BYTES
from peerd.wire import fields, limits

VERSION_BYTES = 8 + ID_BYTES + NONCE_BYTES
LEFT_BYTES = 4
LEFT_MAX_S = 2 ** (8 * LEFT_BYTES) - 1
FLOOR_BYTES = ID_BYTES + VERSION_BYTES + LEFT_BYTES
assert FLOOR_BYTES == fields.FLOOR_BYTES

NOTHING, BELOW, ABOVE, OVER = range(4)
"""What a holder says of a version of a key: it knows nothing of the key; has an older one; has it or a newer one; or
knows it to be deleted: a tombstone, or a floor, at or above it."""

FloorVersion = tuple[int, bytes, bytes]
"""Sequence, writer, nonce."""


class PackedFloor(NamedTuple):
    """`left_s` are the seconds until it may be forgotten, 0: never."""

    key: Key
    version: FloorVersion
    left_s: int = 0


def pack_version(version: FloorVersion) -> bytes:
    """Return 48 bytes."""
    sequence, writer, nonce = version
    return sequence.to_bytes(8, "big") + writer + nonce


def unpack_version(raw: bytes) -> FloorVersion:
    """Return what 48 bytes say; raises WireError (`floor`)."""
    sequence = int.from_bytes(raw[:8], "big")
    if len(raw) != VERSION_BYTES or not 1 <= sequence <= limits.SEQUENCE_MAX:
        raise WireError("floor")
    return sequence, raw[8 : 8 + ID_BYTES], raw[8 + ID_BYTES :]


def pack_floors(floors: Iterable[PackedFloor]) -> bytes:
    """Return 84 bytes for each."""
    return b"".join(each.key + pack_version(each.version) + each.left_s.to_bytes(4, "big") for each in floors)


def unpack_floors(raw: bytes) -> list[PackedFloor]:
    """Return what was packed; raises WireError (`floor`)."""
    if len(raw) % FLOOR_BYTES:
        raise WireError("floor")
    found = []
    for at in range(0, len(raw), FLOOR_BYTES):
        each = raw[at : at + FLOOR_BYTES]
        version = unpack_version(each[ID_BYTES:-LEFT_BYTES])
        found.append(PackedFloor(Key(each[:ID_BYTES]), version, int.from_bytes(each[-LEFT_BYTES:], "big")))
    return found
