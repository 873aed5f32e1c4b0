"""CAR files out of the network and into it: what one peer exports another network imports, or nothing of it."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from peerd.content.block import Block, dag_pb_block, raw_block
from peerd.content.build import DirectoryBuilder
from peerd.content.car import CarReader
from peerd.content.car_writing import encode_header, encode_section
from peerd.content.cid import Cid
from peerd.content.dagpb import encode_link, encode_node
from peerd.content.read import DagWalk
from peerd.content.unixfs import symlink_data
from peerd.errors import IntegrityError
from peerd.node import results
from peerd.node.results import PutOptions
from peerd.sim.host import Host
from tests.unit.content.vectors import directory, file

from .hosts import World, core, get, joined, once, opened, put

BIG = random.Random(7).randbytes(3 * 2**20 + 11)


def car_of(root: Cid, blocks: list[Block]) -> bytes:
    return encode_header([root]) + b"".join(encode_section(block.cid, block.data) for block in blocks)


async def export(host: Host, target: str) -> bytes:
    assert host.peer is not None
    return b"".join([piece async for piece in host.peer.formats.car(await opened(host, target))])


async def imported(host: Host, data: bytes, *, piece: int = 100_000, **options: object) -> results.Imported:
    assert host.peer is not None
    body = once(*(data[at : at + piece] for at in range(0, len(data), piece)))
    return await host.peer.formats.import_car(body, PutOptions(**options))  # type: ignore[arg-type]


async def swept(host: Host) -> None:
    """Free what nothing links; later, for at one instant of virtual time nothing is older than anything."""
    await asyncio.sleep(1)
    await core(host).intake.collect(0.0)


def read(data: bytes) -> tuple[list[Cid], list[Block]]:
    reader = CarReader()
    blocks = reader.feed(data)
    return reader.finish(), blocks


async def test_what_one_exports_another_network_imports_under_the_same_root(world: World) -> None:
    hosts = await joined(world, 4)
    stored = await put(hosts[0], "big", BIG)
    data = await export(hosts[3], "big")
    assert core(hosts[3]).store is not core(hosts[0]).store
    await hosts[0].peer.remove("big", PutOptions())  # type: ignore[union-attr]
    result = await imported(hosts[1], data)
    assert [root.cid for root in result.roots] == [stored.cid]
    assert (result.roots[0].copies, result.roots[0].kind, result.roots[0].size) == (3, "file", len(BIG))
    assert await get(hosts[2], stored.cid) == BIG


async def test_an_export_has_each_block_once_in_the_order_of_the_links(world: World) -> None:
    hosts = await joined(world, 3)
    blocks, node = directory([["a/b", 2**20 + 5], ["a/c", 3], ["b", 2**20 + 5], ["z"], ["l", "a"]])
    await imported(hosts[0], car_of(node.cid, blocks))
    for host in hosts:
        roots, found = read(await export(host, node.cid.text))
        assert roots == [node.cid]
        known = {block.cid: block for block in blocks}
        walk, wanted = DagWalk(node.cid), []
        while not walk.done:
            wanted.append(walk.wants(1)[0])
            walk.give(wanted[-1], known[wanted[-1]].data)
        assert [block.cid for block in found] == wanted
        assert len(wanted) == len(known)


async def test_a_short_value_is_a_car_of_one_block(world: World) -> None:
    hosts = await joined(world, 2)
    await put(hosts[0], "motd", b"hello")
    assert read(await export(hosts[1], "motd")) == ([raw_block(b"hello").cid], [raw_block(b"hello")])


async def test_an_imported_directory_is_listed_and_stays(world: World) -> None:
    hosts = await joined(world, 3)
    blocks, node = directory([[f"{number:04}", number] for number in range(50)] + [["sub/deep", 2**20 + 1]])
    result = await imported(hosts[0], car_of(node.cid, blocks), piece=77)
    assert (result.blocks, result.roots[0].kind) == (len({block.cid for block in blocks}), "directory")
    assert result.roots[0].size == sum(
        {block.cid: len(block.data) for block in blocks if block.cid.codec == 0x55}.values()
    )
    entries = await hosts[2].peer.list(node.cid.text)  # type: ignore[union-attr]
    assert [entry.name for entry in entries] == [f"{number:04}" for number in range(50)] + ["sub"]
    await hosts[0].peer.collect()  # type: ignore[union-attr]
    assert read(await export(hosts[0], node.cid.text))[0] == [node.cid]


async def test_every_root_is_added_and_one_named_twice_once(world: World) -> None:
    hosts = await joined(world, 2)
    first, second = raw_block(b"first" * 500), raw_block(b"second" * 500)
    data = encode_header([first.cid, second.cid, first.cid])
    data += b"".join(encode_section(block.cid, block.data) for block in (first, second, first))
    result = await imported(hosts[0], data)
    assert [root.cid for root in result.roots] == [first.cid.text, second.cid.text]
    assert await get(hosts[1], second.cid.text) == second.data


async def test_files_of_other_layouts_are_imported_and_read(world: World) -> None:
    # 256 KiB chunks, few links, and a leaf that is dag-pb, under a name of CIDv0.
    hosts = await joined(world, 2)
    blocks, node = file(BIG[: 2**20 + 7], chunk_bytes=2**18, links_max=2)
    await imported(hosts[0], car_of(node.cid, blocks))
    assert await get(hosts[1], node.cid.text) == BIG[: 2**20 + 7]
    leaf = dag_pb_block(encode_node((), b"\x08\x02\x12\x05hello\x18\x05"))
    root = dag_pb_block(encode_node([encode_link(leaf.cid, b"", len(leaf.data))], b"\x08\x02\x18\x05\x20\x05"))
    old = [b"\x12\x20" + block.cid.digest for block in (root, leaf)]
    data = encode_header([old[0]]) + encode_section(old[0], root.data) + encode_section(old[1], leaf.data)
    result = await imported(hosts[0], data)
    assert result.roots[0].cid == root.cid.text
    assert await get(hosts[1], root.cid.text) == b"hello"


def _cases() -> dict[str, bytes]:
    blocks, node = file(BIG)
    link = dag_pb_block(encode_node((), symlink_data(b"x")))
    whole = car_of(node.cid, blocks)
    identity = b"\x01\x55\x00\x05hello"
    cbor = b"\x01\x71\x12\x20" + bytes(32)
    wrong = Block(blocks[1].cid, b"evil")
    return {
        "nothing": b"",
        "cut": whole[:-1],
        "no root": encode_header([]) + encode_section(blocks[0].cid, blocks[0].data),
        "a root that is not in it": car_of(node.cid, blocks[:-1]),
        "a leaf that is not in it": car_of(node.cid, [*blocks[1:]]),
        "a block that is another": car_of(node.cid, [blocks[0], wrong, *blocks[2:]]),
        "a symbolic link": car_of(link.cid, [link]),
        "an identity": encode_header([identity]) + encode_section(identity, b""),
        "another codec": encode_header([cbor]) + encode_section(cbor, b""),
        "a header of exabytes": b"\xff" * 9 + b"\x01" + whole,
        "no UnixFS": car_of(dag_pb_block(b"").cid, [dag_pb_block(b"")]),
        "rubbish": BIG,
    }


@pytest.mark.parametrize("name", list(_cases()))
async def test_a_car_that_is_none_leaves_nothing(world: World, name: str) -> None:
    hosts = await joined(world, 2)
    with pytest.raises(IntegrityError) as caught:
        await imported(hosts[0], _cases()[name])
    assert caught.value.exit_code == 8
    await swept(hosts[0])
    usage = await core(hosts[0]).store.usage()
    assert usage.used_bytes < 10_000
    assert not await core(hosts[0]).store.roots(None, 10)


async def test_an_import_that_breaks_off_leaves_nothing(world: World) -> None:
    hosts = await joined(world, 1)
    blocks, node = file(BIG)

    async def body() -> AsyncIterator[bytes]:
        yield car_of(node.cid, blocks)[: 2 * 2**20]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await hosts[0].peer.formats.import_car(body(), PutOptions())  # type: ignore[union-attr]
    await swept(hosts[0])
    assert not any(await core(hosts[0]).store.has_blocks([block.cid for block in blocks]))


async def test_blocks_that_hang_below_no_root_go(world: World) -> None:
    hosts = await joined(world, 1)
    leaf, other = raw_block(b"leaf" * 300), raw_block(b"other" * 300)
    await imported(hosts[0], car_of(leaf.cid, [leaf, other]))
    await swept(hosts[0])
    assert await core(hosts[0]).store.has_blocks([leaf.cid, other.cid]) == [True, False]


async def test_a_root_of_which_a_leaf_is_here_already_is_whole(world: World) -> None:
    hosts = await joined(world, 2)
    builder = DirectoryBuilder()
    blocks, node = file(BIG)
    await imported(hosts[0], car_of(node.cid, blocks))
    builder.add("again", node)
    more, top = builder.finish()
    assert (await imported(hosts[0], car_of(top.cid, more))).roots[0].cid == top.cid.text
