"""Walking the blocks of a file that hold some of its bytes, every distinct block once, depth first: what a CAR of a
range has (specs.ipfs.tech: trustless-gateway, entity-bytes).

No I/O, as in a DagWalk. Unlike a FileReader, which delivers bytes, it does not go again where it has been: a file of
a few small blocks that are linked billions of times is walked in as many steps as it has blocks. Only nodes of which
a part is wanted, two on each level, may be asked for twice.
"""

from collections import deque
from itertools import islice

from msgspec import Struct

from peerd.content.cid import DAG_PB, RAW, Cid
from peerd.content.cid_set import CidSet
from peerd.content.limits import FILE_DEPTH_MAX, PENDING_LINKS_MAX, WALK_BLOCKS_MAX
from peerd.content.unixfs import DagNode, decode
from peerd.errors import IntegrityError, WireError


class _Part(Struct):
    """A block that delivers `size` bytes (None: the root, not known yet), of which those from `low` to `high` count."""

    cid: Cid
    size: int | None
    low: int
    high: int
    depth: int


class _Children(Struct):
    """The links of a node that were not followed yet, from number `at` on, which begins at byte `start` of it."""

    node: DagNode
    start: int
    low: int
    high: int
    depth: int
    at: int = 0


class RangeWalk:
    """One walk of the blocks that hold `length` bytes of a file, from byte `offset` on."""

    def __init__(self, root: Cid, offset: int, length: int) -> None:
        assert offset >= 0 and length >= 0, "the caller's range"
        self._window = deque((_Part(root, None, offset, offset + length, 0),))  # beyond a node nothing is asked for
        self._stack: list[_Children] = []
        self._pending = 0
        self._given = CidSet()
        self._whole = CidSet()
        """Blocks all below which was walked, or is about to be."""

    @property
    def done(self) -> bool:
        """Whether every block was given."""
        self._fill(1)
        return not self._window

    def wants(self, count: int) -> list[Cid]:
        """Return at most `count` blocks to fetch next; what is named is to be given in its order."""
        self._fill(count)
        return [part.cid for part in islice(self._window, count)]

    def give(self, cid: Cid, data: bytes) -> bool:
        """Take the block that is wanted first, checked by the caller; return whether it is there for the first time.

        Raises IntegrityError where the DAG is no sound file.
        """
        part = self._window.popleft()
        assert part.cid == cid, "in order"
        try:
            node = decode(cid, data)
        except WireError as error:
            raise IntegrityError(f"block {cid} is malformed: {error.reason}") from error
        if node.kind not in {"raw", "file"}:
            raise IntegrityError(f"a {node.kind} where a file was expected: {cid}")
        if part.size not in (None, node.file_size):
            raise IntegrityError(f"{cid} has {node.file_size} bytes where {part.size} were promised")
        if node.links:
            self._push(part, node)
        is_new = self._given.add(cid.to_bytes())
        if len(self._given) > WALK_BLOCKS_MAX:
            raise IntegrityError("a file of too many blocks")
        return is_new

    def _push(self, part: _Part, node: DagNode) -> None:
        if 0 in node.sizes:
            raise IntegrityError(f"{part.cid} links to nothing")
        self._pending += len(node.links)
        if part.depth == FILE_DEPTH_MAX or self._pending > PENDING_LINKS_MAX:
            raise IntegrityError(f"a file of too deep or too wide nodes: {part.cid}")
        self._stack.append(_Children(node, len(node.data), part.low, part.high, part.depth + 1))

    def _fill(self, count: int) -> None:
        while len(self._window) < count and not (self._window and self._window[-1].cid.codec == DAG_PB):
            part = self._next()
            if part is None:
                return
            self._window.append(part)

    def _next(self) -> _Part | None:
        while self._stack:
            top = self._stack[-1]
            while top.at < len(top.node.links) and top.start < top.high:
                cid, size, start = top.node.links[top.at].cid, top.node.sizes[top.at], top.start
                top.at += 1
                top.start += size
                low, high = max(top.low - start, 0), min(top.high - start, size)
                if high <= low:
                    continue
                if (cid.codec == RAW or high - low == size) and not self._whole.add(cid.to_bytes()):
                    continue
                return _Part(cid, size, low, high, top.depth)
            self._stack.pop()
            self._pending -= len(top.node.links)
        return None
