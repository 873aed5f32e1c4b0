import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.content.block import Block, dag_pb_block, raw_block
from peerd.content.cid import DAG_PB, Cid
from peerd.content.dagpb import encode_link, encode_node
from peerd.content.limits import DAG_DEPTH_MAX, NODES_AHEAD_MAX, WALK_PENDING_MAX
from peerd.content.read import DagWalk
from peerd.content.unixfs import DIRECTORY_DATA, file_data
from peerd.errors import IntegrityError
from tests.unit.content.vectors import VECTORS, directory, entries, file, pattern


def parent(*children: Cid, data: bytes = DIRECTORY_DATA) -> Block:
    links = [encode_link(cid, b"%d" % number, 0) for number, cid in enumerate(children)]
    return dag_pb_block(encode_node(links, data))


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(VECTORS["directories"]), st.integers(1, 40), st.integers(0, 2**32))
def test_every_distinct_block_comes_once(vector: dict[str, object], count: int, seed: int) -> None:
    blocks, node = directory(entries(vector)[:300])
    store = {block.cid: block.data for block in blocks}
    rng = random.Random(seed)
    walk = DagWalk(node.cid)
    given_: list[Cid] = []
    while not walk.done:
        cid = rng.choice(walk.wants(count))
        given_.append(cid)
        assert walk.give(cid, store[cid]) is not None
    assert len(given_) == len(set(given_)) == walk.seen_count
    assert set(given_) == set(store)


def test_one_at_a_time_goes_depth_first_in_the_order_of_links() -> None:
    blocks, node = file(pattern(40 * 1024), chunk_bytes=1024, links_max=3)
    store = {block.cid: block.data for block in blocks}
    walk = DagWalk(node.cid)
    read = b""
    while not walk.done:
        (cid,) = walk.wants(1)
        found = walk.give(cid, store[cid])
        assert found is not None
        read += found.data
    assert read == pattern(40 * 1024)


def test_what_is_not_awaited_is_ignored() -> None:
    walk = DagWalk(raw_block(b"a").cid)
    assert walk.give(raw_block(b"b").cid, b"b") is None
    assert walk.give(raw_block(b"a").cid, b"a") is not None
    assert walk.give(raw_block(b"a").cid, b"a") is None
    assert walk.done


def test_a_block_linked_many_times_is_one_block() -> None:
    block = raw_block(b"x")
    blocks = [block]
    for _ in range(6):
        block = parent(*[block.cid] * 10_000)
        blocks.append(block)
    walk = DagWalk(block.cid)
    for block in reversed(blocks):
        assert walk.wants(50) == [block.cid]
        walk.give(block.cid, block.data)
    assert walk.done


def test_few_inner_nodes_are_asked_for_ahead() -> None:
    children = [parent(data=file_data([number])) for number in range(100)]
    root = parent(*(child.cid for child in children))
    walk = DagWalk(root.cid)
    walk.give(root.cid, root.data)
    assert len(walk.wants(1000)) == NODES_AHEAD_MAX


def test_what_is_asked_for_together_has_room_whatever_is_in_it() -> None:
    sizes = [10, 2**21, 2**40, 0, 10]
    leaves = [raw_block(b"%d" % number) for number in range(len(sizes))]
    links = [encode_link(leaf.cid, b"", size) for leaf, size in zip(leaves, sizes, strict=True)]
    root = dag_pb_block(encode_node(links, file_data([1] * len(sizes))))
    walk = DagWalk(root.cid)
    walk.give(root.cid, root.data)
    assert walk.fitting(9, 5) == [leaves[0].cid], "one at least"
    assert walk.fitting(9, 10 + 2**22) == [leaf.cid for leaf in leaves[:3]]
    assert walk.fitting(9, 20 + 3 * 2**21) == [leaf.cid for leaf in leaves]
    assert walk.fitting(2, 2**30) == [leaf.cid for leaf in leaves[:2]]


def test_a_block_larger_than_the_link_to_it_says_is_refused() -> None:
    leaf = raw_block(b"12345")
    for said, fits in ((4, False), (5, True), (0, True)):
        root = dag_pb_block(encode_node([encode_link(leaf.cid, b"", said)], file_data([5])))
        walk = DagWalk(root.cid)
        walk.give(root.cid, root.data)
        if fits:
            walk.give(leaf.cid, leaf.data)
            continue
        with pytest.raises(IntegrityError, match="larger"):
            walk.give(leaf.cid, leaf.data)


def test_wide_nodes_are_asked_for_one_by_one_where_many_links_are_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.content.dag_walk.WALK_PENDING_MAX", 3 * 16_384)
    root = parent(*(Cid(DAG_PB, bytes([number]) * 32) for number in range(100)))
    walk = DagWalk(root.cid)
    walk.give(root.cid, root.data)
    assert len(walk.wants(1000)) == 2


@pytest.mark.parametrize("data", [b"", b"\xff", encode_node((), b"\x08\x09")])
def test_a_malformed_block_is_refused(data: bytes) -> None:
    block = dag_pb_block(data)
    with pytest.raises(IntegrityError):
        DagWalk(block.cid).give(block.cid, block.data)


def test_a_chain_without_end_is_refused() -> None:
    chain = [raw_block(b"x")]
    for _ in range(DAG_DEPTH_MAX + 1):
        chain.append(parent(chain[-1].cid))
    walk = DagWalk(chain[-1].cid)
    with pytest.raises(IntegrityError):
        for block in reversed(chain):
            walk.give(block.cid, block.data)


def test_nodes_that_widen_at_every_level_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.content.dag_walk.WALK_PENDING_MAX", 100)
    block = raw_block(b"x")
    chain = [block]
    for level in range(10):
        block = parent(block.cid, *(Cid(DAG_PB, bytes([level, number]) * 16) for number in range(20)))
        chain.append(block)
    walk = DagWalk(block.cid)
    with pytest.raises(IntegrityError):
        for block in reversed(chain):
            walk.give(block.cid, block.data)
    assert WALK_PENDING_MAX > 16_384 * NODES_AHEAD_MAX


def test_a_long_dag_is_not_a_wide_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.content.dag_walk.WALK_PENDING_MAX", 20)
    blocks, node = file(pattern(100 * 1024), chunk_bytes=1024, links_max=4)
    store = {block.cid: block.data for block in blocks}
    walk = DagWalk(node.cid)
    while not walk.done:
        (cid,) = walk.wants(1)
        walk.give(cid, store[cid])


def test_a_dag_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.content.dag_walk.WALK_BLOCKS_MAX", 10)
    blocks, node = file(pattern(20 * 1024), chunk_bytes=1024)
    walk = DagWalk(node.cid)
    with pytest.raises(IntegrityError):
        walk.give(node.cid, blocks[-1].data)
        walk.wants(20)
