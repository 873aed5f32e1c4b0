"""Room: the quota holds whatever comes at once, caches go first, promises stay, a tenth is kept for who uses little."""

import asyncio
import random

import pytest
from msgspec.structs import replace as with_settings

from peerd.content.block import raw_block
from peerd.content.cid import Cid
from peerd.content.read import DagWalk
from peerd.errors import NoRoomError, PeerdError, StoreError, TooFewCopiesError
from peerd.ids import PeerId
from peerd.io.store import bounds
from peerd.io.store.interface import Root
from peerd.io.store.memory import MemoryStore
from peerd.node.collecting import collect
from peerd.node.holding import keep_record
from peerd.node.placing import content_of, place
from peerd.node.shares import Shares
from peerd.records.record import TOMBSTONE
from peerd.sim.host import Host

from .hosts import World, blocks_of, by_distance, core, get, joined, put, version

QUOTA_BYTES = 8 * 2**20
SIZE = 500_000


def data_of(number: int, size: int = SIZE) -> bytes:
    return random.Random(number).randbytes(size)


async def small(world: World, count: int) -> list[Host]:
    """Hosts of which the first has little room."""
    hosts = await joined(world, count)
    hosts[0].store.quota_bytes = QUOTA_BYTES
    return hosts


async def used_part(host: Host) -> float:
    usage = await host.store.usage()
    return usage.used_bytes / usage.quota_bytes


async def test_puts_at_once_never_use_more_than_the_quota_and_those_that_are_told_so_are_there(world: World) -> None:
    (alone,) = await small(world, 1)
    outcomes = await asyncio.gather(*(put(alone, str(n), data_of(n)) for n in range(30)), return_exceptions=True)
    assert await used_part(alone) <= 1
    refused = [one for one in outcomes if isinstance(one, NoRoomError)]
    assert 0 < len(refused) < 30
    assert all(isinstance(one, NoRoomError) for one in outcomes if isinstance(one, BaseException))
    for number, outcome in enumerate(outcomes):
        if not isinstance(outcome, BaseException):
            assert await get(alone, str(number)) == data_of(number)


@pytest.mark.slow
async def test_a_full_holder_refuses_and_others_take_its_share(world: World) -> None:
    hosts = await small(world, 6)
    for number in range(40):
        result = await put(hosts[1 + number % 5], str(number), data_of(number))
        assert result.copies == 3
    assert await used_part(hosts[0]) <= 1
    kept = [root.class_ for root in await hosts[0].store.roots(None, 100)]
    assert 8 <= len(kept) < 20


async def test_who_puts_takes_the_share_of_a_full_holder_where_nobody_else_is(world: World) -> None:
    hosts = await small(world, 4)
    while True:
        try:
            await core(hosts[0]).room.require_share(hosts[1].identity.peer, SIZE)
        except NoRoomError:
            break
        await put(hosts[1], str(await hosts[1].store.record_count()), data_of(await hosts[1].store.record_count()))
    for number in range(1_000, 1_012):
        result = await put(hosts[1], str(number), data_of(number))
        assert result.copies == 3
        promised = [await host.store.root(Cid.parse(result.cid or "").to_bytes()) for host in hosts[1:]]
        assert [root.class_ for root in promised if root is not None] == ["replica"] * 3


@pytest.mark.slow
async def test_cached_copies_give_way_to_promises_and_promises_to_nothing(world: World) -> None:
    hosts = await small(world, 5)
    for number in range(12):
        await put(hosts[1], str(number), data_of(number))
        await get(hosts[0], str(number))
    for number in range(12, 40):
        await put(hosts[2], str(number), data_of(number))
    await asyncio.sleep(2)
    assert await used_part(hosts[0]) <= 1
    for root in await hosts[0].store.roots(None, 100):
        if root.class_ == "replica":
            assert await blocks_under(hosts[0], root.cid)


