"""What an acknowledged write promises (INTERFACE.md), also with holders that fail and lie."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from peerd.errors import NoRoomError, NotFoundError, RefusedError, TimedOutError, TooFewCopiesError
from peerd.node import holding
from peerd.node.results import PutOptions
from peerd.records.receipt import OF_CONTENT, OF_RECORD, Receipt, receipts
from peerd.records.record import Record, read_record
from peerd.sim.host import Host
from peerd.wire.limits import SEQUENCE_JUMP_MAX
from peerd.wire.messages import Newer, Refused, Store, Stored

from .hosts import (
    World,
    answering,
    by_distance,
    contact_of,
    core,
    damaged,
    eventually,
    get,
    joined,
    kept,
    key_of,
    late,
    mute,
    put,
    version,
)


def sequence(result: object) -> int:
    return int(result.version.partition("-")[0])  # type: ignore[attr-defined]


async def test_a_lone_peer_says_one_copy_and_is_right(world: World) -> None:
    (alice,) = await joined(world, 1)
    result = await put(alice, "a", b"hello")
    assert (result.copies, result.copies_wanted, result.holders) == (1, 1, [alice.id_text])
    assert await kept(alice, "a") is not None


@pytest.mark.parametrize("count", [2, 3, 5, 10])
async def test_a_write_names_the_holders_that_have_it_and_they_have_it(world: World, count: int) -> None:
    hosts = await joined(world, count)
    result = await put(hosts[0], "a", b"hello")
    assert result.copies == len(set(result.holders)) == result.copies_wanted == min(8, count)
    by_id = {host.id_text: host for host in hosts}
    for holder in result.holders:
        record = await kept(by_id[holder], "a")
        assert record is not None
        assert record.version.text == result.version
    nearest = by_distance(hosts, key_of(hosts[0], "a"))[:8]
    assert {by_id[holder] for holder in result.holders} == set(nearest)


async def test_each_write_is_one_above_the_newest_of_a_majority(world: World) -> None:
    hosts = await joined(world, 5)
    # The writer wins every tie, so that only a higher sequence can be what made it the newest.
    *others, writer = sorted(hosts, key=lambda host: host.identity.peer)
    for host in others[:3]:
        await holding.keep_record(core(host), version(others[0], "a", 41, b"old"), None)
    assert sequence(await put(writer, "a", b"new")) == 42
    assert await get(others[0], "a") == b"new"


@pytest.mark.parametrize("consistency", ["quorum", "strong"])
async def test_no_sequence_is_left_out_whatever_the_size_of_the_versions(world: World, consistency: str) -> None:
    alice, bob, carol = await joined(world, 3)
    written = [await put(alice, "a", bytes([number]) * 5000, consistency=consistency) for number in range(3)]
    written.append(await put(bob, "a", b"small", consistency=consistency))
    written.append(await put(bob, "a", b"large" * 1000, consistency=consistency))
    assert [sequence(result) for result in written] == [1, 2, 3, 4, 5]
    assert await get(carol, "a") == b"large" * 1000


async def test_a_holder_keeps_its_newer_version_and_shows_it(world: World) -> None:
    alice, bob = await joined(world, 2)
    older, newer = version(alice, "a", 1, b"older"), version(alice, "a", 2, b"newer")
    ask = core(alice).endpoint.ask
    assert isinstance(await ask(contact_of(bob), Store, newer.raw), Stored)
    reply = await ask(contact_of(bob), Store, older.raw)
    assert isinstance(reply, Newer)
    assert reply.record == newer.raw
    assert await kept(bob, "a") == newer


async def test_a_version_that_is_there_already_is_acknowledged_again(world: World) -> None:
    alice, bob = await joined(world, 2)
    record = version(alice, "a", 1, b"hello")
    for _ in range(2):
        assert isinstance(await core(alice).endpoint.ask(contact_of(bob), Store, record.raw), Stored)
    assert bob.peer is not None
    assert len(await bob.peer.history("a")) == 1


async def test_a_holder_with_a_newer_version_makes_the_writer_try_above_it(world: World) -> None:
    hosts = await joined(world, 5)
    newer = version(hosts[4], "a", 70, b"newer")
    seen: list[int] = []

    def answer(peer: object, request: object, honest: object) -> object:
        if isinstance(request, Store):
            seen.append(read_record(request.record).body.sequence)
            if seen[-1] <= 70:
                return Newer(request.rid, newer.raw)
        return honest()  # type: ignore[operator]

    answering(hosts[4], answer)  # type: ignore[arg-type]
    assert sequence(await put(hosts[0], "a", b"mine")) == 71
    assert seen[-1] == 71


async def test_a_newer_that_is_no_newer_is_no_answer(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"first")
    old = await kept(hosts[0], "a")
    assert old is not None
    answering(
        hosts[4],
        lambda peer, request, honest: Newer(request.rid, old.raw) if isinstance(request, Store) else honest(),
    )
    result = await put(hosts[0], "a", b"second")
    assert sequence(result) == 2
    assert hosts[4].id_text not in result.holders


async def test_writers_at_once_end_with_one_winner_everywhere_and_no_write_acknowledged_for_nothing(
    world: World,
) -> None:
    hosts = await joined(world, 5)
    values = [b"by alice", b"by bob", b"by carol"]
    results = await asyncio.gather(*(put(host, "a", value) for host, value in zip(hosts, values, strict=False)))
    await asyncio.sleep(1)
    winner = max(results, key=sequence)
    shown = {await get(host, "a") for host in hosts}
    assert len(shown) == 1
    assert shown <= set(values)
    top = [result for result in results if sequence(result) == sequence(winner)]
    records = [await kept(host, "a") for host in hosts]
    assert {record.version.text for record in records if record} <= {str(result.version) for result in top}


async def test_one_writer_writes_its_versions_one_at_a_time(world: World) -> None:
    hosts = await joined(world, 3)
    results = await asyncio.gather(*(put(hosts[0], "a", bytes([number])) for number in range(6)))
    assert sorted(map(sequence, results)) == [1, 2, 3, 4, 5, 6]


async def test_a_sequence_is_never_used_twice_also_after_a_crash(world: World) -> None:
    alice, bob = await joined(world, 2)
    await put(alice, "a", b"first")
    for host in (alice, bob):
        await host.store.drop_record(key_of(alice, "a"))
    await alice.crash(power=False)
    await asyncio.sleep(20)
    await alice.start()
    await asyncio.sleep(20)
    assert sequence(await put(alice, "a", b"second")) == 2


def receipt_of(holder: Host, record: Record, **changes: object) -> bytes:
    body = Receipt(
        format=2,
        kind=OF_RECORD,
        holder=holder.identity.peer,
        store=core(holder).promises.run,
        key=record.key,
        digest=record.version.digest,
        sequence=record.body.sequence,
        life_s=60,
        stamp=1,
    )
    return receipts.sign(holder.identity, msgspec.structs.replace(body, **changes))


LIES: dict[str, Callable[[Host, Host, Record], bytes]] = {
    "of another version": lambda me, other, record: receipt_of(me, record, digest=bytes(32)),
    "of another key": lambda me, other, record: receipt_of(me, record, key=bytes(32)),
    "of content": lambda me, other, record: receipt_of(me, record, kind=OF_CONTENT),
    "by another holder": lambda me, other, record: receipt_of(other, record),
    "forged": lambda me, other, record: damaged(receipt_of(me, record)),
    "garbage": lambda me, other, record: b"garbage",
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_receipt_that_is_none_is_not_counted(world: World, lie: str) -> None:
    alice, bob, mallory = await joined(world, 3)
    answering(
        mallory,
        lambda peer, request, honest: (
            Stored(request.rid, LIES[lie](mallory, bob, read_record(request.record)))
            if isinstance(request, Store)
            else honest()
        ),
    )
    result = await put(alice, "a", b"hello")
    assert set(result.holders) == {alice.id_text, bob.id_text}
    assert result.copies == 2
    assert core(alice).counts.rejected.total() == 1


async def test_a_receipt_names_the_run_of_the_store_it_speaks_of(world: World) -> None:
    alice, bob = await joined(world, 2)
    record = version(alice, "a", 1, b"hello")
    said: list[Receipt] = []
    for _ in range(2):
        outcome = await holding.keep_record(core(bob), record, None)
        assert isinstance(outcome, holding.Kept)
        said.append(receipts.read(outcome.receipt))
        await bob.crash(power=True)
        await bob.start()
    before, after = said
    assert before.holder == after.holder == bob.identity.peer
    assert before.store != after.store
    assert before.stamp < after.stamp


async def test_a_silent_holder_is_replaced_by_the_next_nearest(world: World) -> None:
    hosts = await joined(world, 12)
    order = by_distance(hosts, key_of(hosts[0], "a"))
    writer, silent, spare = order[0], order[3], order[8]
    await put(writer, "warm", b"up")
    mute(silent, Store)
    result = await put(writer, "a", b"hello")
    assert silent.id_text not in result.holders
    assert spare.id_text in result.holders
    assert result.copies == 8


async def test_a_holder_that_died_costs_a_write_no_fixed_seconds(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "warm", b"up")
    await hosts[4].crash(power=False)
    started = world.loop.time()
    result = await put(hosts[0], "a", b"hello")
    assert result.copies == 4
    assert world.loop.time() - started < 0.5


async def test_a_moments_silence_of_most_holders_does_not_leave_a_write_on_one(world: World) -> None:
    hosts = await joined(world, 5)
    for number in range(10):
        await put(hosts[0], f"warm-{number}", b"up")
    for host in hosts[1:]:
        late(host, 0.5, Store)
    result = await put(hosts[0], "a", b"hello")
    assert result.copies >= 3
    assert sum([await kept(host, "a") is not None for host in hosts]) >= 3


async def test_full_holders_leave_their_share_to_others(world: World) -> None:
    hosts = await joined(world, 12)
    order = by_distance(hosts, key_of(hosts[0], "a"))
    for host in order[1:4]:
        answering(
            host,
            lambda peer, request, honest: Refused(request.rid, "no_room") if isinstance(request, Store) else honest(),
        )
    result = await put(order[0], "a", b"hello")
    assert result.copies == 8
    assert {order[8].id_text, order[9].id_text, order[10].id_text} <= set(result.holders)


async def test_where_all_are_full_there_is_no_room(world: World) -> None:
    hosts = await joined(world, 3)
    for host in hosts:
        host.store.quota_bytes = 1
    with pytest.raises(NoRoomError):
        await put(hosts[0], "a", b"hello")
    assert await kept(hosts[1], "a") is None


async def test_a_value_that_most_keep_for_want_of_room_is_not_said_to_be_replaced(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"old")
    for host in hosts[:2]:
        host.store.quota_bytes = 1
    await put(hosts[0], "a", b"newer" * 10)
    hosts[2].store.quota_bytes = 1
    with pytest.raises(NoRoomError):
        await put(hosts[0], "a", b"newest" * 20)
    assert (await put(hosts[0], "b", b"another")).copies == 2


async def test_more_copies_required_than_were_reached_is_told_with_what_was(world: World) -> None:
    hosts = await joined(world, 3)
    mute(hosts[2], Store)
    with pytest.raises(TooFewCopiesError) as raised:
        await put(hosts[0], "a", b"hello", require=3)
    assert raised.value.reached["copies"] == 2
    assert set(raised.value.reached["holders"]) == {hosts[0].id_text, hosts[1].id_text}  # type: ignore[call-overload]
    assert await get(hosts[1], "a") == b"hello"


async def test_more_copies_required_than_there_are_peers_is_told_with_what_was_reached(world: World) -> None:
    hosts = await joined(world, 2)
    with pytest.raises(TooFewCopiesError) as raised:
        await put(hosts[0], "a", b"hello", require=3)
    assert raised.value.reached["copies"] == 2
    assert raised.value.exit_code == 6


async def test_stored_but_on_too_few_since_one_is_full_is_6_and_not_9(world: World) -> None:
    hosts = await joined(world, 3)
    answering(
        hosts[2],
        lambda peer, request, honest: Refused(request.rid, "no_room") if isinstance(request, Store) else honest(),
    )
    with pytest.raises(TooFewCopiesError) as raised:
        await put(hosts[0], "a", b"hello", require=3)
    assert raised.value.reached["copies"] == 2


async def test_one_returns_with_the_first_receipt(world: World) -> None:
    hosts = await joined(world, 5)
    for host in hosts[1:]:
        mute(host, Store)
    started = world.loop.time()
    result = await put(hosts[0], "a", b"hello", consistency="one")
    assert result.holders == [hosts[0].id_text]
    assert world.loop.time() - started < 0.5


async def test_a_write_that_nobody_acknowledges_is_known_not_to_be(world: World) -> None:
    hosts = await joined(world, 12)
    order = by_distance(hosts, key_of(hosts[0], "a"))
    writer = order[-1]
    for host in order[:-1]:
        mute(host, Store)
    with pytest.raises(TimedOutError):
        await put(writer, "a", b"hello")


async def test_a_lost_tie_is_kept_as_a_conflict_and_shown_by_all(world: World) -> None:
    hosts = await joined(world, 3)
    both = [version(hosts[0], "a", 1, b"one"), version(hosts[1], "a", 1, b"other")]
    for host, record in zip(hosts, both, strict=False):
        await holding.keep_record(core(host), record, None)
    loser, winner = sorted(both, key=lambda record: record.version)

    async def agreed() -> bool:
        return {await get(host, "a") for host in hosts} == {winner.body.value}

    await eventually(agreed)
    await asyncio.sleep(1)
    for host in hosts:
        assert host.peer is not None
        stat = await host.peer.stat("a")
        assert stat.version == winner.version.text
        assert [entry.version for entry in stat.conflicts] == [loser.version.text]


async def test_a_jump_beyond_the_bound_is_refused(world: World) -> None:
    alice, mallory = await joined(world, 2)
    far = version(mallory, "a", SEQUENCE_JUMP_MAX + 1, b"far")
    with pytest.raises(RefusedError) as refused:
        await core(mallory).endpoint.ask(contact_of(alice), Store, far.raw)
    assert refused.value.reason == "sequence_jump"
    near = version(mallory, "a", SEQUENCE_JUMP_MAX, b"near")
    assert isinstance(await core(mallory).endpoint.ask(contact_of(alice), Store, near.raw), Stored)


async def test_removing_what_is_not_there_is_not_found_and_writes_nothing(world: World) -> None:
    alice, bob = await joined(world, 2)
    assert alice.peer is not None
    with pytest.raises(NotFoundError):
        await alice.peer.remove("a", PutOptions())
    assert await kept(bob, "a") is None
    await put(alice, "a", b"hello")
    await alice.peer.remove("a", PutOptions())
    with pytest.raises(NotFoundError):
        await alice.peer.remove("a", PutOptions())


async def test_a_write_to_a_new_key_is_not_held_up_by_the_only_other_peer_being_dead(world: World) -> None:
    alice, bob = await joined(world, 2)
    await put(alice, "warm", b"up")
    await bob.crash(power=False)
    started = world.loop.time()
    result = await put(alice, "a", b"hello")
    assert result.holders == [alice.id_text]
    assert world.loop.time() - started < 1.5
