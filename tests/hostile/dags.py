"""Content that is made to hurt who fetches it: directories, files and shards, each with its blocks, by name.

    DAGS["dotdot"]() -> Dag(root, blocks)

The small ones are made at once; those in HUGE take seconds. What each is for stands beside it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from peerd.content.block import Block, dag_pb_block, raw_block
from peerd.content.cid import Cid
from peerd.content.dagpb import encode_link, encode_node
from peerd.content.hamt import build_shards
from peerd.content.murmur3 import murmur3_x64_64
from peerd.content.protobuf import varint
from peerd.content.unixfs import DIRECTORY_DATA, file_data, hamt_data, symlink_data
from peerd.node.providing import REPLICA, announce
from tests.hostile.base import HonestBlock, Liar

LEAF = raw_block(b"evil")
CHUNK = raw_block(bytes(2**20))
NASTY = "a\x1b[2J\x07\x9b\u202eb\u2028"
DEPTH = 10_000
MANY = 250_000


@dataclass(frozen=True)
class Dag:
    """One DAG: its root, and what has to be sent for it; `valid` where only its size is too much."""

    root: Cid
    blocks: dict[bytes, bytes]
    valid: bool = False


def _dag(root: Block, *others: Block, valid: bool = False) -> Dag:
    return Dag(root.cid, {block.cid.to_bytes(): block.data for block in (root, *others)}, valid)


def _directory(*entries: tuple[bytes, Block], tsize: int | None = None) -> Block:
    links = [encode_link(block.cid, name, len(block.data) if tsize is None else tsize) for name, block in entries]
    return dag_pb_block(encode_node(links, DIRECTORY_DATA))


def _named(*names: bytes) -> Callable[[], Dag]:
    return lambda: _dag(_directory(*((name, LEAF) for name in (*names, b"good"))), LEAF)


def _symlink(target: bytes) -> Block:
    return dag_pb_block(encode_node((), symlink_data(target)))


def symlink_then_write() -> Dag:
    """A link to elsewhere, and below its name a file."""
    link, below = _symlink(b"/tmp"), _directory((b"escaped", LEAF))
    return _dag(_directory((b"a", link), (b"a", below)), link, below, LEAF)


def _one_symlink(target: bytes) -> Callable[[], Dag]:
    return lambda: _dag(_directory((b"a", link := _symlink(target))), link)


def casefold() -> Dag:
    """Two names that are one where case does not count."""
    return _dag(_directory((b"A", LEAF), (b"a", LEAF)), LEAF, valid=True)


def nasty() -> Dag:
    """A name that would clear the screen, ring and turn what follows round."""
    return _dag(_directory((NASTY.encode(), LEAF)), LEAF, valid=True)


def million_entries_flat() -> Dag:
    """As many entries as a block takes, of the smallest kind."""
    return _dag(_directory(*((b"%x" % number, LEAF) for number in range(35_000)), tsize=4), LEAF)


def million_entries_hamt() -> Dag:
    """More entries than anybody can hold, soundly sharded."""
    blocks, _ = build_shards((b"%060d" % number, LEAF.cid, 4) for number in range(MANY))
    return _dag(blocks[-1], *blocks[:-1], LEAF)


def depth_directories() -> Dag:
    """Directories in each other."""
    chain = [LEAF]
    for _ in range(DEPTH):
        chain.append(_directory((b"d", chain[-1]), tsize=2**30))
    return _dag(*reversed(chain))


def depth_files() -> Dag:
    """A file that is one part, which is one part."""
    chain = [LEAF]
    for _ in range(DEPTH):
        link = encode_link(chain[-1].cid, b"", 2**30)
        chain.append(dag_pb_block(encode_node([link], file_data([len(LEAF.data)]))))
    return _dag(*reversed(chain))


def _shard(slot: int, name: bytes, block: Block) -> Block:
    link = encode_link(block.cid, b"%02X" % slot + name, 2**30)
    return dag_pb_block(encode_node([link], hamt_data(1 << slot, 256)))


def depth_hamt() -> Dag:
    """Shards in each other beyond the bits of a hash."""
    chain = [_shard(murmur3_x64_64(b"a") & 0xFF, b"a", LEAF)]
    for depth in range(DEPTH):
        chain.append(_shard(depth & 0xFF, b"", chain[-1]))
    return _dag(*reversed(chain), LEAF)


def _file(links: Iterable[tuple[Block, int]], *others: Block, valid: bool = False) -> Dag:
    pairs = list(links)
    encoded = [encode_link(block.cid, b"", 2**30) for block, _ in pairs]
    root = dag_pb_block(encode_node(encoded, file_data([size for _, size in pairs])))
    return _dag(root, *(block for block, _ in pairs), *others, valid=valid)


def size_2_60() -> Dag:
    """A file that says to have an exabyte."""
    return _file([(LEAF, 2**60)])


def size_2_64() -> Dag:
    """A file whose parts add up to nothing once a sum overflows."""
    return _file([(LEAF, 2**63), (LEAF, 2**63)])


def size_2_60_entry() -> Dag:
    """A directory with a file of an exabyte."""
    huge = size_2_60()
    root = dag_pb_block(encode_node([encode_link(huge.root, b"huge", 2**60)], DIRECTORY_DATA))
    return Dag(root.cid, {root.cid.to_bytes(): root.data, **huge.blocks})


def duplicate_links() -> Dag:
    """One block a quadrillion times: valid, and of 4 PiB."""
    block, size, blocks = CHUNK, len(CHUNK.data), [CHUNK]
    for _ in range(4):
        sizes = [size] * 256
        links = [encode_link(block.cid, b"", 2**52)] * len(sizes)
        block, size = dag_pb_block(encode_node(links, file_data(sizes))), sum(sizes)
        blocks.append(block)
    return _dag(*reversed(blocks), valid=True)


def repeats() -> Dag:
    """A directory that is linked 200 times from one that is linked 200 times: 200^20 entries."""
    chain = [_directory((b"f", LEAF))]
    for _ in range(20):
        chain.append(_directory(*((b"%03d" % number, chain[-1]) for number in range(200)), tsize=2**30))
    return _dag(*reversed(chain), LEAF)


def repeated_shards() -> Dag:
    """A shard in all places of the one above it."""
    chain = [_shard(murmur3_x64_64(b"a") & 0xFF, b"a", LEAF)]
    for _ in range(6):
        links = [encode_link(chain[-1].cid, b"%02X" % slot, 2**30) for slot in range(256)]
        chain.append(dag_pb_block(encode_node(links, hamt_data(2**256 - 1, 256))))
    return _dag(*reversed(chain), LEAF)


def wrong_tsize() -> Dag:
    """Entries that say to be small, so that many are fetched at once, and are not."""
    large = [raw_block(number.to_bytes(4, "big") * 2**19) for number in range(3)]
    return _dag(_directory(*((b"%d" % number, block) for number, block in enumerate(large)), tsize=1), *large)


def wrong_size() -> Dag:
    """A file whose part has more bytes than it says."""
    return _file([(LEAF, 3)])


def empty_parts() -> Dag:
    """A file of very many parts without a byte."""
    return _file([(raw_block(b""), 0)] * 10_000)


def wide() -> Dag:
    """A file of nodes as wide as can be, each in the first place of the one above: what comes after must be held."""
    byte, chain, size = raw_block(b"x"), [CHUNK], len(CHUNK.data)
    for _ in range(9):
        sizes = [size, *[1] * 16_383]
        links = [encode_link(chain[-1].cid, b"", 2**30)] + [encode_link(byte.cid, b"", 1)] * 16_383
        chain.append(dag_pb_block(encode_node(links, file_data(sizes))))
        size = sum(sizes)
    return _dag(*reversed(chain), byte)


def cut() -> Dag:
    """A directory's block that ends in the middle of a link, under the right name for that."""
    return _dag(dag_pb_block(_directory((b"a", LEAF), (b"b", LEAF)).data[:-20]), LEAF)


