"""A whole file from all who have it or fetch it too: a crowd serves itself; the slow, dead and lying cost little."""

import asyncio
import random
from unittest import mock

import pytest
from msgspec.structs import replace

from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.errors import TimedOutError, UnreachableError
from peerd.ids import PeerId
from peerd.node.bulk import BulkConnection
from peerd.node.filling import LATE_LAST_MIN_S
from peerd.node.slots import Slots
from peerd.sim.faults import Faults
from peerd.sim.host import Host

from .hosts import World, add, blocks_of, by_distance, contact_of, core, get, joined, opened, until

MIB = 2**20
RATE_MBIT = 100.0
CONTENT = random.Random(3).randbytes(16 * MIB)
SMALL = CONTENT[: 6 * MIB]


async def crowd(world: World, count: int, data: bytes = CONTENT) -> tuple[str, Host, list[Host]]:
    """The CID of content that one host has, that host, and the others, which have it not."""
    hosts = await joined(world, count)
    stored = await add(hosts[0], data)
    root = Cid.parse(stored.cid)
    origin = by_distance(hosts, root.digest)[0]
    others = [host for host in hosts if host is not origin]
    for host in others:
        for each in await host.store.roots(None, 100):
            await host.store.delete_root(each.cid)
        await host.store.drop_unlinked(0.0)
        assert not any(await host.store.has_blocks([root]))
    assert (await origin.store.root(root.to_bytes())) is not None
    world.set_faults(Faults(bandwidth_mbit=RATE_MBIT))
    return stored.cid, origin, others


@pytest.fixture
def one_copy(world: World) -> None:
    world._settings = replace(world._settings, copies=1, repair_interval_s=3600.0)


pytestmark = pytest.mark.usefixtures("one_copy")


async def timed(host: Host, cid: str, data: bytes = CONTENT) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await get(host, cid, in_order=False) == data
    return loop.time() - began


async def test_a_crowd_gets_it_in_little_more_than_one_alone(world: World) -> None:
    cid, origin, others = await crowd(world, 12)
    before = {host: host.interface.streamed_bytes for host in (origin, *others)}
    took = await asyncio.gather(*(timed(host, cid) for host in others))
    alone_s = len(CONTENT) * 8 / (RATE_MBIT * 1e6)
    sent = {host: host.interface.streamed_bytes - at for host, at in before.items()}
    assert max(took) < 1.8 * alone_s, [each / alone_s for each in took]
    assert sent[origin] < 1.6 * len(CONTENT)
    assert sum(sent.values()) < 1.05 * len(others) * len(CONTENT), "hardly anything came twice"


async def test_what_nobody_waits_for_is_told_together(world: World) -> None:
    cid, _, others = await crowd(world, 12)
    told = 0
    honest = BulkConnection.tell

    async def counted(self: BulkConnection, frames: bytes) -> None:
        nonlocal told
        told += 1
        await honest(self, frames)

    with mock.patch.object(BulkConnection, "tell", counted):
        await asyncio.gather(*(timed(host, cid) for host in others))
    # Were each block told by itself it would be some 2600.
    assert told < 1800, told


async def test_one_alone_waits_for_nothing_but_the_wire(world: World) -> None:
    cid, _, (reader, *_) = await crowd(world, 2)
    world.set_faults(Faults(bandwidth_mbit=100 * RATE_MBIT))
    assert await timed(reader, cid) < 0.2, "leave to send the next is there before the last has come"


async def test_one_that_dies_one_that_lies_and_one_that_is_silent_cost_a_moment(world: World) -> None:
    cid, _, others = await crowd(world, 8)
    dies, lies, silent, *honest = others

    async def wrong(named: Cid) -> bytes | None:
        return bytes(MIB)

    await asyncio.gather(*(timed(host, cid) for host in (dies, lies, silent)))
    lies.store.block = lies.store.block_to_send = wrong  # type: ignore[method-assign]
    core(silent).sharing.slots = Slots(0)
    for shared in core(silent).sharing._roots.values():
        shared._turns = shared._slots = Slots(0)
    loop = asyncio.get_running_loop()
    loop.call_later(0.4, lambda: loop.create_task(dies.crash(power=True)))
    took = await asyncio.gather(*(timed(host, cid) for host in honest))
    alone_s = len(CONTENT) * 8 / (RATE_MBIT * 1e6)
    assert max(took) < 2 * alone_s, [each / alone_s for each in took]
    assert any(core(host).trust.faults_of(lies.identity.peer).get("wrong_block") for host in honest)


