"""CAR files as they arrive: a list of roots, then blocks (ipld.io/specs/transport/car, versions 1 and 2), bounded.

No I/O: the caller feeds bytes and is given blocks, each checked against its CID; which of them hang together, and that
nothing is missing, a walk from the roots says. A file is anybody's: only CIDs that peerd keeps, one spelling of each
number, nothing held beyond one block. The index of version 2 is not read.
"""

from peerd.content.block import Block, check
from peerd.content.cid import CID_BYTES, CID_V0_BYTES, Cid, read_cid
from peerd.content.limits import (
    BLOCK_MAX_BYTES,
    CAR_HEADER_MAX_BYTES,
    CAR_PADDING_MAX_BYTES,
    CAR_ROOTS_MAX,
    DIGITS_OF_VARINT_MAX,
)
from peerd.errors import IntegrityError, WireError

_PRAGMA_V2 = b"\x0a\xa1gversion\x02"
_HEADER_V2_BYTES = 40
_DATA_OFFSET, _DATA_SIZE = slice(16, 24), slice(24, 32)  # after 16 bytes of characteristics; little-endian

_BYTES, _ARRAY, _TAG = 2, 4, 6  # major types of CBOR
_TAG_CID = 42

_KEPT = "raw and dag-pb blocks under their sha2-256 are kept, identities, other codecs and hashes are not"


class CarReader:
    """One CAR; `roots` is known once its header was fed."""

    def __init__(self) -> None:
        self.roots: list[Cid] | None = None
        self._buffer = bytearray()
        self._skip = 0
        self._left: int | None = None
        """What is still to come of the data of version 2."""
        self._is_v2 = False
        self._missing: set[Cid] = set()

    def feed(self, data: bytes | bytearray | memoryview) -> list[Block]:
        """Take the next bytes, and return the blocks that they completed.

        Raises IntegrityError where they are no CAR that peerd takes.
        """
        self._buffer += data
        blocks: list[Block] = []
        while self._step(blocks):
            continue
        return blocks

    def finish(self) -> list[Cid]:
        """Return the roots, once all was fed.

        Raises IntegrityError where the file breaks off, or has not even a block of each root.
        """
        if self.roots is None or self._skip or self._left or (self._buffer and self._left is None):
            raise _damaged("it breaks off")
        if self._missing:
            raise _damaged(f"its root {next(iter(self._missing))} is not in it")
        return self.roots

    def _step(self, blocks: list[Block]) -> bool:
        """Take one part from what was fed; return whether there was one."""
        buffer = self._buffer
        if self._skip:
            skipped = min(self._skip, len(buffer))
            del buffer[:skipped]
            self._skip -= skipped
            return skipped > 0
        if self._left == 0:
            buffer.clear()  # the index of version 2
            return False
        if self.roots is None and not self._is_v2 and _starts(buffer, _PRAGMA_V2):
            return self._begin_v2()
        most = CAR_HEADER_MAX_BYTES if self.roots is None else CID_BYTES + BLOCK_MAX_BYTES
        section = self._take_section(most)
        if section is None:
            return False
        if self.roots is None:
            self.roots = _decode_header(section)
            self._missing = set(self.roots)
        else:
            blocks.append(self._block(section))
        return True

    def _begin_v2(self) -> bool:
        if len(self._buffer) < len(_PRAGMA_V2) + _HEADER_V2_BYTES:
            return False
        del self._buffer[: len(_PRAGMA_V2)]
        offset = int.from_bytes(self._buffer[_DATA_OFFSET], "little")
        size = int.from_bytes(self._buffer[_DATA_SIZE], "little")
        del self._buffer[:_HEADER_V2_BYTES]
        self._skip = offset - len(_PRAGMA_V2) - _HEADER_V2_BYTES
        if not 0 <= self._skip <= CAR_PADDING_MAX_BYTES or size == 0:
            raise _damaged("its data is nowhere")
        self._is_v2, self._left = True, size
        return True

    def _take_section(self, most: int) -> bytes | None:
        buffer = self._buffer
        told = _varint(buffer)
        if told is None:
            return None
        length, at = told
        end = at + length
        if not 0 < length <= most or (self._left is not None and end > self._left):
            raise _damaged("a part of it has an impossible length")
        if len(buffer) < end:
            return None
        section = bytes(memoryview(buffer)[at:end])
        del buffer[:end]
        if self._left is not None:
            self._left -= end
        return section

    def _block(self, section: bytes) -> Block:
        length = CID_V0_BYTES if section[:2] == b"\x12\x20" else CID_BYTES
        try:
            cid = read_cid(section[:length])
        except WireError as error:
            raise _damaged(f"it has a block under a name that peerd does not keep: {_KEPT}") from error
        data = section[length:]
        if not check(cid, data):
            raise _damaged(f"what it has for {cid} is something else")
        self._missing.discard(cid)
        return Block(cid, data)


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(f"not a CAR file that can be taken: {what}")


def _starts(buffer: bytearray, prefix: bytes) -> bool:
    return bool(buffer) and prefix.startswith(bytes(buffer[: len(prefix)]))


def _varint(buffer: bytearray) -> tuple[int, int] | None:
    """Return a number at the start and how many bytes it takes; None where more must come first."""
    value = 0
    for at, byte in enumerate(buffer[:DIGITS_OF_VARINT_MAX]):
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            if at and not byte:
                break
            return value, at + 1
    else:
        if len(buffer) < DIGITS_OF_VARINT_MAX:
            return None
    raise _damaged("a number in it has no end")


def _decode_header(raw: bytes) -> list[Cid]:
    """Return the roots of a header, DAG-CBOR of {roots: [CID…], version: 1}, which has one spelling."""
    if not raw.startswith(b"\xa2eroots"):
        raise _damaged("its header is none")
    count, at = _head(raw, 7, _ARRAY)
    if count > CAR_ROOTS_MAX:
        raise _damaged("it has too many roots")
    roots = []
    for _ in range(count):
        tag, at = _head(raw, at, _TAG)
        length, at = _head(raw, at, _BYTES)
        if tag != _TAG_CID or raw[at : at + 1] != b"\0":
            raise _damaged("its header is none")
        try:
            roots.append(read_cid(raw[at + 1 : at + length]))
        except WireError as error:
            raise _damaged(f"it has a root that peerd does not keep: {_KEPT}") from error
        at += length
    if raw[at:] != b"gversion\x01":
        raise _damaged("its header is none, or of a version that is not known")
    return roots


def _head(raw: bytes, at: int, major: int) -> tuple[int, int]:
    """Return the number in the head of a CBOR item of a type, and where its content begins."""
    first = raw[at] if at < len(raw) else 0xFF
    small = first & 0x1F
    width = {24: 1, 25: 2}.get(small, 0)
    value = int.from_bytes(raw[at + 1 : at + 1 + width], "big") if width else small
    if first >> 5 != major or small > 25 or (width == 1 and value < 24) or (width == 2 and value < 256):
        raise _damaged("its header is none")
    return value, at + 1 + width
