"""Registers on a store that came back from a copy: what it promised is forgotten, and nothing may be lost by that."""

import pytest
from msgspec.structs import replace as with_settings

from peerd.errors import ConflictError, TimedOutError
from peerd.sim.host import Host
from peerd.trust.register import Acceptor, decode_acceptor

from .hosts import World, eventually, get, joined, key_of, meshed, put

STRONG = {"consistency": "strong"}


@pytest.fixture
def brisk(world: World) -> World:
    """The world with short intervals."""
    world._settings = with_settings(world._settings, suspect_timeout_s=2.0, repair_interval_s=5.0)
    return world


async def acceptor_of(host: Host, name: str) -> Acceptor:
    return decode_acceptor(await host.store.register(key_of(host, name)), host.store.store_id)


async def put_back(host: Host) -> None:
    await host.crash(power=True)
    host.put_back()
    await host.start()


async def learned(host: Host, name: str) -> bool:
    row = await acceptor_of(host, name)
    return not row.lost and row.state is not None


@pytest.mark.parametrize("count", [1, 2, 3, 5])
async def test_a_store_that_came_back_from_a_copy_learns_again_and_the_key_goes_on(brisk: World, count: int) -> None:
    hosts = await joined(brisk, count)
    await put(hosts[0], "a", b"one", **STRONG)
    hosts[-1].copy_store()
    if count > 1:
        await put(hosts[0], "a", b"two", **STRONG)
    await put_back(hosts[-1])
    assert (await acceptor_of(hosts[-1], "a")).lost
    await eventually(lambda: learned(hosts[-1], "a"), within_s=30)
    await meshed(hosts)
    for host in hosts:
        assert await get(host, "a", **STRONG) == (b"two" if count > 1 else b"one")
    await put(hosts[-1], "a", b"three", **STRONG)
    assert [await get(host, "a", **STRONG) for host in hosts] == [b"three"] * count


async def test_who_came_back_from_a_copy_learns_nothing_from_too_few(brisk: World) -> None:
    hosts = await joined(brisk, 3)
    await put(hosts[0], "a", b"one", **STRONG)
    hosts[2].copy_store()
    await hosts[0].crash(power=True)
    await put(hosts[1], "a", b"two", **STRONG)  # the two others have it
    await hosts[1].crash(power=True)
    await put_back(hosts[2])
    await hosts[0].start()
    await meshed([hosts[0], hosts[2]])
    with pytest.raises(TimedOutError):
        await get(hosts[0], "a", **STRONG)
    with pytest.raises(TimedOutError):
        await put(hosts[2], "a", b"three", **STRONG)
    await hosts[1].start()
    await eventually(lambda: learned(hosts[2], "a"), within_s=60)
    assert [await get(host, "a", **STRONG) for host in hosts] == [b"two"] * 3


async def test_a_copy_of_before_the_register_was_made_does_not_count_for_an_older_version(brisk: World) -> None:
    hosts = await joined(brisk, 3)
    hosts[2].copy_store()
    first = await put(hosts[1], "a", b"one", if_version="none")
    interfaces = [host.interface for host in hosts]
    brisk.network.part([interfaces[:1], interfaces[1:]])
    await put(hosts[1], "a", b"two", if_version=first.version)  # the first misses it
    await put_back(hosts[2])

    async def has_record() -> bool:
        return await hosts[2].store.record(key_of(hosts[2], "a")) is not None

    await eventually(has_record, within_s=20)
    await hosts[1].crash(power=True)
    brisk.network.heal()
    await meshed([hosts[0], hosts[2]])
    with pytest.raises((ConflictError, TimedOutError)):
        await put(hosts[0], "a", b"other", if_version=first.version)
    await hosts[1].start()
    await eventually(lambda: learned(hosts[2], "a"), within_s=60)
    assert [await get(host, "a", **STRONG) for host in hosts] == [b"two"] * 3
