import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.content.block import Block, dag_pb_block, raw_block
from peerd.content.build import DirectoryBuilder
from peerd.content.cid import Cid
from peerd.content.dagpb import encode_link, encode_node
from peerd.content.hamt import build_shards
from peerd.content.murmur3 import murmur3_x64_64
from peerd.content.read import DirectoryReader, Entry
from peerd.content.unixfs import DIRECTORY_DATA, hamt_data
from peerd.errors import IntegrityError
from tests.unit.content.vectors import VECTORS, directory, entries, file

LEAF = raw_block(b"leaf")


def listing(root: Cid, blocks: list[Block], count: int = 4, seed: int = 0) -> list[Entry]:
    store = {block.cid: block.data for block in blocks}
    rng = random.Random(seed)
    reader = DirectoryReader(root)
    found: list[Entry] = []
    while not reader.done:
        wanted = reader.wants(count)
        assert 0 < len(wanted) <= count
        cid = rng.choice(wanted)
        found += reader.give(cid, store[cid])
    return found


@pytest.mark.parametrize("vector", VECTORS["directories"], ids=lambda vector: str(vector["name"]))
def test_a_directory_lists_what_was_put_in(vector: dict[str, object]) -> None:
    listed = entries(vector)
    blocks, node = directory(listed)
    assert {entry.name for entry in listing(node.cid, blocks)} == {path.split("/")[0] for path, *_ in listed}


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=60)


@settings(deadline=None)
@given(st.sets(names.filter(lambda name: name not in {".", ".."}), max_size=300), st.integers(1, 9), st.integers(0, 99))
def test_a_sharded_directory_lists_each_entry_once(chosen: set[str], count: int, seed: int) -> None:
    expected = [Entry(name, LEAF.cid, number) for number, name in enumerate(sorted(chosen), 1)]
    if not expected:
        return
    blocks, _ = build_shards((entry.name.encode(), entry.cid, entry.tsize) for entry in expected)
    found = listing(blocks[-1].cid, blocks, count, seed)
    assert sorted(found, key=lambda entry: entry.tsize) == expected


def test_an_entry_says_the_size_that_it_was_given() -> None:
    builder = DirectoryBuilder()
    made, node = file(b"x" * 100, chunk_bytes=10)
    builder.add("a", node)
    blocks, root = builder.finish()
    assert listing(root.cid, blocks + made) == [Entry("a", node.cid, node.dag_size)]


def flat(*named: bytes) -> Block:
    return dag_pb_block(encode_node([encode_link(LEAF.cid, name, 4) for name in named], DIRECTORY_DATA))


@pytest.mark.parametrize("name", [b"", b".", b"..", b"../x", b"/etc/passwd", b"a\0b", b"x" * 256, b"\xff"])
def test_a_hostile_name_is_refused(name: bytes) -> None:
    block = flat(b"good", name)
    with pytest.raises(IntegrityError):
        listing(block.cid, [block])


def test_a_name_that_comes_twice_is_refused() -> None:
    block = flat(b"a", b"a")
    with pytest.raises(IntegrityError):
        listing(block.cid, [block])


def slot_of(name: bytes, depth: int = 0) -> int:
    return murmur3_x64_64(name) >> 56 - 8 * depth & 0xFF


def shard(
    *slots: tuple[int, bytes, Cid], fanout: int = 256, bit_field: int | None = None, hash_type: bytes = b"\x22"
) -> Block:
    used = sum(1 << number for number, _, _ in slots) if bit_field is None else bit_field
    data = hamt_data(used, fanout).replace(b"\x28\x22", b"\x28" + hash_type)
    return dag_pb_block(encode_node([encode_link(cid, b"%02X" % at + name, 4) for at, name, cid in slots], data))


A, B = slot_of(b"a"), slot_of(b"b")
GOOD = shard((A, b"a", LEAF.cid))
LOWER = shard((slot_of(b"a", 1), b"a", LEAF.cid))
EMPTY = dag_pb_block(encode_node((), hamt_data(0, 256)))


