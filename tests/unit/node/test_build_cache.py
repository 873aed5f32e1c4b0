"""The build cache: one for all peers, quick to miss, never broken, never a promise."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from peerd.content.cid import Cid
from peerd.errors import NoRoomError, NotFoundError, RefusedError, UsageError
from peerd.ids import Key, PeerId
from peerd.io.store.entries import EntryRow
from peerd.node.entry_names import PATH_MAX_BYTES, parse_entry_path
from peerd.node.nearest import holders_of
from peerd.records.entry import CONTENT, INLINE, Entry, entries
from peerd.sim.faults import Faults
from peerd.sim.host import Host
from peerd.wire.limits import ENTRY_VALUE_MAX_BYTES
from peerd.wire.messages import Done, EntryFound, FindEntry, KeepEntry

from .hosts import World, answering, by_distance, contact_of, core, damaged, get, joined, once, put, serving

BIG = random.Random(1).randbytes(3 * 2**20 + 11)
SIZES = [0, 10, ENTRY_VALUE_MAX_BYTES, ENTRY_VALUE_MAX_BYTES + 1, 1024, 5000, len(BIG)]
MISS_S = 0.2


async def keep(host: Host, path: str, data: bytes) -> bool:
    assert host.peer is not None
    return await host.peer.build_cache.put(path, once(data))


async def fetch(host: Host, path: str, *, hold: bool = False) -> bytes | None:
    """What a GET answers, None where it is a miss."""
    assert host.peer is not None
    try:
        found = await host.peer.build_cache.open(path, hold=hold)
    except NotFoundError:
        return None
    data = b"".join([piece async for piece in found.body()])
    assert len(data) == found.size
    return data


async def missed_in(host: Host, path: str) -> float:
    """How long a miss took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await fetch(host, path) is None
    return loop.time() - began


def key_of(host: Host, path: str) -> Key:
    return parse_entry_path(path).key(host.identity.network)


def signed(host: Host, path: str, kind: int, value: bytes, *, size: int | None = None, stamp: int = 2**50) -> bytes:
    body = Entry(
        1, key_of(host, path), host.identity.peer, kind, stamp, 600, len(value) if size is None else size, value
    )
    return entries.sign(host.identity, body)


async def told(host: Host, other: Host, raw: bytes, *, copy: bool = False) -> str:
    """What another answers that is told of an entry."""
    try:
        reply = await core(host).endpoint.ask(contact_of(other), KeepEntry, raw, 60, copy)
    except RefusedError as error:
        return error.reason
    assert isinstance(reply, Done)
    return "done"


async def here(host: Host, path: str) -> int | None:
    """The bytes of content that a host keeps for an entry, None where it knows none."""
    row = await host.store.entry(key_of(host, path))
    return None if row is None else row.kept


@pytest.mark.parametrize("size", SIZES)
async def test_what_one_puts_all_others_get(world: World, size: int) -> None:
    hosts = await joined(world, 4)
    data = BIG[:size]
    assert await keep(hosts[0], "ab/cdef", data)
    await asyncio.sleep(1)
    for host in hosts:
        assert await fetch(host, "ab/cdef") == data
    assert await fetch(hosts[3], "/ab/cdef/") == data


async def test_a_put_waits_for_no_other_peer(world: World) -> None:
    hosts = await joined(world, 4)
    began = asyncio.get_running_loop().time()
    await keep(hosts[0], "a", BIG)
    assert asyncio.get_running_loop().time() == began  # disks take no time here, and each message a millisecond


async def test_so_many_peers_as_are_set_take_the_content_and_survive_its_writer(world: World) -> None:
    hosts = await joined(world, 6)
    await keep(hosts[0], "a", BIG)
    await asyncio.sleep(2)
    kept = [await here(host, "a") for host in hosts]
    assert sorted(kept, key=str) == [0, 0, 0, 0, len(BIG), len(BIG)]
    await hosts[0].crash(power=False)
    assert await fetch(hosts[5], "a") == BIG


