"""Seeded mutations: sound bytes in, bytes out that are nearly sound. One seed is one sequence.

Blind ones change bits, bytes, lengths; those by grammar change one field of a MessagePack value and leave the rest
whole, so that what looks at fields together is reached; words of other languages (numbers at their edges, separators)
stand where text is read.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
GROWTH_MAX = 256
"""Bytes added at a time: what is longer than it may be is refused by its length, and that is seen with few."""
DEPTH_MAX = 600
TOGETHER_MAX = 4

WORDS = tuple(
    word.encode()
    for word in (
        *("0", "-1", "1e9", "nan", "inf", "18446744073709551616", "0x10", "٣", "1_000", "true", "none", "null"),
        *("..", "/", "//", "%", "%2", "%00", "%2e%2e", "%ff", "?", "#", "&", "=", "+", ";", ",", "*", '"', "'", "\\"),
        *("\r\n", "\n", "\0", "\x1b[2J", "\u202e", "\u2028", "\ud7ff", "é", "\U0001f419", "[", "]", "[::1]", ":", "@"),
        *("W/", "bytes=", "bytes=0-", "bytes=-1", "bafkrei", "Qm", "k", "z", "unix://", "tcp://", "GiB", "ms"),
    )
)
# What MessagePack and protobuf begin a long thing with, of which nothing follows.
PROMISES = (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc9")


class Mutator:
    """Changes bytes; `others` are sound ones to take parts from."""

    def __init__(self, rng: random.Random, others: Sequence[bytes] = ()) -> None:
        self.rng = rng
        self._others = list(others)
        self._ways: list[Callable[[bytearray], None]] = [
            *(self._bit, self._bit, self._byte, self._edge, self._cut, self._remove, self._insert, self._repeat),
            *(self._extend, self._splice, self._word, self._promise),
        ]

    def mutate(self, data: bytes) -> bytes:
        """Return `data` changed in one way, or in a few; now and then as it is."""
        changed = bytearray(data)
        for _ in range(self.rng.choice((0, 1, 1, 1, 1, 2, 2, 3, TOGETHER_MAX))):
            self.rng.choice(self._ways)(changed)
        return bytes(changed)

    def mutate_packed(self, data: bytes) -> bytes:
        """Return a MessagePack value with one field changed; changed blindly where `data` is none."""
        try:
            value = msgspec.msgpack.decode(data)
            return msgspec.msgpack.encode(self._changed(value))
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, UnicodeError, TypeError):
            return self.mutate(data)

    # By grammar.

    def _changed(self, value: Any) -> Any:
        if isinstance(value, list) and value and self.rng.random() < 0.9:
            at = self.rng.randrange(len(value))
            match self.rng.randrange(12):
                case 0:
                    return [*value[:at], *value[at + 1 :]]
                case 1:
                    return [*value, value[at]]
                case 2:
                    return [*value[:at], value[self.rng.randrange(len(value))], *value[at + 1 :]]
            return [*value[:at], self._changed(value[at]), *value[at + 1 :]]
        if isinstance(value, bytes) and self.rng.random() < 0.7:
            return self.mutate(value)
        if isinstance(value, bool):
            return not value
        if isinstance(value, int) and self.rng.random() < 0.5:
            return max(-(2**63), min(2**64 - 1, value + self.rng.choice((-1, 1, -256, 256, 2**32, -value))))
        if isinstance(value, str) and self.rng.random() < 0.7:
            return self.mutate(value.encode()).decode("utf-8", "ignore")
        return self._strange()

    def _strange(self) -> Any:
        match self.rng.randrange(12):
            case 0:
                return None
            case 1:
                return self.rng.choice(EDGES)
            case 2:
                return -self.rng.choice(EDGES[:-2])
            case 3:
                return self.rng.choice((float("nan"), float("inf"), -0.0, 1e300))
            case 4:
                return bytes(self.rng.choice((0, 1, 31, 32, 33, 36, 64, GROWTH_MAX)))
            case 5:
                return self.rng.randbytes(self.rng.choice((8, 16, 31, 32, 33, 36, 48, 84)))
            case 6:
                return self.rng.choice(WORDS).decode("utf-8", "replace")
            case 7:
                return [self._strange() for _ in range(self.rng.randrange(3))]
            case 8:
                return {self.rng.choice(("a", 1, b"")): 1}
            case 9:
                nested: Any = []
                for _ in range(self.rng.choice((1, 30, DEPTH_MAX))):
                    nested = [nested]
                return nested
            case 10:
                return msgspec.msgpack.Ext(self.rng.randrange(-128, 128), b"x")
        return self.rng.choice((True, False, ""))

    # Blindly.

    def _bit(self, data: bytearray) -> None:
        if data:
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)

    def _byte(self, data: bytearray) -> None:
        if data:
            data[self.rng.randrange(len(data))] = self.rng.randrange(256)

    def _edge(self, data: bytearray) -> None:
        width = self.rng.choice((1, 2, 4, 8))
        if len(data) >= width:
            at = self.rng.randrange(len(data) - width + 1)
            data[at : at + width] = (self.rng.choice(EDGES) % 256**width).to_bytes(width, "big")

    def _cut(self, data: bytearray) -> None:
        if data:
            del data[self.rng.randrange(len(data)) :]

    def _remove(self, data: bytearray) -> None:
        if data:
            at = self.rng.randrange(len(data))
            del data[at : at + self.rng.choice((1, 2, 4, 8, 32))]

    def _insert(self, data: bytearray) -> None:
        at = self.rng.randrange(len(data) + 1)
        data[at:at] = self.rng.randbytes(self.rng.choice((1, 2, 4, 8, 32)))

    def _repeat(self, data: bytearray) -> None:
        if data:
            at = self.rng.randrange(len(data))
            part = data[at : at + self.rng.choice((1, 4, 32, 64))]
            data[at:at] = part * self.rng.choice((1, 2, max(1, GROWTH_MAX // max(1, len(part)))))

    def _extend(self, data: bytearray) -> None:
        data += self.rng.choice((self.rng.randbytes, bytes))(self.rng.randrange(1, GROWTH_MAX))

    def _splice(self, data: bytearray) -> None:
        if self._others:
            other = self.rng.choice(self._others)
            if other:
                start = self.rng.randrange(len(other))
                data[self.rng.randrange(len(data) + 1) :] = other[start : start + 2 * GROWTH_MAX]

    def _word(self, data: bytearray) -> None:
        at = self.rng.randrange(len(data) + 1)
        data[at : at + self.rng.choice((0, 1, 4))] = self.rng.choice(WORDS)

    def _promise(self, data: bytearray) -> None:
        at = self.rng.randrange(len(data) + 1)
        data[at : at + self.rng.choice((0, 1, 5))] = self.rng.choice(PROMISES)
