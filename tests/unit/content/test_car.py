"""CAR files: what Kubo and go-car write is read, and what nobody should write ends in an integrity error."""

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.content.block import Block, raw_block
from peerd.content.car import CarReader
from peerd.content.cid import DAG_PB, Cid
from peerd.content.limits import BLOCK_MAX_BYTES
from peerd.content.protobuf import varint
from peerd.errors import IntegrityError
from tests.unit.content.vectors import directory

# The header of the CAR that the implementations in Go and JavaScript are tested with: two roots of dag-cbor.
SPECIFIED = bytes.fromhex(
    "63a265726f6f747382d82a58250001711220f88bc853804cf294fe417e4fa83028689fcdb1b1592c5102e1474dbc200fab8b"
    "d82a5825000171122069ea0740f9807a28f4d932c62e7c1c83be055e55072c90266ab3e79df63a365b6776657273696f6e01"
)
LEAF = raw_block(b"leaf")
OTHER = raw_block(b"other")


def header(*roots: bytes, version: bytes = b"gversion\x01", count: bytes = b"") -> bytes:
    links = b"".join(b"\xd8\x2a\x58" + bytes([len(raw) + 1]) + b"\0" + raw for raw in roots)
    count = count or (bytes([0x80 | len(roots)]) if len(roots) < 24 else b"\x99" + len(roots).to_bytes(2, "big"))
    body = b"\xa2eroots" + count + links + version
    return varint(len(body)) + body


def section(block: Block, cid: bytes | None = None) -> bytes:
    cid = cid or block.cid.to_bytes()
    return varint(len(cid) + len(block.data)) + cid + block.data


def car(*blocks: Block, roots: tuple[Cid, ...] = ()) -> bytes:
    return header(*(cid.to_bytes() for cid in roots)) + b"".join(section(block) for block in blocks)


def v2(inner: bytes, *, offset: int = 51, size: int | None = None, index: bytes = b"") -> bytes:
    numbers = (offset, len(inner) if size is None else size, 0)
    fields = bytes(16) + b"".join(number.to_bytes(8, "little") for number in numbers)
    return b"\x0a\xa1gversion\x02" + fields + bytes(min(max(0, offset - 51), 100)) + inner + index


def read(data: bytes, piece: int = 2**20) -> tuple[list[Block], list[Cid]]:
    reader = CarReader()
    blocks = [block for at in range(0, len(data), piece) for block in reader.feed(data[at : at + piece])]
    return blocks, reader.finish()


@given(st.integers(1, 300), st.booleans())
def test_blocks_and_roots_come_out_as_they_were_put_in_whatever_the_pieces(piece: int, second: bool) -> None:
    blocks, node = directory([["a", 100], ["b/c", 5000], ["d"]])
    data = car(*blocks, roots=(node.cid,))
    data = v2(data, offset=60, index=b"index" * 20) if second else data
    assert read(data, piece) == (blocks, [node.cid])


def test_a_block_may_stand_under_its_old_name_and_more_than_once() -> None:
    blocks, node = directory([["a"]])
    old = b"\x12\x20" + blocks[0].cid.digest
    assert blocks[0].cid.codec == DAG_PB
    data = header(old) + section(blocks[0], old) + section(blocks[0])
    assert read(data) == ([blocks[0]] * 2, [blocks[0].cid])
    assert node.cid != blocks[0].cid


def test_a_car_without_roots_or_with_many_is_read() -> None:
    assert read(car(LEAF)) == ([LEAF], [])
    blocks = [raw_block(b"%d" % number) for number in range(300)]
    roots = tuple(block.cid for block in blocks)
    assert read(car(*blocks, roots=roots)) == (blocks, list(roots))


