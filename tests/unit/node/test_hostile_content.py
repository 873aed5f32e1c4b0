"""Hostile content that is all here: what is handed out of it is nothing but an integrity error, in bounded time."""

import asyncio
import time
from contextlib import aclosing

import pytest

from peerd.content.block import Block, dag_pb_block, raw_block
from peerd.content.build import DirectoryBuilder, Node
from peerd.content.cid import Cid
from peerd.content.dagpb import encode_link, encode_node
from peerd.content.unixfs import DIRECTORY_DATA, file_data
from peerd.errors import IntegrityError, NoRoomError, UsageError
from peerd.kad.contact import Contact
from peerd.node import copying, tarring
from peerd.node.copying import copy_dag
from peerd.node.fetch import Fetcher
from peerd.node.listing import list_target
from peerd.sim.host import Host
from tests.hostile.dags import DAGS, Dag

from .hosts import World, add, core, get, joined, opened

CPU_LIMIT_S = 10.0
READ_BYTES = 2**26


async def holding(world: World, dag: Dag) -> Host:
    (host,) = await joined(world, 1)
    await host.store.put_blocks([Block(Cid.from_bytes(cid), data) for cid, data in dag.blocks.items()])
    return host


async def got(host: Host, root: Cid) -> int:
    """How many bytes a get hands out, up to an error or a bound."""
    size = 0
    found = await opened(host, root.text, timeout_s=1)
    async with aclosing(found.tar() if found.kind == "directory" else found.body()) as pieces:
        async for piece in pieces:
            size += len(piece)
            await asyncio.sleep(1e-6)
            if size > READ_BYTES:
                break
    return size


async def test_the_same_directory_in_many_places_is_handed_out_and_not_without_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarring, "REPEATED_ENTRIES_MIN", 10)
    for size, places, fits in ((4, 6, True), (4, 12, False), (5000, 12, True)):
        leaf = raw_block(bytes([places]) * size)
        one = dag_pb_block(encode_node([encode_link(leaf.cid, b"%d" % n, size) for n in range(4)], DIRECTORY_DATA))
        links = [encode_link(one.cid, b"%02d" % n, 2**20) for n in range(places)]
        root = dag_pb_block(encode_node(links, DIRECTORY_DATA))
        host = await holding(world, Dag(root.cid, {each.cid.to_bytes(): each.data for each in (leaf, one, root)}))
        if fits:
            assert await got(host, root.cid) > 512 * 5 * places
            continue
        with pytest.raises(IntegrityError, match="repeats itself"):
            await got(host, root.cid)


@pytest.mark.parametrize("name", DAGS)
async def test_a_get_of_hostile_content_is_an_integrity_error_or_what_it_says(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarring, "REPEATED_ENTRIES_MIN", 1000)  # a bound that is reached sooner is a bound
    dag = DAGS[name]()
    host = await holding(world, dag)
    started = time.process_time()
    if dag.valid:
        assert await got(host, dag.root)
    else:
        with pytest.raises(IntegrityError):
            await got(host, dag.root)
    assert time.process_time() - started < CPU_LIMIT_S


@pytest.mark.parametrize("name", DAGS)
async def test_a_listing_of_hostile_content_ends_soon(world: World, name: str) -> None:
    dag = DAGS[name]()
    host = await holding(world, dag)
    started = time.process_time()
    try:
        assert len(await list_target(core(host), dag.root.text)) <= 1000
    except IntegrityError:
        assert not dag.valid
    except UsageError as error:
        assert "symbolic link" in error.message
    assert time.process_time() - started < CPU_LIMIT_S


async def test_a_directory_of_more_entries_than_are_listed_at_a_time_says_so(world: World) -> None:
    (host,) = await joined(world, 1)
    leaf = raw_block(b"x")
    builder = DirectoryBuilder()
    for number in range(30):
        builder.add(f"{number}", Node(leaf.cid, 1, 1, "file"))
    blocks, root = builder.finish()
    await host.store.put_blocks([leaf, *blocks])
    assert len(await list_target(core(host), root.cid.text)) == 30
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peerd.node.listing.ENTRIES_LISTED_MAX", 29)
        with pytest.raises(UsageError, match="30 entries"):
            await list_target(core(host), root.cid.text)


async def test_content_larger_than_all_room_is_handed_out_and_pushes_nothing_out(world: World) -> None:
    holder, *hosts = await joined(world, 9)
    found = [await add(holder, data) for data in (b"s" * 5000, bytes(3 * 2**20))]
    raws = [Cid.parse(each.cid).to_bytes() for each in found]
    (reader, *_) = [host for host in hosts if [await host.store.root(raw) for raw in raws] == [None, None]]
    assert await get(reader, found[0].cid) == b"s" * 5000
    before = (await reader.store.usage()).cache_bytes
    assert before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peerd.node.get.limit_bytes", lambda quota, reserve: 2**20)
        assert await get(reader, found[1].cid) == bytes(3 * 2**20)
        assert (await reader.store.usage()).cache_bytes == before
        with pytest.raises(NoRoomError):
            await get(reader, found[1].cid, pin=True)


@pytest.mark.parametrize(("claimed", "fits"), [(4 * 2**20, True), (3 * 2**20, True), (2 * 2**20, False)])
async def test_no_more_is_held_than_was_claimed(world: World, claimed: int, fits: bool) -> None:
    (host,) = await joined(world, 1)
    leaves = [raw_block(bytes([number]) * 2**20) for number in range(4)]
    links = [encode_link(leaf.cid, b"", 2**20) for leaf in leaves]
    root = dag_pb_block(encode_node(links, file_data([2**20] * 4)))
    await host.store.put_blocks([*leaves, root])

    async def nobody() -> list[Contact]:
        return []

    async with Fetcher(core(host), nobody) as fetcher:
        if fits:
            await copy_dag(core(host), root.cid, fetcher, size=claimed)
            return
        with pytest.raises(IntegrityError, match="larger"):
            await copy_dag(core(host), root.cid, fetcher, size=claimed)


async def test_very_many_tiny_blocks_are_no_more_than_was_claimed_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "CLAIMED_BLOCKS_MIN", 20)
    (host,) = await joined(world, 1)
    leaves = [raw_block(bytes([number])) for number in range(40)]
    links = [encode_link(leaf.cid, b"", 1) for leaf in leaves]
    root = dag_pb_block(encode_node(links, file_data([1] * 40)))
    await host.store.put_blocks([*leaves, root])
    for claimed, fits in ((40, False), (41 * 512, True)):
        async with Fetcher(core(host), lambda: asyncio.sleep(0, [])) as fetcher:
            if fits:
                await copy_dag(core(host), root.cid, fetcher, size=claimed)
                continue
            with pytest.raises(IntegrityError, match="larger"):
                await copy_dag(core(host), root.cid, fetcher, size=claimed)


@pytest.mark.parametrize(("name", "told"), [("depth_directories", True), ("wrong_tsize", False), ("dotdot", False)])
async def test_a_tar_that_breaks_off_between_entries_says_why(world: World, name: str, told: bool) -> None:
    dag = DAGS[name]()
    host = await holding(world, dag)
    sent = b""
    with pytest.raises(IntegrityError) as raised:
        async for piece in (await opened(host, dag.root.text)).tar():
            sent += piece
    assert (f" {tarring.ERROR_RECORD}={raised.value.message}\n".encode() in sent) == told
    assert told or not sent