async def blocks_under(host: Host, raw: bytes) -> list[Cid]:
    walk, found = DagWalk(Cid.from_bytes(raw)), []
    while not walk.done:
        cid = walk.wants(1)[0]
        data = await host.store.block(cid)
        assert data is not None, "a promise without its bytes"
        walk.give(cid, data)
        found.append(cid)
    return found


async def test_the_last_tenth_is_kept_for_who_uses_less_than_its_share(world: World) -> None:
    hosts = await small(world, 2)
    greedy, modest = hosts[1], hosts[0]
    for number in range(40):
        try:
            await put(greedy, str(number), data_of(number))
        except PeerdError:
            break
    usage = await modest.store.usage()
    assert 0.85 < usage.replica_bytes / bounds.common_bytes(usage.quota_bytes) <= 1
    with pytest.raises(NoRoomError):
        await core(modest).room.require_share(greedy.identity.peer, SIZE)
    await core(modest).room.require_share(modest.identity.peer, 100_000)


async def test_what_is_put_here_leaves_the_last_tenth_to_others_too(world: World) -> None:
    (alone,) = await small(world, 1)
    with pytest.raises(NoRoomError, match="less than their share"):
        for number in range(40):
            await put(alone, str(number), data_of(number))
    usage = await alone.store.usage()
    assert 0.85 < (usage.replica_bytes + usage.own_bytes) / bounds.common_bytes(usage.quota_bytes) <= 1
    await core(alone).room.require_share(PeerId(bytes(32)), SIZE)
    await put(alone, "a record", b"v")


async def fill(host: Host, writer: Host) -> int:
    """Let a host keep records of a writer until it takes no more; returns how many it took."""
    for number in range(100_000):
        try:
            await keep_record(core(host), version(writer, f"{writer.index} {number}", 1, b"v" * 700), None)
        except NoRoomError:
            return number
    raise AssertionError("there is no end of room")


async def test_the_last_tenth_is_kept_from_the_records_of_who_uses_more_too(world: World) -> None:
    hosts = await joined(world, 2)
    modest, greedy = hosts
    modest.store.quota_bytes = 2**20
    await fill(modest, greedy)
    usage = await modest.store.usage()
    assert 0.95 < usage.used_bytes / bounds.common_bytes(usage.quota_bytes) <= 1
    assert await keep_record(core(modest), version(greedy, f"{greedy.index} 0", 2, b"w" * 700), None)
    assert await keep_record(core(modest), version(greedy, f"{greedy.index} 1", 2, kind=TOMBSTONE), None)
    assert await fill(modest, modest) > 20
    assert (await modest.store.usage()).used_bytes <= bounds.limit_bytes(usage.quota_bytes, reserve=False)


@pytest.mark.parametrize(("quota_bytes", "least"), [(2**20, 0.77), (50_000_000, 0.88), (20 * 10**9, 0.9)])
def test_what_is_kept_from_who_uses_more_than_its_share_is_one_tenth(quota_bytes: int, least: float) -> None:
    common, limit = bounds.common_bytes(quota_bytes), bounds.limit_bytes(quota_bytes, reserve=False)
    assert least <= common / quota_bytes <= 0.9
    assert (limit - common) / quota_bytes >= 0.0625
    assert limit + bounds.reserve_bytes(quota_bytes) <= quota_bytes


async def test_all_that_a_writer_of_tiny_values_filled_a_store_with_can_be_deleted(world: World) -> None:
    hosts = await joined(world, 2)
    modest, greedy = hosts
    modest.store.quota_bytes = 2**17
    numbers = range(200)
    with pytest.raises(NoRoomError):
        for number in numbers:
            await keep_record(core(modest), version(greedy, f"{greedy.index} {number}", 1, b"v"), None)
    kept = (await modest.store.usage()).records
    for number in range(kept):
        name = f"{greedy.index} {number}"
        assert await keep_record(core(modest), version(greedy, name, 2, kind=TOMBSTONE), None)
    assert kept > 100
    assert (await modest.store.usage()).used_bytes <= modest.store.quota_bytes


