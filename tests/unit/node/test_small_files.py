"""Many small files: what they cost in looks at the store and in pieces of an answer, not in seconds."""

import asyncio
import io
import tarfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from peerd.content.block import Block
from peerd.content.build import DirectoryBuilder, FileBuilder, small_file
from peerd.content.cid import Cid
from peerd.node.claims import make_claim
from peerd.node.placing import Content, keep_here, place
from peerd.node.results import GetOptions
from peerd.sim.host import Host
from peerd.sim.world import World

from .hosts import core, joined

FILES = 600
CHANGED = "0007-" + "n" * 80


async def held(host: Host) -> Cid:
    """A directory of small files that a host holds, announced."""
    builder, blocks = DirectoryBuilder(), []
    for number in range(FILES):
        file = FileBuilder()
        blocks += file.feed(content(number))
        last, node = file.finish()
        blocks += last
        builder.add(f"file{number:04}", node)
    last, node = builder.finish()
    blocks += last
    await host.store.put_blocks(blocks)
    await host.store.link_blocks(node.cid.to_bytes(), [block.cid.to_bytes() for block in blocks])
    claim = make_claim(core(host), node.cid, key=None, sequence=0, copies=1, name="")
    await keep_here(core(host), Content(node.cid, "directory", node.size, (claim,)), ours=True)
    await asyncio.sleep(1)
    return node.cid


def content(number: int) -> bytes:
    return number.to_bytes(4, "big") * 500


async def pieces_at(host: Host, cid: Cid) -> list[bytes]:
    assert host.peer is not None
    target = await host.peer.open(cid.text, GetOptions())
    return [piece async for piece in target.tar()]


def files_in(pieces: Sequence[bytes]) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar.getmembers()}  # type: ignore[union-attr]


async def test_a_directory_that_is_here_is_read_by_few_looks_and_sent_in_few_pieces(world: World) -> None:
    (alice,) = await joined(world, 1)
    cid = await held(alice)
    looks: Counter[str] = Counter()
    store = core(alice).store
    one, many = store.block, store.small_blocks

    async def block(wanted: Cid) -> bytes | None:
        looks["one"] += 1
        return await one(wanted)

    async def small_blocks(wanted: Sequence[Cid]) -> dict[Cid, bytes]:
        looks["many"] += 1
        return await many(wanted)

    store.block, store.small_blocks = block, small_blocks  # type: ignore[method-assign]
    pieces = await pieces_at(alice, cid)
    assert files_in(pieces) == {f"file{number:04}": content(number) for number in range(FILES)}
    assert looks["many"] <= FILES / 30
    assert looks["one"] <= 8
    assert len(pieces) < FILES / 15


async def test_a_directory_comes_from_another_whole_and_stays(world: World) -> None:
    alice, bob = await joined(world, 2)
    cid = await held(alice)
    wanted = {f"file{number:04}": content(number) for number in range(FILES)}
    assert files_in(await pieces_at(bob, cid)) == wanted
    await asyncio.sleep(1)
    await alice.crash(power=True)
    assert files_in(await pieces_at(bob, cid)) == wanted


async def test_a_copy_of_small_files_is_noted_and_linked_in_few_changes(world: World) -> None:
    alice, bob = await joined(world, 2)
    cid = await held(alice)
    changes: Counter[str] = Counter()
    store = core(bob).store
    put, link = store.put_blocks, store.link_blocks

    async def put_blocks(blocks: Sequence[Block], *, root: bytes | None = None, named: Sequence[bytes] = ()) -> None:
        changes["put"] += 1
        await put(blocks, root=root, named=named)

    async def link_blocks(root: bytes, cids: Sequence[bytes]) -> None:
        changes["link"] += 1
        await link(root, cids)

    store.put_blocks, store.link_blocks = put_blocks, link_blocks  # type: ignore[method-assign]
    claim = make_claim(core(alice), cid, key=None, sequence=0, copies=2, name="")
    placed = await place(core(alice), Content(cid, "directory", FILES * len(content(0)), (claim,)))
    assert len(placed.holders) == 2
    assert 0 < changes["put"] <= FILES / 100
    assert changes["link"] == 0
    root = await bob.store.root(cid.to_bytes())
    assert root is not None
    assert root.complete