async def test_the_last_put_wins_and_a_deletion_is_one(world: World) -> None:
    hosts = await joined(world, 4)
    assert await keep(hosts[0], "a", b"old")
    await asyncio.sleep(1)
    assert not await keep(hosts[1], "a", BIG)
    await asyncio.sleep(1)
    assert [await fetch(host, "a") for host in hosts] == [BIG] * 4
    assert hosts[2].peer is not None
    await hosts[2].peer.build_cache.remove("a")
    await asyncio.sleep(1)
    assert [await fetch(host, "a") for host in hosts] == [None] * 4
    with pytest.raises(NotFoundError):
        await hosts[0].peer.build_cache.remove("a")  # type: ignore[union-attr]
    assert await keep(hosts[0], "a", b"new")
    await asyncio.sleep(1)
    assert [await fetch(host, "a") for host in hosts] == [b"new"] * 4


async def test_two_that_put_the_same_at_once_agree(world: World) -> None:
    hosts = await joined(world, 5)
    await asyncio.gather(keep(hosts[0], "a", b"one"), keep(hosts[1], "a", b"two"))
    await asyncio.sleep(1)
    assert len({await fetch(host, "a") for host in hosts}) == 1


async def test_of_two_statements_that_come_at_once_the_newer_stays_though_the_disk_is_slow(world: World) -> None:
    alice, bob, carol = await joined(world, 3)
    store = core(alice).store
    written = store.put_entry

    async def slow(key: Key, row: EntryRow) -> None:
        await asyncio.sleep(0.5 if entries.read(row.statement).stamp == 8 else 0.1)
        await written(key, row)

    store.put_entry = slow  # type: ignore[method-assign]
    new, old = signed(bob, "a", INLINE, b"new", stamp=9), signed(carol, "a", INLINE, b"old", stamp=8)
    assert await asyncio.gather(told(carol, alice, old), told(bob, alice, new)) == ["done"] * 2
    await asyncio.sleep(1)
    assert await fetch(alice, "a") == b"new"


async def test_a_put_is_the_newest_though_the_clock_of_another_is_ahead(world: World) -> None:
    alice, bob, carol = await joined(world, 3)
    for other in (alice, carol):
        await told(bob, other, signed(bob, "a", INLINE, b"from tomorrow", stamp=2**50))
    assert not await keep(alice, "a", b"mine")
    await asyncio.sleep(1)
    assert [await fetch(host, "a") for host in (alice, carol)] == [b"mine"] * 2


async def test_a_miss_is_told_in_200_ms_whoever_is_dead_or_cut_off(world: World) -> None:
    hosts = await joined(world, 12)
    assert await missed_in(hosts[0], "nothing") < 0.05
    for host in by_distance(hosts[1:], key_of(hosts[0], "a"))[:5]:
        await host.crash(power=False)
    assert await missed_in(hosts[0], "a") < MISS_S
    world.network.part([[hosts[0].interface], [host.interface for host in hosts[1:]]])
    assert await missed_in(hosts[0], "b") < MISS_S
    (alone,) = world.living[-1:]
    assert await missed_in(alone, "c") < MISS_S


async def test_a_peer_that_has_just_started_does_not_wait_to_find_the_others(world: World) -> None:
    hosts = await joined(world, 3)
    await keep(hosts[2], "a", b"x")
    await hosts[2].crash(power=False)
    for host in hosts[:2]:
        await host.crash(power=False)
    await hosts[2].start()
    assert await missed_in(hosts[2], "b") < MISS_S
    assert await fetch(hosts[2], "a") == b"x"


