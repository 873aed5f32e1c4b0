"""MurmurHash3 x64 128, its first 64 bits: the hash of sharded directories (multicodec murmur3-x64-64, 0x22).

No protection against anybody: names with the same hash are found at will, so nothing may rest on it but the shape
of a directory. Source: Austin Appleby, MurmurHash3.cpp. Pure Python because a name is short: 2 µs for 16 bytes.
"""

from struct import iter_unpack

_MASK = 2**64 - 1
_C1 = 0x87C37B91114253D5
_C2 = 0x4CF5AD432745937F


def murmur3_x64_64(data: bytes) -> int:
    """Return the first 64 bits of the 128-bit hash, with seed 0."""
    h1 = h2 = 0
    body = len(data) & ~15
    for k1, k2 in iter_unpack("<QQ", data[:body]):
        h1 ^= _mix1(k1)
        h1 = (h1 << 27 | h1 >> 37) & _MASK
        h1 = (h1 + h2) * 5 + 0x52DCE729 & _MASK
        h2 ^= _mix2(k2)
        h2 = (h2 << 31 | h2 >> 33) & _MASK
        h2 = (h2 + h1) * 5 + 0x38495AB5 & _MASK
    h1 ^= _mix1(int.from_bytes(data[body : body + 8], "little")) ^ len(data)
    h2 ^= _mix2(int.from_bytes(data[body + 8 :], "little")) ^ len(data)
    h1 = h1 + h2 & _MASK
    h2 = h2 + h1 & _MASK
    return _finish(h1) + _finish(h2) & _MASK


def _mix1(k: int) -> int:
    k = k * _C1 & _MASK
    return (k << 31 | k >> 33) * _C2 & _MASK


def _mix2(k: int) -> int:
    k = k * _C2 & _MASK
    return (k << 33 | k >> 31) * _C1 & _MASK


def _finish(h: int) -> int:
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & _MASK
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return h ^ h >> 33