def sharded() -> dict[str, bytes]:
    """So many names that the directory is sharded."""
    return {f"{number:04}-{'n' * 80}": number.to_bytes(4, "big") * 25 for number in range(2500)}


async def put_directory(host: Host, files: dict[str, bytes], *, copies: int = 2) -> Cid:
    """Blocks of a directory into a store, and copies of it placed."""
    builder, blocks = DirectoryBuilder(), []
    for name, data in files.items():
        block, file = small_file(data)
        blocks.append(block)
        builder.add(name, file)
    last, node = builder.finish()
    blocks += last
    await host.store.put_blocks(blocks, root=node.cid.to_bytes())
    claim = make_claim(core(host), node.cid, key=None, sequence=0, copies=copies, name="")
    await place(core(host), Content(node.cid, "directory", node.size, (claim,)))
    return node.cid


def sent(hosts: Sequence[Host]) -> int:
    return sum(host.interface.streamed_bytes for host in hosts)


async def test_of_a_changed_directory_holders_are_sent_the_changed_file_and_its_shards(world: World) -> None:
    hosts = await joined(world, 3)
    files = sharded()
    await put_directory(hosts[0], files, copies=3)
    await asyncio.sleep(2)
    before = sent(hosts)
    await put_directory(hosts[0], files | {CHANGED: b"changed"}, copies=3)
    await asyncio.sleep(2)
    assert sent(hosts) - before < sum(map(len, files.values())) / 4


async def test_a_reader_asks_for_many_files_together_and_of_a_changed_directory_for_what_changed(world: World) -> None:
    hosts = await joined(world, 5)
    files = sharded()
    changed = files | {CHANGED: b"changed"}
    first = await put_directory(hosts[0], files, copies=1)
    second = await put_directory(hosts[0], changed, copies=1)
    await asyncio.sleep(2)
    reader = [host for host in hosts[1:] if not await host.store.roots(None, 1)][0]  # noqa: RUF015
    asked: Counter[str] = Counter()
    for host in hosts:
        handler = core(host).bulk._handler
        handler.small_blocks = counting(handler.small_blocks, asked)  # type: ignore[method-assign]
    assert files_in(await pieces_at(reader, first)) == files
    assert 0 < asked["small"] < len(files) / 10
    await asyncio.sleep(2)
    before = sent(hosts)
    assert files_in(await pieces_at(reader, second)) == changed
    assert sent(hosts) - before < sum(map(len, files.values())) / 4


def counting(
    honest: Callable[[Sequence[bytes]], Awaitable[dict[bytes, bytes]]], asked: Counter[str]
) -> Callable[[Sequence[bytes]], Awaitable[dict[bytes, bytes]]]:
    async def small_blocks(cids: Sequence[bytes]) -> dict[bytes, bytes]:
        asked["small"] += 1
        return await honest(cids)

    return small_blocks


async def test_of_a_put_of_small_files_that_was_killed_nothing_is_left_and_the_next_is_whole(world: World) -> None:
    alice, bob = await joined(world, 2)
    files = sharded()
    store = core(bob).store
    put = store.put_blocks
    came = asyncio.Event()

    async def put_blocks(blocks: Sequence[Block], *, root: bytes | None = None, named: Sequence[bytes] = ()) -> None:
        await put(blocks, root=root, named=named)
        came.set()
        await asyncio.Event().wait()

    store.put_blocks = put_blocks  # type: ignore[method-assign]
    putting = asyncio.ensure_future(put_directory(alice, files))
    await came.wait()
    await alice.crash(power=True)
    await bob.crash(power=True)
    putting.cancel()
    await asyncio.gather(putting, return_exceptions=True)
    store.put_blocks = put  # type: ignore[method-assign]
    await alice.start()
    await bob.start()
    left = await bob.store.roots(None, 100)
    assert left, "some of it came"
    assert not any(root.complete for root in left)
    await asyncio.sleep(5)
    cid = await put_directory(alice, files)
    assert files_in(await pieces_at(bob, cid)) == files
    await asyncio.sleep(1)
    await alice.crash(power=True)
    assert files_in(await pieces_at(bob, cid)) == files