async def test_what_is_80_ms_away_is_had_and_missed_in_time_too(world: World) -> None:
    world.set_faults(Faults(latency_ms=40.0, spread=0.2, jitter_ms=1.0, loss=0.01))
    hosts = await joined(world, 5)
    for path, data in (("a", b"small"), ("b", BIG)):
        await keep(hosts[0], path, data)
    await asyncio.sleep(3)
    for host in hosts[1:]:
        assert await missed_in(host, "none") < MISS_S
        assert await fetch(host, "a") == b"small"
        assert await fetch(host, "b") == BIG


async def test_an_entry_whose_content_nobody_has_any_more_is_a_miss_as_quick(world: World) -> None:
    hosts = await joined(world, 6)
    await keep(hosts[0], "a", BIG)
    await asyncio.sleep(2)
    for host in hosts:
        if await here(host, "a"):
            await host.crash(power=False)
    left = world.living
    assert len(left) == 4
    asked = [serving(host, lambda cid, data: data) for host in left]
    for host in left:
        assert await here(host, "a") == 0
        assert await missed_in(host, "a") < MISS_S
    assert asked == [[]] * 4  # who has not got it is not asked for it


async def test_a_source_that_dies_in_the_middle_is_a_miss_and_no_part_of_the_content(world: World) -> None:
    hosts = await joined(world, 4)
    await keep(hosts[0], "a", BIG)
    await asyncio.sleep(2)
    with_it = [host for host in hosts if await here(host, "a")]
    reader = next(host for host in hosts if host not in with_it)
    blocks: list[int] = []

    def one_block(cid: bytes, data: bytes | None) -> bytes | None:
        blocks.append(1)
        return data if len(blocks) <= 2 else None

    for host in with_it:
        serving(host, one_block)
    assert await fetch(reader, "a") is None
    row = await reader.store.entry(key_of(reader, "a"))
    assert row is not None
    root = await reader.store.root(entries.read(row.statement).value)
    assert root is None or not root.complete


async def test_of_several_sources_one_that_lies_costs_nothing(world: World) -> None:
    hosts = await joined(world, 5)
    await keep(hosts[0], "a", BIG)
    await asyncio.sleep(2)
    liar, *_ = [host for host in hosts[1:] if await here(host, "a")]
    reader = next(host for host in hosts[1:] if host is not liar)
    serving(liar, lambda cid, data: b"x" * len(data) if data else data)
    assert await fetch(reader, "a") == BIG


async def test_who_says_to_have_what_it_has_not_makes_a_miss_of_nothing(world: World) -> None:
    hosts = await joined(world, 4)
    await keep(hosts[0], "a", BIG)
    await asyncio.sleep(2)
    reader, liar = [host for host in hosts if not await here(host, "a")]
    forged = signed(liar, "a", CONTENT, Cid(0x55, bytes(32)).to_bytes(), size=99, stamp=2**40)

    def lie(peer: PeerId, request: object, honest: object) -> object:
        return EntryFound(request.rid, forged, 60, True) if isinstance(request, FindEntry) else honest()  # type: ignore[operator]

    answering(liar, lie)  # type: ignore[arg-type]
    assert await fetch(reader, "a") == BIG


async def test_what_a_head_promised_stays_whatever_else_must_go(world: World) -> None:
    (alice,) = await joined(world, 1)
    await keep(alice, "a", BIG)
    await keep(alice, "b", BIG[1:])
    assert await fetch(alice, "a", hold=True) == BIG
    await core(alice).room.free(2**40)
    assert await fetch(alice, "a") == BIG
    assert await fetch(alice, "b") is None
    await asyncio.sleep(60)
    await core(alice).room.free(2**40)
    assert await fetch(alice, "a") is None


