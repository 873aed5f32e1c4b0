"""Where the blocks of a file stand; what does not fit is left to who reads in order, what is unsound is refused."""

import random

import pytest

from peerd.content import layout
from peerd.content.block import Block, raw_block
from peerd.content.layout import Layout
from peerd.errors import IntegrityError
from tests.unit.content.test_file_reader import LEAF, inner
from tests.unit.content.vectors import file, pattern


def walked(root: Block, *others: Block) -> Layout:
    found, blocks = Layout(root.cid), {block.cid: block.data for block in (root, *others)}
    while (node := found.wants) is not None:
        found.give(blocks[node])
    return found


@pytest.mark.parametrize("size", [200, 3000, 9999])
def test_the_places_of_a_file_of_many_levels_hold_its_bytes(size: int) -> None:
    data = pattern(size)
    blocks, root = file(data, chunk_bytes=100, links_max=3)
    by_cid = {block.cid: block.data for block in blocks}
    found = Layout(root.cid)
    while (node := found.wants) is not None:
        found.give(by_cid[node])
    assert found.fits
    made = bytearray(size)
    leaves = {block.cid.to_bytes(): block.data for block in blocks}
    for raw, places in found.places.items():
        assert found.size_of(raw) == len(leaves[raw])
        for at in places:
            made[at : at + len(leaves[raw])] = leaves[raw]
    assert (bytes(made), found.size) == (data, size)


def test_what_is_no_table_of_raw_blocks_does_not_fit() -> None:
    assert not walked(inner([(LEAF.cid, 4)], inline=b"and bytes")).fits
    assert not walked(raw_block(random.Random(1).randbytes(50))).fits
    assert not walked(inner([(LEAF.cid, 4), (LEAF.cid, 5)])).fits, "two sizes of one block"
    assert not walked(inner([])).fits


def test_a_block_linked_very_often_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "PLACES_MAX", 1000)
    one = inner([(LEAF.cid, 4)] * 100)
    two = inner([(one.cid, 400)] * 100)
    found = walked(inner([(two.cid, 40_000)] * 100), one, two)
    assert not found.fits
    assert sum(map(len, found.places.values())) <= 1000


def test_a_node_of_another_size_than_its_parent_says_is_refused() -> None:
    one = inner([(LEAF.cid, 4)] * 2)
    with pytest.raises(IntegrityError, match="promised"):
        walked(inner([(one.cid, 9)]), one)
    with pytest.raises(IntegrityError, match="malformed"):
        bad = Block(one.cid, b"\x01\x02")
        walked(inner([(one.cid, 8)]), bad)
