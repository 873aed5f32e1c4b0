"""Scrubbing: what is lost or rotten here comes back from those who have it."""

import random

import pytest

from peerd.content.cid import Cid
from peerd.content.read import DagWalk
from peerd.errors import TimedOutError
from peerd.node.scrubbing import scrub_root

from .hosts import World, add, core, joined

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
    assert await scrub_root(core(hosts[1]), root) == 2
    assert await hosts[1].store.has_blocks(cids) == [True] * len(cids)


async def test_sound_content_is_only_read(world: World) -> None:
    hosts = await joined(world, 3)
    root = Cid.parse((await add(hosts[0], DATA)).cid)
    assert await scrub_root(core(hosts[1]), root) == 0


async def test_what_nobody_has_any_more_is_told(world: World) -> None:
    hosts = await joined(world, 1)
    root = Cid.parse((await add(hosts[0], DATA)).cid)
    await hosts[0].store.delete_blocks((await blocks_under(hosts[0].store, root))[1:2])
    with pytest.raises(TimedOutError):
        await scrub_root(core(hosts[0]), root)
