"""Sizes as people write them: `20GB`, `512MiB`, `1048576`."""

import re

from peerd.errors import UsageError

SIZE_MAX_BYTES = 2**62

_LETTERS = ("", "k", "m", "g", "t", "p")
_SIZE = re.compile(r"(\d{1,19})(?:\.(\d{1,9}))?\s*([kmgtp]?)(i?)b?", re.IGNORECASE | re.ASCII)
_HINT = "a number of bytes, or one with a unit: 20GB (10^9), 512MiB (2^20)"


def parse_size(text: str) -> int:
    """Return the bytes that `text` says; `K M G T P` are powers of 1000, with an `i` of 1024; case does not matter.

    Raises UsageError where it is no size, or one above 2^62.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[4] and not match[3]):
        raise UsageError(f"not a size: {text[:80]!r}", hint=_HINT)
    whole, fraction, letter, binary = match.groups(default="")
    # In integers, not floats: 1.1GB is exactly 1100000000.
    size: int = int(whole + fraction) * _unit_bytes(letter, binary=bool(binary)) // 10 ** len(fraction)
    if size > SIZE_MAX_BYTES:
        raise UsageError(f"too large a size: {text[:80]!r}", hint=f"at most {SIZE_MAX_BYTES} bytes")
    return size


def format_size(size: int) -> str:
    """Return `size` bytes as `parse_size` reads it back exactly: in the largest unit that leaves a whole number."""
    for letter in reversed(_LETTERS[1:]):
        for binary in (True, False):
            unit = _unit_bytes(letter, binary=binary)
            if size and size % unit == 0:
                return f"{size // unit}{letter.upper()}{'iB' if binary else 'B'}"
    return str(size)


def _unit_bytes(letter: str, *, binary: bool) -> int:
    return int((1024 if binary else 1000) ** _LETTERS.index(letter.lower()))
