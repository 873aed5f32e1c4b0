"""Values that the store's tests share: keys, rows, blocks and roots made from small numbers."""

import hashlib
from dataclasses import dataclass

from peerd.content.block import Block, raw_block
from peerd.ids import Key, PeerId
from peerd.io.store.interface import RecordRow, Root

QUOTA_BYTES = 8 * 1024 * 1024
LARGE_BYTES = 100_000
SMALL_BYTES = 1_000


@dataclass
class HandClock:
    """A clock that moves when told to."""

    now: float = 1_000.0
    skew: float = 0.0
    started: str = "first"

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now + self.skew

    def boot(self) -> tuple[str, float]:
        return self.started, self.now


def entropy(count: int) -> bytes:
    return bytes(range(count))


def key(number: int) -> Key:
    return Key(hashlib.sha256(b"key %d" % number).digest())


def peer(number: int) -> PeerId:
    return PeerId(hashlib.sha256(b"peer %d" % number).digest())


def row(sequence: int = 1, *, writer: bytes = b"alice", deleted: bool = False, **more: object) -> RecordRow:
    values: dict[str, object] = {
        "name": "paper.pdf",
        "owner": None,
        "sequence": sequence,
        "writer": writer,
        "nonce": b"\x07",
        "cid": None,
        "size": 12,
        "deleted": deleted,
        "expires": None,
        "written_at": 1_700_000_000.5,
    }
    values.update(more)
    return RecordRow(**values)  # type: ignore[arg-type]


def block(number: int, size: int = SMALL_BYTES) -> Block:
    seed = hashlib.sha256(b"block %d" % number).digest()
    return raw_block((seed * (size // len(seed) + 1))[:size])


def raws(*blocks: Block) -> list[bytes]:
    return [one.cid.to_bytes() for one in blocks]


def root(number: int, class_: str = "replica", **more: object) -> Root:
    values: dict[str, object] = {
        "cid": raws(block(100_000 + number))[0],
        "kind": "file",
        "size": 10,
        "dag_size": 12,
        "class_": class_,
        "name": "a",
        "copies": 3,
        "complete": True,
        "added_at": 1.5,
        "used_at": 2.5,
    }
    values.update(more)
    return Root(**values)  # type: ignore[arg-type]
