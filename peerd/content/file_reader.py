"""Reading a file, or a range of it, from blocks that come in any order: which are needed next, and its bytes in order.

No I/O: the caller fetches what `wants` names, checks each block against its CID (`block.check`) and gives it; out come
the bytes. Nodes are followed depth first and one by one, so that what is held does not grow with the file. A DAG is
anybody's: each node must deliver exactly the bytes that its parent promised, and every link at least one, so nobody can
make a reader work without end for nothing.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice

from msgspec import Struct

from peerd.content.cid import Cid
from peerd.content.limits import BLOCK_MAX_BYTES, BURST_PIECES_MAX, FILE_DEPTH_MAX, PENDING_LINKS_MAX
from peerd.content.unixfs import DagNode, decode
from peerd.errors import IntegrityError, WireError


class _Part(Struct):
    """A block of the file in its place: from byte `start` on it delivers `size` bytes (None: the root, not known yet).

    `data` are its bytes where they are known; inline bytes of an inner node are a part without a CID.
    """

    cid: Cid | None
    start: int
    size: int | None
    depth: int
    data: bytes | None = None


class _Children(Struct):
    """The links of an inner node that were not followed yet, from number `at` on, which begins at byte `start`."""

    node: DagNode
    start: int
    depth: int
    at: int = 0


class FileReader:
    """One read of a file, from byte `offset` on, `length` bytes or to the end; short where the file is shorter."""

    def __init__(self, root: Cid, offset: int = 0, length: int | None = None) -> None:
        assert offset >= 0 and (length is None or length >= 0), "the caller's range"
        self._offset = offset
        self._length = length
        self._size: int | None = None
        self._end = 0
        # The file is what is in the window, in order, then the stack from its top down. What must be an inner node
        # is only ever last in the window, for nobody knows yet what it holds.
        self._window: deque[_Part] = deque((_Part(root, 0, None, 0),))
        self._stack: list[_Part | _Children] = []
        self._pending = 0

    @property
    def size(self) -> int | None:
        """The bytes of the whole file, as its root says; None before the root was given."""
        return self._size

    @property
    def done(self) -> bool:
        """Whether all bytes of the range were handed out."""
        return not self._window and not self._stack

    def wants(self, count: int) -> list[Cid]:
        """Return the blocks to fetch next, the most urgent first, each once: those missing among the next `count`.

        A question, not a command: what was named and not yet given is named again, and a fetch that failed is simply
        still wanted. No more blocks are held undelivered than the largest `count` asked for.
        """
        self._fill(count)
        missing = (part.cid for part in islice(self._window, count) if part.data is None)
        return list(dict.fromkeys(cid for cid in missing if cid is not None))

    def give(self, cid: Cid, data: bytes) -> list[bytes]:
        """Take a block, checked by the caller, and return the file's next bytes, as far as they are known now.

        A block that is not awaited is ignored. One that stands in several places counts for all that are near; farther
        on it is wanted again. Raises IntegrityError where the DAG is no sound file.
        """
        places = [part for part in self._parts() if part.cid == cid and part.data is None]
        if not places:
            return []
        try:
            node = decode(cid, data)
        except WireError as error:
            raise IntegrityError(f"block {cid} is malformed: {error.reason}") from error
        if node.kind not in {"raw", "file"}:
            raise IntegrityError(f"a {node.kind} where a file was expected: {cid}")
        if self._size is None:
            self._begin(node)
        for part in places:
            if part.size != node.file_size:
                raise IntegrityError(f"{cid} has {node.file_size} bytes where {part.size} were promised")
            if not node.links:
                part.data = node.data
        if node.links:
            self._expand(cid, node)
        return self._deliver()

    def _parts(self) -> Iterator[_Part]:
        yield from self._window
        for item in self._stack:
            if isinstance(item, _Part):
                yield item

    def _begin(self, root: DagNode) -> None:
        self._size = root.file_size
        end = self._size if self._length is None else min(self._offset + self._length, self._size)
        self._end = end if end > self._offset else 0
        self._window[0].size = self._size

    def _expand(self, cid: Cid, node: DagNode) -> None:
        if 0 in node.sizes:
            raise IntegrityError(f"{cid} links to nothing")
        # All goes back to the stack, the node's places as their children; the window is filled again from there.
        stack, self._stack = self._stack, []
        for item in (*stack, *reversed(self._window)):
            if isinstance(item, _Part) and item.cid == cid:
                self._push_children(item, node)
            else:
                self._stack.append(item)
        self._window.clear()
        if self._pending > PENDING_LINKS_MAX:
            raise IntegrityError(f"a file of too wide nodes: {cid}")

    def _push_children(self, part: _Part, node: DagNode) -> None:
        if part.depth == FILE_DEPTH_MAX:
            raise IntegrityError(f"a file more than {FILE_DEPTH_MAX} nodes deep: {part.cid}")
        self._stack.append(_Children(node, part.start + len(node.data), part.depth + 1))
        self._pending += len(node.links)
        if node.data:
            self._stack.append(_Part(None, part.start, len(node.data), part.depth + 1, node.data))

    def _fill(self, count: int) -> None:
        known = {part.cid: part.data for part in self._window if part.data is not None}
        while len(self._window) < count and not (self._window and _is_inner(self._window[-1])):
            part = self._next()
            if part is None:
                return
            if part.data is None:
                _settle(part, known.get(part.cid))
            self._window.append(part)

    def _next(self) -> _Part | None:
        while self._stack:
            top = self._stack[-1]
            if isinstance(top, _Part):
                self._stack.pop()
                return top
            while top.at < len(top.node.links) and top.start < self._end:
                part = _Part(top.node.links[top.at].cid, top.start, top.node.sizes[top.at], top.depth)
                top.at += 1
                top.start += top.node.sizes[top.at - 1]
                if top.start > self._offset:
                    return part
            self._stack.pop()
            self._pending -= len(top.node.links)
        return None

    def _deliver(self) -> list[bytes]:
        pieces: list[bytes] = []
        latest: _Part | None = None
        while True:
            if not self._window:
                following = self._next()
                if following is None:
                    break
                # The same block again (a sparse file): handed out without being asked for, up to a bound.
                if latest and following.cid == latest.cid and following.data is None and len(pieces) < BURST_PIECES_MAX:
                    _settle(following, latest.data)
                self._window.append(following)
            part = self._window[0]
            if part.data is None:
                break
            latest = self._window.popleft()
            piece = self._cut(part.start, part.data)
            if piece:
                pieces.append(piece)
        return pieces

    def _cut(self, start: int, data: bytes) -> bytes:
        first, last = max(self._offset - start, 0), self._end - start
        return data if first == 0 and last >= len(data) else data[first:last]


def _is_inner(part: _Part) -> bool:
    # Too large for one block, or the root, of which nothing is known.
    return part.data is None and (part.size is None or part.size > BLOCK_MAX_BYTES)


def _settle(part: _Part, data: bytes | None) -> None:
    if data is None:
        return
    if part.size != len(data):
        raise IntegrityError(f"{part.cid} has {len(data)} bytes where {part.size} were promised")
    part.data = data
