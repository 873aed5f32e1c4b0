"""The part of protocol buffers that dag-pb and UnixFS need: varints and length-delimited fields.

Not a general codec: no groups, no schemas, no second spelling of a number (protobuf.dev/programming-guides/encoding).
"""

from collections.abc import Iterator

from peerd.content.limits import DIGITS_OF_VARINT_MAX
from peerd.errors import WireError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_SMALL = tuple(bytes((value,)) for value in range(0x80))


def varint(value: int) -> bytes:
    """Return the bytes of a non-negative integer."""
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value of each field in order: an int for a varint, bytes for a length-delimited one.

    Fields of fixed width come with the number 0, which no field has. Raises WireError where the bytes are no message.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("protobuf")
        if kind == _VARINT:
            value, at = read_varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = read_varint(message, at)
        elif kind in _FIXED_WIDTHS:
            number, length = 0, _FIXED_WIDTHS[kind]
        else:
            raise WireError("protobuf")
        start, at = at, at + length
        if at > end:
            raise WireError("protobuf")
        yield number, message[start:at]


def varints(packed: bytes) -> list[int]:
    """Return the integers of a packed repeated field; raises WireError where the last one is cut."""
    values = []
    at = 0
    while at < len(packed):
        value, at = read_varint(packed, at)
        values.append(value)
    return values


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the integer that begins at `at`, and where it ends; raises WireError."""
    try:
        byte = message[at]
        if byte < 0x80:
            return byte, at + 1
        value = byte & 0x7F
        for place in range(1, DIGITS_OF_VARINT_MAX):
            byte = message[at + place]
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                # A trailing zero digit is a second spelling of the same number; the tenth digit has one bit to give.
                if byte == 0 or value >> 64:
                    break
                return value, at + place + 1
    except IndexError:
        pass
    raise WireError("protobuf")
