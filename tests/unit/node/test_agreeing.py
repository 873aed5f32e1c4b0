"""Strong reads and writes (INTERFACE.md): conditions hold, a side without a majority refuses, nothing is doubled."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace as with_settings

from peerd.errors import ConflictError, NotFoundError, TimedOutError
from peerd.node.results import PutOptions
from peerd.sim.host import Host
from peerd.trust.register import State, decode_acceptor

from .hosts import World, by_distance, eventually, get, joined, kept, key_of, opened, put

STRONG = {"consistency": "strong"}


def brisk(world: World) -> World:
    """The world with short intervals, so that the dead are buried and replaced soon."""
    world._settings = with_settings(world._settings, suspect_timeout_s=2.0, repair_interval_s=5.0)
    return world


async def remove(host: Host, name: str, **options: Any) -> None:
    assert host.peer is not None
    await host.peer.remove(name, PutOptions(**options))


async def state_of(host: Host, name: str) -> State | None:
    return decode_acceptor(await host.store.register(key_of(host, name)), host.store.store_id).state


@pytest.mark.parametrize("count", [1, 2, 3, 10])
async def test_what_was_written_strongly_is_read_by_all(world: World, count: int) -> None:
    hosts = await joined(world, count)
    result = await put(hosts[0], "a", b"hello", **STRONG)
    assert result.copies == min(8, count)
    for host in hosts:
        assert await get(host, "a", **STRONG) == b"hello"
        assert await get(host, "a") == b"hello"
    record = await kept(by_distance(hosts, key_of(hosts[0], "a"))[0], "a")
    assert record is not None
    assert record.body.strong


async def test_a_condition_that_does_not_hold_is_a_conflict_and_changes_nothing(world: World) -> None:
    hosts = await joined(world, 5)
    first = await put(hosts[0], "a", b"one", if_version="none")
    with pytest.raises(ConflictError):
        await put(hosts[1], "a", b"other", if_version="none")
    second = await put(hosts[1], "a", b"two", if_version=first.version)
    with pytest.raises(ConflictError):
        await put(hosts[2], "a", b"three", if_version=first.version)
    assert await get(hosts[3], "a", **STRONG) == b"two"
    assert second.version != first.version


async def incremented(host: Host, name: str, times: int) -> int:
    """Add one to a counter again and again, as a script would; return how often it was not told whether it had."""
    unknown = 0
    done = 0
    while done < times:
        try:
            found = await opened(host, name, **STRONG)
        except TimedOutError:
            continue
        assert found.inline is not None
        try:
            await put(host, name, b"%d" % (int(found.inline) + 1), if_version=found.info.version)
        except ConflictError:
            continue
        except TimedOutError:
            unknown += 1
        done += 1
    return unknown


async def test_many_writers_of_one_counter_lose_and_double_nothing(world: World) -> None:
    hosts = await joined(world, 10)
    await put(hosts[0], "counter", b"0", if_version="none")
    work = [incremented(hosts[i % 10], "counter", 5) for i in range(20)]
    unknown = sum(await asyncio.gather(*work))
    assert unknown == 0
    assert await get(hosts[3], "counter", **STRONG) == b"100"


async def test_a_counter_loses_and_doubles_nothing_while_holders_die_and_join(world: World) -> None:
    hosts = await joined(brisk(world), 10)
    await put(hosts[0], "counter", b"0", if_version="none")
    near = by_distance(hosts, key_of(hosts[0], "counter"))
    work = [asyncio.ensure_future(incremented(near[-1 - i % 4], "counter", 6)) for i in range(20)]
    for dying in near[:3]:
        await asyncio.sleep(1.0)
        await dying.crash(power=True)
        await world.join()
    unknown = sum(await asyncio.gather(*work))
    value = int(await get(near[-1], "counter", **STRONG))
    assert 120 - unknown <= value <= 120
    assert unknown <= 2


async def test_the_dead_are_replaced_in_the_list_and_the_state_goes_on(world: World) -> None:
    hosts = await joined(brisk(world), 10)
    await put(hosts[0], "a", b"hello", **STRONG)
    near = by_distance(hosts, key_of(hosts[0], "a"))
    for dead in near[:2]:
        await dead.crash(power=True)
    living = near[2:]

    async def replaced() -> bool:
        states = [await state_of(host, "a") for host in living]
        wanted = {host.identity.peer for host in living}
        return all(state is not None and set(state.holders) == wanted and not state.previous for state in states)

    await eventually(replaced, within_s=60)
    for dead in living[:3]:  # five are a majority of the eight, not of the eight before
        await dead.crash(power=True)
    assert await get(living[-1], "a", **STRONG) == b"hello"
    assert (await put(living[-1], "a", b"again", **STRONG)).version


async def test_a_side_without_a_majority_refuses_and_the_other_goes_on(world: World) -> None:
    hosts = await joined(brisk(world), 5)
    first = await put(hosts[0], "a", b"one", if_version="none")
    sides = hosts[:2], hosts[2:]
    world.network.part([[host.interface for host in side] for side in sides])
    await put(sides[1][0], "a", b"two", if_version=first.version)
    for host in sides[0]:
        with pytest.raises(TimedOutError):
            await put(host, "a", b"three", if_version=first.version)
        with pytest.raises(TimedOutError):
            await get(host, "a", **STRONG)
    assert await get(sides[1][1], "a", **STRONG) == b"two"
    world.network.heal()
    await asyncio.sleep(30)
    assert [await get(host, "a", **STRONG) for host in hosts] == [b"two"] * 5


async def test_a_plain_key_becomes_strong_from_its_newest_version_and_stays_so(world: World) -> None:
    hosts = await joined(world, 5)
    plain = await put(hosts[0], "a", b"plain")
    with pytest.raises(ConflictError):
        await put(hosts[1], "a", b"no", if_version="none")
    assert await get(hosts[2], "a", **STRONG) == b"plain"
    assert not any(host.store.may_have_register(key_of(host, "a")) for host in hosts)
    await put(hosts[1], "a", b"strong", if_version=plain.version)
    later = await put(hosts[3], "a", b"plainly")
    record = await kept(hosts[0], "a")
    assert record is not None
    assert record.body.strong
    assert record.version.text == later.version


async def test_a_delete_is_a_version_too(world: World) -> None:
    hosts = await joined(world, 3)
    with pytest.raises(NotFoundError):
        await remove(hosts[0], "a", **STRONG)
    first = await put(hosts[0], "a", b"one", if_version="none")
    with pytest.raises(ConflictError):
        await remove(hosts[1], "a", if_version="other")
    await remove(hosts[1], "a", if_version=first.version)
    with pytest.raises(NotFoundError):
        await get(hosts[2], "a", **STRONG)
    await put(hosts[2], "a", b"two", if_version="none")
    assert await get(hosts[0], "a") == b"two"
