"""Where in a file its blocks stand: what writes a file in the order in which its blocks come goes by this.

No I/O: the caller reads the inner nodes that `wants` names and gives them. A DAG is anybody's: each node must hold just
as many bytes as its parent promised, and the table of places is bounded; a file that does not fit into it is read in
order instead (file_reader), as one of whose blocks some are nodes and bytes at a time.
"""

from peerd.content.cid import RAW, Cid
from peerd.content.limits import BLOCK_MAX_BYTES, FILE_DEPTH_MAX
from peerd.content.unixfs import DagNode, decode
from peerd.errors import IntegrityError, WireError

PLACES_MAX = 262_144
"""Places of blocks in a file, 256 GiB of our chunks: one small block linked a million times fills no memory."""


class Layout:
    """The places of the raw blocks of one file, by their CID: first bytes, of as many bytes as each block has."""

    def __init__(self, root: Cid) -> None:
        self.places: dict[bytes, list[int]] = {}
        self.fits = True
        """Whether all is in `places`; False where the file must be read in order."""
        self.size = 0
        self._count = 0
        self._sizes: dict[bytes, int] = {}
        self._stack: list[tuple[Cid, int, int | None, int]] = [(root, 0, None, 0)]

    @property
    def wants(self) -> Cid | None:
        """The next node to give, None at the end."""
        return self._stack[-1][0] if self._stack and self.fits else None

    def size_of(self, cid: bytes) -> int:
        """Return how many bytes a raw block has."""
        return self._sizes[cid]

    def give(self, data: bytes) -> None:
        """Take the node that was wanted, checked by the caller. Raises IntegrityError where it is no sound file."""
        cid, start, promised, depth = self._stack.pop()
        try:
            node = decode(cid, data)
        except WireError as error:
            raise IntegrityError(f"block {cid} is malformed: {error.reason}") from error
        if promised is None:
            self.size = node.file_size
        elif promised != node.file_size:
            raise IntegrityError(f"{cid} has {node.file_size} bytes where {promised} were promised")
        if node.kind != "file" or node.data or not node.links or depth == FILE_DEPTH_MAX or 0 in node.sizes:
            self.fits = False
            return
        self._place(node, start, depth)

    def _place(self, node: DagNode, start: int, depth: int) -> None:
        below: list[tuple[Cid, int, int | None, int]] = []
        for link, size in zip(node.links, node.sizes, strict=True):
            if link.cid.codec != RAW:
                below.append((link.cid, start, size, depth + 1))
            elif not self._put(link.cid.to_bytes(), start, size):
                return
            start += size
        self._stack += reversed(below)
        self._count += len(below)
        self.fits = self._count <= PLACES_MAX

    def _put(self, raw: bytes, start: int, size: int) -> bool:
        self._count += 1
        if self._count > PLACES_MAX or size > BLOCK_MAX_BYTES or self._sizes.setdefault(raw, size) != size:
            self.fits = False  # whoever reads it in order says what is wrong with it
            return False
        self.places.setdefault(raw, []).append(start)
        return True
