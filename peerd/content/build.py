"""Files and directories into blocks, as the IPFS profile unixfs-v1-2025 has it (IPIP-499): the same bytes get the same
CID from Kubo and Helia.

Files: chunks of 1 MiB as raw leaves, a balanced tree of at most 1,024 links, a file of one chunk is that raw block.
Directories: one block up to 256 KiB, larger ones sharded (`hamt`). Neither mode nor time is kept.
"""

from typing import Literal

from msgspec import Struct

from peerd.content.block import Block, dag_pb_block, raw_block
from peerd.content.cid import Cid
from peerd.content.dagpb import LINK_LEAST_BYTES, encode_link, encode_node
from peerd.content.hamt import build_shards
from peerd.content.limits import (
    CHUNK_BYTES,
    DIRECTORY_BLOCK_MAX_BYTES,
    KIB,
    LINKS_MAX,
    LISTING_MAX_BYTES,
    SYMLINK_TARGET_MAX_BYTES,
)
from peerd.content.listing import packed_bytes
from peerd.content.names import split_path
from peerd.content.unixfs import DIRECTORY_DATA, file_data, symlink_data
from peerd.errors import UsageError

_PIECE_BYTES = 8 * KIB


class Node(Struct, frozen=True):
    """What was built: its root, the bytes of its files, and the size of all its blocks (what a link to it says)."""

    cid: Cid
    size: int
    dag_size: int
    kind: Literal["file", "directory", "symlink"]


class _Level(Struct):
    """The nodes of one height that have no parent yet."""

    links: list[bytes]
    sizes: list[int]
    dag_size: int = 0
    last: Cid | None = None


def small_file(data: bytes) -> tuple[Block, Node]:
    """Return the block and the node of a file of at most one chunk, as a FileBuilder makes them."""
    block = raw_block(data)
    return block, Node(block.cid, len(data), len(data), "file")


class FileBuilder:
    """One file, fed in pieces of any size; holds one chunk and the links of at most one node for each level."""

    def __init__(self, chunk_bytes: int = CHUNK_BYTES, links_max: int = LINKS_MAX) -> None:
        """Other sizes than the profile's are for tests of the shape: they give other CIDs."""
        self._chunk_bytes = chunk_bytes
        self._links_max = links_max
        self._pieces: list[bytes | bytearray | memoryview] = []
        self._held = 0
        self._levels: list[_Level] = []
        self._size = 0

    def feed(self, data: bytes | bytearray | memoryview) -> list[Block]:
        """Take the next bytes and return the blocks that they completed, children before parents.

        The caller may use a mutable buffer again at once. Large immutable pieces are copied once, into their block, and
        not at all where they are exactly one chunk.
        """
        blocks: list[Block] = []
        if not self._held and isinstance(data, bytes) and len(data) == self._chunk_bytes:
            self._add_leaf(data, blocks)
            return blocks
        view = memoryview(data)
        at = 0
        while at < len(view):
            piece = view[at : at + self._chunk_bytes - self._held]
            at += len(piece)
            if len(piece) == self._chunk_bytes:
                self._add_leaf(bytes(piece), blocks)
                continue
            self._hold(piece if isinstance(data, bytes) else bytes(piece))
            if self._held == self._chunk_bytes:
                self._add_leaf(self._take(), blocks)
        return blocks

    def finish(self) -> tuple[list[Block], Node]:
        """Return the last blocks and the whole file's node; the builder is used up."""
        blocks: list[Block] = []
        if self._held or not self._levels:
            self._add_leaf(self._take(), blocks)
        height = 0
        while True:
            level = self._levels[height]
            top = height == len(self._levels) - 1
            if top and len(level.links) == 1 and level.last is not None:
                return blocks, Node(level.last, self._size, level.dag_size, "file")
            if level.links:
                self._close(height, blocks)
            height += 1

    def _hold(self, piece: bytes | memoryview) -> None:
        self._held += len(piece)
        if len(piece) >= _PIECE_BYTES:
            self._pieces.append(piece)
            return
        # Small ones together: as objects of their own, a file fed by the byte would take a hundred times its chunk.
        last = self._pieces[-1] if self._pieces else None
        if not isinstance(last, bytearray):
            last = bytearray()
            self._pieces.append(last)
        last += piece

    def _take(self) -> bytes:
        chunk = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return chunk

    def _add_leaf(self, chunk: bytes, blocks: list[Block]) -> None:
        block = raw_block(chunk)
        blocks.append(block)
        self._size += len(chunk)
        self._add(0, block.cid, len(chunk), len(chunk), blocks)

    def _add(self, height: int, cid: Cid, size: int, dag_size: int, blocks: list[Block]) -> None:
        if height == len(self._levels):
            self._levels.append(_Level([], []))
        level = self._levels[height]
        level.links.append(encode_link(cid, b"", dag_size))
        level.sizes.append(size)
        level.dag_size += dag_size
        level.last = cid
        if len(level.links) == self._links_max:
            self._close(height, blocks)

    def _close(self, height: int, blocks: list[Block]) -> None:
        # As high as the tree is: a level closed makes at most one node of the next, which may be full with it.
        level = self._levels[height]
        block = dag_pb_block(encode_node(level.links, file_data(level.sizes)))
        self._levels[height] = _Level([], [])
        blocks.append(block)
        self._add(height + 1, block.cid, sum(level.sizes), len(block.data) + level.dag_size, blocks)


