import os
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.content.block import check
from peerd.content.build import DirectoryBuilder, FileBuilder, Node
from peerd.content.cid import DAG_PB
from peerd.content.limits import DIRECTORY_BLOCK_MAX_BYTES
from peerd.content.murmur3 import murmur3_x64_64
from peerd.errors import UsageError
from tests.unit.content.vectors import VECTORS, directory, entries, file, file_bytes, pattern


def name(vector: dict[str, Any]) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", VECTORS["murmur3"])
def test_murmur3_is_that_of_the_reference(vector: dict[str, Any]) -> None:
    assert f"{murmur3_x64_64(vector['text'].encode()):016x}" == vector["hash"]


@pytest.mark.parametrize("vector", VECTORS["files"], ids=name)
def test_a_file_gets_the_cid_that_ipfs_gives_it(vector: dict[str, Any]) -> None:
    builder = FileBuilder(chunk_bytes=vector["chunk_bytes"], links_max=vector["links_max"])
    nodes = [block.cid for piece in file_bytes(vector) for block in builder.feed(piece) if block.cid.codec == DAG_PB]
    last, node = builder.finish()
    nodes += [block.cid for block in last if block.cid.codec == DAG_PB]
    assert (node.cid.text, node.size, node.dag_size) == (vector["root"], vector["size"], vector["dag_size"])
    assert len(set(nodes)) == vector["dag_pb_blocks"]
    assert set(vector["blocks"]) <= {cid.text for cid in nodes}


@pytest.mark.parametrize("vector", VECTORS["directories"], ids=name)
def test_a_directory_gets_the_cid_that_ipfs_gives_it(vector: dict[str, Any]) -> None:
    blocks, node = directory(entries(vector))
    nodes = {block.cid.text for block in blocks if block.cid.codec == DAG_PB}
    assert (node.cid.text, node.dag_size) == (vector["root"], vector["dag_size"])
    assert len(nodes) == vector["dag_pb_blocks"]
    assert set(vector["blocks"]) <= nodes
    assert all(check(block.cid, block.data) for block in blocks)


def test_a_directory_is_sharded_only_above_the_threshold() -> None:
    at, above = (vector for vector in VECTORS["directories"] if "256 KiB" in vector["name"])
    flat, _ = directory(entries(at))
    sharded, _ = directory(entries(above))
    assert len(flat[-1].data) == DIRECTORY_BLOCK_MAX_BYTES
    assert len(sharded[-1].data) < DIRECTORY_BLOCK_MAX_BYTES


@given(st.lists(st.binary(max_size=70), max_size=30), st.sampled_from([bytes, bytearray, memoryview]))
def test_how_a_file_is_cut_into_pieces_does_not_matter(pieces: list[bytes], kind: Any) -> None:
    whole, expected = file(b"".join(pieces), chunk_bytes=16, links_max=3)
    builder = FileBuilder(chunk_bytes=16, links_max=3)
    blocks = [block for piece in pieces for block in builder.feed(kind(piece))]
    last, node = builder.finish()
    assert (blocks + last, node) == (whole, expected)


def test_a_buffer_may_be_used_again_once_it_was_fed() -> None:
    for size in (3, 20_000):
        data = pattern(32_768 + size)
        builder = FileBuilder(chunk_bytes=32_768)
        buffer = bytearray(data)
        blocks = builder.feed(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        last, _ = builder.finish()
        assert b"".join(block.data for block in (blocks + last)[:2]) == data


def test_a_file_fed_by_the_byte_takes_no_more_memory_than_its_chunk() -> None:
    builder = FileBuilder()
    tracemalloc.start()
    try:
        for number in range(20_000):
            builder.feed(b"%c" % (number % 256))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_file_fed_by_the_byte_is_the_same() -> None:
    data = pattern(40_000)
    builder = FileBuilder(chunk_bytes=30_000)
    blocks = [block for number in range(20_000) for block in builder.feed(data[number : number + 1])]
    blocks += builder.feed(data[20_000:])
    last, node = builder.finish()
    assert (blocks + last, node) == file(data, chunk_bytes=30_000)


def test_children_come_before_parents() -> None:
    blocks, node = file(pattern(5000), chunk_bytes=10, links_max=4)
    assert blocks[-1].cid == node.cid
    assert all(check(block.cid, block.data) for block in blocks)


def test_the_order_of_adding_does_not_matter() -> None:
    _, node = file(b"x")
    roots = set()
    for paths in (["a/b", "a/c", "b", "aa"], ["b", "aa", "a/c", "a/b"]):
        builder = DirectoryBuilder()
        for path in paths:
            builder.add(path, node)
        roots.add(builder.finish()[1])
    assert len(roots) == 1
    assert roots.pop().size == 4


def test_an_empty_directory_is_the_one_everybody_knows() -> None:
    _, node = DirectoryBuilder().finish()
    assert node.cid.text == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"


@pytest.mark.parametrize(
    "path",
    ["", "/", "a//b", "/a", "a/", ".", "..", "a/../b", "./a", "a\0b", "x" * 256, "é" * 128, "\udcff", "d/" * 128 + "f"],
)
def test_a_bad_path_is_refused(path: str) -> None:
    with pytest.raises(UsageError):
        DirectoryBuilder().add(path, file(b"")[1])


def test_two_entries_cannot_share_a_path() -> None:
    node = file(b"")[1]
    builder = DirectoryBuilder()
    builder.add("a/b", node)
    builder.add_directory("a")
    for path in ("a/b", "a", "a/b/c"):
        with pytest.raises(UsageError):
            builder.add(path, node)
    with pytest.raises(UsageError):
        builder.add_symlink("a/b", "x")
    with pytest.raises(UsageError):
        builder.add_directory("a/b")
    assert builder.finish()[1].size == 0


@pytest.mark.parametrize("target", ["", "a\0b", "x" * 4097])
def test_a_symbolic_link_that_no_system_takes_is_refused(target: str) -> None:
    with pytest.raises(UsageError):
        DirectoryBuilder().add_symlink("link", target)


def test_a_target_that_is_not_utf8_is_kept() -> None:
    builder = DirectoryBuilder()
    builder.add_symlink("link", os.fsdecode(b"\xff/x"))
    assert b"\xff/x" in builder.finish()[0][0].data


def test_ten_thousand_files_are_a_directory_in_under_a_second() -> None:
    node = file(b"x")[1]
    builder = DirectoryBuilder()
    start = time.process_time()
    for number in range(10_000):
        builder.add(f"some/where/file-{number:06}.txt", node)
    builder.finish()
    assert time.process_time() - start < 1


def test_names_of_one_hash_are_refused_in_a_large_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.content.hamt.murmur3_x64_64", lambda name: 7)
    builder = DirectoryBuilder()
    for number in range(6000):
        builder.add(f"file-{number:08}", Node(file(b"x")[1].cid, 1, 1, "file"))
    with pytest.raises(UsageError, match="same hash"):
        builder.finish()
