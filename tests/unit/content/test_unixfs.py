"""Decoders are given hostile bytes: they end in a value or a WireError, readers in a value or an IntegrityError."""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.content import dagpb
from peerd.content.block import BLOCK_MAX_BYTES, Block, dag_pb_block, raw_block
from peerd.content.build import DirectoryBuilder
from peerd.content.cid import DAG_PB, RAW, Cid
from peerd.content.dagpb import Link, decode_node, encode_link, encode_node
from peerd.content.hamt import build_shards, read_slots
from peerd.content.limits import LINKS_IN_BLOCK_MAX, SIZE_MAX
from peerd.content.names import check_entry_name, check_symlink_target
from peerd.content.protobuf import fields, varint
from peerd.content.read import DagWalk, DirectoryReader, FileReader, decode
from peerd.content.unixfs import DIRECTORY_DATA, file_data, hamt_data, symlink_data
from peerd.errors import IntegrityError, WireError
from tests.unit.content.vectors import file, pattern

cids = st.builds(Cid, st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32))
links = st.builds(Link, st.text(st.characters(exclude_categories=["Cs"]), max_size=20), cids, st.integers(0, SIZE_MAX))
LEAF = raw_block(b"leaf")
LINK = encode_link(LEAF.cid, b"name", 4)


def meaning(data: bytes) -> Any:
    return decode(dag_pb_block(data).cid, data)


@given(st.integers(0, 2**64 - 1))
def test_a_number_survives(number: int) -> None:
    assert list(fields(b"\x08" + varint(number))) == [(1, number)]


@given(st.lists(links, max_size=20), st.binary(max_size=50))
def test_a_node_survives(some: list[Link], data: bytes) -> None:
    encoded = encode_node([encode_link(link.cid, link.name.encode(), link.tsize) for link in some], data)
    assert decode_node(encoded) == (some, data)


@given(st.lists(st.tuples(cids, st.integers(1, 2**40)), max_size=20))
def test_a_file_node_survives(children: list[tuple[Cid, int]]) -> None:
    sizes = [size for _, size in children]
    node = meaning(encode_node([encode_link(cid, b"", size) for cid, size in children], file_data(sizes)))
    assert (node.kind, node.file_size, list(node.sizes)) == ("file", sum(sizes), sizes)
    assert [link.cid for link in node.links] == [cid for cid, _ in children]


def test_each_kind_is_known() -> None:
    assert decode(LEAF.cid, b"leaf").kind == "raw"
    assert decode(LEAF.cid, b"leaf").file_size == 4
    assert meaning(encode_node((LINK,), DIRECTORY_DATA)).kind == "directory"
    assert meaning(encode_node((), symlink_data(b"../x"))).data == b"../x"
    assert meaning(encode_node((), hamt_data(0, 256))).kind == "hamt"


def test_data_may_stand_before_the_links() -> None:
    data = b"\x0a" + varint(len(DIRECTORY_DATA)) + DIRECTORY_DATA
    assert meaning(data + LINK) == meaning(LINK + data)


def test_a_link_by_a_cid_of_version_0_means_the_dag_pb_block() -> None:
    old = b"\x0a\x22\x12\x20" + LEAF.cid.digest
    ((link,), _) = decode_node(b"\x12" + varint(len(old)) + old)
    assert link == Link("", Cid(DAG_PB, LEAF.cid.digest), 0)


def test_sizes_may_be_packed_and_mode_and_time_are_passed_over() -> None:
    data = b"\x08\x02\x18\x07\x22\x02\x03\x04\x38\xa4\x03\x42\x07\x08\x01\x15\x00\x00\x00\x01"
    node = meaning(encode_node((LINK, LINK), data))
    assert (node.sizes, node.file_size) == ((3, 4), 7)


def link(message: bytes) -> bytes:
    return b"\x12" + varint(len(message)) + message