async def test_one_that_announces_blocks_and_never_sends_them_is_left_behind(world: World) -> None:
    cid, _, (mallory, reader, *_) = await crowd(world, 4)
    await timed(mallory, cid)

    async def never(self: BulkConnection, root: bytes, cid: bytes, data: bytes) -> None:
        if self.peer == reader.identity.peer and self._handler is core(mallory).bulk._handler:
            await asyncio.sleep(1000)
        await honest(self, root, cid, data)

    honest = BulkConnection.share
    with mock.patch.object(BulkConnection, "share", never):
        took = await timed(reader, cid)
    alone_s = len(CONTENT) * 8 / (RATE_MBIT * 1e6)
    assert took < alone_s + 1.5 * LATE_LAST_MIN_S


async def test_what_is_here_already_is_not_fetched_again(world: World) -> None:
    cid, origin, (reader, *_) = await crowd(world, 3, SMALL)
    leaves = [Block(each, data) for each, data in blocks_of(SMALL).items()][:4]
    await reader.store.put_blocks(leaves)
    before = origin.interface.streamed_bytes
    await timed(reader, cid, SMALL)
    assert origin.interface.streamed_bytes - before < len(SMALL) - 3.9 * MIB
    known = await reader.store.root(Cid.parse(cid).to_bytes())
    assert known is not None and known.complete, "kept as a cached copy"


async def test_where_nobody_shares_it_is_asked_for_by_name(world: World) -> None:
    cid, origin, (reader, *_) = await crowd(world, 3, SMALL)
    core(origin).sharing._serve = nothing  # type: ignore[method-assign]
    assert await timed(reader, cid, SMALL) < 3.0


async def nothing(root: bytes) -> None:
    return None


async def test_where_all_are_gone_it_ends_in_time_and_what_came_is_there_the_next_time(world: World) -> None:
    cid, origin, (reader, *_) = await crowd(world, 3)
    found = await opened(reader, cid, in_order=False, timeout_s=3.0)
    loop = asyncio.get_running_loop()
    loop.call_later(0.6, lambda: loop.create_task(origin.crash(power=True)))
    with pytest.raises((TimedOutError, UnreachableError)):
        async for _ in found.body():
            pass
    assert loop.time() < 1000
    await origin.start()
    await until(lambda: core(reader).members.contact(PeerId(origin.identity.peer)) is not None)
    await asyncio.sleep(5)
    before = origin.interface.streamed_bytes
    await timed(reader, cid)
    assert origin.interface.streamed_bytes - before < len(CONTENT) - 3 * MIB


async def test_a_block_that_nobody_gave_leave_for_ends_the_connection(world: World) -> None:
    cid, _, (reader, mallory, *_) = await crowd(world, 4, SMALL)
    root = Cid.parse(cid).to_bytes()
    connection = await core(mallory).bulk.get(contact_of(reader))
    await connection.share(root, next(iter(blocks_of(SMALL))).to_bytes(), b"unasked")
    await until(lambda: connection.closed)


async def test_reading_in_order_and_a_range_are_as_ever(world: World) -> None:
    cid, _, (reader, other, *_) = await crowd(world, 4, SMALL)
    assert await get(reader, cid) == SMALL
    found = await opened(other, cid, in_order=False)
    assert b"".join([piece async for piece in found.body(MIB - 5, 10)]) == SMALL[MIB - 5 : MIB + 5]
    assert core(other).sharing.get(Cid.parse(cid).to_bytes()) is None


async def test_a_cid_whose_holders_do_not_answer_is_asked_for_again_as_long_as_the_user_said(world: World) -> None:
    cid, origin, (reader, *others) = await crowd(world, 4, SMALL)
    for host in others:
        await host.crash(power=False)
    world.network.part([[origin.interface], [reader.interface]])
    with pytest.raises((TimedOutError, UnreachableError)):
        await opened(reader, cid)
    asyncio.get_running_loop().call_later(4.0, world.network.heal)
    assert await get(reader, cid, patience_s=30.0) == SMALL