@pytest.mark.slow
async def test_cached_copies_give_way_to_records(world: World) -> None:
    world._settings = with_settings(world._settings, copies=1)
    hosts = await small(world, 5)
    full = hosts[0]
    for number in range(30):
        *_, root = blocks_of(data_of(number))
        if by_distance(hosts, root.digest)[0] is not full:
            await put(hosts[1], str(number), data_of(number))
            await get(full, root.text)
    before = await full.store.usage()
    assert before.used_bytes > 0.8 * bounds.limit_bytes(before.quota_bytes, reserve=False)
    assert before.cache_bytes > before.quota_bytes / 2
    for number in range(1_000):
        await keep_record(core(full), version(hosts[1], f"record {number}", 1, b"v" * 700), None)
    assert (await full.store.usage()).records >= 1_000


@pytest.mark.slow
async def test_overwriting_a_name_over_and_over_does_not_fill_the_disk(world: World) -> None:
    hosts = await small(world, 2)
    for number in range(100):
        await put(hosts[0], "a", data_of(number, 200_000))
    assert await used_part(hosts[0]) <= 1
    assert await get(hosts[1], "a") == data_of(99, 200_000)
    freed = await collect(core(hosts[0]))
    assert freed.roots > 0
    assert await used_part(hosts[0]) < 0.1


async def test_what_a_disk_that_failed_left_of_a_copy_makes_way(world: World) -> None:
    """Neither what the copy had of blocks nor that it was claimed could be taken back."""
    holder, other = await joined(world, 2)
    failing = ["put_root", "remove_claim"]

    def fails(operation: str) -> None:
        if operation in failing:
            raise StoreError(f"the disk failed ({operation})")

    holder.store.sync_fault = fails
    with pytest.raises(TooFewCopiesError):
        await put(other, "a", data_of(1))
    failing.clear()
    (left,) = await holder.store.roots(None, 10)
    assert await holder.store.claims(left.cid)
    holder.store.quota_bytes = SIZE // 2  # it is asked again, and has no room now
    (root,) = await other.store.roots(None, 10)
    content = await content_of(core(other), root)
    assert content is not None
    assert (await place(core(other), content)).no_room
    assert await core(holder).room.free(SIZE) >= SIZE


async def test_cached_copies_keep_to_their_bound(world: World) -> None:
    hosts = await joined(world, 5)
    for number in range(8):
        await put(hosts[1], str(number), data_of(number))
    reader = hosts[0]
    for number in range(8):
        await get(reader, str(number))
    await core(reader).room.bound_cache(600_000)
    assert (await reader.store.usage()).cache_bytes <= 600_000


async def test_writers_share_by_what_is_promised_to_each() -> None:
    store = MemoryStore(QUOTA_BYTES, bytes, _Clock())
    shares = Shares(store)
    shares.claimant = lambda row: row  # type: ignore[assignment, return-value]
    alice, bob = b"a" * 32, b"b" * 32
    for number, (who, size) in enumerate([(alice, 100), (alice, 50), (bob, 10)]):
        cid = raw_block(bytes([number])).cid.to_bytes()
        await store.put_root(Root(cid, "file", size, 0, "replica", "", 3, True, 0.0, 0.0))
        await store.add_claim(cid, who)
    assert [await shares.used(who) for who in (alice, bob, b"c" * 32)] == [150, 10, 0]  # type: ignore[arg-type]
    shares.charge(bob, 5)  # type: ignore[arg-type]
    assert await shares.used(bob) == 15  # type: ignore[arg-type]


class _Clock:
    def monotonic(self) -> float:
        return 1.0

    def wall(self) -> float:
        return 1.0

    def boot(self) -> tuple[bytes, float]:
        return b"boot", 1.0
