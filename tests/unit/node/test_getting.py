"""Putting and getting whole: ranges, what is kept where, what failed puts leave alone, directories as tars."""

import asyncio
import hashlib
import io
import random
import tarfile
from collections.abc import AsyncIterator

import pytest

from peerd.content.block import Block, raw_block
from peerd.content.build import DirectoryBuilder, FileBuilder
from peerd.content.cid import DAG_PB, Cid
from peerd.errors import IntegrityError, NotFoundError, TooFewCopiesError, UsageError
from peerd.node.claims import make_claim
from peerd.node.ingest import INLINE_MAX_BYTES
from peerd.node.names import shared_name
from peerd.node.placing import Content, keep_here
from peerd.node.put import _inline_room
from peerd.node.results import GetOptions, PutOptions
from peerd.sim.host import Host

from .hosts import World, add, blocks_of, core, get, joined, kept, opened, put, serving

BIG = random.Random(1).randbytes(3 * 2**20 + 11)
SMALL = b"hello world"

RANGES = [
    (0, None),
    (0, 0),
    (0, 1),
    (5, 3),
    (2**20 - 1, 2),
    (2**20, 2**20),
    (len(BIG) - 1, 1),
    (len(BIG) - 1, 100),
    (len(BIG), 1),
    (len(BIG) + 5, None),
    (2**20 + 5, None),
    (0, len(BIG)),
    (0, 10**9),
]


@pytest.mark.parametrize(("offset", "length"), RANGES)
async def test_a_range_is_that_range_of_the_bytes(world: World, offset: int, length: int | None) -> None:
    hosts = await joined(world, 4)
    await put(hosts[0], "big", BIG)
    await put(hosts[0], "small", SMALL)
    for host in (hosts[0], hosts[3]):
        for name, data in (("big", BIG), ("small", SMALL)):
            found = await opened(host, name)
            got = b"".join([piece async for piece in found.body(offset, length)])
            assert got == data[offset : None if length is None else offset + length]


async def test_a_range_fetches_only_what_it_needs(world: World) -> None:
    hosts = await joined(world, 6)
    result = await put(hosts[0], "big", BIG)
    asked = [serving(host, lambda cid, data: data) for host in hosts]
    reader = _without(hosts, result.holders)
    found = await opened(reader, "big")
    assert b"".join([piece async for piece in found.body(2**20 + 5, 10)]) == BIG[2**20 + 5 : 2**20 + 15]
    assert len({cid for each in asked for cid in each}) == 2


def _without(hosts: list[Host], holders: list[str]) -> Host:
    return next(host for host in hosts[1:] if host.id_text not in holders)


@pytest.mark.parametrize("size", [0, 1, INLINE_MAX_BYTES, INLINE_MAX_BYTES + 1, 2**20, 2**20 + 1])
async def test_every_size_comes_back_at_every_peer(world: World, size: int) -> None:
    hosts = await joined(world, 5)
    data = random.Random(size).randbytes(size)
    result = await put(hosts[0], "a", data)
    assert (result.size, result.cid) == (size, next(reversed(blocks_of(data))).text)
    for host in hosts:
        assert await get(host, "a") == data
        assert await get(host, result.cid) == data


@pytest.mark.parametrize("name", ["n", "n" * 100, "n" * 255])
async def test_what_fits_its_record_rides_in_it_and_one_byte_more_is_content(world: World, name: str) -> None:
    (alice,) = await joined(world, 1)
    room = _inline_room(shared_name(core(alice), name))
    for size, inline in ((room, True), (INLINE_MAX_BYTES + 1, False)):
        await put(alice, name, b"x" * size)
        assert await get(alice, name) == b"x" * size
        record = await kept(alice, name)
        assert record is not None
        assert (len(record.body.value) == size) == inline
    largest = 0
    for size in range(room, INLINE_MAX_BYTES + 1):
        await put(alice, name, b"x" * size)
        assert await get(alice, name) == b"x" * size
        record = await kept(alice, name)
        assert record is not None
        if len(record.body.value) == size:
            largest = size
            assert len(record.raw) <= 1024
    assert largest >= room


async def test_what_was_got_is_kept_as_a_cached_copy_and_announced(world: World) -> None:
    hosts = await joined(world, 6)
    result = await put(hosts[0], "a", BIG)
    reader = _without(hosts, result.holders)
    found = await opened(reader, "a")
    assert found.info.source == "peer"
    assert await get(reader, "a") == BIG
    await asyncio.sleep(1)
    again = await opened(reader, "a")
    assert again.info.source == "cache"
    assert hosts[0].peer is not None
    stat = await hosts[0].peer.stat("a")
    assert reader.id_text in [holder.id for holder in stat.holders if holder.kind == "cache"]
    assert stat.copies == 3


