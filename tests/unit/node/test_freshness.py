"""Where a majority of the holders is not heard, an answer says for how long nobody could show that it is the newest."""

import asyncio
from typing import Literal

import pytest
from msgspec import UNSET

from peerd.sim.host import Host
from peerd.sim.world import World
from tests.unit.node.hosts import by_distance, joined, key_of, opened, put

CUT_S = 20.0
# Members are pinged in turn: so long ago each may have been heard last when they were cut off.
HEARD_EACH_S = 8.0


async def stale_s(host: Host, consistency: str = "quorum") -> float | None:
    found = (await opened(host, "a", consistency=consistency)).info.stale_since_s
    return None if found is UNSET else found  # type: ignore[return-value]


@pytest.mark.parametrize("consistency", ["quorum", "one"])
async def test_the_side_of_a_cut_with_few_holders_says_for_how_long(
    world: World, consistency: Literal["quorum", "one"]
) -> None:
    hosts = by_distance(await joined(world, 5), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"hello")
    few, most = hosts[:2], hosts[2:]
    world.network.part([[host.interface for host in few], [host.interface for host in most]])
    await asyncio.sleep(CUT_S)

    told = await stale_s(few[0], consistency)

    assert told is not None
    assert CUT_S - 1 <= told <= CUT_S + HEARD_EACH_S
    assert await stale_s(most[0], consistency) is None


async def test_who_said_goodbye_makes_nothing_doubtful(world: World) -> None:
    hosts = by_distance(await joined(world, 5), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"hello")
    for host in hosts[2:]:
        await host.stop()

    assert await stale_s(hosts[0]) is None


async def test_where_a_majority_is_heard_nothing_is_said(world: World) -> None:
    hosts = by_distance(await joined(world, 12), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"hello")
    for host in hosts[1:4]:
        await host.crash(power=True)
    await asyncio.sleep(CUT_S)

    assert await stale_s(hosts[-1]) is None
    assert await stale_s(hosts[0], "one") is None


async def test_the_moment_after_most_have_died_the_answer_says_so(world: World) -> None:
    hosts = by_distance(await joined(world, 8), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"hello")
    for host in hosts[1:6]:
        await host.crash(power=True)

    assert await stale_s(hosts[-1]) is not None
