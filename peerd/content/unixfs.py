"""UnixFS: what a block means, a file or a part of one, a directory, a symbolic link (specs.ipfs.tech/unixfs).

Mode and time are neither written nor read. Whether a DAG of blocks hangs together is the readers' affair; here one
block is looked at, whose bytes may be anybody's.
"""

from typing import Literal

from msgspec import Struct

from peerd.content.cid import RAW, Cid
from peerd.content.dagpb import Link, decode_node
from peerd.content.limits import BLOCK_MAX_BYTES, DIGITS_OF_VARINT_MAX, FANOUT_MAX, LINKS_IN_BLOCK_MAX, SIZE_MAX
from peerd.content.protobuf import fields, varint, varints
from peerd.errors import WireError

NodeKind = Literal["raw", "file", "directory", "symlink", "hamt"]

_TYPE, _DATA, _FILE_SIZE, _BLOCK_SIZES, _HASH_TYPE, _FANOUT, _MODE, _MTIME = range(1, 9)  # fields of Data
_KINDS: dict[int, NodeKind] = {0: "file", 1: "directory", 2: "file", 4: "symlink", 5: "hamt"}
_MURMUR3_X64_64 = 0x22

DIRECTORY_DATA = b"\x08\x01"


class DagNode(Struct, frozen=True):
    """One block, decoded.

    A file's bytes are `data`, then what each link delivers, `sizes[i]` bytes; `file_size` is their sum. A symbolic
    link's target is `data`; of a shard, `data` is the bit field of the table's used slots.
    """

    kind: NodeKind
    links: tuple[Link, ...] = ()
    sizes: tuple[int, ...] = ()
    data: bytes = b""
    file_size: int = 0
    fanout: int = 0


class _Data(Struct):
    kind: NodeKind
    data: bytes
    file_size: int | None
    sizes: list[int]
    hash_type: int
    fanout: int


def file_data(sizes: list[int]) -> bytes:
    """Return the UnixFS data of a file's inner node, whose children deliver so many bytes each."""
    parts = [b"\x08\x02\x18", varint(sum(sizes))]
    for size in sizes:
        parts += (b"\x20", varint(size))
    return b"".join(parts)


def symlink_data(target: bytes) -> bytes:
    """Return the UnixFS data of a symbolic link."""
    return b"".join((b"\x08\x04\x12", varint(len(target)), target))


def hamt_data(bit_field: int, fanout: int) -> bytes:
    """Return the UnixFS data of a shard, of whose table the slots in `bit_field` are used."""
    slots = bit_field.to_bytes((bit_field.bit_length() + 7) // 8, "big")
    return b"".join(
        (b"\x08\x05\x12", varint(len(slots)), slots, b"\x28", varint(_MURMUR3_X64_64), b"\x30", varint(fanout))
    )


def decode(cid: Cid, data: bytes) -> DagNode:
    """Return what a block means; the caller has checked that it hashes to `cid`.

    Raises WireError where it is no UnixFS, or contradicts itself.
    """
    if len(data) > BLOCK_MAX_BYTES:
        raise WireError("block_size")
    if cid.codec == RAW:
        return DagNode("raw", data=data, file_size=len(data))
    links, message = decode_node(data)
    if message is None:
        raise WireError("unixfs")
    fact = _decode_data(message)
    match fact.kind:
        case "file":
            size = sum(fact.sizes) + len(fact.data)
            if len(fact.sizes) != len(links) or fact.file_size not in {None, size} or size > SIZE_MAX:
                raise WireError("unixfs_size")
            return DagNode("file", tuple(links), tuple(fact.sizes), fact.data, size)
        case "symlink" if not links:
            return DagNode("symlink", data=fact.data)
        case "directory" if not fact.sizes:
            return DagNode("directory", tuple(links))
        case "hamt" if fact.hash_type == _MURMUR3_X64_64 and _is_fanout(fact.fanout) and not fact.sizes:
            return DagNode("hamt", tuple(links), data=fact.data, fanout=fact.fanout)
    raise WireError("unixfs")


def _is_fanout(fanout: int) -> bool:
    return 8 <= fanout <= FANOUT_MAX and fanout.bit_count() == 1


def _decode_data(message: bytes) -> _Data:
    numbers: dict[int, int] = {}
    data: bytes | None = None
    sizes: list[int] = []
    for number, value in fields(message):
        if number == _BLOCK_SIZES:
            # Looked at before it is decoded: a million sizes in a block would hold up everything else.
            if isinstance(value, bytes) and len(value) > LINKS_IN_BLOCK_MAX * DIGITS_OF_VARINT_MAX:
                raise WireError("link_count")
            sizes += varints(value) if isinstance(value, bytes) else (value,)
            if len(sizes) > LINKS_IN_BLOCK_MAX:
                raise WireError("link_count")
        elif number == _DATA and isinstance(value, bytes) and data is None:
            data = value
        elif number in {_TYPE, _FILE_SIZE, _HASH_TYPE, _FANOUT} and isinstance(value, int) and number not in numbers:
            numbers[number] = value
        elif number <= _FANOUT:
            raise WireError("unixfs")
    kind = _KINDS.get(numbers.get(_TYPE, -1))
    if kind is None:
        raise WireError("unixfs")
    return _Data(
        kind,
        data or b"",
        numbers.get(_FILE_SIZE),
        sizes,
        numbers.get(_HASH_TYPE, 0),
        numbers.get(_FANOUT, 0),
    )
