"""Canonical MessagePack: one value has one encoding, and hostile bytes end in a value or a WireError.

All structures are arrays with a fixed number of fields. Canonical means: re-encoding what was decoded gives the same
bytes, so that a signature covers exactly one form (no second spelling of an integer, no trailing bytes).
"""

from typing import Generic, TypeVar

import msgspec

from peerd.errors import WireError

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
"""Return the canonical bytes of a structure."""


class Codec(Generic[T]):
    """Decoder of one type (or union of types)."""

    def __init__(self, kind: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)

    def decode(self, data: bytes | memoryview) -> T:
        """Return the value; raises WireError where the bytes are not one of ours. Not checked to be canonical."""
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError) as error:
            raise WireError("malformed") from error

    def decode_canonical(self, data: bytes) -> T:
        """Return the value; raises WireError also where another spelling of the same value was sent."""
        value = self.decode(data)
        if encode(value) != data:
            raise WireError("not_canonical")
        return value
