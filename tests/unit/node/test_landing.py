"""A file written where it is wanted while it is fetched: each byte once, of what was checked; errors are told."""

import asyncio
import errno
import random
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from peerd.content.cid import Cid
from peerd.content.layout import Layout
from peerd.errors import NoRoomError, PeerdError, StoreError, TimedOutError
from peerd.ids import peer_id_text
from peerd.node.landing import _Landing, land
from peerd.node.results import Put
from peerd.sim.host import Host

from .hosts import World, blocks_of, core, get, joined, opened, put

MIB = 2**20
CONTENT = random.Random(5).randbytes(9 * MIB + 77)
TWICE = CONTENT[: 2 * MIB] * 4 + CONTENT[: 5 * MIB]


class Target:
    """What was written where; `error` is what the disk says from byte `full_at` on."""

    def __init__(self, error: int | None = None, full_at: int = 3 * MIB) -> None:
        self.data = bytearray()
        self.written = 0
        self._error = error
        self._full_at = full_at

    def write(self, data: bytes, at: int) -> None:
        if self._error is not None and at >= self._full_at:
            raise OSError(self._error, "the disk says no")
        self.data.extend(bytes(max(0, at + len(data) - len(self.data))))
        self.data[at : at + len(data)] = data
        self.written += len(data)


@pytest.fixture(autouse=True)
def two_copies(world: World) -> None:
    world._settings = replace(world._settings, copies=2, repair_interval_s=3600.0)


def without(hosts: list[Host], stored: Put) -> Host:
    """Return a host that holds nothing of it."""
    return next(host for host in hosts[1:] if peer_id_text(host.identity.peer) not in stored.holders)


async def landed(host: Host, name: str, target: Target) -> list[int]:
    found = await opened(host, name, in_order=False)
    async with aclosing(land(found, target)) as counts:
        return [count async for count in counts]


@pytest.mark.parametrize("content", [CONTENT, TWICE, CONTENT[:MIB]], ids=["many", "repeated", "one"])
async def test_each_byte_is_written_once_and_a_copy_stays(world: World, content: bytes) -> None:
    hosts = await joined(world, 4)
    stored = await put(hosts[0], "big", content)
    getter = without(hosts, stored)
    target = Target()
    counts = await landed(getter, "big", target)
    assert bytes(target.data) == content
    assert target.written == len(content)
    assert counts == sorted(set(counts)) and counts[-1] == len(content)
    if len(content) > 2 * MIB:
        root = await core(getter).store.root(Cid.parse(stored.cid).to_bytes())
        assert root is not None and root.complete and root.class_ == "cache"
    again = Target()
    assert (await landed(getter, "big", again))[-1] == len(content)
    assert bytes(again.data) == content


@pytest.mark.parametrize(("error", "told"), [(errno.ENOSPC, NoRoomError), (errno.EIO, StoreError)])
@pytest.mark.parametrize("here", [False, True], ids=["fetched", "here"])
async def test_a_target_that_cannot_be_written_is_told_and_what_came_stays(
    world: World, error: int, told: type[PeerdError], here: bool
) -> None:
    hosts = await joined(world, 4)
    stored = await put(hosts[0], "big", CONTENT)
    getter = without(hosts, stored)
    if here:
        await get(getter, "big")
    with pytest.raises(told, match="file"):
        await landed(getter, "big", Target(error))
    assert await get(getter, "big") == CONTENT


async def test_what_could_not_be_written_is_not_counted() -> None:
    blocks = blocks_of(CONTENT[: 3 * MIB])
    layout = Layout(list(blocks)[-1])
    while (node := layout.wants) is not None:
        layout.give(blocks[node])
    landing = _Landing(layout, Target(errno.EIO, full_at=2 * MIB))
    for raw in layout.places:
        landing.take(raw, blocks[Cid.from_bytes(raw)])
    assert (landing.written, type(landing.error)) == (2 * MIB, StoreError)


async def test_what_was_here_before_is_not_fetched_again(world: World) -> None:
    hosts = await joined(world, 4)
    stored = await put(hosts[0], "big", CONTENT)
    getter = without(hosts, stored)
    async with aclosing((await opened(getter, "big")).body()) as body:
        async for _ in body:
            break  # some of it comes
    await asyncio.sleep(3)
    target = Target()
    await landed(getter, "big", target)
    assert bytes(target.data) == CONTENT
    assert target.written == len(CONTENT)


async def test_no_source_left_is_told_in_time(world: World) -> None:
    hosts = await joined(world, 4)
    stored = await put(hosts[0], "big", CONTENT)
    getter = without(hosts, stored)
    found = await opened(getter, "big", in_order=False, timeout_s=3.0)
    for host in hosts:
        if host is not getter:
            await host.crash(power=False)
    with pytest.raises((TimedOutError, PeerdError)):
        async with aclosing(land(found, Target())) as counts:
            async for _ in counts:
                pass


async def test_who_goes_away_ends_it_and_nothing_is_written_after(world: World) -> None:
    hosts = await joined(world, 4)
    stored = await put(hosts[0], "big", CONTENT)
    getter = without(hosts, stored)
    target = Target()
    async with aclosing(land(await opened(getter, "big", in_order=False), target)) as counts:
        async for _ in counts:
            break
    written = target.written
    await asyncio.sleep(5)
    assert target.written == written
