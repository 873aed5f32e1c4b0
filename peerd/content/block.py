"""A block: bytes and the CID that they hash to, the unit that is stored, moved and checked."""

import hashlib
from dataclasses import dataclass

from peerd.content.cid import DAG_PB, RAW, Cid
from peerd.content.limits import BLOCK_MAX_BYTES, CHUNK_BYTES, LINKS_MAX

__all__ = ["BLOCK_MAX_BYTES", "CHUNK_BYTES", "LINKS_MAX", "Block", "check", "dag_pb_block", "raw_block"]


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes under their name; that they match is the maker's word until `check` has said so."""

    cid: Cid
    data: bytes


def check(cid: Cid, data: bytes | bytearray | memoryview) -> bool:
    """Return whether `data` is the block that `cid` names: not too large, and of that digest."""
    return len(data) <= BLOCK_MAX_BYTES and hashlib.sha256(data).digest() == cid.digest


def raw_block(data: bytes) -> Block:
    """Return the raw block of these bytes."""
    return Block(Cid(RAW, hashlib.sha256(data).digest()), data)


def dag_pb_block(data: bytes) -> Block:
    """Return the dag-pb block of these bytes, already encoded."""
    return Block(Cid(DAG_PB, hashlib.sha256(data).digest()), data)