GOOD = car(LEAF, OTHER, roots=(LEAF.cid,))
HOSTILE = {
    "nothing": b"",
    "no header": section(LEAF),
    "codecs of others": SPECIFIED,
    "a header without end": b"\xff" * 20,
    "a number spelt longer": b"\xb8\x80\x00" + GOOD[1:],
    "a header too long": varint(65537) + bytes(65537),
    "an empty header": b"\0" + GOOD,
    "version 3": header(LEAF.cid.to_bytes(), version=b"gversion\x03") + section(LEAF),
    "more after the version": header(LEAF.cid.to_bytes(), version=b"gversion\x01x") + section(LEAF),
    "a count that lies": header(LEAF.cid.to_bytes(), count=b"\x82") + section(LEAF),
    "a count spelt longer": header(LEAF.cid.to_bytes(), count=b"\x98\x01") + section(LEAF),
    "a count of billions": header(LEAF.cid.to_bytes(), count=b"\x9a\xff\xff\xff\xff") + section(LEAF),
    "too many roots": header(*[LEAF.cid.to_bytes()] * 1025),
    "no cid as root": header(b"\x01\x55\x12\x21" + bytes(33)) + section(LEAF),
    "a root that is nowhere": car(OTHER, roots=(LEAF.cid,)),
    "another block": car(Block(LEAF.cid, b"evil"), roots=(LEAF.cid,)),
    "another hash": header() + section(LEAF, b"\x01\x55\x13\x20" + bytes(32)),
    "another codec": header() + section(LEAF, b"\x01\x71\x12\x20" + LEAF.cid.digest),
    "a cut name": header() + varint(20) + LEAF.cid.to_bytes()[:20],
    "a part of nothing": GOOD + b"\0",
    "a block too large": header() + varint(36 + BLOCK_MAX_BYTES + 1),
    "a block of exabytes": header() + varint(2**60),
    "a length without end": header() + b"\x80" * 10,
    "cut in the header": GOOD[:20],
    "cut in a length": GOOD + b"\x80",
    "cut in a block": GOOD[:-1],
    "v2 without data": v2(GOOD, size=0),
    "v2 in v2": v2(v2(GOOD)),
    "v2 before itself": v2(GOOD, offset=50),
    "v2 far off": v2(GOOD, offset=2**40),
    "v2 cut": v2(GOOD)[:-1],
    "v2 cut in its header": v2(GOOD)[:30],
    "v2 with more than it says": v2(GOOD, size=len(GOOD) - 1),
    "v2 with less than it says": v2(GOOD, size=len(GOOD) + 1),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("piece", [1, 2**20])
def test_a_hostile_car_is_an_integrity_error(name: str, piece: int) -> None:
    data = HOSTILE[name]
    with pytest.raises(IntegrityError):
        read(data if len(data) < 10_000 else data + bytes(1), piece if len(data) < 10_000 else 2**16)


@pytest.mark.parametrize(
    "name", ["a header too long", "a block too large", "a block of exabytes", "v2 with more than it says", "v2 far off"]
)
def test_what_is_too_large_is_refused_before_it_came(name: str) -> None:
    with pytest.raises(IntegrityError):
        CarReader().feed(HOSTILE[name])


@given(st.binary(max_size=20), st.integers(0, len(GOOD)), st.integers(0, 20), st.integers(1, 50))
def test_whatever_is_changed_it_is_read_or_an_integrity_error(new: bytes, at: int, cut: int, piece: int) -> None:
    try:
        blocks, _ = read(GOOD[:at] + new + GOOD[at + cut :], piece)
    except IntegrityError:
        return
    assert set(blocks) <= {LEAF, OTHER}


def test_a_car_of_any_length_takes_the_memory_of_one_block() -> None:
    rng = random.Random(1)
    large = raw_block(rng.randbytes(BLOCK_MAX_BYTES))
    data = section(large)
    tracemalloc.start()
    try:
        reader = CarReader()
        reader.feed(header(large.cid.to_bytes()))
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            for at in range(0, len(data), 65_536):
                reader.feed(data[at : at + 65_536])
        used = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert reader.finish() == [large.cid]
    assert used < 5 * BLOCK_MAX_BYTES
