"""Many small files: what they cost in looks at the store and in pieces of an answer, not in seconds."""

import asyncio
import io
import tarfile
from collections import Counter
from collections.abc import Sequence

from peerd.content.block import Block
from peerd.content.build import DirectoryBuilder, FileBuilder
from peerd.content.cid import Cid
from peerd.node.claims import make_claim
from peerd.node.placing import Content, keep_here, place
from peerd.node.results import GetOptions
from peerd.sim.host import Host
from peerd.sim.world import World

from .hosts import core, joined

FILES = 600


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