_Tree = dict[str, "Node | _Tree"]


class DirectoryBuilder:
    """One directory with all that is below it; entries come in any order, as paths 'a/b/c' of finished nodes."""

    def __init__(self) -> None:
        self._root: _Tree = {}
        self._blocks: list[Block] = []

    def add(self, path: str, node: Node) -> None:
        """Put a finished node at `path`, with the directories that lead there.

        Raises UsageError for a bad name and for a path that is taken or leads through a file.
        """
        components = split_path(path)
        parent = self._directory(components[:-1], path)
        if components[-1] in parent:
            raise UsageError(f"two entries of one name: {path[:255]!r}")
        parent[components[-1]] = node

    def add_symlink(self, path: str, target: str) -> None:
        """Put a symbolic link at `path`; `target` is kept as it is (os.fsdecode's form). Raises as `add` does."""
        raw = target.encode("utf-8", "surrogateescape")
        if not raw or len(raw) > SYMLINK_TARGET_MAX_BYTES or b"\0" in raw:
            raise UsageError(f"cannot store {path[:255]!r}: no target of a symbolic link: {target[:80]!r}")
        block = dag_pb_block(encode_node((), symlink_data(raw)))
        self.add(path, Node(block.cid, 0, len(block.data), "symlink"))
        self._blocks.append(block)

    def add_directory(self, path: str) -> None:
        """Make sure that there is a directory at `path`, empty or not. Raises as `add` does."""
        self._directory(split_path(path), path)

    def finish(self) -> tuple[list[Block], Node]:
        """Return the blocks of links and directories, children before parents, and the root; the builder is used up."""
        tops: list[tuple[_Tree, str, _Tree]] = []
        walk: list[_Tree] = [self._root]
        while walk:
            parent = walk.pop()
            for name, entry in parent.items():
                if isinstance(entry, dict):
                    tops.append((parent, name, entry))
                    walk.append(entry)
        # Found parents first, so closed children first.
        for parent, name, tree in reversed(tops):
            parent[name] = self._close(tree)
        return self._blocks, self._close(self._root)

    def _directory(self, components: list[str], path: str) -> _Tree:
        tree = self._root
        for name in components:
            entry = tree.setdefault(name, {})
            if not isinstance(entry, dict):
                raise UsageError(f"a path through a file: {path[:255]!r}")
            tree = entry
        return tree

    def _close(self, tree: _Tree) -> Node:
        entries: list[tuple[bytes, Cid, int]] = []
        size = listed = 0
        for name, entry in sorted(tree.items()):  # by code point, which is the order of UTF-8 bytes
            assert isinstance(entry, Node)
            entries.append((name.encode(), entry.cid, entry.dag_size))
            size += entry.size
            listed += packed_bytes(name)
        # A third is left for the shards, which take the less the more entries there are in each.
        if listed > LISTING_MAX_BYTES * 2 // 3:
            raise UsageError(
                f"a directory of {len(entries)} entries, more than can be listed", hint="divide it into several"
            )
        least = sum(len(name) + LINK_LEAST_BYTES for name, _, _ in entries)
        links = (
            [] if least > DIRECTORY_BLOCK_MAX_BYTES else [encode_link(cid, name, size) for name, cid, size in entries]
        )
        flat = encode_node(links, DIRECTORY_DATA)
        if max(least, len(flat)) > DIRECTORY_BLOCK_MAX_BYTES:
            blocks, dag_size = build_shards(entries)
            self._blocks += blocks
            return Node(blocks[-1].cid, size, dag_size, "directory")
        block = dag_pb_block(flat)
        self._blocks.append(block)
        return Node(block.cid, size, len(flat) + sum(tsize for _, _, tsize in entries), "directory")