async def test_who_hangs_up_having_been_given_all_does_not_end_the_cached_copy(world: World) -> None:
    hosts = await joined(world, 6)
    for name, data in {"small": BIG[:300_000], "big": BIG}.items():
        reader = _without(hosts, (await put(hosts[0], name, data)).holders)
        reader.store.sync_delay = lambda: 0.2

        async def read(reader: Host = reader, name: str = name, size: int = len(data)) -> None:
            async for piece in (await opened(reader, name)).body():
                size -= len(piece)
                if size == 0:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(read())
        await asyncio.sleep(3)
        assert (await opened(reader, name)).info.source == "cache"


async def test_with_no_cache_nothing_is_kept(world: World) -> None:
    hosts = await joined(world, 6)
    result = await put(hosts[0], "a", BIG)
    reader = _without(hosts, result.holders)
    assert await get(reader, "a", cache=False) == BIG
    assert not any(await reader.store.has_blocks(list(blocks_of(BIG))))


async def test_a_full_peer_reads_though_it_can_keep_nothing(world: World) -> None:
    hosts = await joined(world, 6)
    result = await put(hosts[0], "a", BIG)
    reader = _without(hosts, result.holders)
    reader.store.quota_bytes = 1
    assert await get(reader, "a") == BIG


async def test_a_directory_has_no_bytes_and_a_file_no_entries(world: World) -> None:
    hosts = await joined(world, 1)
    await put(hosts[0], "a", SMALL)
    found = await opened(hosts[0], "a")
    with pytest.raises(UsageError):
        async for _ in found.tar():
            pass


# Puts that fail.


async def test_a_put_that_is_cancelled_leaves_no_name_and_no_block(world: World) -> None:
    hosts = await joined(world, 3)
    content = random.Random(7).randbytes(9 * 2**20)
    begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 2**20):
            yield content[at : at + 2**20]
            await asyncio.sleep(0.01)
        begun.set()
        await asyncio.sleep(3600)

    assert hosts[0].peer is not None
    putting = asyncio.create_task(hosts[0].peer.put("a", body(), form="file", options=PutOptions()))
    await begun.wait()
    assert any(await hosts[0].store.has_blocks(list(blocks_of(content)))), "some was written already"
    putting.cancel()
    await asyncio.gather(putting, return_exceptions=True)
    await asyncio.sleep(5)
    for host in hosts:
        assert await kept(host, "a") is None
        assert not any(await host.store.has_blocks(list(blocks_of(content))))
        with pytest.raises(NotFoundError):
            await get(host, "a")


async def test_a_put_whose_body_breaks_leaves_the_old_version(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"old")

    async def body() -> AsyncIterator[bytes]:
        yield BIG
        raise UsageError("the client went away")

    assert hosts[0].peer is not None
    with pytest.raises(UsageError):
        await hosts[0].peer.put("a", body(), form="file", options=PutOptions())
    await asyncio.sleep(5)
    assert [await get(host, "a") for host in hosts] == [b"old"] * 3


@pytest.mark.parametrize(
    "options",
    [
        {"ttl_s": 0},
        {"require": 0},
    ],
)
async def test_options_that_cannot_be_honoured_are_refused_before_anything_is_read(
    world: World, options: dict[str, object]
) -> None:
    (alice,) = await joined(world, 1)
    with pytest.raises(UsageError):
        await put(alice, "a", SMALL, **options)
    assert await kept(alice, "a") is None


async def test_content_on_fewer_copies_than_required_is_told_and_stays(world: World) -> None:
    hosts = await joined(world, 2)
    with pytest.raises(TooFewCopiesError) as raised:
        await put(hosts[0], "a", BIG, require=3)
    assert raised.value.reached["copies"] == 2
    assert await get(hosts[1], "a") == BIG


async def test_a_holder_without_room_leaves_its_share_to_another(world: World) -> None:
    hosts = await joined(world, 6)
    first = await add(hosts[0], BIG)
    full = next(host for host in hosts[1:] if host.id_text in first.holders)
    assert hosts[0].peer is not None
    await hosts[0].peer.remove(first.cid, PutOptions())
    await full.store.release_root(Cid.parse(first.cid).to_bytes())
    full.store.quota_bytes = 2**16
    result = await put(hosts[0], "a", BIG)
    assert result.copies == 3
    assert full.id_text not in result.holders
    assert not any(await full.store.has_blocks(list(blocks_of(BIG))))


async def test_with_a_ttl_a_record_ends_and_without_it_stays(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "short", SMALL, ttl_s=30)
    await put(hosts[0], "long", SMALL)
    await asyncio.sleep(20)
    assert await get(hosts[1], "short") == SMALL
    await asyncio.sleep(30)
    for host in hosts:
        with pytest.raises(NotFoundError):
            await get(host, "short")
        assert await get(host, "long") == SMALL