def no_unixfs() -> Dag:
    """A node that means nothing."""
    return _dag(dag_pb_block(encode_node((), b"\x08\x09")))


def endless_number() -> Dag:
    """A number of as many digits as a block takes."""
    return _dag(dag_pb_block(b"\x12" + b"\x80" * 2_000_000))


def sizes_without_links() -> Dag:
    """A list of a million sizes."""
    packed = b"\x01" * 1_000_000
    return _dag(dag_pb_block(encode_node((), b"\x08\x02\x22" + varint(len(packed)) + packed)))


DAGS: dict[str, Callable[[], Dag]] = {
    "dotdot": _named(b".."),
    "dot": _named(b"."),
    "dotdot below": _named(b"../../escaped"),
    "absolute": _named(b"/tmp/escaped"),
    "nul": _named(b"a\0b"),
    "separator": _named(b"a/b"),
    "empty name": _named(b""),
    "5,000 bytes": _named(b"n" * 5000),
    "256 bytes": _named(b"n" * 256),
    "one name twice": _named(b"a", b"a"),
    "link to nothing": _one_symlink(b""),
    "link with NUL": _one_symlink(b"a\0b"),
    "link of 5,000 bytes": _one_symlink(b"/x" * 2500),
    "size 2^60": size_2_60,
    "size 2^64": size_2_64,
    "entry of 2^60": size_2_60_entry,
    **{
        made.__name__: made
        for made in (
            *(symlink_then_write, casefold, nasty, million_entries_flat, depth_directories, depth_files, depth_hamt),
            *(duplicate_links, repeats, repeated_shards, wrong_tsize, wrong_size, empty_parts, wide),
            *(cut, no_unixfs, endless_number, sizes_without_links),
        )
    },
}
HUGE: dict[str, Callable[[], Dag]] = {"million_entries_hamt": million_entries_hamt}


class Publishes(Liar):
    """Has all of them, says so, and sends what is asked of them."""

    name = "publishes"
    names: Sequence[str] = tuple(DAGS)
    dags: Sequence[Dag] = ()

    def begin(self) -> None:
        self.dags = [DAGS[name]() for name in self.names]
        self.core.tasks.spawn(self._announce(), "announce hostile content")

    async def _announce(self) -> None:
        await self.core.settled.wait()
        for dag in self.dags:
            await announce(self.core, dag.root, REPLICA)

    async def block(self, cid: bytes, honest: HonestBlock) -> bytes | None:
        return next((dag.blocks[cid] for dag in self.dags if cid in dag.blocks), None) or await honest()


__all__ = ["DAGS", "HUGE", "NASTY", "Dag", "Publishes"]
