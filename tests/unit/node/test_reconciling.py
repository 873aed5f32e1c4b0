"""Peers that meet end with the newest that either had, at a cost that follows the difference; liars are cut off."""

import asyncio
from typing import Any

import pytest
from msgspec import structs

from peerd.errors import NoRoomError, RefusedError, UnreachableError, WireError
from peerd.ids import Key, PeerId
from peerd.node.exchanging import COMING_MAX, COMING_PER_PEER_MAX, COMING_S, Coming
from peerd.node.holding import floor_of, keep_record, lay_floor
from peerd.node.known import mark_of
from peerd.node.reconciling import reconcile
from peerd.records.record import Record, read_record
from peerd.sim.host import Host
from peerd.sim.network import Interface
from peerd.sim.world import SIGNED_MAX
from peerd.wire import frames
from peerd.wire.codec import encode
from peerd.wire.reconcile import (
    ACCEPTED,
    DECLINED,
    FINGERPRINT,
    ITEMS,
    KNOWN,
    LATER,
    NEWER,
    RECORD,
    SAME,
    WISHED,
    EntryBody,
    RangeBody,
    mark_of_value,
    ranges_codec,
)

from .hosts import (
    World,
    by_distance,
    contact_of,
    core,
    damaged,
    eventually,
    joined,
    kept,
    key_of,
    until,
    version,
)


async def keep_all(hosts: list[Host], records: list[Record]) -> None:
    for host in hosts:
        await asyncio.gather(*(keep_record(core(host), record, None) for record in records))


async def keep(host: Host, *records: Record) -> None:
    for record in records:
        await keep_record(core(host), record, None)


def knows(host: Host) -> dict[bytes, bytes]:
    """What a host knows, mark by key."""
    items = core(host).known.items
    return {item[:32]: item[32:] for item in items.items(b"", b"")}


