"""Liars about what is newest, three of eight holders: names go on being written, read and deleted."""

import asyncio

import pytest

from peerd.errors import NotFoundError
from peerd.node.results import PutOptions
from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from tests.hostile import floors, records
from tests.hostile.base import Liar
from tests.hostile.clan import Clan
from tests.unit.node.hosts import by_distance, core, get, joined, key_of, put

LIARS = 3


async def _round(loop: VirtualLoop, way: type[Liar], seed: int) -> None:
    world = World(loop, seed=seed, expected=12, signed=False)
    hosts = by_distance(await joined(world, 12), key_of(world.living[0], "a"))
    liars, honest = hosts[:LIARS], hosts[LIARS:]
    clan = Clan()
    for host in liars:
        way().install(core(host), clan)
    for value in (b"one", b"two", b"three"):
        await put(honest[-1], "a", value)
        assert [await get(host, "a") for host in honest] == [value] * len(honest)
    assert honest[0].peer is not None
    await honest[0].peer.remove("a", PutOptions())
    for host in honest:
        with pytest.raises(NotFoundError):
            await get(host, "a")
    await put(honest[1], "a", b"again")
    assert [await get(host, "a") for host in honest] == [b"again"] * len(honest)
    assert await world.lights_out() == []


@pytest.mark.parametrize("way", [*floors.WAYS, records.Floors, records.RollsBack], ids=lambda way: way.name)
def test_liars_about_what_is_newest_freeze_and_bring_back_nothing(way: type[Liar]) -> None:
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_round(loop, way, seed=7))