async def test_content_addressed_paths_take_only_what_they_say_and_are_one_for_all(world: World) -> None:
    hosts = await joined(world, 3)
    for data in (b"", b"small", BIG[:5000], BIG):
        digest = hashlib.sha256(data).hexdigest()
        await keep(hosts[0], f"one/cas/{digest}", data)
        await asyncio.sleep(1)
        assert await fetch(hosts[1], f"cas/{digest}") == data
        assert await fetch(hosts[2], f"another/cas/{digest}") == data
        before = (await hosts[0].store.usage()).used_bytes
        with pytest.raises(UsageError):
            await keep(hosts[0], f"cas/{digest}", data + b"x")
        await asyncio.sleep(1)
        await core(hosts[0]).intake.collect(0.0)  # here nothing takes time, and what came just now stays
        assert (await hosts[0].store.usage()).used_bytes == before
    assert await keep(hosts[0], "cas/0F", b"no digest")


@pytest.mark.parametrize("size", [10, 5000, len(BIG)])
async def test_content_that_has_another_digest_is_not_had_from_liars(world: World, size: int) -> None:
    hosts = await joined(world, 3)
    data, wrong = BIG[:size], BIG[1 : size + 1]
    path = f"cas/{hashlib.sha256(data).hexdigest()}"
    await keep(hosts[1], "other", wrong)
    row = await hosts[1].store.entry(key_of(hosts[1], "other"))
    assert row is not None
    other = entries.read(row.statement)
    forged = signed(hosts[1], path, other.kind, other.value, size=size)
    for host in (hosts[0], hosts[2]):
        assert await told(hosts[1], host, forged, copy=True) == "done"
        await asyncio.sleep(1)
        assert await fetch(host, path) is None
    await keep(hosts[0], path, data)
    assert await fetch(hosts[0], path) == data


async def test_statements_that_prove_nothing_are_refused_and_older_ones_change_nothing(world: World) -> None:
    alice, bob, carol = await joined(world, 3)
    new, old = signed(bob, "a", INLINE, b"new", stamp=9), signed(bob, "a", INLINE, b"old", stamp=8)
    assert [await told(bob, alice, raw) for raw in (new, new, old)] == ["done"] * 3
    assert await fetch(alice, "a") == b"new"
    stranger = signed(world.add(), "a", INLINE, b"stranger")
    assert [await told(bob, alice, raw) for raw in (damaged(new), b"", stranger)] == ["bad", "bad", "unknown"]
    assert core(alice).counts.rejected["signature"] == 1
    assert await fetch(carol, "a") == b"new"


async def test_beyond_its_bound_the_longest_unused_go_and_nothing_of_users_does(world: World) -> None:
    (alice,) = await joined(world, 1)
    core(alice).settings = replace(core(alice).settings, build_cache_max_bytes=4 * len(BIG))
    await put(alice, "precious", BIG[5:])
    for number in range(8):
        await keep(alice, f"entry {number}", BIG[number + 10 :])
        await asyncio.sleep(1)
    assert [await fetch(alice, f"entry {number}") is not None for number in range(8)] == [False] * 4 + [True] * 4
    assert await get(alice, "precious") == BIG[5:]
    assert await alice.store.entry_bytes() <= 4 * len(BIG)
    with pytest.raises(UsageError):
        await keep(alice, "..", b"x")


async def test_what_users_put_pushes_entries_out_and_not_the_other_way_round(world: World) -> None:
    alice = world.add()
    alice.store.quota_bytes = 40 * 2**20
    alice.settings = replace(alice.settings, quota_bytes=40 * 2**20, build_cache_max_bytes=40 * 2**20)
    await alice.start()
    await asyncio.sleep(1)
    for number in range(15):
        await keep(alice, f"entry {number}", BIG[number:])
        await asyncio.sleep(1)
    for number in range(8):
        await put(alice, f"name {number}", BIG[100 + number :])
    assert [await get(alice, f"name {number}") == BIG[100 + number :] for number in range(8)] == [True] * 8
    assert 0 < len([number for number in range(15) if await fetch(alice, f"entry {number}")]) < 8
    for number in range(8, 12):
        try:
            await put(alice, f"name {number}", BIG[100 + number :])
        except NoRoomError:
            break
    for number in range(15, 20):
        try:
            await keep(alice, f"entry {number}", BIG[number:])
        except NoRoomError:
            break
    assert [await get(alice, f"name {number}") == BIG[100 + number :] for number in range(8)] == [True] * 8


