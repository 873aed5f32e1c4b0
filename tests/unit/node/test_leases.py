"""Leases: repeated `quorum` reads of what has not changed ask nobody; none shows what a write has replaced."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from peerd.errors import NotFoundError
from peerd.node.granting import GIVER_S
from peerd.node.holding import standing
from peerd.node.leases import TAKER_S
from peerd.node.nearest import holders_of
from peerd.node.reading import read
from peerd.node.results import PutOptions
from peerd.node.waiting_out import REFUSED_LEASED
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.messages import Changed, Done, Follow, Following, Refused, Store
from tests.unit.node.hosts import Answer, answering, by_distance, core, get, joined, key_of, put


async def leased(world: World, count: int = 12) -> tuple[list[Host], Host]:
    """The holders of "a", and a reader beside them that has a lease of it."""
    hosts = by_distance(await joined(world, count), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"old")
    await take_lease(hosts[-1])
    return hosts[:8], hosts[-1]


async def take_lease(reader: Host) -> None:
    for _ in range(2):
        await get(reader, "a")
    await asyncio.sleep(0.05)
    assert len(core(reader).changes.leases) == 1


def asked_by(reader: Host) -> Counter[str]:
    return Counter(core(reader).endpoint.counts.sent_messages)


async def test_a_repeated_read_of_what_has_not_changed_asks_nobody(world: World) -> None:
    _, reader = await leased(world)
    before = asked_by(reader)

    for _ in range(10):
        assert await get(reader, "a") == b"old"

    assert asked_by(reader)["FindValue"] == before["FindValue"]
    assert core(reader).changes.leases.served == 10


async def test_a_key_that_is_read_once_has_no_lease(world: World) -> None:
    hosts = by_distance(await joined(world, 12), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"old")

    await get(hosts[-1], "a")
    await asyncio.sleep(0.05)

    assert len(core(hosts[-1]).changes.leases) == 0


async def test_what_is_read_all_the_time_is_read_without_waiting(world: World) -> None:
    _, reader = await leased(world)
    before = asked_by(reader)

    for _ in range(60):
        await asyncio.sleep(0.1)
        assert await get(reader, "a") == b"old"

    assert asked_by(reader)["FindValue"] == before["FindValue"]


async def test_after_a_write_is_acknowledged_no_lease_shows_the_old(world: World) -> None:
    holders, reader = await leased(world)

    await put(holders[3], "a", b"new")

    assert await get(reader, "a") == b"new"


async def test_after_a_delete_is_acknowledged_no_lease_shows_it(world: World) -> None:
    holders, reader = await leased(world)
    assert holders[2].peer is not None
    await holders[2].peer.remove("a", PutOptions())

    with pytest.raises(NotFoundError):
        await get(reader, "a")


async def test_a_strong_write_ends_leases(world: World) -> None:
    holders, reader = await leased(world)

    await put(holders[1], "a", b"new", consistency="strong")

    assert await get(reader, "a") == b"new"


async def test_a_holder_may_have_a_lease_too(world: World) -> None:
    hosts = by_distance(await joined(world, 3), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"old")
    await take_lease(hosts[1])

    await put(hosts[2], "a", b"new")

    assert await get(hosts[1], "a") == b"new"


async def test_who_writes_reads_its_own_write(world: World) -> None:
    _, reader = await leased(world)

    await put(reader, "a", b"new")

    assert await get(reader, "a") == b"new"


async def test_a_taker_that_is_silent_is_waited_out_once_and_gets_no_lease_for_a_while(world: World) -> None:
    holders, reader = await leased(world)
    loop = asyncio.get_running_loop()

    def answer(peer: object, request: object, honest: object) -> Answer:
        return None if isinstance(request, Changed) else honest()  # type: ignore[operator, no-any-return]

    answering(reader, answer)
    started = loop.time()
    await put(holders[3], "a", b"new")
    first_s = loop.time() - started
    assert len(core(reader).changes.leases) == 0 or await get(reader, "a") == b"new"
    for _ in range(4):
        await get(reader, "a")
        await asyncio.sleep(0.05)
    started = loop.time()
    await put(holders[3], "a", b"newer")

    assert TAKER_S / 2 < first_s <= GIVER_S + 0.1
    assert loop.time() - started < 0.1
    assert len(core(reader).changes.leases) == 0


async def test_a_key_whose_lease_was_waited_out_gives_none_to_others_either(world: World) -> None:
    holders, reader = await leased(world)
    other = next(host for host in world.living if host not in holders and host is not reader)
    await reader.crash(power=True)
    await put(holders[3], "a", b"new")

    for _ in range(4):
        await get(other, "a")
        await asyncio.sleep(0.05)

    assert len(core(other).changes.leases) == 0


async def test_a_holder_that_says_without_end_that_it_waits_is_left_out(world: World) -> None:
    hosts = by_distance(await joined(world, 12), key_of(world.living[0], "a"))
    asked = 0

    def answer(peer: object, request: object, honest: object) -> Answer:
        nonlocal asked
        if isinstance(request, Store):
            asked += 1
            return Refused(request.rid, REFUSED_LEASED) if asked < 10 else None
        return honest()  # type: ignore[operator, no-any-return]

    answering(hosts[1], answer)
    await put(hosts[0], "a", b"new")

    assert asked <= 2


async def test_what_a_dead_taker_had_is_over_when_the_write_is_acknowledged(world: World) -> None:
    holders, reader = await leased(world)
    await reader.crash(power=True)

    loop = asyncio.get_running_loop()
    started = loop.time()
    await put(holders[3], "a", b"new")

    assert loop.time() - started <= GIVER_S + 0.1


async def test_a_lease_needs_a_majority_of_the_holders(world: World) -> None:
    holders, reader = await leased(world)
    await asyncio.sleep(TAKER_S)

    def answer(peer: object, request: object, honest: object) -> Answer:
        if isinstance(request, Follow) and request.lease:
            return Following(request.rid, False, request.digest)
        return honest()  # type: ignore[operator, no-any-return]

    for holder in holders[:4]:
        answering(holder, answer)
    for _ in range(4):
        await get(reader, "a")
        await asyncio.sleep(0.05)

    assert len(core(reader).changes.leases) == 0


async def test_holders_that_grant_and_do_not_tell_hide_nothing_for_longer_than_a_lease(world: World) -> None:
    hosts = by_distance(await joined(world, 12), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"old")
    holders, reader = hosts[:8], hosts[-1]

    def answer(peer: object, request: object, honest: object) -> Answer:
        if isinstance(request, Follow) and request.lease:
            return Following(request.rid, True, request.digest)  # and forgets it
        return honest()  # type: ignore[operator, no-any-return]

    for holder in holders:
        answering(holder, answer)
    await take_lease(reader)
    await put(holders[3], "a", b"new")
    assert await get(reader, "a") == b"old"

    await asyncio.sleep(TAKER_S)

    assert await get(reader, "a") == b"new"


async def test_a_third_that_grant_and_do_not_tell_hide_nothing(world: World) -> None:
    hosts = by_distance(await joined(world, 12), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"old")
    holders, reader = hosts[:8], hosts[-1]

    def answer(peer: object, request: object, honest: object) -> Answer:
        if isinstance(request, Follow) and request.lease:
            return Following(request.rid, True, request.digest)  # and forgets it
        return honest()  # type: ignore[operator, no-any-return]

    for holder in holders[:2]:
        answering(holder, answer)
    await take_lease(reader)
    await put(holders[3], "a", b"new")

    assert await get(reader, "a") == b"new"


async def test_who_says_that_all_changes_ends_no_lease_it_was_not_asked_for(world: World) -> None:
    holders, reader = await leased(world)
    others = [host for host in world.living if host not in holders and host is not reader]
    peer = core(others[0]).members.contact(reader.identity.peer)
    assert peer is not None

    reply = await core(others[0]).endpoint.ask(peer, Changed, key_of(reader, "a"))

    assert isinstance(reply, Done)
    assert len(core(reader).changes.leases) == 1


async def test_no_read_by_a_lease_is_older_than_what_was_read_meanwhile(world: World) -> None:
    _, reader = await leased(world)
    core(reader).seen.raise_to(key_of(reader, "a"), (99, bytes(32), bytes(8)), False, None)

    key = key_of(reader, "a")

    here, least = await standing(core(reader), key), await core(reader).seen.of(key)

    assert core(reader).changes.leases.reading(key, here, least) is None


async def test_what_has_a_life_that_ends_soon_has_no_lease(world: World) -> None:
    hosts = by_distance(await joined(world, 12), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"old", ttl_s=3)

    for _ in range(4):
        await get(hosts[-1], "a")
        await asyncio.sleep(0.05)

    assert len(core(hosts[-1]).changes.leases) == 0


async def test_another_holder_ends_a_lease(world: World) -> None:
    _, reader = await leased(world)
    leases, key = core(reader).changes.leases, key_of(reader, "a")
    lease = leases._leases[key]
    lease.holders, lease.epoch = lease.holders - {min(lease.holders)}, lease.epoch - 1

    assert leases.reading(key, await standing(core(reader), key), None) is None


async def test_a_granter_that_was_started_again_has_forgotten_its_leases_and_so_has_its_taker(world: World) -> None:
    holders, reader = await leased(world)
    await holders[0].crash(power=False)
    await holders[0].start()
    await asyncio.sleep(0.1)

    assert len(core(reader).changes.leases) == 0


async def test_a_key_that_is_crowded_has_no_lease(world: World) -> None:
    hosts = by_distance(await joined(world, 12), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"old")
    reader, key = core(hosts[-1]), key_of(hosts[-1], "a")
    holders = replace(await holders_of(reader, key), crowded=True)

    for _ in range(3):
        reader.changes.leases.was_read(key, await read(reader, key, consistency="one", timeout_s=1.0), holders)
    await asyncio.sleep(0.05)

    assert len(reader.changes.leases) == 0
