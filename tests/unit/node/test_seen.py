"""Readers that hold nothing: what they have read never becomes older, also after a restart; liars freeze nothing."""

import asyncio
from collections.abc import Sequence

import pytest

from peerd.errors import IntegrityError, NotFoundError, TimedOutError
from peerd.node import holding
from peerd.node.results import PutOptions
from peerd.records.floor import pack_version
from peerd.records.record import Record
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.limits import SEQUENCE_JUMP_MAX, SEQUENCE_MAX
from peerd.wire.messages import FindValue, Store, Value
from tests.unit.node.hosts import (
    Answer,
    answering,
    by_distance,
    core,
    damaged,
    get,
    joined,
    kept,
    key_of,
    late,
    put,
    version,
)

SETTLED_S = 2.0


async def readers(world: World, name: str = "a", count: int = 12) -> tuple[list[Host], list[Host]]:
    """The holders of a name in a network of so many, and the others."""
    hosts = by_distance(await joined(world, count), key_of(world.living[0], name))
    return hosts[:8], hosts[8:]


async def read_newest(holders: Sequence[Host], reader: Host) -> tuple[Record | None, Record | None]:
    """Let a reader read the second version of "a"; the first and the second."""
    await put(holders[0], "a", b"old")
    old = await kept(holders[0], "a")
    await put(holders[0], "a", b"new")
    assert await get(reader, "a") == b"new"
    return old, await kept(holders[0], "a")


def showing(holders: Sequence[Host], record: Record | None) -> None:
    """Let holders show that version and nothing else."""

    def answer(peer: object, request: object, honest: object) -> Answer:
        if isinstance(request, FindValue):
            return Value(request.rid, record.raw if record is not None else b"", None, b"")
        if isinstance(request, Store):
            return None
        return honest()  # type: ignore[operator, no-any-return]

    for host in holders:
        answering(host, answer)


@pytest.mark.parametrize("consistency", ["quorum", "one"])
async def test_a_reader_takes_nothing_older_than_it_has_read(world: World, consistency: str) -> None:
    holders, others = await readers(world)
    reader = others[-1]
    old, _ = await read_newest(holders, reader)
    showing([*holders, *others[:-1]], old)

    with pytest.raises(TimedOutError):
        await get(reader, "a", consistency=consistency)


async def test_what_was_read_is_known_after_a_restart(world: World) -> None:
    holders, others = await readers(world)
    reader = others[-1]
    old, _ = await read_newest(holders, reader)
    await asyncio.sleep(SETTLED_S)
    await reader.crash(power=True)
    showing([*holders, *others[:-1]], old)
    await reader.start()
    await asyncio.sleep(SETTLED_S)

    with pytest.raises(TimedOutError):
        await get(reader, "a")


async def test_a_deletion_that_was_read_brings_no_value_back(world: World) -> None:
    holders, others = await readers(world)
    reader = others[-1]
    await put(holders[0], "a", b"old")
    old = await kept(holders[0], "a")
    assert holders[1].peer is not None
    await holders[1].peer.remove("a", PutOptions())
    with pytest.raises(NotFoundError):
        await get(reader, "a")
    showing([*holders, *others[:-1]], old)

    with pytest.raises(TimedOutError):
        await get(reader, "a")


async def test_one_that_is_not_gone_back_is_asked_beyond_the_holders(world: World) -> None:
    holders, others = await readers(world)
    reader = others[-1]
    old, new = await read_newest(holders, reader)
    showing(holders, old)
    showing(others[:1], new)

    assert await get(reader, "a") == b"new"


async def test_one_holder_that_shows_what_is_older_than_was_read_hides_nothing_from_who_is_in_haste(
    world: World,
) -> None:
    hosts = await joined(world, 9)
    holders = by_distance(hosts, key_of(hosts[0], "a"))
    reader = holders.pop()
    old, _ = await read_newest(holders, reader)
    showing(holders[:1], old)

    assert await get(reader, "a", consistency="one") == b"new"


async def test_what_was_lost_may_be_written_anew(world: World) -> None:
    holders, others = await readers(world)
    reader = others[-1]
    await put(holders[0], "a", b"1")
    await put(holders[0], "a", b"2")
    assert await get(reader, "a") == b"2"
    for host in world.living:
        await host.store.drop_record(key_of(host, "a"))
    await put(reader, "a", b"3")
    assert [await get(host, "a") for host in world.living] == [b"3"] * 12