async def test_both_end_with_the_newest_of_either(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(alice, *(version(alice, f"a{number}", 2, b"alice") for number in range(100)))
    await keep(bob, *(version(bob, f"b{number}", 2, b"bob") for number in range(150)))
    await keep(alice, *(version(alice, f"b{number}", 1, b"old") for number in range(50)))
    done = await reconcile(core(alice), contact_of(bob))
    assert (done.received, done.sent, done.confirmed) == (150, 100, True)
    assert knows(alice) == knows(bob)
    assert len(knows(alice)) == 250


async def test_equal_peers_say_hardly_anything(world: World) -> None:
    alice, bob = await joined(world, 2)
    records = [version(alice, f"k{number}", 1, b"x" * 300) for number in range(500)]
    await keep(alice, *records)
    await keep(bob, *records)
    connection = await core(alice).bulk.get(contact_of(bob))
    asked: list[int] = []
    honest = connection.ask

    async def counted(kind: int, payload: bytes) -> bytes:
        answer = await honest(kind, payload)
        asked.append(len(payload) + len(answer))
        return answer

    connection.ask = counted  # type: ignore[method-assign,assignment]
    done = await reconcile(core(alice), contact_of(bob))
    assert (done.received, done.sent) == (0, 0)
    assert sum(asked) < 300
    await keep(bob, version(bob, "k7", 2, b"newer"))
    asked.clear()
    done = await reconcile(core(alice), contact_of(bob))
    assert (done.received, done.sent) == (1, 0)
    assert sum(asked) < 4000


async def test_a_tie_is_decided_alike_and_each_side_keeps_the_loser_as_a_conflict(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(alice, version(alice, "k", 3, b"of alice"))
    await keep(bob, version(bob, "k", 3, b"of bob"))
    await reconcile(core(alice), contact_of(bob))
    assert knows(alice) == knows(bob)
    for host in (alice, bob):
        history = await host.store.history(key_of(host, "k"))
        assert [entry.conflict for entry in history] == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("expected", [SIGNED_MAX + 1])
async def test_a_healed_partition_has_the_same_everywhere(world: World) -> None:
    hosts = await joined(world, 10)
    await keep_all(hosts, [version(hosts[0], f"k{number}", 1, b"before" * 10) for number in range(500)])
    here, there = hosts[:5], hosts[5:]
    world.network.part([[host.interface for host in here], [host.interface for host in there]])
    await asyncio.sleep(15)
    await keep_all(here, [version(hosts[0], f"k{number}", 2, b"here") for number in range(250)])
    await keep_all(there, [version(hosts[9], f"k{number}", 2, b"there") for number in range(125, 375)])
    await keep_all(here, [version(hosts[0], f"h{number}", 1, b"here" * 20) for number in range(750)])
    await keep_all(there, [version(hosts[9], f"t{number}", 1, b"there" * 20) for number in range(750)])
    wanted: dict[bytes, bytes] = {}
    for host in hosts:
        for raw in host.store._records.values():
            record = read_record(raw[0])
            best = wanted.get(record.key)
            if best is None or record.version > read_record(best).version:
                wanted[record.key] = record.raw
    assert len(wanted) == 2000
    world.network.heal()
    holders = {key: by_distance(hosts, key)[:8] for key in wanted}

    def same() -> bool:
        return all(host.store.peek_record(Key(key)) == raw for key, raw in wanted.items() for host in holders[key])

    await until(same, within_s=30)


@pytest.mark.slow
async def test_a_joining_peer_is_sent_at_most_twice_what_it_should_hold(world: World) -> None:
    hosts = await joined(world, 6)
    await keep_all(hosts, [version(hosts[0], f"k{number}", 1, b"v" * 200) for number in range(1000)])
    await asyncio.sleep(10)
    late = world.add()
    received = 0
    honest = world.network.note

    def count(source: Interface, target: Interface, data: bytes) -> None:
        nonlocal received
        received += len(data) if target is late.interface else 0
        honest(source, target, data)

    world.network.note = count  # type: ignore[method-assign]
    await late.start()
    await until(lambda: len(knows(late)) == 1000, within_s=30)
    await asyncio.sleep(20)
    ideal = sum(len(raw) for raw, _ in late.store._records.values())
    assert received <= 2 * ideal


async def test_nothing_is_asked_of_two_at_once(world: World) -> None:
    hosts = await joined(world, 5)
    await keep_all(hosts, [version(hosts[0], f"k{number}", 1, b"v" * 200) for number in range(300)])
    asked: list[bytes] = []
    for host in hosts:
        exchanging = core(host).reconciling.exchanging
        honest = exchanging.entry

        async def entry(key: Key, honest: Any = honest) -> Any:
            asked.append(key)
            return await honest(key)

        exchanging.entry = entry  # type: ignore[method-assign]
    late = await world.join()
    core(late).reconciling._first_done = True
    await until(lambda: len(knows(late)) == 300)
    await asyncio.sleep(5)
    assert len(asked) == 300


async def test_one_that_names_what_it_has_not_is_cut_off(world: World) -> None:
    alice, mallory = await joined(world, 2)
    known = core(mallory).known.items
    for number in range(2000):
        known.put(number.to_bytes(2, "big") * 16, mark_of_value(1, bytes(16)))
    with pytest.raises(WireError):
        await reconcile(core(alice), contact_of(mallory))
    await until(lambda: core(alice).counts.rejected["reconcile"] >= 1)
    with pytest.raises(RefusedError):
        await reconcile(core(alice), contact_of(mallory))


async def test_one_that_answers_without_end_is_cut_off(world: World) -> None:
    alice, mallory = await joined(world, 2)
    await keep(alice, *(version(alice, f"k{number}", 1, b"x") for number in range(300)))
    step = 0

    async def endless(peer: PeerId, kind: int, payload: bytes) -> bytes:
        nonlocal step
        step += 1
        asked = ranges_codec.decode_canonical(payload)
        return encode([RangeBody(each.upper, LATER, b"") for each in asked[:-1]] + split(asked, step))

    def split(asked: list[RangeBody], step: int) -> list[RangeBody]:
        low = asked[-2].upper if len(asked) > 1 else b""
        bound = (low or bytes(1)).ljust(31, b"\x00") + bytes([1 + step % 255])
        return [RangeBody(bound, SAME, b""), RangeBody(asked[-1].upper, LATER, b"")]

    core(mallory).bulk._handler.answer = endless  # type: ignore[method-assign]
    with pytest.raises(WireError):
        await reconcile(core(alice), contact_of(mallory))


@pytest.mark.parametrize(
    "answer",
    [b"\x90", b"\xc1", encode([RangeBody(b"", LATER, b"")]), encode([RangeBody(b"", ITEMS, bytes(55))])],
)
async def test_an_answer_against_the_rules_ends_the_session(world: World, answer: bytes) -> None:
    alice, mallory = await joined(world, 2)
    await keep(mallory, version(mallory, "k", 1, b"x"))

    async def lie(peer: PeerId, kind: int, payload: bytes) -> bytes:
        return answer

    core(mallory).bulk._handler.answer = lie  # type: ignore[method-assign]
    with pytest.raises(WireError):
        await reconcile(core(alice), contact_of(mallory))


async def test_records_of_other_keys_and_forged_ones_are_not_kept(world: World) -> None:
    alice, mallory = await joined(world, 2)
    await keep(mallory, version(mallory, "k", 1, b"x"))
    other = version(mallory, "other", 1, b"y")
    for raw in (other.raw, damaged(version(mallory, "k", 1, b"z").raw)):

        async def lie(key: Key, raw: bytes = raw) -> EntryBody:
            return EntryBody(RECORD, raw, None)

        core(mallory).reconciling.exchanging.entry = lie  # type: ignore[method-assign]
        with pytest.raises(WireError):
            await reconcile(core(alice), contact_of(mallory))
        core(alice).reconciling._shunned.clear()
    assert knows(alice) == {}


async def test_who_has_no_room_for_a_floor_goes_on_with_the_rest(world: World) -> None:
    alice, bob = await joined(world, 2)
    over = version(alice, "over", 3, b"x")
    await lay_floor(core(alice), over.key, floor_of(over, ends=None))
    await keep(alice, *(version(alice, f"a{number}", 1, b"x") for number in range(5)))

    def no_room(operation: str) -> None:
        if operation == "put_floor":
            raise NoRoomError("the disk is full")

    bob.store.sync_fault = no_room
    done = await reconcile(core(alice), contact_of(bob))
    assert (done.sent, done.confirmed) == (5, True)
    assert len(knows(bob)) == 5


async def test_what_was_not_wished_for_is_declined(world: World) -> None:
    alice, mallory = await joined(world, 2)
    connection = await core(mallory).bulk.get(contact_of(alice))
    record = version(mallory, "k", 1, b"x")
    given = encode([EntryBody(RECORD, record.raw, None)])
    assert await connection.ask(frames.GIVE, given) == bytes([DECLINED])
    assert knows(alice) == {}
    item = record.key + mark_of(record)
    assert await connection.ask(frames.OFFER, item) == bytes([WISHED])
    assert await connection.ask(frames.OFFER, item) == bytes([WISHED]), "its own offer, made again, stands"
    exchanging = core(alice).reconciling.exchanging
    assert not exchanging.coming.claim(record.key, alice.identity.peer, core(alice).now())
    assert await connection.ask(frames.GIVE, given) == bytes([ACCEPTED])
    assert await connection.ask(frames.OFFER, item) == bytes([KNOWN])
    older = record.key + mark_of_value(0, bytes(16))
    assert await connection.ask(frames.OFFER, older) == bytes([NEWER])


def test_who_promises_and_does_not_give_leaves_the_key_to_others() -> None:
    coming = Coming()
    mallory, bob, key = PeerId(b"m" * 32), PeerId(b"b" * 32), b"k" * 32
    assert coming.claim(key, mallory, 0.0, offered=True)
    assert coming.claim(key, mallory, COMING_S - 1, offered=True)
    assert not coming.claim(key, bob, COMING_S - 1)
    assert not coming.busy(key, COMING_S)
    assert not coming.claim(key, mallory, COMING_S)
    assert coming.claim(key, bob, 2 * COMING_S - 1)
    assert coming.done(key, bob)
    assert coming.claim(key, mallory, 2 * COMING_S)


def test_what_a_peer_offers_while_it_is_asked_for_it_comes_once() -> None:
    coming = Coming()
    bob = PeerId(b"b" * 32)
    assert coming.claim(b"asked", bob, 0.0)
    assert not coming.claim(b"asked", bob, 0.0, offered=True)
    assert coming.claim(b"offered", bob, 0.0, offered=True)
    assert not coming.claim(b"offered", bob, 0.0)
    assert coming.claim(b"offered", bob, 0.0, offered=True), "again, after it lost the connection"
    assert coming.done(b"asked", bob)
    assert coming.claim(b"asked", bob, 0.0, offered=True)


async def test_of_a_tie_that_a_peer_is_asked_for_its_version_is_wished_for_still(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(alice, version(alice, "tied", 3, b"of alice"))
    asked = version(bob, "tied", 3, b"of bob")
    newer = version(bob, "newer", 3, b"of bob")
    await keep(alice, version(alice, "newer", 2, b"of alice"))
    coming = core(alice).reconciling.exchanging.coming
    connection = await core(bob).bulk.get(contact_of(alice))
    for record in (asked, newer):
        assert coming.claim(record.key, bob.identity.peer, core(alice).now())
    offered = b"".join(record.key + mark_of(record) for record in (asked, newer))
    assert await connection.ask(frames.OFFER, offered) == bytes([WISHED, KNOWN])


def test_one_peer_cannot_promise_so_much_that_nobody_else_can() -> None:
    coming = Coming()
    mallory, bob = PeerId(b"m" * 32), PeerId(b"b" * 32)
    keys = [number.to_bytes(32, "big") for number in range(COMING_MAX + 1)]
    assert sum(coming.claim(key, mallory, 0.0) for key in keys) == COMING_PER_PEER_MAX
    assert coming.claim(keys[-1], bob, 0.0)
    assert coming.done(keys[0], mallory)
    assert coming.claim(keys[-2], mallory, 0.0)
    assert not coming.claim(keys[-3], mallory, 0.0)


async def test_where_too_much_is_on_its_way_the_rest_is_waited_for_and_the_loop_is_not_held(world: World) -> None:
    alice, bob = await joined(world, 2)
    await asyncio.sleep(10)
    record = version(bob, "k", 1, b"x")
    await keep(bob, record)
    coming, now = core(alice).reconciling.exchanging.coming, core(alice).now()
    for number in range(COMING_MAX):
        assert coming.claim(b"other" + number.to_bytes(27, "big"), PeerId((number % 512).to_bytes(32, "big")), now)
    done = await reconcile(core(alice), contact_of(bob))
    assert done.confirmed
    assert core(alice).now() == pytest.approx(now + COMING_S, abs=1.0)
    assert await kept(alice, "k") == record


async def test_one_that_asks_without_end_waits(world: World) -> None:
    alice, mallory = await joined(world, 2)
    connection = await core(mallory).bulk.get(contact_of(alice))
    question = encode([RangeBody(b"", FINGERPRINT, bytes(16))])
    started = world.loop.time()
    for _ in range(1024):
        await connection.ask(frames.RECONCILE, question)
    assert world.loop.time() - started > 1.5


async def test_a_version_on_one_holder_alone_reaches_the_others_by_chance_meetings(world: World) -> None:
    hosts = await joined(world, 4)
    await asyncio.sleep(10)
    newest = version(hosts[1], "k", 2, b"new")
    await keep(hosts[1], newest)
    await eventually(lambda: _all_have(hosts, newest), within_s=400)


async def _all_have(hosts: list[Host], record: Record) -> bool:
    return all([await kept(host, "k") == record for host in hosts])


async def test_who_lost_the_connection_before_it_gave_what_was_wished_for_gives_it_again(world: World) -> None:
    alice, bob = await joined(world, 2)
    await asyncio.sleep(10)
    record = version(alice, "k", 1, b"x")
    await keep(alice, record)
    lost = 0
    honest = core(bob).bulk._handler.answer

    async def cut_once(peer: PeerId, kind: int, payload: bytes) -> bytes:
        nonlocal lost
        if kind == frames.GIVE and not lost:
            lost += 1
            core(bob).bulk.drop(peer)
            raise UnreachableError("cut")
        return await honest(peer, kind, payload)

    core(bob).bulk._handler.answer = cut_once  # type: ignore[method-assign]
    with pytest.raises(UnreachableError):
        await reconcile(core(alice), contact_of(bob))
    done = await reconcile(core(alice), contact_of(bob))
    assert (done.sent, done.agreed) == (1, True)
    assert await kept(bob, "k") == record


async def test_a_cut_too_short_for_anybody_to_be_buried_is_healed_too(world: World) -> None:
    hosts = await joined(world, 4)
    await asyncio.sleep(10)
    here, there = hosts[:2], hosts[2:]
    world.network.part([[host.interface for host in here], [host.interface for host in there]])
    await asyncio.sleep(4)
    newest = [version(here[0], f"h{number}", 1, b"here") for number in range(50)]
    newest += [version(there[0], f"t{number}", 1, b"there") for number in range(50)]
    await keep_all(here, newest[:50])
    await keep_all(there, newest[50:])
    for host in hosts:
        core(host).copies.clear()
        core(host).settings = structs.replace(core(host).settings, repair_interval_s=10_000)
    world.network.heal()
    assert {member.state for host in hosts for member in core(host).members.all.values()} <= {"alive", "suspect"}
    await until(lambda: all(len(knows(host)) == 100 for host in hosts), within_s=20)
