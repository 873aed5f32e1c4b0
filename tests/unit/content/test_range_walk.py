import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.content.block import Block, dag_pb_block, raw_block
from peerd.content.cid import Cid
from peerd.content.dagpb import encode_link, encode_node
from peerd.content.limits import FILE_DEPTH_MAX
from peerd.content.range_walk import RangeWalk
from peerd.content.read import FileReader
from peerd.content.unixfs import file_data
from peerd.errors import IntegrityError
from tests.unit.content.vectors import file

STEPS_MAX = 10_000


def node(*children: tuple[Block, int]) -> tuple[Block, int]:
    """A file's node and how many bytes it delivers."""
    links = [encode_link(block.cid, b"", 0) for block, _ in children]
    sizes = [size for _, size in children]
    return dag_pb_block(encode_node(links, file_data(sizes))), sum(sizes)


def walked(root: Cid, store: dict[Cid, bytes], offset: int, length: int, count: int = 1) -> tuple[list[Cid], int]:
    """The blocks in the order in which they came first, and how many were asked for in all."""
    walk, came, steps = RangeWalk(root, offset, length), [], 0
    while not walk.done:
        cid = walk.wants(count)[0]
        steps += 1
        assert steps <= STEPS_MAX, "it goes on and on"
        if walk.give(cid, store[cid]):
            came.append(cid)
    return came, steps


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_they_are_the_blocks_that_a_reader_of_the_range_asks_for_each_once_and_in_its_order(
    seed: int, count: int
) -> None:
    rng = random.Random(seed)
    letters = b"ab" if seed % 2 else bytes(range(256))  # of two letters only, many of the blocks are alike
    data = bytes(rng.choices(letters, k=rng.randrange(400)))
    blocks, root = file(data, chunk_bytes=rng.choice([1, 2, 7]), links_max=rng.choice([2, 3, 5]))
    store = {block.cid: block.data for block in blocks}
    offset, length = rng.randrange(500), rng.randrange(500)
    reader, asked = FileReader(root.cid, offset, length), dict[Cid, None]()
    while not reader.done:
        cid = reader.wants(1)[0]
        asked[cid] = None
        reader.give(cid, store[cid])
    came, steps = walked(root.cid, store, offset, length, count)
    assert came == list(asked)
    assert steps <= len(came) + 2 * FILE_DEPTH_MAX


@pytest.mark.parametrize(("offset", "length"), [(0, 10 * 2**30), (1, 10 * 2**30 - 2), (2**30, 2**32), (7, 1)])
def test_a_block_that_is_linked_a_billion_times_is_walked_once(offset: int, length: int) -> None:
    leaf = raw_block(b"0123456789")
    blocks = [(leaf, 10)]
    for _ in range(30):
        blocks.append(node(blocks[-1], blocks[-1]))
    store = {block.cid: block.data for block, _ in blocks}
    came, steps = walked(blocks[-1][0].cid, store, offset, length)
    assert came == [block.cid for block, _ in reversed(blocks)]
    assert steps <= 3 * len(blocks)


def test_what_is_no_sound_file_is_refused() -> None:
    leaf = raw_block(b"12345")
    deep: tuple[Block, int] = (leaf, 5)
    for _ in range(FILE_DEPTH_MAX + 1):
        deep = node(deep)
    folder = dag_pb_block(encode_node([], b"\x08\x01"))
    store = {each.cid: each.data for each in (leaf, folder)}
    for top in (node((leaf, 4))[0], node((leaf, 5), (folder, 1))[0], node((leaf, 0))[0], folder):
        with pytest.raises(IntegrityError):
            walked(top.cid, store | {top.cid: top.data}, 0, 100)
    chain: tuple[Block, int] = (leaf, 5)
    for _ in range(FILE_DEPTH_MAX + 1):
        chain = node(chain)
        store[chain[0].cid] = chain[0].data
    with pytest.raises(IntegrityError, match="too deep"):
        walked(chain[0].cid, store, 0, 5)