async def test_a_version_shown_to_one_in_haste_does_not_bind_its_reads(world: World) -> None:
    holders, others = await readers(world)
    reader = others[-1]
    await put(holders[0], "a", b"true")
    showing(holders[:1], version(holders[0], "a", 1000, b"mine alone"))
    await get(reader, "a", consistency="one")

    assert await core(reader).seen.of(key_of(reader, "a")) is None


# Holders that lie.


async def test_where_all_holders_forge_it_is_an_integrity_error_and_they_are_shunned(world: World) -> None:
    holders, others = await readers(world)
    await put(holders[0], "a", b"value")
    true = await kept(holders[0], "a")
    assert true is not None
    forged = Record(damaged(true.raw), true.body, true.version)
    showing(holders, forged)

    with pytest.raises(IntegrityError):
        await get(others[-1], "a")
    assert all(core(others[-1]).trust.shunned(host.identity.peer) for host in holders)


async def test_where_holders_forge_and_others_are_silent_the_next_nearest_are_asked(world: World) -> None:
    holders, others = await readers(world)
    await put(holders[0], "a", b"value")
    true = await kept(holders[0], "a")
    assert true is not None
    showing(holders[:5], Record(damaged(true.raw), true.body, true.version))
    for host in holders[5:]:
        answering(host, lambda peer, request, honest: None if isinstance(request, FindValue) else honest())
    showing(others[1:2], true)

    assert await get(others[-1], "a") == b"value"


async def test_three_of_eight_hide_no_value_behind_floors_while_two_are_slow(world: World) -> None:
    holders, others = await readers(world)
    await put(holders[0], "a", b"value")
    floor = pack_version((2, bytes(32), bytes(8)))
    for host in holders[:3]:
        answering(
            host,
            lambda peer, request, honest: (
                Value(request.rid, b"", None, b"", floor) if isinstance(request, FindValue) else honest()
            ),
        )
    for host in holders[3:5]:
        late(host, 0.3, FindValue)

    assert await get(others[-1], "a") == b"value"


@pytest.mark.parametrize("sequence", [SEQUENCE_JUMP_MAX + 9, SEQUENCE_MAX])
async def test_a_jump_that_liars_show_freezes_nothing(world: World, sequence: int) -> None:
    holders, others = await readers(world)
    await put(holders[0], "a", b"one")
    showing(holders[:3], version(holders[0], "a", sequence, b"mine"))

    assert await get(others[-1], "a") == b"one"
    await put(others[-1], "a", b"two")
    assert await get(others[-2], "a") == b"two"


async def test_a_floor_that_liars_show_does_not_lift_writers_out_of_reach(world: World) -> None:
    holders, others = await readers(world)
    await put(holders[0], "a", b"one")
    floor = pack_version((SEQUENCE_MAX, bytes(32), bytes(8)))
    for host in holders[:3]:
        answering(
            host,
            lambda peer, request, honest: (
                Value(request.rid, b"", None, b"", floor) if isinstance(request, FindValue) else honest()
            ),
        )

    written = await put(others[-1], "a", b"two")
    assert written.copies > 3
    assert await get(others[-2], "a") == b"two"


async def test_a_jump_needs_the_word_of_most_and_half_of_all_numbers_are_out_of_reach(world: World) -> None:
    hosts = await joined(world, 6)
    far = version(hosts[0], "a", SEQUENCE_JUMP_MAX + 9, b"far")
    farthest = version(hosts[0], "b", SEQUENCE_MAX // 2 + 1, b"farthest")
    for record, having in ((far, hosts[:2]), (farthest, hosts[:5])):
        for host in having:
            await host.store.put_record(record.key, record.raw, row=holding.row_of(core(host), record, None))

    assert not await core(hosts[5]).tombstones.vouched(far), "two liars of six"
    assert not await core(hosts[5]).tombstones.vouched(farthest)
    host = hosts[2]
    await host.store.put_record(far.key, far.raw, row=holding.row_of(core(host), far, None))
    assert await core(hosts[5]).tombstones.vouched(far)
