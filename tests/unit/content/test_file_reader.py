import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.content.block import Block, dag_pb_block, raw_block
from peerd.content.cid import DAG_PB, Cid
from peerd.content.dagpb import encode_link, encode_node
from peerd.content.limits import BURST_PIECES_MAX, FILE_DEPTH_MAX, PENDING_LINKS_MAX
from peerd.content.protobuf import varint
from peerd.content.read import FileReader
from peerd.content.unixfs import DIRECTORY_DATA, file_data
from peerd.errors import IntegrityError
from tests.unit.content.vectors import file, pattern

Pick = Callable[[list[Cid]], Cid]
LEAF = raw_block(b"four")


def read(
    reader: FileReader, blocks: Sequence[Block], count: int = 8, pick: Pick = lambda wanted: wanted[0]
) -> tuple[bytes, int]:
    """Read to the end, one block at a time; return the bytes and how often a block was fetched."""
    store = {block.cid: block.data for block in blocks}
    pieces: list[bytes] = []
    fetched = 0
    while not reader.done:
        cid = pick(reader.wants(count))
        pieces += reader.give(cid, store[cid])
        fetched += 1
    return b"".join(pieces), fetched


def inner(children: Sequence[tuple[Cid, int]], inline: bytes = b"", size: int | None = None) -> Block:
    """A file's inner node as others may write it."""
    links = [encode_link(cid, b"", 0) for cid, _ in children]
    sizes = [size for _, size in children]
    total = sum(sizes) + len(inline) if size is None else size
    data = b"\x08\x02" + (b"\x12" + varint(len(inline)) + inline if inline else b"") + b"\x18" + varint(total)
    return dag_pb_block(encode_node(links, data + b"".join(b"\x20" + varint(size) for size in sizes)))