HASH = b"\x0a\x24" + LEAF.cid.to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a\x00",
        LINK,  # no data
        LINK[:-1] + b"",
        encode_node((LINK,), DIRECTORY_DATA)[:-1],
        encode_node((LINK,), DIRECTORY_DATA) + b"\x00",
        encode_node((LINK,), DIRECTORY_DATA) + b"\x0a\x00",  # data twice
        LINK + b"\x0a\x02\x08\x01" + LINK,  # links apart from each other
        b"\x0a\x02\x08\x01\x18\x01",  # an unknown field
        b"\x0a\x82\x00\x08\x01",  # a length spelt longer than it need be
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        b"\x0a" + b"\x80" * 100_000,
        b"\x0a\xff\xff\xff\xff\x0f\x08\x01",  # longer than the block
        b"\x0b\x08\x01",  # a group
        encode_node((link(b"\x12\x01a"),), DIRECTORY_DATA),  # no CID
        encode_node((link(HASH + HASH),), DIRECTORY_DATA),
        encode_node((link(b"\x12\x01a" + HASH),), DIRECTORY_DATA),  # out of order
        encode_node((link(HASH + b"\x12\x01\xff"),), DIRECTORY_DATA),
        encode_node((link(HASH + b"\x18" + varint(SIZE_MAX + 1)),), DIRECTORY_DATA),
        encode_node((link(HASH + b"\x20\x01"),), DIRECTORY_DATA),
        encode_node((link(b"\x0a\x03\x01\x55\x00"),), DIRECTORY_DATA),
        encode_node((LINK,) * (LINKS_IN_BLOCK_MAX + 1), DIRECTORY_DATA),
        encode_node((), b""),
        encode_node((), b"\x08\x03"),  # metadata
        encode_node((), b"\x08\x06"),
        encode_node((), b"\x08\x01\x08\x01"),
        encode_node((), b"\x0a\x01\x01"),
        encode_node((), b"\x08\x02\x18\x01"),
        encode_node((), b"\x08\x02\x12\x02hi\x18\x03"),
        encode_node((), b"\x08\x02\x12\x01h\x12\x01i"),
        encode_node((LINK,), b"\x08\x02\x18\x00"),
        encode_node((), b"\x08\x02\x20\x00"),
        encode_node((LINK, LINK), file_data([SIZE_MAX, 1])),
        encode_node((), b"\x08\x02\x22" + varint(LINKS_IN_BLOCK_MAX + 1) + bytes(LINKS_IN_BLOCK_MAX + 1)),
        encode_node((LINK,), symlink_data(b"x")),
        encode_node((LINK,), b"\x08\x01\x20\x01"),
        encode_node((), hamt_data(0, 0)),
        encode_node((), hamt_data(0, 4)),
        encode_node((), hamt_data(0, 2**32)),
        encode_node((), b"\x08\x05\x12\x00\x30\x80\x02"),
        bytes(BLOCK_MAX_BYTES + 1),
    ],
)
def test_what_is_no_unixfs_is_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        meaning(data)


def test_a_raw_block_that_is_too_large_is_a_wire_error() -> None:
    with pytest.raises(WireError):
        decode(LEAF.cid, bytes(BLOCK_MAX_BYTES + 1))


def samples() -> list[Block]:
    blocks, node = file(pattern(9000), chunk_bytes=100, links_max=8)
    builder = DirectoryBuilder()
    builder.add("dir/file", node)
    builder.add_symlink("dir/link", "../x")
    shards, _ = build_shards([(b"%d" % number, node.cid, 9) for number in range(300)])
    return [blocks[-1], *builder.finish()[0], shards[0], shards[-1]]


SAMPLES = samples()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SAMPLES)).data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "cut", "insert", "repeat"])):
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 50))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=12))
            case _:
                data[at:at] = data[at : at + 60]
    return bytes(data)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(mutated() | st.binary(max_size=200))
def test_hostile_bytes_end_in_a_value_or_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        node = meaning(data)
        if node.kind == "hamt":
            read_slots(node)


@settings(max_examples=500, deadline=None)
@given(mutated(), st.sampled_from([FileReader, DagWalk, DirectoryReader]))
def test_readers_of_hostile_blocks_end_in_values_or_an_integrity_error(
    data: bytes, reader: Callable[[Cid], Any]
) -> None:
    store = {block.cid: block.data for block in SAMPLES}
    root = dag_pb_block(data)
    store[root.cid] = data
    reading = reader(root.cid)
    with contextlib.suppress(IntegrityError):
        for _ in range(100):
            known = [cid for cid in reading.wants(4) if cid in store]
            if not known:
                break
            reading.give(known[0], store[known[0]])


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/b", "a\0", "é" * 128])
def test_a_hostile_name_is_an_integrity_error(name: str) -> None:
    with pytest.raises(IntegrityError):
        check_entry_name(name)


@pytest.mark.parametrize("name", ["...", " ", "a\nb", "é" * 127, "\\", "-rf", "CON"])
def test_a_strange_name_is_kept(name: str) -> None:
    check_entry_name(name)


@pytest.mark.parametrize("target", [b"", b"a\0b", b"x" * 4097])
def test_a_hostile_target_is_an_integrity_error(target: bytes) -> None:
    with pytest.raises(IntegrityError):
        check_symlink_target(target)


def test_a_target_comes_back_as_the_file_system_takes_it() -> None:
    assert check_symlink_target(b"../\xff") == "../\udcff"


def test_a_link_read_in_the_short_way_is_what_it_is_in_the_long_way() -> None:
    chance = random.Random(11)
    whole = [encode_link(raw_block(bytes([at])).cid, b"n" * at, 1 << at)[2:] for at in (0, 1, 20, 33)]
    short = 0
    for _ in range(4000):
        message = bytearray(chance.choice(whole))
        for _ in range(chance.randrange(3)):
            message[chance.randrange(len(message))] = chance.choice((0, 1, 0x0A, 0x12, 0x18, 0x24, 0x7F, 0x80, 0xFF))
        message = message[: len(message) - chance.choice((0, 0, 0, 1, 2))]
        try:
            found = dagpb._decode_plain(bytes(message))
        except WireError:
            found = None
        if found is not None:
            short += 1
            assert found == dagpb._decode_any(bytes(message))
    assert short > 1000
