"""Scrubbing: what is lost or rotten here comes back from those who have it."""

import asyncio
import random

from peerd.content.block import Block, raw_block
from peerd.content.cid import Cid
from peerd.content.read import DagWalk
from peerd.node.results import Verified
from peerd.node.scrubbing import NOTICED_MAX, Mending, Scrubbed, scrub_root, verify
from peerd.sim.host import Host

from .hosts import World, add, core, damaged, eventually, joined, kept, put

DATA = random.Random(3).randbytes(3 * 2**20 + 1)


async def blocks_under(world_store: object, root: Cid) -> list[Cid]:
    walk, found = DagWalk(root), []
    while not walk.done:
        cid = walk.wants(1)[0]
        walk.give(cid, await world_store.block(cid))  # type: ignore[attr-defined]
        found.append(cid)
    return found


async def test_a_lost_block_comes_back_from_another_holder(world: World) -> None:
    hosts = await joined(world, 3)
    root = Cid.parse((await add(hosts[0], DATA)).cid)
    cids = await blocks_under(hosts[1].store, root)
    await hosts[1].store.delete_blocks(cids[1:3])
    assert await scrub_root(core(hosts[1]), root) == Scrubbed(blocks=len(cids), damaged=2, mended=2)
    assert await hosts[1].store.has_blocks(cids) == [True] * len(cids)


async def test_sound_content_is_only_read(world: World) -> None:
    hosts = await joined(world, 3)
    root = Cid.parse((await add(hosts[0], DATA)).cid)
    assert await scrub_root(core(hosts[1]), root) == Scrubbed(blocks=5)


async def test_what_nobody_has_any_more_is_lost_and_no_copy_any_more(world: World) -> None:
    hosts = await joined(world, 1)
    root = Cid.parse((await add(hosts[0], DATA)).cid)
    await hosts[0].store.delete_blocks((await blocks_under(hosts[0].store, root))[1:2])
    found = await verify(core(hosts[0]))
    assert (found.blocks, found.damaged, found.mended, found.lost) == (5, 1, 0, 1)
    kept = await hosts[0].store.root(root.to_bytes())
    assert kept is not None
    assert not kept.complete


async def test_what_was_lost_here_is_looked_for_again_and_said_until_it_is_whole(world: World) -> None:
    hosts = await joined(world, 3)
    root = Cid.parse((await add(hosts[0], DATA)).cid)
    lost = (await blocks_under(hosts[0].store, root))[1]
    data = await hosts[0].store.block(lost)
    assert data is not None
    for host in hosts:
        await host.store.delete_blocks([lost])
    assert [(await verify(core(host))).lost for host in hosts] == [1, 1, 1]
    # Asked again, it is still lost, and not sound because it is known.
    assert (await verify(core(hosts[0]))).lost == 1
    assert hosts[1].peer is not None
    await asyncio.sleep(3)
    told = await hosts[1].peer.status()
    assert told.health == "1 piece of content is damaged here and not found whole elsewhere"
    assert (told.repair.missing_copies, told.repair.may_fail) == (1, 0)
    await core(hosts[2]).room.put_blocks([Block(lost, data)])
    assert (await verify(core(hosts[2]))).lost == 0
    await eventually(lambda: _is_whole(hosts, root), within_s=2 * hosts[0].settings.repair_interval_s)
    assert [(await verify(core(host))).damaged for host in hosts] == [0, 0, 0]

    async def is_safe() -> bool:  # its own next round counts the others
        assert hosts[1].peer is not None
        return (await hosts[1].peer.status()).health == "all keys safe, 2 machines may fail"

    await eventually(is_safe, within_s=2 * hosts[1].settings.repair_interval_s)


async def _is_whole(hosts: list[Host], root: Cid) -> bool:
    return all([(kept := await h.store.root(root.to_bytes())) is not None and kept.complete for h in hosts])


async def test_verifying_mends_blocks_of_all_roots_and_counts_them(world: World) -> None:
    hosts = await joined(world, 3)
    first, second = [Cid.parse((await add(hosts[0], data)).cid) for data in (DATA, DATA[: 2**21])]
    mine = hosts[2].store
    await mine.delete_blocks([(await blocks_under(mine, first))[4], (await blocks_under(mine, second))[0]])
    found = await verify(core(hosts[2]))
    assert (found.damaged, found.mended, found.lost) == (2, 2, 0)
    assert await verify(core(hosts[2])) == Verified(blocks=8, records=0, damaged=0, mended=0, lost=0)


async def asked_for(host: Host, cid: Cid) -> bytes | None:
    """What a host answers another peer that wants a block."""
    return await core(host).bulk._handler.block(cid.to_bytes())


async def test_what_another_peer_asks_for_and_is_lost_comes_back_at_once(world: World) -> None:
    hosts = await joined(world, 3)
    roots = [Cid.parse((await add(hosts[0], data)).cid) for data in (DATA, DATA[: 2**21])]
    mine = hosts[1].store
    shared = (await blocks_under(mine, roots[1]))[1]
    assert len(await mine.roots_with_block(shared.to_bytes(), 9)) == 2
    await mine.delete_blocks([shared])
    assert await asked_for(hosts[1], shared) is None
    await asyncio.sleep(2)
    assert await mine.has_blocks([shared]) == [True]
    assert all([(kept := await mine.root(root.to_bytes())) is not None and kept.complete for root in roots])


async def test_what_another_peer_asks_for_and_nobody_has_is_no_copy_any_more(world: World) -> None:
    (alone,) = await joined(world, 1)
    root = Cid.parse((await add(alone, DATA)).cid)
    lost = (await blocks_under(alone.store, root))[1]
    await alone.store.delete_blocks([lost])
    assert await asked_for(alone, lost) is None
    assert await asked_for(alone, Cid.parse((await add(alone, DATA[:70_000])).cid)) is not None
    await asyncio.sleep(60)
    kept = await alone.store.root(root.to_bytes())
    assert kept is not None
    assert not kept.complete


async def test_of_blocks_that_were_never_here_only_so_many_are_looked_at(world: World) -> None:
    (alone,) = await joined(world, 1)
    mending = Mending(core(alone))
    for number in range(NOTICED_MAX + 100):
        mending.noticed(raw_block(b"%d" % number).cid.to_bytes())
    assert len(mending._noticed) == NOTICED_MAX
    await asyncio.sleep(1)
    assert (mending._noticed, mending._runs) == ({}, False)


async def test_a_record_whose_bytes_rotted_is_read_again(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"value")
    record = await kept(hosts[1], "a")
    assert record is not None
    row = (await hosts[1].store.history(record.key))[0].row
    await hosts[1].store.put_record(record.key, damaged(record.raw), row=row)
    found = await verify(core(hosts[1]))
    assert (found.records, found.damaged, found.mended, found.lost) == (1, 1, 1, 0)
    assert await kept(hosts[1], "a") == record


async def test_a_record_that_rotted_at_its_only_holder_is_lost_not_served(world: World) -> None:
    (alone,) = await joined(world, 1)
    await put(alone, "a", b"value")
    record = await kept(alone, "a")
    assert record is not None
    row = (await alone.store.history(record.key))[0].row
    await alone.store.put_record(record.key, damaged(record.raw), row=row)
    found = await verify(core(alone))
    assert (found.damaged, found.mended, found.lost) == (1, 0, 1)
    assert await kept(alone, "a") is None