def test_the_hand_made_shards_are_read() -> None:
    assert [entry.name for entry in listing(GOOD.cid, [GOOD])] == ["a"]
    root = shard((A, b"", LOWER.cid))
    assert [entry.name for entry in listing(root.cid, [root, LOWER])] == ["a"]


@pytest.mark.parametrize(
    "root",
    [
        shard((A ^ 1, b"a", LEAF.cid)),
        shard((A, b"b", LEAF.cid)),
        shard((A, b"a", LEAF.cid), (A, b"a", LEAF.cid), bit_field=1 << A),
        shard(*sorted([(A, b"a", LEAF.cid), (B, b"b", LEAF.cid)], reverse=True)),
        shard((A, b"a", LEAF.cid), bit_field=3 << A),
        shard((A, b"a", LEAF.cid), bit_field=0),
        shard((A, b"a", LEAF.cid), fanout=8),
        shard((A, b"a", LEAF.cid), fanout=2048),
        shard((A, b"a", LEAF.cid), fanout=255),
        shard((A, b"a", LEAF.cid), hash_type=b"\x12"),
        shard((A ^ 1, b"", LOWER.cid)),
        shard(*sorted([(A, b"", LOWER.cid), (B, b"", LOWER.cid)])),
        shard((A, b"", EMPTY.cid)),
        shard((A, b"", flat(b"a").cid)),
        shard((A, b"", LEAF.cid)),
        LEAF,
        dag_pb_block(b"\xff"),
    ],
)
def test_a_sharded_directory_that_lies_is_refused(root: Block) -> None:
    with pytest.raises(IntegrityError):
        listing(root.cid, [root, LOWER, EMPTY, flat(b"a"), LEAF])


def test_a_chain_of_shards_ends_with_the_hash() -> None:
    chain = [shard((slot_of(b"a", 7), b"a", LEAF.cid))]
    for depth in range(6, -1, -1):
        chain.append(shard((slot_of(b"a", depth), b"", chain[-1].cid)))
    assert [entry.name for entry in listing(chain[-1].cid, chain)] == ["a"]


def test_shards_below_the_end_of_the_hash_are_not_followed() -> None:
    chain = [shard((0, b"", LEAF.cid))]
    for slot in range(1, 8):
        chain.append(shard((slot, b"", chain[-1].cid)))
    reader = DirectoryReader(chain[-1].cid)
    for block in reversed(chain[1:]):
        reader.give(block.cid, block.data)
    with pytest.raises(IntegrityError, match="deep"):
        reader.give(chain[0].cid, chain[0].data)


def test_shards_of_different_fanout_do_not_fit_together() -> None:
    name = next(name for number in range(10_000) if slot_of(name := b"%d" % number, 1) < 16)
    link = encode_link(LEAF.cid, b"%X" % slot_of(name, 1) + name, 4)
    lower = dag_pb_block(encode_node([link], hamt_data(1 << slot_of(name, 1), 16)))
    root = shard((slot_of(name), b"", lower.cid))
    with pytest.raises(IntegrityError, match="fit"):
        listing(root.cid, [root, lower])


def test_a_directory_of_too_many_shards_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.content.directory_reader.LISTING_MAX_BYTES", 3 * 50 + 400)
    chain = [shard((slot_of(b"a", 4), b"a", LEAF.cid))]
    for depth in range(3, -1, -1):
        chain.append(shard((slot_of(b"a", depth), b"", chain[-1].cid)))
    with pytest.raises(IntegrityError, match="too many"):
        listing(chain[-1].cid, chain)


def test_a_directory_of_too_many_entries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.content.directory_reader.LISTING_MAX_BYTES", 50 + 3 * 87)
    for wide in (flat(b"a", b"b", b"c", b"d"), build_shards([(b"%d" % i, LEAF.cid, 4) for i in range(600)])[0]):
        blocks = wide if isinstance(wide, list) else [wide]
        with pytest.raises(IntegrityError, match="too many"):
            listing(blocks[-1].cid, blocks)
