"""Walking a whole DAG, every distinct block once: what copies content, keeps it, or lets it go.

No I/O: the caller fetches what `wants` names, checks each block against its CID and gives it. Only the links matter
here: whether files and directories are sound is seen by who reads them. A DAG is anybody's; it cannot have cycles, but
it can be deep, wide and endless, which the bounds stop.
"""

from itertools import islice

from peerd.content.cid import CID_BYTES, DAG_PB, Cid
from peerd.content.limits import DAG_DEPTH_MAX, NODES_AHEAD_MAX, WALK_BLOCKS_MAX, WALK_PENDING_MAX
from peerd.content.unixfs import DagNode, decode
from peerd.errors import IntegrityError, WireError


class _Links:
    """The links of a node that were not followed yet, packed: 36 bytes each, where the objects take 300."""

    __slots__ = ("at", "depth", "packed")

    def __init__(self, node: DagNode, depth: int) -> None:
        self.packed = b"".join(link.cid.to_bytes() for link in node.links)
        self.depth = depth
        self.at = 0

    def take(self) -> Cid | None:
        """Return the next link, or None at the end."""
        self.at += CID_BYTES
        return Cid.from_bytes(self.packed[self.at - CID_BYTES : self.at]) if self.at <= len(self.packed) else None


class DagWalk:
    """One walk from `root`, depth first; given one block at a time it goes in the order of the links (CAR's dfs)."""

    def __init__(self, root: Cid) -> None:
        self._seen = {root.to_bytes()}
        self._wanted = {root: 0}  # with their depth, in order
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

    def wants(self, count: int) -> list[Cid]:
        """Return at most `count` blocks to fetch next, in order; what was named and not yet given is named again."""
        self._fill(count)
        return list(islice(self._wanted, count))

    def give(self, cid: Cid, data: bytes) -> DagNode | None:
        """Take a block, checked by the caller, and return what it is; None where it was not awaited.

        Raises IntegrityError where it is malformed, or the DAG passes the bounds.
        """
        depth = self._wanted.get(cid)
        if depth is None:
            return None
        try:
            node = decode(cid, data)
        except WireError as error:
            raise IntegrityError(f"block {cid} is malformed: {error.reason}") from error
        del self._wanted[cid]
        self._inner -= cid.codec == DAG_PB
        if node.links:
            self._push(node, depth + 1)
        self._fill(1)
        return node

    def skip(self, cid: Cid) -> None:
        """Go on without a block that cannot be had, and without what only it links."""
        if self._wanted.pop(cid, None) is not None:
            self._inner -= cid.codec == DAG_PB
            self._fill(1)

    def _push(self, node: DagNode, depth: int) -> None:
        self._pending += len(node.links)
        if depth > DAG_DEPTH_MAX or self._pending > WALK_PENDING_MAX:
            raise IntegrityError("a DAG too deep or too wide to be walked")
        self._stack.append(_Links(node, depth))

    def _fill(self, count: int) -> None:
        # Nodes bring links that must be held, so few of them are asked for ahead, whatever `count` is.
        while self._stack and len(self._wanted) < count and self._inner < NODES_AHEAD_MAX:
            top = self._stack[-1]
            cid = top.take()
            if cid is None:
                self._stack.pop()
                continue
            self._pending -= 1
            name = cid.to_bytes()
            if name in self._seen:
                continue
            self._seen.add(name)
            if len(self._seen) > WALK_BLOCKS_MAX:
                raise IntegrityError("a DAG of too many blocks")
            self._wanted[cid] = top.depth
            self._inner += cid.codec == DAG_PB