# Directories. A simulated host cannot read a tar (that needs a thread): the directory is put there block by block.


def tar_of(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


FILES = {
    "a": b"hello",
    "sub/b": BIG,
    "sub/deep/er/c": b"",
    "sub/same": b"hello",
    **{f"many/{number:03}": bytes([number]) * 2000 for number in range(40)},
}
LINKS = {"link": "../outside", "sub/rel": "b"}


async def held_directory(hosts: list[Host]) -> Cid:
    """A directory of FILES and LINKS that the first host holds, announced."""
    builder = DirectoryBuilder()
    blocks = []
    for path, data in FILES.items():
        file = FileBuilder()
        blocks += file.feed(data)
        last, node = file.finish()
        blocks += last
        builder.add(path, node)
    for path, target in LINKS.items():
        builder.add_symlink(path, target)
    last, node = builder.finish()
    blocks += list(last)
    store = hosts[0].store
    await store.put_blocks(blocks)
    await store.link_blocks(node.cid.to_bytes(), [block.cid.to_bytes() for block in blocks])
    claim = make_claim(core(hosts[0]), node.cid, key=None, sequence=0, copies=1, name="")
    await keep_here(core(hosts[0]), Content(node.cid, "directory", node.size, (claim,)), ours=True)
    await asyncio.sleep(1)
    return node.cid


async def tar_at(host: Host, cid: Cid, **options: object) -> bytes:
    assert host.peer is not None
    found = await host.peer.open(cid.text, GetOptions(**options))  # type: ignore[arg-type]
    assert found.kind == "directory"
    return b"".join([piece async for piece in found.tar()])


async def test_a_directory_comes_back_as_a_tar_of_its_entries(world: World) -> None:
    hosts = await joined(world, 3)
    cid = await held_directory(hosts)
    data = await tar_at(hosts[2], cid)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {member.name: member for member in tar}
        got = {name: tar.extractfile(member).read() for name, member in members.items() if member.isreg()}  # type: ignore[union-attr]
    assert got == FILES
    assert {name: member.linkname for name, member in members.items() if member.issym()} == LINKS
    assert {name for name, member in members.items() if member.isdir()} == {"sub", "sub/deep", "sub/deep/er", "many"}


async def test_each_block_of_a_directory_is_fetched_once(world: World) -> None:
    hosts = await joined(world, 2)
    cid = await held_directory(hosts)
    asked = serving(hosts[0], lambda cid, data: data)
    await tar_at(hosts[1], cid)
    twice = [each for each in set(asked) if asked.count(each) > 1]
    assert twice == []


async def test_a_got_directory_is_a_whole_cached_copy(world: World) -> None:
    hosts = await joined(world, 3)
    cid = await held_directory(hosts)
    await tar_at(hosts[2], cid)
    await asyncio.sleep(1)
    await hosts[0].crash(power=False)
    assert len(await tar_at(hosts[1], cid)) > len(BIG)


async def test_a_listing_names_kinds_and_sizes(world: World) -> None:
    hosts = await joined(world, 2)
    cid = await held_directory(hosts)
    assert hosts[1].peer is not None
    asked = serving(hosts[0], lambda _, data: data)
    entries = {entry.name: (entry.kind, entry.size) for entry in await hosts[1].peer.list(cid.text)}
    assert entries["a"] == ("file", 5)
    assert entries["link"][0] == "symlink"
    # A directory is as large as the files below it, and no block of a file was fetched to tell.
    assert entries["sub"] == ("directory", sum(len(data) for path, data in FILES.items() if path.startswith("sub/")))
    assert not {block.cid for block in map(raw_block, FILES.values())} & {Cid.from_bytes(each) for each in asked}


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\x00b", "x" * 300])
async def test_a_directory_with_a_hostile_name_delivers_nothing_under_it(world: World, name: str) -> None:
    leaf = raw_block(b"evil")
    raw = _directory_block(name.encode(), leaf.cid)
    root = Cid(DAG_PB, hashlib.sha256(raw).digest())
    hosts = await joined(world, 2)
    await hosts[0].store.put_blocks([leaf, Block(root, raw)])
    delivered = b""
    with pytest.raises(IntegrityError):
        found = await opened(hosts[0], root.text)
        async for piece in found.tar():
            delivered += piece
    assert b"evil" not in delivered


def _directory_block(name: bytes, cid: Cid) -> bytes:
    """A dag-pb directory with one entry (protobuf, by hand)."""

    def field(number: int, value: bytes) -> bytes:
        return _varint(number << 3 | 2) + _varint(len(value)) + value

    link = field(1, cid.to_bytes()) + field(2, name) + b"\x18\x04"
    return field(2, link) + field(1, b"\x08\x01")


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