async def test_entries_end(world: World) -> None:
    alice, bob = await joined(world, 2)
    core(alice).settings = replace(core(alice).settings, build_cache_ttl_s=100)
    await keep(alice, "a", BIG)
    await keep(alice, "b", b"small")
    await asyncio.sleep(90)
    assert await fetch(bob, "a") == BIG
    await asyncio.sleep(20)
    assert [await fetch(host, path) for host in (alice, bob) for path in ("a", "b")] == [None] * 4
    await core(alice).build_cache.serving.expire()
    assert await here(alice, "a") is None
    assert (await alice.store.usage()).cache_bytes == 0


async def test_what_the_disk_has_changed_of_an_entry_is_not_answered(world: World) -> None:
    alice, bob = await joined(world, 2)
    await keep(alice, "a", b"object code")
    await asyncio.sleep(1)
    key = key_of(alice, "a")
    row = await alice.store.entry(key)
    assert row is not None
    changed = row.statement.replace(b"object", b"abject")
    assert entries.is_whole(changed) and changed != row.statement
    await alice.store.put_entry(key, row._replace(statement=changed))
    assert await fetch(alice, "a") == b"object code"  # from bob, and noted again
    assert await fetch(bob, "a") == b"object code"
    await alice.store.put_entry(key, row._replace(statement=changed))
    await bob.crash(power=False)
    assert await fetch(alice, "a") is None
    assert await keep(alice, "a", b"anew") and await fetch(alice, "a") == b"anew"


async def test_an_entry_is_kept_only_by_those_that_are_near(world: World) -> None:
    hosts = await joined(world, 30)
    await keep(hosts[0], "a", b"x")
    await asyncio.sleep(2)
    key = key_of(hosts[0], "a")
    order = by_distance(hosts, key)
    nearest = {contact.peer for contact in (await holders_of(core(hosts[0]), key)).contacts}
    assert len(nearest) >= 7  # and the writer itself where it is one of the eight
    have = {host.identity.peer for host in hosts if await here(host, "a") is not None}
    assert have == nearest | {hosts[0].identity.peer}
    far = order[-1]
    if far is hosts[0]:
        far = order[-2]
    assert await told(hosts[0], far, signed(hosts[0], "a", INLINE, b"y")) == "far"


async def test_those_that_ask_at_once_wait_for_one_fetch(world: World) -> None:
    hosts = await joined(world, 4)
    await keep(hosts[0], "a", BIG)
    await asyncio.sleep(2)
    asked = [serving(host, lambda cid, data: data) for host in hosts]
    reader = next([host for host in hosts if not await here(host, "a")].__iter__())
    assert await asyncio.gather(*(fetch(reader, "a") for _ in range(20))) == [BIG] * 20
    assert sum(len(each) for each in asked) <= 10  # five blocks, a few of them asked of two


async def test_a_body_that_breaks_off_leaves_nothing(world: World) -> None:
    (alice,) = await joined(world, 1)
    before = (await alice.store.usage()).used_bytes

    async def broken() -> AsyncIterator[bytes]:
        yield BIG[: 2**20]
        yield BIG[2**20 : 2**21]
        raise UsageError("the body broke off")

    with pytest.raises(UsageError):
        await alice.peer.build_cache.put("a", broken())  # type: ignore[union-attr]
    await asyncio.sleep(1)
    assert await fetch(alice, "a") is None
    assert (await alice.store.usage()).used_bytes == before


@pytest.mark.parametrize(
    "path",
    ["", "/", "..", "a/../b", "./a", "a//b", "a\x00b", "a\nb", "a\x7fb", "x" * (PATH_MAX_BYTES + 1), "\udcff" * 400],
)
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(UsageError):
        parse_entry_path(path)
