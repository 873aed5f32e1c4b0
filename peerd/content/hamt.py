"""Sharded directories: a hash array mapped trie of blocks, each a table of `fanout` slots (specs.ipfs.tech/unixfs).

A slot holds an entry or another shard; which slot of which shard an entry is in follows from the murmur3 hash of its
name, the most significant bits first. Here are the shape and its making; reading one is in `directory_reader`.
"""

from collections.abc import Iterable
from itertools import groupby, pairwise

from msgspec import Struct

from peerd.content.block import Block, dag_pb_block
from peerd.content.cid import Cid
from peerd.content.dagpb import encode_link, encode_node
from peerd.content.limits import HAMT_FANOUT
from peerd.content.murmur3 import murmur3_x64_64
from peerd.content.unixfs import DagNode, hamt_data
from peerd.errors import UsageError, WireError

HASH_BITS = 64
_SLOT_BITS = HAMT_FANOUT.bit_length() - 1
_DEPTH_MAX = HASH_BITS // _SLOT_BITS


class _Item(Struct, gc=False):
    """What a slot will hold: an entry, or a shard, which has no name."""

    name_hash: int
    name: bytes
    cid: Cid
    tsize: int


class Slot(Struct, frozen=True, gc=False):
    """A used slot of a shard as it was read: its number, and an entry, or a shard where `name` is None."""

    number: int
    name: str | None
    cid: Cid
    tsize: int


def build_shards(entries: Iterable[tuple[bytes, Cid, int]]) -> tuple[list[Block], int]:
    """Return the blocks of a sharded directory, its root last, and the root's cumulative size.

    Entries are (name, CID, cumulative size). Raises UsageError where two names have the same 64-bit hash, which this
    form of a directory cannot hold.
    """
    items = [_Item(murmur3_x64_64(name), name, cid, tsize) for name, cid, tsize in entries]
    items.sort(key=lambda item: item.name_hash)
    for item, successor in pairwise(items):
        if item.name_hash == successor.name_hash:
            raise UsageError(f"a large directory cannot hold both {item.name!r} and {successor.name!r}: same hash")
    blocks: list[Block] = []
    for depth in range(_DEPTH_MAX - 1, 0, -1):
        items = _gather(items, depth, blocks)
    root = _shard(items, 0, blocks)
    return blocks, root.tsize


def hash_slot(name_hash: int, depth: int, fanout: int) -> int | None:
    """Return the slot of the hash in a shard so many levels below the root; None below the hash's last bits."""
    bits = fanout.bit_length() - 1
    shift = HASH_BITS - bits * (depth + 1)
    return name_hash >> shift & fanout - 1 if shift >= 0 else None


def read_slots(node: DagNode) -> list[Slot]:
    """Return the used slots of a shard in order; raises WireError where links and bit field do not agree."""
    width = len(f"{node.fanout - 1:X}")
    slots = []
    bit_field = 0
    last = -1
    for link in node.links:
        prefix = link.name[:width]
        number = int(prefix, 16) if _is_prefix(prefix, width) else -1
        if not last < number < node.fanout:
            raise WireError("hamt")
        last = number
        bit_field |= 1 << number
        slots.append(Slot(number, link.name[width:] or None, link.cid, link.tsize))
    if bit_field != int.from_bytes(node.data, "big"):
        raise WireError("hamt")
    return slots


def _gather(items: list[_Item], depth: int, blocks: list[Block]) -> list[_Item]:
    # Who shares the first bits of the hash shares a shard of that depth; an entry alone stays for the one above.
    shift = HASH_BITS - _SLOT_BITS * depth
    gathered: list[_Item] = []
    for _, group in groupby(items, lambda item: item.name_hash >> shift):
        sharing = list(group)
        if len(sharing) == 1 and sharing[0].name:
            gathered += sharing
        else:
            gathered.append(_shard(sharing, depth, blocks))
    return gathered


def _shard(items: list[_Item], depth: int, blocks: list[Block]) -> _Item:
    shift = HASH_BITS - _SLOT_BITS * (depth + 1)
    links = []
    bit_field = 0
    for item in items:  # sorted by hash, so the links are sorted by name
        slot = item.name_hash >> shift & HAMT_FANOUT - 1
        bit_field |= 1 << slot
        links.append(encode_link(item.cid, b"%02X" % slot + item.name, item.tsize))
    block = dag_pb_block(encode_node(links, hamt_data(bit_field, HAMT_FANOUT)))
    blocks.append(block)
    return _Item(items[0].name_hash, b"", block.cid, len(block.data) + sum(item.tsize for item in items))


def _is_prefix(prefix: str, width: int) -> bool:
    return len(prefix) == width and all(digit in "0123456789ABCDEF" for digit in prefix)
