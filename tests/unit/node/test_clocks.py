"""Wrong clocks: a day behind, ten years ahead, stepped, drifting: nothing is lost, frozen, or ends early."""

import asyncio

import pytest

from peerd.errors import NotFoundError, StoreError
from peerd.node import holding
from peerd.sim.host import Host
from peerd.sim.world import World
from tests.unit.node.hosts import core, eventually, get, joined, kept, put, until

DAY_S = 86_400.0
TTL_S = 300


async def has(host: Host, name: str) -> bool:
    try:
        await get(host, name)
    except NotFoundError:
        return False
    return True


async def has_not(host: Host, name: str) -> bool:
    return not await has(host, name)


async def left(host: Host, name: str) -> int | None:
    record = await kept(host, name)
    assert record is not None
    return await holding.left_s(core(host), record)


@pytest.mark.parametrize("skew_s", [-DAY_S, 3_650 * DAY_S, 3_600.0])
async def test_a_wall_clock_that_is_wrong_or_steps_ends_nothing_early_and_freezes_nothing(
    world: World, skew_s: float
) -> None:
    hosts = await joined(world, 5)
    for host in hosts[:2]:
        host.clock.skew_s = skew_s
    await put(hosts[0], "short", b"x", ttl_s=TTL_S)
    await put(hosts[2], "also", b"x", ttl_s=TTL_S)
    await put(hosts[0], "ever", b"y" * 40_000)
    await asyncio.sleep(100)
    for host in hosts[1:3]:
        host.clock.skew_s += 3_600.0
    await asyncio.sleep(100)
    for host in hosts[:2]:
        host.clock.skew_s -= 7_200.0
    await asyncio.sleep(80)

    for host in hosts:
        assert await has(host, "short")
        assert await has(host, "also")
    await asyncio.sleep(30)
    for host in hosts:
        assert not await has(host, "short")
        assert not await has(host, "also")
        assert await get(host, "ever") == b"y" * 40_000


async def test_who_set_the_clock_back_is_still_heard(world: World) -> None:
    hosts = await joined(world, 4)
    wrong = hosts[3]
    wrong.clock.skew_s = 3_650 * DAY_S
    await put(wrong, "a", b"y" * 40_000)
    await wrong.stop()
    await until(lambda: core(hosts[0]).members.all[wrong.identity.peer].state == "left")
    await asyncio.sleep(20)
    wrong.clock.skew_s = -DAY_S
    await wrong.start()
    await until(lambda: core(hosts[0]).members.all[wrong.identity.peer].state == "alive")
    await asyncio.sleep(5)

    assert await get(wrong, "a") == b"y" * 40_000
    await wrong.stop()

    await until(lambda: core(hosts[0]).members.all[wrong.identity.peer].state == "left")


async def test_clocks_that_drift_end_a_life_when_most_say_so(world: World) -> None:
    hosts = await joined(world, 5)
    hosts[0].clock.drift(0.1)
    hosts[1].clock.drift(-0.1)
    await put(hosts[2], "a", b"x", ttl_s=TTL_S)
    await asyncio.sleep(TTL_S * 0.95)
    assert await kept(hosts[0], "a") is None, "its clock said so"

    for host in hosts:
        assert await has(host, "a")
    await asyncio.sleep(TTL_S * 0.05 + 15)

    for host in hosts:
        assert not await has(host, "a")
    assert await eventually(lambda: has_not(hosts[1], "a")) < 1


async def test_who_was_down_learns_how_long_a_record_still_lives(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"x", ttl_s=TTL_S)
    await hosts[4].crash(power=False)
    await asyncio.sleep(200)
    await hosts[4].start()
    assert await left(hosts[4], "a") > TTL_S - 20  # type: ignore[operator]

    await asyncio.sleep(15)

    assert abs(await left(hosts[4], "a") - await left(hosts[0], "a")) <= 6  # type: ignore[operator]


async def test_who_was_down_learns_that_too_where_its_disk_cannot_be_read_at_first(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"x", ttl_s=TTL_S)
    await hosts[4].crash(power=False)
    await asyncio.sleep(100)

    def fail(operation: str) -> None:
        if operation == "records":
            raise StoreError("input/output error")

    hosts[4].store.fault = fail
    await hosts[4].start()
    await asyncio.sleep(5)
    hosts[4].store.fault = None
    await asyncio.sleep(90)

    assert abs(await left(hosts[4], "a") - await left(hosts[0], "a")) <= 6  # type: ignore[operator]


async def test_what_has_ended_meanwhile_does_not_come_back_with_who_was_down(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"x", ttl_s=60)
    await hosts[4].crash(power=False)
    await asyncio.sleep(120)
    await hosts[4].start()
    assert await left(hosts[4], "a") > 30  # type: ignore[operator]
    await asyncio.sleep(5)

    for host in hosts:
        assert not await has(host, "a")

    async def forgotten() -> bool:
        return await kept(hosts[4], "a") is None

    await eventually(forgotten)
    for host in hosts:
        assert not await has(host, "a")
