"""Copies of content are placed in bounded time, whatever those say that are asked to hold it."""

import asyncio

import pytest

from peerd.content.cid import Cid
from peerd.errors import UnreachableError
from peerd.sim.host import Host
from peerd.wire import frames
from tests.hostile.base import HonestBytes, Liar
from tests.hostile.clan import Clan
from tests.unit.node.hosts import World, add, contact_of, core, joined

CONTENT = b"x" * 50_000


class NeverDone(Liar):
    """Says for ever that it goes on with what it is to hold, and never answers what it is to prove."""

    name = "never done"

    async def hold(self, connection: object, body: object, honest: HonestBytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def tell(self, peer: object, kind: int, payload: bytes, honest: HonestBytes) -> bytes:
        if kind == frames.PROVE:
            await asyncio.Event().wait()
        return await honest()


def lying(host: Host) -> None:
    NeverDone().install(core(host), Clan())


@pytest.mark.parametrize("liars", [1, 2])
async def test_a_holder_that_goes_on_for_ever_does_not_keep_a_put_from_ending(world: World, liars: int) -> None:
    alice, *others = await joined(world, 6)
    for host in others[:liars]:
        lying(host)
    for at in range(4):
        async with asyncio.timeout(75):
            done = await add(alice, CONTENT + bytes([at]))
        assert done.copies == 3


async def test_where_nobody_else_is_left_a_put_ends_with_the_copies_there_are(world: World) -> None:
    alice, _, mallory = await joined(world, 3)
    lying(mallory)
    async with asyncio.timeout(75):
        done = await add(alice, CONTENT)
    assert done.copies == 2


async def test_an_answer_that_is_always_still_to_come_is_not_waited_for(world: World) -> None:
    alice, mallory = await joined(world, 2)
    root = Cid.parse((await add(alice, CONTENT)).cid).to_bytes()
    lying(mallory)
    connection = await core(alice).bulk.get(contact_of(mallory))
    asked = asyncio.create_task(connection.ask(frames.PROVE, bytes(16) + root))
    for _ in range(60):
        await asyncio.sleep(1)
        if asked.done():
            break
        connection.used_at = asyncio.get_running_loop().time()
        await connection._on_answer(frames.PROGRESS, connection._next_rid, b"")
    with pytest.raises(UnreachableError):
        asked.result()
