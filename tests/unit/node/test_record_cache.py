"""Records cached near those who ask with `one`: quick, told of changes, and no place for a liar's old version."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from peerd.errors import NotFoundError, RefusedError
from peerd.ids import Key
from peerd.node.holding import row_of
from peerd.node.results import PutOptions
from peerd.records.record import Record
from peerd.sim.host import Host
from peerd.wire.messages import FindValue, KeepCached, Place, Value

from .hosts import World, by_distance, contact_of, core, damaged, get, joined, kept, key_of, opened, put, version

one = partial(get, consistency="one")


async def scene(world: World, count: int = 14) -> tuple[list[Host], list[Host]]:
    """The holders of `a`, nearest first, and the others, the farthest last; these alone have it."""
    hosts = await joined(world, count)
    record = version(hosts[0], "a", 1, b"old")
    hosts = by_distance(hosts, record.key)
    for host in hosts[:8]:
        await host.store.put_record(record.key, record.raw, row=row_of(core(host), record, None))
    return hosts[:8], hosts[8:]


def narrow(*hosts: Host) -> None:
    """Have hosts believe that the network is too large to be known whole: their look-ups take hops."""
    for host in hosts:
        for other in core(host).members.known():
            core(host).members.size_said(other, large=True)
        assert not core(host).members.complete


def cached(host: Host, name: str = "a") -> bytes | None:
    """The value that a host has cached."""
    entry = core(host).cached._entries.get(key_of(host, name), core(host).now())
    return entry.value.record.body.value if entry is not None else None


def asked(hosts: Sequence[Host]) -> int:
    """How many questions for records these have sent."""
    return sum(core(host).endpoint.counts.sent_messages["FindValue"] for host in hosts)


async def give(giver: Host, taker: Host, record: Record, keep_s: int = 60) -> None:
    """Have one give a record to be cached."""
    await core(giver).endpoint.ask(contact_of(taker), KeepCached, record.raw, None, keep_s, timeout_s=1.0)


async def test_what_was_read_is_read_here_the_next_time(world: World) -> None:
    _, others = await scene(world)
    reader = others[0]
    assert await one(reader, "a") == b"old"
    before = asked([reader])
    found = await opened(reader, "a", consistency="one")
    assert asked([reader]) == before
    assert (found.info.hops, found.info.source) == (0, "cache")


@pytest.mark.parametrize("whole", [True, False], ids=["known whole", "by look-ups"])
async def test_a_change_is_read_everywhere_within_two_seconds(world: World, whole: bool) -> None:
    holders, others = await scene(world, 20)
    if not whole:
        narrow(*others)
    for host in others:
        assert await one(host, "a") == b"old"
    await put(holders[3], "a", b"new")
    await asyncio.sleep(2)
    # Where by chance more than 8 stand near the key, some others have it by now.
    readers = [host for host in others if await kept(host, "a") is None]
    before = asked(readers)
    for host in others:
        assert await one(host, "a") == b"new"
    assert asked(readers) == before
    assert holders[3].peer is not None
    await holders[3].peer.remove("a", PutOptions())
    await asyncio.sleep(2)
    for host in others:
        with pytest.raises(NotFoundError):
            await one(host, "a")


async def test_who_writes_reads_what_it_wrote(world: World) -> None:
    _, others = await scene(world)
    writer = others[0]
    assert await one(writer, "a") == b"old"
    await put(writer, "a", b"new")
    assert await one(writer, "a") == b"new"


async def test_a_quorum_counts_nothing_that_is_only_cached(world: World) -> None:
    _, others = await scene(world)
    reader, asker = others[0], others[1]
    await one(reader, "a")
    assert cached(reader) == b"old"
    ask = partial(core(asker).endpoint.ask, contact_of(reader), FindValue, key_of(reader, "a"), False)
    answer = await ask(timeout_s=1.0)
    assert isinstance(answer, Value)
    assert answer.record == b""
    before = asked([reader])
    await get(reader, "a", consistency="quorum")
    assert asked([reader]) > before


async def test_a_cached_answer_says_that_it_is_one_and_how_old(world: World) -> None:
    holders, others = await scene(world)
    reader, asker = others[0], others[1]
    await give(holders[0], reader, version(holders[0], "a", 9, b"given"))
    await asyncio.sleep(3)
    ask = partial(core(asker).endpoint.ask, timeout_s=1.0)
    answer = await ask(contact_of(reader), FindValue, key_of(reader, "a"), False, True)
    held = await ask(contact_of(holders[0]), FindValue, key_of(reader, "a"), False, True)
    assert isinstance(answer, Value)
    assert isinstance(held, Value)
    assert answer.age_s == 3
    assert 0 < answer.keep_s < held.keep_s
    assert held.age_s is None


async def test_nothing_is_used_of_a_giver_that_is_not_there_any_more(world: World) -> None:
    holders, others = await scene(world)
    reader = others[-1]
    await one(reader, "a")
    giver = next(host for host in holders if host.identity.peer == _giver(reader))
    await giver.crash(power=False)
    await asyncio.sleep(20)
    before = asked([reader])
    assert await one(reader, "a") == b"old"
    assert asked([reader]) > before


async def test_nothing_is_used_of_a_giver_that_was_started_again_and_knows_of_nobody_to_be_told(world: World) -> None:
    holders, others = await scene(world)
    reader = others[-1]
    await one(reader, "a")
    giver = next(host for host in holders if host.identity.peer == _giver(reader))
    await giver.crash(power=True)
    await giver.start()
    await asyncio.sleep(5)
    await put(holders[0] if holders[0] is not giver else holders[1], "a", b"new")
    await asyncio.sleep(2)
    assert await one(reader, "a") == b"new"


def _giver(host: Host) -> bytes:
    entry = core(host).cached._entries.get(key_of(host, "a"), core(host).now())
    assert entry is not None
    return entry.giver


async def test_a_cached_record_ends_with_its_life(world: World) -> None:
    hosts = await joined(world, 14)
    hosts = by_distance(hosts, key_of(hosts[0], "a"))
    await put(hosts[0], "a", b"old", ttl_s=5)
    reader = hosts[-1]
    assert await one(reader, "a") == b"old"
    assert cached(reader) == b"old"
    await asyncio.sleep(6)
    assert cached(reader) is None
    await give(hosts[0], reader, version(hosts[0], "a", 9, b"stays"))
    assert cached(reader) == b"stays"
    await asyncio.sleep(core(reader).settings.record_cache_s + 1)
    assert cached(reader) is None


async def test_the_record_is_cached_by_a_peer_that_was_asked_in_vain_and_others_find_it_there(world: World) -> None:
    holders, others = await scene(world, 40)
    reader = others[-1]
    narrow(reader)
    for host in holders[1:]:
        core(reader).members.table.remove(host.identity.peer)
    core(reader).members.table.remove(holders[0].identity.peer)
    assert await one(reader, "a") == b"old"
    await asyncio.sleep(1)
    between = [host for host in others[:-1] if cached(host) == b"old"]
    assert len(between) == 1
    asker = next(host for host in others[:-1] if host is not between[0])
    found = await core(asker).endpoint.ask(contact_of(between[0]), FindValue, key_of(asker, "a"), True, True)
    assert isinstance(found, Value)
    assert found.age_s is not None


async def test_without_caching_nothing_is_granted_nor_kept(world: World) -> None:
    world._settings = type(world._settings)(**{**_plain(world), "record_cache_s": 0.0})
    holders, others = await scene(world)
    await one(others[0], "a")
    await give(holders[0], others[0], version(holders[0], "a", 9, b"given"))
    assert cached(others[0]) is None
    assert len(core(holders[0]).cached._takers) == 0


def _plain(world: World) -> dict[str, object]:
    return {name: getattr(world._settings, name) for name in world._settings.__struct_fields__}


# Liars.


async def test_what_somebody_far_from_the_key_gives_is_not_kept(world: World) -> None:
    _, others = await scene(world, 60)
    await give(others[-1], others[0], version(others[-1], "a", 9, b"planted"))
    assert cached(others[0]) is None


async def test_what_is_not_signed_is_refused_and_counted(world: World) -> None:
    holders, others = await scene(world)
    record = version(holders[0], "a", 9, b"planted")
    ask = core(holders[0]).endpoint.ask
    with pytest.raises(RefusedError, match="bad"):
        await ask(contact_of(others[0]), KeepCached, damaged(record.raw), None, 60, timeout_s=1.0)
    assert cached(others[0]) is None


async def test_an_older_version_takes_no_place_from_a_newer(world: World) -> None:
    holders, others = await scene(world)
    await give(holders[0], others[0], version(holders[0], "a", 9, b"newer"))
    await give(holders[1], others[0], version(holders[1], "a", 5, b"older"))
    assert cached(others[0]) == b"newer"


async def test_a_version_that_no_holder_has_gets_into_no_cache(world: World) -> None:
    """Every member may sign a version of a shared name: what counts is that a holder gives it."""
    _, others = await scene(world, 60)
    reader, mallory = others[0], others[-1]
    await one(reader, "a")
    await give(mallory, reader, version(mallory, "a", 9, b"of nobody"))
    assert cached(reader) == b"old"
    assert await one(reader, "a") == b"old"


async def test_what_was_read_newer_is_not_read_older_from_the_cache(world: World) -> None:
    holders, _ = await scene(world)
    old = version(holders[0], "b", 1, b"old")
    await put(holders[0], "b", b"first")
    await put(holders[0], "b", b"second")
    reader = by_distance(world.living, key_of(holders[0], "b"))[-1]
    assert await get(reader, "b") == b"second"
    giver = by_distance(world.living, key_of(reader, "b"))[0]
    await give(giver, reader, old)
    assert await one(reader, "b") == b"second"


async def test_a_liars_old_version_is_not_given_on_by_who_read_it(world: World) -> None:
    """Who reads through a liar far from the key is misled itself for a while; nobody else is."""
    holders, others = await scene(world, 60)
    mallory, reader, victim = others[-1], others[0], others[1]
    far = next(
        (
            name
            for name in map(str, range(200))
            if not _near(reader, name, mallory) and not _near(victim, name, mallory)
        ),
        "c",
    )
    old = version(holders[0], far, 1, b"old")
    core(reader).cached.take(old, contact_of(mallory), Value(1, old.raw, None, b"", b"", 600))
    assert cached(reader, far) == b"old"
    ask = core(victim).endpoint.ask(contact_of(reader), FindValue, old.key, True, True, timeout_s=1.0)
    answer = await ask
    assert isinstance(answer, Value)
    assert answer.record == b""


def _near(host: Host, name: str, giver: Host) -> bool:
    return core(host).cached._stands_near(Key(key_of(host, name)), contact_of(giver))


async def test_who_asks_to_have_others_given_something_again_and_again_has_it_given_once(world: World) -> None:
    holders, others = await scene(world)
    mallory, victim = others[0], others[1]
    place = partial(core(mallory).endpoint.ask, contact_of(holders[0]), Place, key_of(mallory, "a"))
    before = core(holders[0]).endpoint.counts.sent_messages["KeepCached"]
    for _ in range(20):
        await place(victim.identity.peer, timeout_s=1.0)
        await place(bytes(32), timeout_s=1.0)
    assert core(holders[0]).endpoint.counts.sent_messages["KeepCached"] == before + 1


async def test_who_has_a_record_and_is_no_holder_of_it_asks_one(world: World) -> None:
    _, others = await scene(world)
    reader = others[-1]
    left_over = version(reader, "a", 1, b"left over")
    await put(reader, "a", b"newer")
    await reader.store.put_record(left_over.key, left_over.raw, row=row_of(core(reader), left_over, None))
    assert await one(reader, "a") == b"newer"
