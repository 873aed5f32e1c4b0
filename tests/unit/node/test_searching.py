"""Look-ups that liars lead astray: what is denied at their end is looked for again, from other peers."""

import pytest

from peerd.errors import NotFoundError
from peerd.node import holding
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.messages import FindNode, FindValue
from tests.hostile.clan import Clan
from tests.hostile.lookups import Hijack
from tests.unit.node.hosts import by_distance, core, get, joined, key_of, version


@pytest.fixture
def expected() -> int:
    return 44


def lookups_of(host: Host) -> int:
    """How many bytes of look-ups a host has sent."""
    kinds = core(host).endpoint.counts.sent_kinds
    return sum(kinds[kind.__name__] for kind in (FindNode, FindValue))


async def astray(world: World) -> tuple[Host, list[Host]]:
    """A reader that knows of the 8 holders nothing, and of the 12 next to them that all lie; and the holders."""
    hosts = by_distance(await joined(world, 44), key_of((world.living or [world.add()])[0], "a"))
    holders, liars, reader = hosts[:8], hosts[8:20], hosts[-1]
    record = version(reader, "a", 1, b"value")
    for host in holders:
        await host.store.put_record(record.key, record.raw, row=holding.row_of(core(host), record, None))
    clan = Clan()
    for host in liars:
        Hijack().install(core(host), clan)
    members = core(reader).members
    for host in hosts:
        members.size_said(host.identity.peer, large=True)
    for host in holders:
        members.table.remove(host.identity.peer)
    assert not members.complete
    return reader, holders


@pytest.mark.slow
@pytest.mark.parametrize("consistency", ["quorum", "one"])
async def test_what_liars_on_the_way_deny_is_looked_for_from_others(world: World, consistency: str) -> None:
    reader, _ = await astray(world)
    assert await get(reader, "a", consistency=consistency) == b"value"


@pytest.mark.slow
async def test_only_what_is_denied_is_looked_for_twice(world: World) -> None:
    hosts = await joined(world, 44)
    reader = hosts[0]
    record = version(reader, "a", 1, b"value")
    for host in by_distance(hosts, record.key)[:8]:
        await host.store.put_record(record.key, record.raw, row=holding.row_of(core(host), record, None))
    for host in hosts:
        core(reader).members.size_said(host.identity.peer, large=True)
    before = lookups_of(reader)
    await get(reader, "a", consistency="one")
    found = lookups_of(reader) - before
    with pytest.raises(NotFoundError):
        await get(reader, "b", consistency="one")
    assert lookups_of(reader) - before - found > 2 * found
