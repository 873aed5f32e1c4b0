"""Content goes no faster than it may, up and down, whoever asks; small talk is not held up."""

import asyncio
import random

import pytest
from msgspec.structs import replace

from peerd.content.cid import Cid
from peerd.node.limiting import PIECE_LEAST_BYTES, SAVED_S, Limit

from .hosts import World, add, core, get, joined, put

MIB = 2**20
RATE = 2 * MIB
CONTENT = random.Random(4).randbytes(8 * MIB)


async def test_so_much_a_second_and_a_little_saved() -> None:
    limit, loop = Limit(1000), asyncio.get_running_loop()
    began = loop.time()
    for _ in range(10):
        await limit.take(500)
    assert loop.time() - began == pytest.approx(5.0, abs=SAVED_S)
    await asyncio.sleep(100)
    began = loop.time()
    await limit.take(1000)
    assert loop.time() - began == pytest.approx(1.0 - SAVED_S)


async def test_without_a_rate_nobody_waits() -> None:
    limit, loop = Limit(None), asyncio.get_running_loop()
    began = loop.time()
    await limit.take(10**12)
    assert loop.time() == began
    assert limit.piece_bytes(77) == 77
    assert Limit(1).piece_bytes(10**6) == PIECE_LEAST_BYTES


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_get_takes_as_long_as_the_rate_says(world: World, way: str, in_order: bool) -> None:
    world._settings = replace(world._settings, copies=2, repair_interval_s=3600.0)
    hosts = await joined(world, 4)
    stored = await add(hosts[0], CONTENT)
    root = Cid.parse(stored.cid)
    reader = [host for host in hosts if not (await host.store.has_blocks([root]))[0]][0]  # noqa: RUF015
    having = sum([(await host.store.has_blocks([root]))[0] for host in hosts])
    for host in hosts:
        limits = core(host).sharing.limits
        if way == "up" and host is not reader:
            limits.up.bytes_per_s = RATE // having
        if way == "down" and host is reader:
            limits.down.bytes_per_s = RATE
    sent = sum(host.interface.streamed_bytes for host in hosts)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await get(reader, stored.cid, in_order=in_order) == CONTENT
    took_s = loop.time() - began
    sent = sum(host.interface.streamed_bytes for host in hosts) - sent
    least_s = len(CONTENT) / RATE - 1
    assert least_s < took_s < 2.0 * least_s + 2, took_s
    # Who reads in order asks others for the first blocks as soon as they are late, while nobody knows how slow all are.
    assert sent < (2.0 if in_order else 1.2) * len(CONTENT), sent / len(CONTENT)


async def test_names_are_read_and_written_at_once_while_a_slow_transfer_runs(world: World) -> None:
    world._settings = replace(world._settings, copies=1, repair_interval_s=3600.0)
    hosts = await joined(world, 3)
    stored = await add(hosts[0], CONTENT)
    root = Cid.parse(stored.cid)
    reader = [host for host in hosts if not (await host.store.has_blocks([root]))[0]][0]  # noqa: RUF015
    core(reader).sharing.limits.down.bytes_per_s = RATE
    loop = asyncio.get_running_loop()
    getting = loop.create_task(get(reader, stored.cid))
    await asyncio.sleep(0.5)
    began = loop.time()
    await put(hosts[1], "motd", b"hello")
    assert await get(reader, "motd") == b"hello"
    assert loop.time() - began < 0.2
    assert await getting == CONTENT
