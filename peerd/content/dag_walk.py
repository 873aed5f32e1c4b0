"""Walking a whole DAG, every distinct block once: what copies content, keeps it, or lets it go.

No I/O: the caller fetches what `wants` names, checks each block against its CID and gives it. Only the links matter
here: whether files and directories are sound is seen by who reads them. A DAG is anybody's; it cannot have cycles, but
it can be deep, wide and endless, which the bounds stop.
"""

from itertools import islice
from typing import NamedTuple

from peerd.content.cid import CID_BYTES, DAG_PB, Cid
from peerd.content.cid_set import CidSet
from peerd.content.limits import (
    BLOCK_MAX_BYTES,
    DAG_DEPTH_MAX,
    LINKS_IN_BLOCK_MAX,
    NODES_AHEAD_MAX,
    WALK_BLOCKS_MAX,
    WALK_PENDING_MAX,
)
from peerd.content.unixfs import DagNode, decode
from peerd.errors import IntegrityError, WireError

_SIZE_BYTES = 3
_LINK_BYTES = CID_BYTES + _SIZE_BYTES


class _Links:
    """The links of a node that were not followed yet, packed: 39 bytes each, where the objects take 300."""

    __slots__ = ("at", "depth", "packed")

    def __init__(self, node: DagNode, depth: int) -> None:
        packed = bytearray()
        for link in node.links:
            packed += link.cid.to_bytes()
            packed += min(link.tsize or BLOCK_MAX_BYTES, BLOCK_MAX_BYTES).to_bytes(_SIZE_BYTES, "big")
        self.packed = bytes(packed)
        self.depth = depth
        self.at = 0

    def take(self) -> tuple[Cid, int] | None:
        """Return the next link and how large its block is at most, or None at the end."""
        link = self.packed[self.at : self.at + _LINK_BYTES]
        self.at += _LINK_BYTES
        return (Cid.from_bytes(link[:CID_BYTES]), int.from_bytes(link[CID_BYTES:], "big")) if link else None


class _Wanted(NamedTuple):
    """A block that is awaited: how deep it is, and its size at most, as the link to it says."""

    depth: int
    size: int


class DagWalk:
    """One walk from `root`, depth first; given one block at a time it goes in the order of the links (CAR's dfs).

    With `in_order`, so does one that is asked for many ahead: `wants` names no block beyond a node that is not given
    yet, and what it names is to be given in its order.
    """

    def __init__(self, root: Cid, *, in_order: bool = False) -> None:
        self._in_order = in_order
        self._seen = CidSet()
        self._seen.add(root.to_bytes())
        self._wanted = {root: _Wanted(0, BLOCK_MAX_BYTES)}  # in order
        self._inner = int(root.codec == DAG_PB)
        self._stack: list[_Links] = []
        self._pending = 0

    @property
    def done(self) -> bool:
        """Whether every block was given."""
        return not self._wanted

    @property
    def seen_count(self) -> int:
        """How many distinct blocks were met so far, given or wanted."""
        return len(self._seen)

    @property
    def cids(self) -> bytearray:
        """The blocks met so far, 36 bytes each; once `done`, those that were given and those that were skipped."""
        return self._seen.packed

    def wants(self, count: int) -> list[Cid]:
        """Return at most `count` blocks to fetch next, in order; what was named and not yet given is named again."""
        self._fill(count)
        return list(islice(self._wanted, count))

    def fitting(self, count: int, budget_bytes: int) -> list[Cid]:
        """As `wants`, as far as they have room together, as large as their links say that they may be; at least one."""
        chosen: list[Cid] = []
        for cid in self.wants(count):
            budget_bytes -= self._wanted[cid].size
            if budget_bytes < 0 and chosen:
                break
            chosen.append(cid)
        return chosen

    def size_of(self, cid: Cid) -> int:
        """Return how large a block that `wants` named is at most, as the link to it says."""
        return self._wanted[cid].size

    def give(self, cid: Cid, data: bytes) -> DagNode | None:
        """Take a block, checked by the caller, and return what it is; None where it was not awaited.

        Raises IntegrityError where it is malformed, or the DAG passes the bounds.
        """
        wanted = self._wanted.get(cid)
        if wanted is None:
            return None
        if len(data) > wanted.size:
            raise IntegrityError(f"block {cid} is larger than the link to it says")
        try:
            node = decode(cid, data)
        except WireError as error:
            raise IntegrityError(f"block {cid} is malformed: {error.reason}") from error
        del self._wanted[cid]
        self._inner -= cid.codec == DAG_PB
        if node.links:
            self._push(node, wanted.depth + 1)
        self._fill(1)
        return node

    def skip(self, cid: Cid) -> None:
        """Go on without a block that cannot be had, and without what only it links."""
        if self._wanted.pop(cid, None) is not None:
            self._inner -= cid.codec == DAG_PB
            self._fill(1)

    def _may_ask(self) -> bool:
        if self._inner == 0 or self._in_order:
            return self._inner == 0
        most = self._pending + (self._inner + 1) * LINKS_IN_BLOCK_MAX
        return self._inner < NODES_AHEAD_MAX and most <= WALK_PENDING_MAX

    def _push(self, node: DagNode, depth: int) -> None:
        self._pending += len(node.links)
        if depth > DAG_DEPTH_MAX or self._pending > WALK_PENDING_MAX:
            raise IntegrityError("a DAG too deep or too wide to be walked")
        self._stack.append(_Links(node, depth))

    def _fill(self, count: int) -> None:
        # Nodes bring links that must be held, so few of them are asked for ahead, whatever `count` is.
        while self._stack and len(self._wanted) < count and self._may_ask():
            top = self._stack[-1]
            link = top.take()
            if link is None:
                self._stack.pop()
                continue
            cid, size = link
            self._pending -= 1
            if not self._seen.add(cid.to_bytes()):
                continue
            if len(self._seen) > WALK_BLOCKS_MAX:
                raise IntegrityError("a DAG of too many blocks")
            self._wanted[cid] = _Wanted(top.depth, size)
            self._inner += cid.codec == DAG_PB
