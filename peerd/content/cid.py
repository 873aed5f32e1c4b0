"""Content ids: CIDv1 of raw and dag-pb blocks with sha2-256 (multiformats/cid), the only ones peerd names content by.

Not here: hashing (block). Texts of CIDv0 and other multibases are taken where they mean the same, and never shown.
"""

import base64
import binascii

from msgspec import Struct

from peerd.content.limits import CID_TEXT_MAX
from peerd.errors import UsageError, WireError

RAW = 0x55
DAG_PB = 0x70
CID_BYTES = 36
CID_V0_BYTES = 34
DIGEST_BYTES = 32

_MULTIHASH = b"\x12\x20"  # sha2-256, 32 bytes
_PREFIXES = {RAW: b"\x01\x55" + _MULTIHASH, DAG_PB: b"\x01\x70" + _MULTIHASH}
CODECS = {prefix: codec for codec, prefix in _PREFIXES.items()}
_V0_LENGTH = 46
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_IDENTITY = 0
_DIGEST_LEAST_BYTES = 16
_FOREIGN_TEXT_MAX = 255
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE16 = frozenset("0123456789abcdef")
_BASE32 = frozenset("abcdefghijklmnopqrstuvwxyz234567")


class Cid(Struct, frozen=True, gc=False):
    """The name of a block: its codec, `RAW` or `DAG_PB`, and the sha2-256 of its bytes, 32 bytes."""

    codec: int
    digest: bytes

    @property
    def text(self) -> str:
        """The form that people see: multibase base32, `bafkrei…` for raw blocks and `bafybei…` for dag-pb."""
        return "b" + base64.b32encode(self.to_bytes()).decode().rstrip("=").lower()

    def to_bytes(self) -> bytes:
        """Return the 36 bytes that travel: version, codec, multihash."""
        return _PREFIXES[self.codec] + self.digest

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Cid":
        """Return the CID of 36 bytes; raises WireError for anything but CIDv1, raw or dag-pb, sha2-256."""
        codec = CODECS.get(raw[:4])
        if codec is None or len(raw) != CID_BYTES:
            raise WireError("cid")
        return cls(codec, raw[4:])

    @classmethod
    def parse(cls, text: str) -> "Cid":
        """Return the CID that `text` names: CIDv1 in base32, base36, base58btc or base16, or CIDv0.

        Raises UsageError for any other text, and for codecs and hashes that peerd does not keep.
        """
        cid = find_cid(text)
        if cid is None:
            raise UsageError(
                f"not a content id: {text[:80]!r}",
                hint="a content id begins with bafkrei or bafybei, as `peer add` prints it (raw or dag-pb, sha2-256)",
            )
        return cid

    def __str__(self) -> str:
        return self.text


def read_cid(raw: bytes) -> Cid:
    """Return the CID of 36 bytes, or of the 34 of CIDv0; raises WireError as `Cid.from_bytes` does."""
    if len(raw) == CID_V0_BYTES and raw[:2] == _MULTIHASH:
        return Cid(DAG_PB, raw[2:])
    return Cid.from_bytes(raw)


def looks_like_cid(text: str) -> bool:
    """Return whether `Cid.parse` takes `text`; such a text is no name."""
    return find_cid(text) is not None


def find_cid(text: str) -> Cid | None:
    """Return the CID that `text` names, or None where it names none."""
    if not 2 <= len(text) <= CID_TEXT_MAX:
        return None
    if len(text) == _V0_LENGTH and text.startswith("Qm"):
        multihash = _from_base(text, _BASE58)
        if multihash is None or multihash[:2] != _MULTIHASH or len(multihash) != 2 + DIGEST_BYTES:
            return None
        return Cid(DAG_PB, multihash[2:])
    raw = _from_multibase(text)
    codec = CODECS.get(raw[:4]) if raw is not None else None
    if raw is None or codec is None or len(raw) != CID_BYTES:
        return None
    return Cid(codec, raw[4:])


def is_foreign_cid(text: str) -> bool:
    """Return whether `text` is a CIDv1 of a codec or hash that peerd does not keep: content, elsewhere, and no name.

    Not where so little is said that a word may be one by chance: a digest has 16 bytes, or it is an identity in base32.
    """
    raw = _from_multibase(text) if 2 <= len(text) <= _FOREIGN_TEXT_MAX else None
    if raw is None or find_cid(text) is not None:
        return False
    numbers, at = [], 0
    for _ in range(4):  # version, codec, hash, length of the digest
        value = shift = 0
        while True:
            if at >= len(raw) or shift > 56:
                return False
            value |= (raw[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if raw[at - 1] < 0x80:
                break
        numbers.append(value)
    version, _codec, function, length = numbers
    said = length >= _DIGEST_LEAST_BYTES or (function == _IDENTITY and text[0] == "b")
    return version == 1 and length == len(raw) - at and said


def _from_multibase(text: str) -> bytes | None:
    """Return the bytes of a text in a base that CIDs are written in (multiformats/multibase), None in any other."""
    base, rest = text[0], text[1:]
    if base in "BFK" and rest == rest.upper():
        base, rest = base.lower(), rest.lower()
    match base:
        case "b":
            return _from_base32(rest)
        case "k":
            return _from_base(rest, _BASE36)
        case "z":
            return _from_base(rest, _BASE58)
        case "f":
            return bytes.fromhex(rest) if len(rest) % 2 == 0 and _BASE16.issuperset(rest) else None
        case _:
            return None


def _from_base32(text: str) -> bytes | None:
    # Only the letters themselves, and no stray bits in the last one: otherwise two texts would name one CID.
    if not _BASE32.issuperset(text):
        return None
    try:
        raw = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except binascii.Error:
        return None
    return raw if base64.b32encode(raw).decode().rstrip("=").lower() == text else None


def _from_base(text: str, alphabet: str) -> bytes | None:
    number = 0
    for letter in text:
        digit = alphabet.find(letter)
        if digit < 0:
            return None
        number = number * len(alphabet) + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
