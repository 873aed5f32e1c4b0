"""Keys and content ids as people write them: what may be a name, what is a CID, how either goes into a URL.

Not here: resolving them. The daemon checks all of this again; it is checked here so that a wrong key is told before
any connection.
"""

from __future__ import annotations

import os

from .failure import usage
from .text import safe

KEY_MAX_BYTES = 255
PEER_ID_LENGTH = 52

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_CID_BYTES = 36
_CID_CODECS = (0x55, 0x70)  # raw, dag-pb
_CID_TEXT_MAX = 80
_CID_BASE32_LENGTH = 58
_CID_V0_LENGTH = 46
_SHA2_256 = b"\x12\x20"
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~")


def target(text: str) -> str:
    """Return the key or CID that an argument names, as text.

    Raises Failure (usage) where it is empty, longer than 255 bytes, or not UTF-8.
    """
    raw = os.fsencode(text)
    if not raw:
        raise usage("the key is empty", "a key is 1 to 255 bytes of UTF-8")
    if len(raw) > KEY_MAX_BYTES:
        raise usage(f"the key is {len(raw)} bytes long", "a key is 1 to 255 bytes of UTF-8")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise usage(f"the key is not UTF-8: {safe(text)}", "a key is 1 to 255 bytes of UTF-8") from None


def new_name(text: str, *, own: bool) -> str:
    """Return the name that an argument gives to what is stored.

    Raises Failure (usage) as `target` does, and where a shared name has a reserved form: a CID, `sha256:…`, `@…`,
    `<peer id>/…`. With `own` the name stands under this peer's id, where only a CID could be taken for another thing.
    """
    name = target(text)
    if is_cid(name):
        raise usage(f"a content id cannot be a key: {safe(name)}", "content has its id already; choose a name")
    if own:
        return name
    for prefix in ("sha256:", "@"):
        if name.startswith(prefix):
            raise usage(f"a shared key cannot begin with {prefix!r}: {safe(name)}", "choose another name")
    if is_peer_id(name.partition("/")[0]) and "/" in name:
        raise usage(
            f"a shared key cannot begin with a peer id: {safe(name)}",
            "to write under this peer's own id, give the rest of the name and --own",
        )
    return name


def is_cid(text: str) -> bool:
    """Whether `text` is a content id: CIDv1 in base32, base36, base58, base16, or CIDv0; sha2-256 of raw or dag-pb."""
    if len(text) > _CID_TEXT_MAX:
        return False
    if text.startswith("Qm") and len(text) == _CID_V0_LENGTH:
        return (raw := _from_base(text, _BASE58))[:2] == _SHA2_256 and len(raw) == _CID_BYTES - 2
    base, rest = text[:1], text[1:]
    if base in ("B", "F", "K") and rest == rest.upper():
        base, rest = base.lower(), rest.lower()
    if base == "b":
        raw = _from_base32(rest)
    elif base == "k":
        raw = _from_base(rest, _BASE36)
    elif base == "z":
        raw = _from_base(rest, _BASE58)
    elif base == "f" and len(rest) == 2 * _CID_BYTES and all(char in "0123456789abcdef" for char in rest):
        raw = bytes.fromhex(rest)
    else:
        return False
    return len(raw) == _CID_BYTES and raw[0] == 1 and raw[1] in _CID_CODECS and raw[2:4] == _SHA2_256


def is_peer_id(text: str) -> bool:
    """Whether `text` has the form of a peer id."""
    return len(text) == PEER_ID_LENGTH and all(char in _BASE32 for char in text) and text[-1] in "aq"


def quote(text: str) -> str:
    """Return `text` as one segment of a URL's path or a value of its query: all but letters, digits, `-_~` encoded.

    Also `.`: a key `..` must not be taken for the parent directory by anything on the way.
    """
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def _from_base(text: str, alphabet: str) -> bytes:
    """Return the bytes that `text` names in a base whose zeros count (base36, base58); none for other letters."""
    number = 0
    for char in text:
        value = alphabet.find(char)
        if value < 0:
            return b""
        number = number * len(alphabet) + value
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _from_base32(text: str) -> bytes:
    """Return the bytes of a CID in base32: 58 letters are 290 bits, and the last two of them are nothing."""
    number = 0
    for char in text:
        value = _BASE32.find(char)
        if value < 0:
            return b""
        number = number << 5 | value
    return (number >> 2).to_bytes(_CID_BYTES, "big") if len(text) == _CID_BASE32_LENGTH and not number & 3 else b""
