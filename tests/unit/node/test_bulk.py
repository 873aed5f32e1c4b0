"""Bulk connections: who gets in, what closes them, what is asked over them, when one that stands still is given up."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from peerd.content.block import raw_block
from peerd.errors import NoRoomError, RefusedError, UnreachableError, WireError
from peerd.node import inflow
from peerd.node.bulk import HOLD_STALLS_MAX, HOLDS_MAX, IDLE_CLOSE_S, QUEUED_MAX, BulkConnection
from peerd.node.bulk_pool import ACCEPTED_PER_PEER_MAX
from peerd.node.callers import OPENING_TIMEOUT_S, TAG_PROOF, UNPROVEN_MAX
from peerd.sim.faults import Faults
from peerd.sim.host import Host
from peerd.sim.streams import SimulatedStream
from peerd.wire import frames, limits
from peerd.wire.codec import encode
from peerd.wire.frames import ClaimBody, HoldBody

from .hosts import World, blocks_of, contact_of, core, joined, put, serving

BLOCK = raw_block(b"hello")
WANTED = BLOCK.cid.to_bytes()


async def keep(host: Host) -> None:
    await host.store.put_blocks([BLOCK])


async def want(connection: BulkConnection, *cids: bytes) -> dict[bytes, bytes | None]:
    got: dict[bytes, bytes | None] = {}
    await connection.want(list(cids), got.__setitem__)
    return got


async def connection(source: Host, target: Host) -> BulkConnection:
    return await core(source).bulk.get(contact_of(target))


@dataclass
class Raw:
    """A stream on which a test says what it likes."""

    stream: SimulatedStream
    nonce: bytes

    @classmethod
    async def open(cls, source: Host, target: Host) -> "Raw":
        near, far, listener = await source._ports.connect(source.interface, target.address)
        await listener.accepted(far)
        _, kind, _ = frames.unpack_header(await near.read_exactly(frames.HEADER_BYTES))
        assert kind == frames.NONCE
        return cls(near, await near.read_exactly(32))

    def proof(self, source: Host) -> bytes:
        signed = source.identity.sign(TAG_PROOF, self.stream.server_key + self.nonce)
        return source.identity.peer + signed

    async def prove(self, source: Host) -> "Raw":
        await self.say(frames.PROOF, self.proof(source))
        assert await self.heard() == (frames.READY, 0, b"")
        return self

    async def say(self, kind: int, payload: bytes = b"", rid: int = 0) -> None:
        await self.stream.write(frames.pack(kind, rid, payload))

    async def heard(self) -> tuple[int, int, bytes]:
        length, kind, rid = frames.unpack_header(await self.stream.read_exactly(frames.HEADER_BYTES))
        return kind, rid, await self.stream.read_exactly(length)

    async def ended(self, *, within_s: float = 1.0) -> None:
        with pytest.raises(UnreachableError):
            async with asyncio.timeout(within_s):
                while True:
                    await self.stream.read_exactly(1)


# Who gets in.


async def test_whoever_proves_its_key_on_this_connection_gets_in(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(bob)
    raw = await (await Raw.open(alice, bob)).prove(alice)
    await raw.say(frames.WANT, WANTED, rid=7)
    assert await raw.heard() == (frames.BLOCK, 7, WANTED + BLOCK.data)


WRONG: dict[str, Callable[[Raw, Host, Host], bytes]] = {
    "by another key": lambda raw, mallory, alice: alice.identity.peer + raw.proof(mallory)[32:],
    "for another server": lambda raw, mallory, alice: (
        mallory.identity.peer + mallory.identity.sign(TAG_PROOF, alice.identity.peer + raw.nonce)
    ),
    "of another connection": lambda raw, mallory, alice: (
        mallory.identity.peer + mallory.identity.sign(TAG_PROOF, raw.stream.server_key + bytes(32))
    ),
    "of another purpose": lambda raw, mallory, alice: (
        mallory.identity.peer + mallory.identity.sign(b"peerd/1 record\x00", raw.stream.server_key + raw.nonce)
    ),
    "cut": lambda raw, mallory, alice: raw.proof(mallory)[:-1],
    "too long": lambda raw, mallory, alice: raw.proof(mallory) + b"\x00",
    "empty": lambda raw, mallory, alice: b"",
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_proof_is_refused(world: World, wrong: str) -> None:
    alice, bob, mallory = await joined(world, 3)
    raw = await Raw.open(mallory, bob)
    await raw.say(frames.PROOF, WRONG[wrong](raw, mallory, alice))
    await raw.ended()


async def test_a_request_before_the_proof_ends_the_connection(world: World) -> None:
    bob, mallory = await joined(world, 2)
    await keep(bob)
    raw = await Raw.open(mallory, bob)
    await raw.say(frames.WANT, WANTED)
    await raw.ended()


async def test_a_caller_that_says_nothing_is_cut_off(world: World) -> None:
    bob, mallory = await joined(world, 2)
    raw = await Raw.open(mallory, bob)
    await raw.ended(within_s=OPENING_TIMEOUT_S + 0.5)


async def test_somebody_else_at_the_address_is_not_talked_to(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    with pytest.raises(WireError):
        await core(alice).bulk.get(replace(contact_of(bob), address=mallory.address))


async def test_above_the_bound_the_idle_connection_that_was_used_least_makes_way(world: World) -> None:
    bob, *others = await joined(world, 5)
    core(bob).bulk._connections_max = 3
    first, *rest = [await (await Raw.open(other, bob)).prove(other) for other in others]
    await first.ended()
    for raw in rest:
        await raw.say(frames.WANT, WANTED, rid=7)
        assert await raw.heard() == (frames.MISSING, 7, WANTED)


async def test_where_all_connections_are_in_use_no_further_one_is_taken(world: World) -> None:
    bob, *others = await joined(world, 5)
    core(bob).bulk._connections_max = 3

    async def block(cid: bytes) -> bytes | None:
        await asyncio.sleep(3600)
        return None

    core(bob).bulk._handler.block = block  # type: ignore[method-assign]
    for other in others[:3]:
        await (await (await Raw.open(other, bob)).prove(other)).say(frames.WANT, WANTED)
    last = await (await Raw.open(others[3], bob)).prove(others[3])
    await last.ended()


async def test_callers_without_a_proof_keep_nobody_out_who_comes_from_elsewhere(world: World) -> None:
    bob, alice, mallory = await joined(world, 3)
    first = await Raw.open(alice, bob)
    held = [await Raw.open(mallory, bob) for _ in range(2 * UNPROVEN_MAX)]
    await first.prove(alice)
    await (await Raw.open(alice, bob)).prove(alice)
    for raw in held[:UNPROVEN_MAX]:
        await raw.ended()


@pytest.mark.parametrize("busy", [False, True])
async def test_one_peer_cannot_take_all_connections(world: World, busy: bool) -> None:
    alice, bob, mallory = await joined(world, 3)
    core(bob).bulk._connections_max = 8
    handler = core(bob).bulk._handler
    honest = handler.block

    async def block(cid: bytes) -> bytes | None:
        if cid != WANTED:
            await asyncio.sleep(3600)
        return await honest(cid)

    handler.block = block  # type: ignore[method-assign]
    for _ in range(8):
        with suppress(UnreachableError):
            raw = await (await Raw.open(mallory, bob)).prove(mallory)
            if busy:
                await raw.say(frames.WANT, raw_block(b"other").cid.to_bytes())
    await keep(bob)
    assert await want(await connection(alice, bob), WANTED) == {WANTED: BLOCK.data}


# What is asked over them.


async def test_a_block_that_is_not_there_is_said_to_be_missing(world: World) -> None:
    alice, bob = await joined(world, 2)
    assert await want(await connection(alice, bob), WANTED) == {WANTED: None}


async def test_one_connection_serves_all_requests_both_ways(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(bob)
    there = await connection(alice, bob)
    assert await connection(alice, bob) is there
    back = await connection(bob, alice)
    assert world.network.counts["streams"] == 1
    results = await asyncio.gather(*(want(there, WANTED) for _ in range(5)), *(want(back, WANTED) for _ in range(5)))
    assert results == [{WANTED: BLOCK.data}] * 5 + [{WANTED: None}] * 5


async def test_two_that_need_a_connection_at_once_share_the_opening(world: World) -> None:
    alice, bob = await joined(world, 2)
    first, second = await asyncio.gather(connection(alice, bob), connection(alice, bob))
    assert first is second


async def test_a_closed_connection_is_replaced(world: World) -> None:
    alice, bob = await joined(world, 2)
    first = await connection(alice, bob)
    first.close()
    assert await connection(alice, bob) is not first


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(world: World) -> None:
    alice, bob = await joined(world, 2)
    idle = await connection(alice, bob)
    await asyncio.sleep(1.5 * IDLE_CLOSE_S)
    assert idle.closed


async def test_of_simultaneous_connections_none_stays_for_ever(world: World) -> None:
    alice, bob = await joined(world, 2)
    await asyncio.gather(connection(alice, bob), connection(bob, alice))
    await asyncio.sleep(1)
    there, back = await connection(alice, bob), await connection(bob, alice)
    results = await asyncio.gather(want(there, WANTED), want(back, WANTED))
    assert list(results) == [{WANTED: None}] * 2
    await asyncio.sleep(3 * IDLE_CLOSE_S)
    assert all(each.closed for host in (alice, bob) for each in core(host).bulk._open_ones)


async def test_a_lost_connection_fails_what_waits_for_it(world: World) -> None:
    alice, bob = await joined(world, 2)

    there = await connection(alice, bob)
    core(bob).bulk._handler.block = lambda cid: asyncio.sleep(60)  # type: ignore[method-assign]
    asking = asyncio.create_task(want(there, WANTED))
    await asyncio.sleep(1)
    await bob.crash(power=True)
    with pytest.raises(UnreachableError):
        await asking


# What closes them.


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (frames.WANT, limits.WANTS_PER_FRAME_MAX * 36 + 1),
        (frames.BLOCK, limits.FRAME_MAX_BYTES + 1),
        (frames.HOLD, 4609),
        (frames.VERSIONS, 65),
        (frames.BLOCK, 2**32 - 1),
        (99, 0),
        (0, 0),
    ],
)
async def test_a_frame_beyond_its_bound_ends_the_connection_before_it_is_read(
    world: World, kind: int, length: int
) -> None:
    alice, bob = await joined(world, 2)
    raw = await (await Raw.open(alice, bob)).prove(alice)
    await raw.stream.write(frames.pack_header(kind, 1, length))
    await raw.ended()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (frames.WANT, b""),
        (frames.WANT, bytes(35)),
        (frames.WANT, bytes(36)),
        (frames.VERSIONS, bytes(31)),
        (frames.HOLD, b"garbage"),
        (frames.NONCE, bytes(32)),
        (frames.READY, b""),
    ],
)
async def test_a_request_that_is_none_ends_the_connection(world: World, kind: int, payload: bytes) -> None:
    alice, bob = await joined(world, 2)
    raw = await (await Raw.open(alice, bob)).prove(alice)
    await raw.say(kind, payload)
    await raw.ended()


async def test_more_waiting_requests_than_the_bound_end_the_connection(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(bob)
    handler = core(bob).bulk._handler
    honest = handler.block

    async def slowly(cid: bytes) -> bytes | None:
        await asyncio.sleep(2)
        return await honest(cid)

    handler.block = slowly  # type: ignore[method-assign]
    raw = await (await Raw.open(alice, bob)).prove(alice)
    for rid in range(QUEUED_MAX + 1):
        await raw.say(frames.WANT, WANTED, rid=rid)
    await asyncio.sleep(1)
    for rid in range(3):
        await raw.say(frames.WANT, WANTED, rid=rid)
    await raw.ended()


async def test_a_block_that_was_not_asked_for_ends_the_connection(world: World) -> None:
    alice, bob = await joined(world, 2)
    raw = await (await Raw.open(alice, bob)).prove(alice)
    await asyncio.sleep(0.1)
    asking = asyncio.create_task(want(await connection(bob, alice), WANTED))
    assert await raw.heard() == (frames.WANT, 1, WANTED)
    other = raw_block(b"other")
    await raw.say(frames.BLOCK, other.cid.to_bytes() + other.data, rid=1)
    with pytest.raises(UnreachableError):
        await asking
    await raw.ended()


@pytest.mark.parametrize("asked", [False, True])
async def test_a_block_that_was_not_asked_for_is_refused_before_it_is_read(world: World, asked: bool) -> None:
    alice, bob = await joined(world, 2)
    raw = await (await Raw.open(alice, bob)).prove(alice)
    if asked:  # for another one
        await asyncio.sleep(0.1)
        asking = asyncio.create_task(want(await connection(bob, alice), raw_block(b"other").cid.to_bytes()))
        assert (await raw.heard())[0] == frames.WANT
    await raw.stream.write(frames.pack_header(frames.BLOCK, 1 if asked else 99, limits.FRAME_MAX_BYTES) + WANTED)
    await raw.ended()
    if asked:
        with pytest.raises(UnreachableError):
            await asking


async def test_blocks_that_nobody_waits_for_any_more_are_read_past(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(bob)
    raw = await (await Raw.open(alice, bob)).prove(alice)
    await asyncio.sleep(0.1)
    asking = asyncio.create_task(want(await connection(bob, alice), WANTED))
    assert await raw.heard() == (frames.WANT, 1, WANTED)
    asking.cancel()
    await asyncio.sleep(0)
    await raw.say(frames.BLOCK, WANTED + BLOCK.data, rid=1)
    await raw.say(frames.WANT, WANTED, rid=1)
    assert await raw.heard() == (frames.BLOCK, 1, WANTED + BLOCK.data)
    await raw.say(frames.BLOCK, WANTED + BLOCK.data, rid=1)  # it came already
    await raw.ended()


async def test_an_answer_to_nothing_is_ignored(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(bob)
    raw = await (await Raw.open(alice, bob)).prove(alice)
    await raw.say(frames.HELD, b"receipt", rid=99)
    await raw.say(frames.WANT, WANTED, rid=1)
    assert await raw.heard() == (frames.BLOCK, 1, WANTED + BLOCK.data)


async def test_who_has_more_bytes_of_requests_wait_than_may_be_is_cut_off(world: World) -> None:
    alice, bob = await joined(world, 2)
    core(bob).bulk._handler.answer = lambda *asked: asyncio.sleep(3600)  # type: ignore[method-assign,assignment]
    raw = await (await Raw.open(alice, bob)).prove(alice)
    longest = bytes(limits.RANGES_MAX_BYTES)
    for rid in range(inflow.PEER_MAX_BYTES // len(longest) + 2):
        with suppress(UnreachableError):
            await raw.say(frames.RECONCILE, longest, rid=rid)
    await raw.ended()
    assert core(bob).bulk._inflow.total == 0


async def test_who_asks_and_does_not_read_is_cut_off(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(bob)
    raw = await (await Raw.open(alice, bob)).prove(alice)
    await asyncio.sleep(0.1)
    there = await connection(bob, alice)
    there._stream.write = lambda data: asyncio.sleep(3600)  # type: ignore[method-assign]
    began = world.loop.time()
    await raw.say(frames.WANT, WANTED)
    await raw.ended(within_s=60)
    assert world.loop.time() - began < 45


# Standing still.


async def test_a_peer_that_stands_still_is_given_up_after_the_stall_time(world: World) -> None:
    alice, bob = await joined(world, 2)
    core(bob).bulk._handler.block = lambda cid: asyncio.sleep(3600)  # type: ignore[method-assign]
    there = await connection(alice, bob)
    started = world.loop.time()
    with pytest.raises(UnreachableError):
        await want(there, WANTED)
    assert world.loop.time() - started == pytest.approx(world._settings.transfer_timeout_s, abs=0.1)


async def test_a_slow_peer_that_goes_on_is_waited_for(world: World) -> None:
    alice, bob = await joined(world, 2)
    blocks = blocks_of(bytes(5 * 2**20))
    await bob.store.put_blocks([raw_block(data) for cid, data in blocks.items() if cid.codec == 0x55])
    raws = [cid.to_bytes() for cid in blocks if cid.codec == 0x55]
    handler = core(bob).bulk._handler
    honest = handler.block

    async def slowly(cid: bytes) -> bytes | None:
        await asyncio.sleep(8)
        return await honest(cid)

    handler.block = slowly  # type: ignore[method-assign]
    assert len(await want(await connection(alice, bob), *raws)) == len(raws)


async def test_requests_that_wait_behind_each_other_on_a_slow_link_do_not_stall(world: World) -> None:
    alice, bob = await joined(world, 2)
    many = [raw_block(bytes([number]) * 2**20) for number in range(6)]
    await bob.store.put_blocks(many)
    world.set_faults(Faults(bandwidth_mbit=3.0))  # 3 s for a block
    there = await connection(alice, bob)
    cids = [block.cid.to_bytes() for block in many]
    first, second = await asyncio.gather(want(there, *cids[:5]), want(there, cids[5]))
    assert (len(first), len(second)) == (5, 1)


async def test_a_connection_over_which_a_long_answer_goes_out_is_not_idle(world: World) -> None:
    alice, bob = await joined(world, 2)
    many = [raw_block(bytes([number]) * 2**20) for number in range(30)]
    await bob.store.put_blocks(many)
    world.set_faults(Faults(bandwidth_mbit=3.0))  # a minute and a half for all
    there = await connection(alice, bob)
    started = world.loop.time()
    assert len(await want(there, *(block.cid.to_bytes() for block in many))) == 30
    assert world.loop.time() - started > IDLE_CLOSE_S


async def test_a_second_connection_does_not_cut_the_one_that_is_being_served(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(bob)
    handler = core(bob).bulk._handler
    honest = handler.block

    async def slowly(cid: bytes) -> bytes | None:
        await asyncio.sleep(2)
        return await honest(cid)

    handler.block = slowly  # type: ignore[method-assign]
    first = await (await Raw.open(alice, bob)).prove(alice)
    await first.say(frames.WANT, WANTED, rid=1)
    await asyncio.sleep(1)
    await (await Raw.open(alice, bob)).prove(alice)
    assert await first.heard() == (frames.BLOCK, 1, WANTED + BLOCK.data)


async def test_many_handshakes_within_a_minute_lock_nobody_out(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(bob)
    for _ in range(3 * ACCEPTED_PER_PEER_MAX):
        core(alice).bulk.renew(bob.identity.peer)
        core(bob).bulk.renew(alice.identity.peer)
        assert await want(await connection(alice, bob), WANTED) == {WANTED: BLOCK.data}
        await asyncio.sleep(0.5)
    assert len(core(bob).bulk._open_ones) <= ACCEPTED_PER_PEER_MAX


async def test_of_too_many_connections_of_a_peer_the_idle_go_before_those_in_use(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(bob)
    handler = core(bob).bulk._handler
    honest = handler.block

    async def slowly(cid: bytes) -> bytes | None:
        await asyncio.sleep(2)
        return await honest(cid)

    handler.block = slowly  # type: ignore[method-assign]
    busy = await (await Raw.open(alice, bob)).prove(alice)
    idle = [await (await Raw.open(alice, bob)).prove(alice) for _ in range(ACCEPTED_PER_PEER_MAX - 1)]
    await busy.say(frames.WANT, WANTED, rid=1)
    await asyncio.sleep(1)
    await (await Raw.open(alice, bob)).prove(alice)
    await idle[0].ended()
    assert await busy.heard() == (frames.BLOCK, 1, WANTED + BLOCK.data)


async def test_a_long_hold_tells_that_it_goes_on(world: World) -> None:
    alice, bob = await joined(world, 2)
    handler = core(bob).bulk._handler

    async def slowly(connection: BulkConnection, body: HoldBody) -> bytes:
        for _ in range(3):
            await asyncio.sleep(50)
            await want(connection, WANTED)  # it takes some of it now and then
        return b"receipt"

    handler.hold = slowly  # type: ignore[method-assign]
    assert await (await connection(alice, bob)).hold(hold_body()) == b"receipt"


async def test_a_hold_that_takes_nothing_is_given_up_whatever_it_says(world: World) -> None:
    alice, bob = await joined(world, 2)
    handler = core(bob).bulk._handler

    async def never(connection: BulkConnection, body: HoldBody) -> bytes:
        await asyncio.Event().wait()
        return b""

    handler.hold = never  # type: ignore[method-assign]
    there = await connection(alice, bob)
    with pytest.raises(UnreachableError):
        async with asyncio.timeout(HOLD_STALLS_MAX * core(alice).settings.transfer_timeout_s + 1):
            await there.hold(hold_body())


def hold_body() -> HoldBody:
    return HoldBody(root=WANTED, kind=0, size=5, claims=[ClaimBody(bytes(100), None)])


async def test_holds_at_a_time_are_bounded(world: World) -> None:
    alice, bob = await joined(world, 2)
    handler = core(bob).bulk._handler

    async def slowly(connection: BulkConnection, body: HoldBody) -> bytes:
        await asyncio.sleep(5)
        return b"receipt"

    handler.hold = slowly  # type: ignore[method-assign]
    raw = await (await Raw.open(alice, bob)).prove(alice)
    for rid in range(HOLDS_MAX + 1):
        await raw.say(frames.HOLD, encode(hold_body()), rid=rid)
    assert await raw.heard() == (frames.FAILED, HOLDS_MAX, b"busy")


async def test_no_room_and_other_failures_come_back_as_what_they_are(world: World) -> None:
    alice, bob = await joined(world, 2)
    handler = core(bob).bulk._handler
    there = await connection(alice, bob)

    async def full(connection: BulkConnection, body: HoldBody) -> bytes:
        raise NoRoomError("full")

    handler.hold = full  # type: ignore[method-assign]
    with pytest.raises(NoRoomError):
        await there.hold(hold_body())
    handler.hold = _broken  # type: ignore[method-assign]
    with pytest.raises(RefusedError):
        await there.hold(hold_body())


async def _broken(connection: BulkConnection, body: HoldBody) -> bytes:
    raise WireError("malformed")


async def test_a_fault_in_serving_one_peer_is_no_hang_for_it(world: World, faults_logged: list[str]) -> None:
    alice, bob = await joined(world, 2)

    def fail(cid: bytes) -> object:
        raise ZeroDivisionError

    core(bob).bulk._handler.block = fail  # type: ignore[method-assign,assignment]
    there = await connection(alice, bob)
    started = world.loop.time()
    with pytest.raises((UnreachableError, RefusedError)):
        await want(there, WANTED)
    assert world.loop.time() - started < 1.0
    faults_logged.clear()


async def test_a_peer_that_ends_while_it_opens_a_connection_leaves_nothing(world: World) -> None:
    alice, bob = await joined(world, 2)
    await bob.crash(power=False)
    opening = asyncio.create_task(connection(alice, bob))
    await asyncio.sleep(0.1)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    started = world.loop.time()
    await alice.crash(power=True)
    assert world.loop.time() == started


async def test_what_is_on_the_drop_list_is_neither_called_nor_answered(world: World) -> None:
    alice, bob = await joined(world, 2)
    assert alice.peer is not None
    there = await connection(alice, bob)
    alice.peer.set_drop_list([f"{bob.address[0]}:{bob.address[1]}"])
    assert there.closed
    with pytest.raises(UnreachableError):
        await connection(alice, bob)
    alice.peer.set_drop_list([])
    await connection(alice, bob)


async def test_put_content_goes_over_one_connection_a_holder(world: World) -> None:
    hosts = await joined(world, 3)
    asked = serving(hosts[0], lambda cid, data: data)
    await put(hosts[0], "a", bytes(5 * 2**20))
    assert len(set(asked)) == len(blocks_of(bytes(5 * 2**20)))
    assert world.network.counts["streams"] == 2