@settings(deadline=None)
@given(
    size=st.integers(0, 3000),
    chunk=st.integers(1, 200),
    links=st.integers(2, 7),
    period=st.integers(1, 4000),
    count=st.integers(1, 12),
    seed=st.integers(0, 2**32),
    cut=st.tuples(st.integers(0, 3500), st.none() | st.integers(0, 3500)),
)
def test_any_range_comes_out_whatever_the_order_of_arrival(
    size: int, chunk: int, links: int, period: int, count: int, seed: int, cut: tuple[int, int | None]
) -> None:
    data = (pattern(4000)[:period] * (size // period + 1))[:size]
    blocks, node = file(data, chunk_bytes=chunk, links_max=links)
    offset, length = cut
    rng = random.Random(seed)
    reader = FileReader(node.cid, offset, length)
    got, _ = read(reader, blocks, count, rng.choice)
    assert got == data[offset : None if length is None else offset + length]
    assert reader.size == size


def test_pieces_come_in_order_as_early_as_they_can() -> None:
    blocks, node = file(b"aabbccdd", chunk_bytes=2)
    root, leaves = blocks[-1], blocks[:-1]
    reader = FileReader(node.cid)
    assert reader.wants(9) == [root.cid]
    assert reader.give(root.cid, root.data) == []
    assert reader.wants(3) == [leaf.cid for leaf in leaves[:3]]
    assert reader.give(leaves[1].cid, b"bb") == []
    assert reader.wants(3) == [leaves[0].cid, leaves[2].cid]
    assert reader.give(leaves[0].cid, b"aa") == [b"aa", b"bb"]
    assert reader.wants(3) == [leaves[2].cid, leaves[3].cid]
    assert not reader.done


def test_a_range_fetches_only_what_it_needs() -> None:
    blocks, node = file(pattern(10_000), chunk_bytes=10, links_max=10)
    got, fetched = read(FileReader(node.cid, 5005, 10), blocks)
    assert got == pattern(10_000)[5005:5015]
    assert fetched == 3 + 2


def test_what_is_not_awaited_is_ignored() -> None:
    blocks, node = file(b"aabb", chunk_bytes=2)
    reader = FileReader(node.cid)
    assert reader.give(blocks[0].cid, b"aa") == []
    reader.give(node.cid, blocks[-1].data)
    reader.wants(1)
    assert reader.give(node.cid, blocks[-1].data) == []
    assert reader.give(blocks[1].cid, b"bb") == []
    assert reader.give(blocks[0].cid, b"aa") == [b"aa"]


def test_no_more_than_the_window_is_wanted_or_held() -> None:
    blocks, node = file(random.Random(1).randbytes(100_000), chunk_bytes=10, links_max=100)
    store = {block.cid: block.data for block in blocks}
    reader = FileReader(node.cid)
    for _ in range(2):  # the root and the first inner nodes
        cid = reader.wants(16)[0]
        reader.give(cid, store[cid])
    while wanted := reader.wants(16)[1:]:
        assert len(wanted) < 16
        for cid in wanted:
            assert reader.give(cid, store[cid]) == []
    head = reader.wants(16)
    assert len(reader.give(head[0], store[head[0]])) == 16


def test_a_file_of_zeros_fetches_its_leaf_seldom() -> None:
    leaf = raw_block(bytes(100))
    node = inner([(leaf.cid, 100)] * 5000)
    got, fetched = read(FileReader(node.cid), [leaf, node], count=16)
    assert got == bytes(500_000)
    assert fetched <= 2 + 5000 // BURST_PIECES_MAX


def test_a_leaf_linked_billions_of_times_is_handed_out_in_bursts() -> None:
    block = raw_block(b"x")
    blocks = [block]
    size = 1
    for _ in range(4):
        block = inner([(block.cid, size)] * 1000)
        size *= 1000
        blocks.append(block)
    store = {block.cid: block.data for block in blocks}
    reader = FileReader(block.cid)
    for _ in range(50):
        for cid in reader.wants(32):
            assert len(reader.give(cid, store[cid])) <= BURST_PIECES_MAX + 32
    assert reader.size == 10**12


def test_inline_bytes_of_an_inner_node_come_before_its_children() -> None:
    leaf, other = raw_block(b"leaf"), raw_block(b"other")
    low = inner([(leaf.cid, 4)], b"low ")
    root = inner([(low.cid, 8), (other.cid, 5)], b"top ")
    for offset in range(18):
        got, _ = read(
            FileReader(root.cid, offset, 9), [leaf, other, low, root], count=4, pick=lambda wanted: wanted[-1]
        )
        assert got == b"top low leafother"[offset : offset + 9]


def test_inline_bytes_of_nested_nodes_that_came_early_wait_for_their_turn() -> None:
    first, leaf = raw_block(b"first "), raw_block(b"leaf")
    deep = inner([(leaf.cid, 4)], b"deep ")
    middle = inner([(deep.cid, 9)], b"middle ")
    root = inner([(first.cid, 6), (middle.cid, 16)])
    reader = FileReader(root.cid)
    for block in (root, middle, deep):
        reader.wants(4)
        assert reader.give(block.cid, block.data) == []
    assert reader.give(first.cid, first.data) == [b"first ", b"middle ", b"deep "]


def test_nothing_is_wanted_beyond_a_node_that_must_be_read_first() -> None:
    size = 3 * 2**20
    children = [Cid(DAG_PB, bytes([number]) * 32) for number in range(5)]
    root = inner([(LEAF.cid, 4), *((cid, size) for cid in children)])
    reader = FileReader(root.cid)
    reader.give(root.cid, root.data)
    assert reader.wants(16) == [LEAF.cid, children[0]]


def test_a_long_file_is_not_a_wide_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.content.file_reader.PENDING_LINKS_MAX", 20)
    data = random.Random(2).randbytes(1000)
    blocks, node = file(data, chunk_bytes=10, links_max=4)
    assert read(FileReader(node.cid), blocks, count=1)[0] == data


def test_a_block_that_is_held_is_not_wanted_in_another_place() -> None:
    first, again = raw_block(b"first"), raw_block(b"again")
    root = inner([(first.cid, 5), (again.cid, 5), (again.cid, 5)])
    reader = FileReader(root.cid)
    reader.give(root.cid, root.data)
    assert reader.wants(2) == [first.cid, again.cid]
    assert reader.give(again.cid, again.data) == []
    assert reader.wants(3) == [first.cid]
    assert reader.give(first.cid, first.data) == [b"first", b"again", b"again"]
    assert reader.done


def test_a_block_asked_for_counts_when_nodes_before_it_opened_meanwhile() -> None:
    leaves = [raw_block(bytes([number])) for number in range(10)]
    late = raw_block(b"late")
    node = inner([(leaf.cid, 1) for leaf in leaves])
    root = inner([(node.cid, 10), (late.cid, 4)])
    reader = FileReader(root.cid)
    reader.give(root.cid, root.data)
    assert reader.wants(2) == [node.cid, late.cid]
    reader.give(node.cid, node.data)
    reader.give(late.cid, late.data)
    assert reader.wants(20) == [leaf.cid for leaf in leaves]


def test_leaves_of_the_old_form_are_read() -> None:
    leaf = dag_pb_block(encode_node((), b"\x08\x00\x12\x02hi\x18\x02"))
    root = inner([(leaf.cid, 2), (leaf.cid, 2)])
    assert read(FileReader(root.cid), [leaf, root])[0] == b"hihi"
    assert read(FileReader(leaf.cid), [leaf])[0] == b"hi"


@pytest.mark.parametrize(
    "root",
    [
        inner([(LEAF.cid, 5)]),
        inner([(LEAF.cid, 3)]),
        inner([(LEAF.cid, 4)], size=5),
        inner([(LEAF.cid, 0), (LEAF.cid, 4)]),
        inner([(LEAF.cid, 4), (LEAF.cid, 5)]),
        inner([(LEAF.cid, 5), (LEAF.cid, 4)]),
        inner([(LEAF.cid, 4), (LEAF.cid, 2**63 - 2)]),
        inner([(inner([(LEAF.cid, 4)]).cid, 5)]),
        inner([(inner([(LEAF.cid, 4)]).cid, 2**40)]),
        inner([(dag_pb_block(encode_node((), DIRECTORY_DATA)).cid, 4)]),
        dag_pb_block(encode_node((), DIRECTORY_DATA)),
        dag_pb_block(encode_node((encode_link(LEAF.cid, b"", 4),), file_data([]))),
        dag_pb_block(b"\xff"),
    ],
)
def test_a_file_that_lies_about_itself_is_refused(root: Block) -> None:
    blocks = [LEAF, root, inner([(LEAF.cid, 4)]), dag_pb_block(encode_node((), DIRECTORY_DATA))]
    with pytest.raises(IntegrityError):
        read(FileReader(root.cid), blocks, count=1)


def test_a_chain_of_nodes_is_refused_where_it_is_too_deep() -> None:
    block = LEAF
    blocks = [block]
    for _ in range(FILE_DEPTH_MAX):
        block = inner([(block.cid, 4)])
        blocks.append(block)
    assert read(FileReader(block.cid), blocks)[0] == b"four"
    block = inner([(block.cid, 4)])
    with pytest.raises(IntegrityError):
        read(FileReader(block.cid), [*blocks, block])


@pytest.mark.slow
def test_nodes_that_widen_at_every_level_are_refused() -> None:
    width = 16_384
    blocks, block, size = [LEAF], LEAF, 4
    for _ in range(PENDING_LINKS_MAX // width + 1):
        block = inner([(block.cid, size), *((LEAF.cid, 4),) * (width - 1)])
        size += 4 * (width - 1)
        blocks.append(block)
    with pytest.raises(IntegrityError, match="wide"):
        read(FileReader(block.cid), blocks)


def test_a_range_of_nothing_fetches_only_the_root() -> None:
    blocks, node = file(b"aabb", chunk_bytes=2)
    assert read(FileReader(node.cid, 4), blocks) == (b"", 1)
    assert read(FileReader(node.cid, 2**70, 5), blocks) == (b"", 1)
    assert read(FileReader(node.cid, 1, 0), blocks) == (b"", 1)
