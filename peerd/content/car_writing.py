"""CAR files as they are written: version 1, a header with the roots, then a section for each block.

No I/O, and no order: the caller has the blocks, in the order that they are to have (DagWalk's `in_order` is CAR's dfs).
"""

from collections.abc import Iterable

from peerd.content.cid import Cid
from peerd.content.protobuf import varint

_MAP_OF_ROOTS = b"\xa2eroots"
_VERSION_1 = b"gversion\x01"


def encode_header(roots: Iterable[Cid | bytes]) -> bytes:
    """Return the header of a CAR; fewer than 24 roots, as CIDs or their bytes."""
    links = [cid if isinstance(cid, bytes) else cid.to_bytes() for cid in roots]
    assert len(links) < 24, "a longer list has a longer head"
    parts = [_MAP_OF_ROOTS, bytes([0x80 | len(links)])]
    for raw in links:
        assert len(raw) < 255, "one byte says how long it is"
        head = bytes([0x40 | len(raw) + 1]) if len(raw) < 23 else b"\x58" + bytes([len(raw) + 1])
        parts += (b"\xd8\x2a", head, b"\0", raw)
    body = b"".join((*parts, _VERSION_1))
    return varint(len(body)) + body


def encode_section(cid: Cid | bytes, data: bytes) -> bytes:
    """Return one block as it stands in a CAR."""
    raw = cid if isinstance(cid, bytes) else cid.to_bytes()
    return b"".join((varint(len(raw) + len(data)), raw, data))
