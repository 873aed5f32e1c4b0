"""Deleted keys stay deleted: when tombstones go, what stays, whom a holder believes, and who comes back with what."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from peerd.errors import DamagedError, NotFoundError, TimedOutError
from peerd.ids import Key
from peerd.io.store.interface import Floor
from peerd.node import holding
from peerd.node.forgetting import forget
from peerd.node.results import PutOptions
from peerd.records.floor import ABOVE, BELOW, NOTHING, OVER, PackedFloor, pack_floors
from peerd.records.record import Record
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.limits import SEQUENCE_JUMP_MAX
from peerd.wire.messages import FindFloors, FindValue, Floors, KeepFloors, Store, Stored, Value
from tests.unit.node.hosts import (
    Answer,
    answering,
    contact_of,
    core,
    eventually,
    get,
    joined,
    kept,
    key_of,
    late,
    put,
    until,
    version,
)

GRACE_S = 20.0
SETTINGS = {"tombstone_grace_s": GRACE_S, "repair_interval_s": 5.0}


@pytest.fixture
async def small(seed: int) -> AsyncIterator[World]:
    """A world in which tombstones are ripe after a moment."""
    made = World(asyncio.get_running_loop(), seed=seed, expected=20, settings=SETTINGS)  # type: ignore[arg-type]
    yield made
    assert await made.lights_out() == []


async def remove(host: Host, name: str) -> None:
    assert host.peer is not None
    await host.peer.remove(name, PutOptions())


async def floor_at(host: Host, name: str) -> Floor | None:
    return await host.store.floor(key_of(host, name))


async def all_floors(hosts: Sequence[Host], name: str) -> bool:
    return all([await floor_at(host, name) is not None for host in hosts])


async def gone(host: Host, name: str) -> bool:
    try:
        await get(host, name)
    except NotFoundError:
        return True
    return False


async def test_a_tombstone_goes_after_the_grace_and_its_floor_stays(small: World) -> None:
    hosts = await joined(small, 5)
    await put(hosts[0], "a", b"1")
    await remove(hosts[1], "a")
    assert not any([await floor_at(host, "a") for host in hosts]), "not before the grace"

    await eventually(lambda: all_floors(hosts, "a"), within_s=4 * GRACE_S)

    assert not any([await kept(host, "a") for host in hosts])
    assert [await host.store.tombstones(None, 9) for host in hosts] == [[]] * 5
    assert await gone(hosts[2], "a")


async def test_a_tombstone_stays_while_a_holder_is_silent_and_goes_when_it_has_it(small: World) -> None:
    hosts = await joined(small, 5)
    await put(hosts[0], "a", b"1")
    away = hosts[4]
    await away.crash(power=True)
    await asyncio.sleep(10)
    await remove(hosts[1], "a")

    await asyncio.sleep(6 * GRACE_S)
    assert not any([await floor_at(host, "a") for host in hosts[:4]]), "somebody still has the value"
    await away.start()

    await eventually(lambda: all_floors(hosts, "a"), within_s=4 * GRACE_S + 30)
    assert await gone(away, "a")


async def test_a_damaged_record_does_not_keep_other_tombstones_from_going(small: World) -> None:
    [alice] = await joined(small, 1)
    for name in ("a", "b"):
        await put(alice, name, b"1")
        await remove(alice, name)
    honest = alice.store.record

    async def record(key: Key) -> bytes | None:
        if key == key_of(alice, "b"):
            raise DamagedError("a record is damaged")
        return await honest(key)

    alice.store.record = record  # type: ignore[method-assign]
    await eventually(lambda: all_floors([alice], "a"), within_s=3 * GRACE_S)


async def test_a_tombstone_does_not_wait_for_who_was_forgotten(small: World) -> None:
    hosts = await joined(small, 4)
    await put(hosts[0], "a", b"1")
    await hosts[3].crash(power=True)
    await asyncio.sleep(10)
    await remove(hosts[1], "a")
    await asyncio.sleep(3 * GRACE_S)
    assert not await floor_at(hosts[0], "a")

    await forget(core(hosts[0]), hosts[3].id_text)
    await asyncio.sleep(2 * GRACE_S)
    assert not await floor_at(hosts[1], "a"), "the word of one is not enough: it may lie"
    await forget(core(hosts[2]), hosts[3].id_text)

    await eventually(lambda: all_floors(hosts[:3], "a"), within_s=2 * GRACE_S)


async def come_back(world: World, hosts: list[Host]) -> Host:
    """A holder that missed a deletion, back when the tombstone has gone on all others."""
    await put(hosts[0], "a", b"old")
    away = hosts[-1]
    assert await kept(away, "a") is not None
    await away.crash(power=True)
    await asyncio.sleep(10)
    await remove(hosts[0], "a")
    await until(lambda: core(hosts[0]).members.contact(away.identity.peer) is None)
    for host in hosts[:2]:
        await until(lambda host=host: core(host).members.contact(away.identity.peer) is None)  # type: ignore[misc]
        await forget(core(host), away.id_text)
    await eventually(lambda: all_floors(hosts[:-1], "a"), within_s=5 * GRACE_S)
    await away.start()
    return away


async def test_who_was_away_longer_than_the_tombstone_brings_nothing_back(small: World) -> None:
    hosts = await joined(small, 5)
    away = await come_back(small, hosts)
    await asyncio.sleep(3)

    for host in hosts:
        assert await gone(host, "a")

    await eventually(lambda: all_floors(hosts, "a"), within_s=60)
    assert await kept(away, "a") is None


async def test_a_store_put_back_from_an_old_copy_brings_nothing_back(small: World) -> None:
    hosts = await joined(small, 5)
    await put(hosts[0], "a", b"y" * 40_000)
    old = hosts[4]
    assert await kept(old, "a") is not None
    old.copy_store()
    await remove(hosts[0], "a")
    await eventually(lambda: all_floors(hosts, "a"), within_s=5 * GRACE_S)
    await old.crash(power=True)
    old.put_back()
    await old.start()
    assert await kept(old, "a") is not None
    await asyncio.sleep(3)

    for host in hosts:
        assert await gone(host, "a")

    await eventually(lambda: all_floors(hosts, "a"), within_s=60)
    for root in await old.store.roots(None, 10):
        assert await old.store.claims(root.cid) == [], "nothing claims the content either"


async def test_what_is_written_after_a_deletion_is_above_its_floor(small: World) -> None:
    hosts = await joined(small, 5)
    for round_ in range(2):
        await put(hosts[round_], "a", b"%d" % round_)
        await remove(hosts[round_ + 1], "a")
        await eventually(lambda: all_floors(hosts, "a"), within_s=5 * GRACE_S)
    floor = await floor_at(hosts[0], "a")
    assert floor is not None

    await put(hosts[4], "a", b"again")

    record = await kept(hosts[3], "a")
    assert record is not None
    assert record.body.sequence == floor.sequence + 1
    assert await get(hosts[1], "a") == b"again"
    assert await floor_at(hosts[3], "a") is None


async def test_a_writer_that_was_away_and_knows_no_floor_writes_above_it(small: World) -> None:
    hosts = await joined(small, 5)
    away = await come_back(small, hosts)
    await asyncio.sleep(2)

    await put(away, "a", b"new", consistency="one")

    for host in hosts:
        assert await get(host, "a") == b"new"


async def test_a_floor_reaches_who_joins_later_and_stays_when_all_others_leave(small: World) -> None:
    hosts = await joined(small, 3)
    await put(hosts[0], "a", b"1")
    old = await kept(hosts[0], "a")
    assert old is not None
    await remove(hosts[1], "a")
    await eventually(lambda: all_floors(hosts, "a"), within_s=5 * GRACE_S)

    new = await joined(small, 3)
    await eventually(lambda: all_floors(new, "a"), within_s=60)
    for host in hosts:
        await host.stop()
    await asyncio.sleep(5)

    assert isinstance(await holding.keep_record(core(new[0]), old, None), holding.Over)
    assert await gone(new[1], "a")


async def test_deleted_on_one_side_and_written_on_the_other_the_higher_version_wins(small: World) -> None:
    hosts = await joined(small, 6)
    await put(hosts[0], "a", b"1")
    await put(hosts[0], "b", b"1")
    left, right = hosts[:3], hosts[3:]
    small.network.part([[host.interface for host in left], [host.interface for host in right]])
    await asyncio.sleep(20)
    await remove(left[0], "a")
    await put(right[0], "a", b"2")
    await put(right[1], "a", b"3")
    await put(right[0], "b", b"2")
    await remove(left[0], "b")
    await put(left[0], "b", b"again")
    await remove(left[1], "b")
    small.network.heal()
    await asyncio.sleep(60)

    for host in hosts:
        assert await get(host, "a") == b"3"
        assert await gone(host, "b")
    await asyncio.sleep(4 * GRACE_S)
    for host in hosts:
        assert await get(host, "a") == b"3"
        assert await gone(host, "b")


# Whom a holder believes.


def ask(host: Host, of: Host, *versions: Record) -> "asyncio.Future[object]":
    packed = pack_floors([PackedFloor(each.key, each.version[:3]) for each in versions])
    return core(host).endpoint.ask(contact_of(of), FindFloors, packed)  # type: ignore[return-value]


async def test_a_holder_says_what_it_knows_of_a_version(world: World) -> None:
    alice, bob = await joined(world, 2)
    old, new = version(alice, "a", 1, b"1"), version(alice, "a", 2, b"2")
    over = version(alice, "b", 4, b"x")
    await holding.keep_record(core(bob), new, None)
    await holding.lay_floor(core(bob), over.key, Floor(4, over.body.writer, over.body.nonce))

    later = version(alice, "a", 3)
    reply = await ask(alice, bob, old, new, later, over, version(alice, "b", 5), version(alice, "c", 1))

    assert isinstance(reply, Floors)
    assert list(reply.known) == [ABOVE, ABOVE, BELOW, OVER, BELOW, NOTHING]


async def test_a_liar_alone_deletes_nothing_with_a_floor(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"1")
    record = await kept(hosts[1], "a")
    assert record is not None
    mallory, victim = hosts[4], hosts[1]
    lie = PackedFloor(record.key, (record.body.sequence + 5, bytes(32), bytes(8)))
    answering(
        mallory,
        lambda peer, request, honest: (
            Floors(request.rid, bytes([OVER]))
            if isinstance(request, FindFloors)
            else Value(request.rid, b"", None, b"", (9).to_bytes(8, "big") + bytes(40))
            if isinstance(request, FindValue)
            else honest()
        ),
    )

    await core(mallory).endpoint.ask(contact_of(victim), KeepFloors, pack_floors([lie]))
    await asyncio.sleep(10)

    assert await kept(victim, "a") == record
    for host in hosts[:4]:
        assert await get(host, "a") == b"1"
    assert not any([await floor_at(host, "a") for host in hosts])


async def test_a_floor_of_most_holders_is_believed_and_ends_an_old_value(world: World) -> None:
    hosts = await joined(world, 5)
    old = version(hosts[0], "a", 3, b"old")
    for host in hosts[1:]:
        await holding.lay_floor(core(host), old.key, Floor(4, bytes(32), bytes(8)))
    await holding.keep_record(core(hosts[0]), old, None)

    assert await core(hosts[0]).tombstones.keep_floor(old.key, Floor(4, bytes(32), bytes(8)), hosts[1].identity.peer)

    assert await kept(hosts[0], "a") is None
    assert await floor_at(hosts[0], "a") == Floor(4, bytes(32), bytes(8))


async def test_a_record_at_or_below_a_floor_is_refused_and_one_above_is_kept(world: World) -> None:
    alice, bob = await joined(world, 2)
    low, at, high = (version(alice, "a", sequence) for sequence in (3, 4, 5))
    await holding.lay_floor(core(bob), at.key, Floor(4, at.body.writer, at.body.nonce))

    for record in (low, at):
        with pytest.raises(Exception, match="floor"):
            await core(alice).endpoint.ask(contact_of(bob), Store, record.raw)
    reply = await core(alice).endpoint.ask(contact_of(bob), Store, high.raw)

    assert isinstance(reply, Stored)
    assert await kept(bob, "a") == high


async def test_a_jump_is_kept_where_the_others_have_it_and_refused_where_one_alone_says_so(world: World) -> None:
    hosts = await joined(world, 5)
    far = version(hosts[0], "a", SEQUENCE_JUMP_MAX + 7, b"far")
    row = holding.row_of(core(hosts[0]), far, None)
    await hosts[0].store.put_record(far.key, far.raw, row=row)
    with pytest.raises(Exception, match="sequence_jump"):
        await core(hosts[0]).endpoint.ask(contact_of(hosts[4]), Store, far.raw)

    for host in hosts[1:4]:
        await host.store.put_record(far.key, far.raw, row=row)

    assert isinstance(await core(hosts[0]).endpoint.ask(contact_of(hosts[4]), Store, far.raw), Stored)
    assert await kept(hosts[4], "a") == far


async def test_an_old_value_of_one_holder_is_never_read_or_spread_against_the_floors_of_others(world: World) -> None:
    hosts = await joined(world, 6)
    old = version(hosts[0], "a", 3, b"old")
    for host in hosts[1:5]:
        await holding.lay_floor(core(host), old.key, Floor(4, bytes(32), bytes(8)))
        late(host, 0.004, FindValue)  # within what is waited for
    await hosts[0].store.put_record(old.key, old.raw, row=holding.row_of(core(hosts[0]), old, None))

    assert [await gone(host, "a") for host in hosts] == [True] * 6

    await asyncio.sleep(20)
    assert not any([await kept(host, "a") for host in hosts])


async def test_where_more_say_that_it_is_over_than_have_it_and_not_most_nobody_reads_it(world: World) -> None:
    hosts = await joined(world, 6)
    old = version(hosts[0], "a", 3, b"old")
    for host in hosts[1:3]:
        await holding.lay_floor(core(host), old.key, Floor(4, bytes(32), bytes(8)))
    await hosts[0].store.put_record(old.key, old.raw, row=holding.row_of(core(hosts[0]), old, None))

    for host in hosts:
        with pytest.raises((NotFoundError, TimedOutError)):
            await get(host, "a")


async def test_a_writer_refused_for_a_floor_that_it_was_not_shown_goes_above_it(world: World) -> None:
    hosts = await joined(world, 5)
    key = key_of(hosts[0], "a")
    shown: set[int] = set()

    def hide_once(host: Host) -> None:
        def answer(peer: object, request: object, honest: Callable[[], Answer]) -> Answer:
            if isinstance(request, FindValue) and host.index not in shown:
                shown.add(host.index)
                return Value(request.rid, b"", None, b"")
            return honest()

        answering(host, answer)

    for host in hosts[1:]:
        await holding.lay_floor(core(host), key, Floor(70, bytes(32), bytes(8)))
        hide_once(host)

    await put(hosts[0], "a", b"new")

    record = await kept(hosts[1], "a")
    assert record is not None
    assert record.body.sequence == 71
    assert await get(hosts[3], "a") == b"new"


async def test_the_tombstone_of_a_strong_key_stays_and_no_floor_ends_a_strong_record(small: World) -> None:
    hosts = await joined(small, 4)
    await put(hosts[0], "a", b"1", consistency="strong")
    record = await kept(hosts[1], "a")
    assert record is not None
    assert not await holding.lay_floor(core(hosts[1]), record.key, Floor(99, bytes(32), bytes(8)))
    for host in hosts[2:]:
        await host.store.put_floor(record.key, Floor(99, bytes(32), bytes(8)))
    assert await get(hosts[3], "a") == b"1"
    assert isinstance(await holding.keep_record(core(hosts[3]), record, None), holding.Kept)

    assert hosts[2].peer is not None
    await hosts[2].peer.remove("a", PutOptions(consistency="strong"))
    await asyncio.sleep(2)
    began = [await host.store.tombstones(None, 9) for host in hosts]
    await asyncio.sleep(5 * GRACE_S)

    assert [await host.store.tombstones(None, 9) for host in hosts] == began
    assert await gone(hosts[0], "a")
