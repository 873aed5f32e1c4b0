"""Copies are counted and restored by one of those that are left; who joins gets its share, and nobody gets it twice."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from peerd.content.cid import Cid
from peerd.errors import NoRoomError, RefusedError, StoreError
from peerd.ids import Key, PeerId
from peerd.io.store.interface import Root
from peerd.node import restoring
from peerd.node.copies import PEERS_MAX, PEERS_PER_KEY_MAX, Copies
from peerd.node.placing import Placed, place
from peerd.node.repairing import FULL_MAX, Repairing
from peerd.records.record import read_record
from peerd.sim.host import Host
from peerd.wire.fields import PROOF_BYTES
from peerd.wire.limits import SEQUENCE_JUMP_MAX
from peerd.wire.messages import Newer, Prove, Proven, Request, Store
from tests.unit.node.hosts import (
    Answer,
    World,
    answering,
    by_distance,
    core,
    eventually,
    get,
    joined,
    kept,
    key_of,
    meshed,
    put,
    until,
    version,
)

NAMES = 24
SHOWN_MAX = 30


def stores_heard(hosts: list[Host]) -> Counter[Host]:
    """Counts, from now on, the records that others ask each of these hosts to store."""
    heard: Counter[Host] = Counter()

    def listen(host: Host) -> None:
        endpoint = core(host).endpoint
        handler = endpoint._handler

        def handle(peer, address, request):  # type: ignore[no-untyped-def]
            heard[host] += isinstance(request, Store)
            return handler(peer, address, request)

        endpoint._handler = handle

    for host in hosts:
        listen(host)
    return heard


async def held(hosts: list[Host], name: str) -> list[bool]:
    """Whether each of these has the record of a name."""
    return [await kept(host, name) is not None for host in hosts]


async def all_placed(hosts: list[Host], count: int = 8) -> bool:
    """Whether every name is on those that stand nearest to its key."""
    for name in map(str, range(NAMES)):
        if not all(await held(by_distance(hosts, key_of(hosts[0], name))[:count], name)):
            return False
    return True


async def until_placed(hosts: list[Host], within_s: float) -> None:
    for _ in range(int(within_s)):
        await asyncio.sleep(1)
        if await all_placed(hosts):
            return
    raise AssertionError(f"records are not where they should be after {within_s} s")


@pytest.mark.slow
async def test_records_of_the_dead_are_restored_by_one_holder_each(world: World) -> None:
    hosts = await joined(world, 12)
    for name in map(str, range(NAMES)):
        await put(hosts[0], name, b"v" + name.encode())
    await asyncio.sleep(hosts[0].settings.repair_interval_s * 2 + 5)
    dead = hosts[10:]
    left = hosts[:10]
    owed = sum(
        len(set(by_distance(left, key_of(hosts[0], name))[:8]) - set(by_distance(hosts, key_of(hosts[0], name))[:8]))
        for name in map(str, range(NAMES))
    )
    heard = stores_heard(left)
    for host in dead:
        await host.crash(power=True)
    await until_placed(left, 40)
    await asyncio.sleep(5)
    assert owed > 0
    assert heard.total() <= 1.5 * owed, f"{heard.total()} records moved where {owed} were to be"


async def test_who_joins_gets_each_record_once(world: World) -> None:
    hosts = await joined(world, 9)
    for name in map(str, range(NAMES)):
        await put(hosts[0], name, b"v")
    await asyncio.sleep(hosts[0].settings.repair_interval_s * 2 + 5)
    heard = stores_heard(hosts)
    newcomer = (await joined(world, 1))[0]
    arrived = stores_heard([newcomer])
    everybody = [*hosts, newcomer]
    await until_placed(everybody, 30)
    await asyncio.sleep(5)
    owed = sum(newcomer in by_distance(everybody, key_of(newcomer, name))[:8] for name in map(str, range(NAMES)))
    assert arrived.total() <= 2 * owed
    assert heard.total() == 0, "nobody else lacked anything"


async def test_content_is_restored_to_its_number_of_copies(world: World) -> None:
    hosts = await joined(world, 6)
    cids = [(await put(hosts[0], f"file {n}", bytes([n]) * 5000)).cid for n in range(10)]
    holders = by_distance(hosts, Cid.parse(cids[0]).digest)[:3]
    for host in holders[:2]:
        await host.crash(power=True)
    left = [host for host in hosts if host.lives]

    async def whole() -> bool:
        counts = [await copies_of(left, cid) for cid in cids]
        return min(counts) >= 3 and not any(core(host).missing_since for host in left)

    await eventually(whole, within_s=40)
    for n in range(10):
        assert await get(left[0], f"file {n}") == bytes([n]) * 5000


async def test_content_that_a_store_put_back_to_an_old_copy_lacks_is_restored(world: World) -> None:
    hosts = await joined(world, 5)
    cid = (await put(hosts[0], "file", b"v" * 5000)).cid
    holder = by_distance(hosts, Cid.parse(cid).digest)[0]
    await holder.crash(power=True)
    holder.store.reopen()
    await holder.store.release_root(Cid.parse(cid).to_bytes())
    await holder.start()

    async def whole() -> bool:
        return await copies_of(hosts, cid) >= 3

    await eventually(whole, within_s=2 * hosts[0].settings.repair_interval_s)


async def test_a_copy_too_many_is_a_cached_one_after_a_while_and_never_gone(world: World) -> None:
    hosts = await joined(world, 6)
    interval_s = hosts[0].settings.repair_interval_s
    cid = (await put(hosts[0], "file", b"v" * 5000)).cid
    order = by_distance(hosts, Cid.parse(cid).digest)
    await order[0].crash(power=True)

    async def restored() -> bool:
        return await copies_of([host for host in hosts if host.lives], cid) >= 3

    await eventually(restored, within_s=40)
    await order[0].start()
    await asyncio.sleep(2 * interval_s)
    assert await copies_of(hosts, cid) == 4

    async def let_go() -> bool:
        return await copies_of(hosts, cid) == 3

    await eventually(let_go, within_s=5 * interval_s)
    assert await copies_of(order[:3], cid) == 3
    surplus = await order[3].store.root(Cid.parse(cid).to_bytes())
    assert surplus is not None and surplus.class_ == "cache" and surplus.complete
    await order[1].crash(power=True)
    await eventually(restored, within_s=2 * interval_s)


@pytest.mark.slow
async def test_copies_too_many_that_are_no_more_take_no_place_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "SEEN_MAX", 1)
    hosts = await joined(world, 6)
    cid = (await put(hosts[0], "file", b"v" * 5000)).cid
    order = by_distance(hosts, Cid.parse(cid).digest)
    await order[0].crash(power=True)
    living = [host for host in hosts if host.lives]

    async def restored() -> bool:
        return await copies_of(living, cid) >= 3

    await eventually(restored, within_s=40)
    for host in living:
        noted = content_of(host)._surplus
        noted.clear()
        noted[b"removed meanwhile"] = core(host).now()
    await order[0].start()

    async def let_go() -> bool:
        return await copies_of(hosts, cid) == 3

    await eventually(let_go, within_s=10 * hosts[0].settings.repair_interval_s)
    assert all(b"removed meanwhile" not in content_of(host)._surplus for host in living)


def content_of(host: Host) -> restoring.Restoring:
    assert host.peer is not None
    return host.peer._maintaining.restoring


async def test_a_holder_that_goes_while_copies_are_counted_ends_no_repair(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = await joined(world, 5)
    cid = (await put(hosts[0], "file", b"v" * 5000)).cid
    count, goes = restoring.Restoring._count, True

    async def counted(self: restoring.Restoring, due: list[Root]) -> dict[bytes, set[PeerId]]:
        living = await count(self, due)
        return {root: peers | ({PeerId(b"gone" * 8)} if goes else set()) for root, peers in living.items()}

    monkeypatch.setattr(restoring.Restoring, "_count", counted)
    await by_distance(hosts, Cid.parse(cid).digest)[0].crash(power=True)
    await asyncio.sleep(40)
    goes = False
    for host in hosts:
        if host.lives:
            content_of(host).forget()
    living = [host for host in hosts if host.lives]

    async def restored() -> bool:
        return await copies_of(living, cid) >= 3

    await eventually(restored, within_s=3 * hosts[0].settings.repair_interval_s)


async def test_a_holder_that_is_put_back_while_the_others_are_asked_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = await joined(world, 5)
    cid = (await put(hosts[0], "file", b"v" * 5000)).cid
    first, second = by_distance(hosts, Cid.parse(cid).digest)[:2]
    count, asked, put_back = restoring.Restoring._count, asyncio.Event(), asyncio.Event()

    async def counted(self: restoring.Restoring, due: list[Root]) -> dict[bytes, set[PeerId]]:
        living = await count(self, due)
        if self is content_of(first) and due and not asked.is_set():
            asked.set()
            assert core(second).peer in living[Cid.parse(cid).to_bytes()]
            await second.crash(power=True)
            second.store.reopen()
            await second.store.release_root(Cid.parse(cid).to_bytes())
            await second.start()
            await meshed(hosts)
            put_back.set()
        return living

    monkeypatch.setattr(restoring.Restoring, "_count", counted)
    content_of(first).forget()
    await put_back.wait()

    async def whole() -> bool:
        return await copies_of(hosts, cid) >= 3

    await eventually(whole, within_s=3 * hosts[0].settings.repair_interval_s)


async def copies_of(hosts: list[Host], cid: str) -> int:
    """How many of these have a promised copy of some content, whole."""
    roots = [await host.store.root(Cid.parse(cid).to_bytes()) for host in hosts]
    return sum(root is not None and root.complete and root.class_ != "cache" for root in roots)


def test_copies_are_known_of_one_version_at_a_time() -> None:
    copies = Copies()
    key, one, two = b"k" * 32, b"1" * 32, b"2" * 32
    assert copies.of(key, one) is None
    copies.note(key, one, [b"a"])
    copies.note(key, one, [b"b"])
    assert copies.of(key, one) == {b"a", b"b"}
    copies.note(key, two, [b"c"])
    assert copies.of(key, one) is None
    assert copies.of(key, two) == {b"c"}
    copies.drop(key)
    assert copies.of(key, two) is None


def test_what_a_peer_had_before_it_was_away_counts_once_it_has_shown_it_again() -> None:
    copies = Copies()
    one, two, digest = Key(b"k" * 32), Key(b"l" * 32), b"1" * 32
    alice, bob = PeerId(b"a" * 32), PeerId(b"b" * 32)
    copies.note(one, digest, [alice, bob])
    copies.note(two, digest, [alice, bob])
    copies.forget(alice)
    assert copies.of(one, digest) == copies.of(two, digest) == {bob}
    copies.note(one, digest, [alice])
    assert copies.of(one, digest) == {alice, bob}
    assert copies.of(two, digest) == {bob}


def test_of_too_many_that_have_a_key_the_last_to_show_it_are_remembered() -> None:
    copies = Copies()
    key, digest = Key(b"k" * 32), b"1" * 32
    peers = [PeerId(number.to_bytes(32, "big")) for number in range(PEERS_PER_KEY_MAX + 2)]
    for peer in [*peers[:-1], peers[1], peers[-1]]:
        copies.note(key, digest, [peer])
    assert copies.of(key, digest) == {peers[1], *peers[3:]}


def test_of_too_many_peers_the_first_has_to_show_again_what_it_has() -> None:
    copies = Copies()
    digest = b"1" * 32
    keys = [Key(number.to_bytes(32, "big")) for number in range(PEERS_MAX + 1)]
    for key in keys:
        copies.note(key, digest, [PeerId(key)])
    assert copies.of(keys[0], digest) == set()
    assert copies.of(keys[1], digest) == {keys[1]}
    assert len(copies._stays) == PEERS_MAX


async def test_a_peer_is_forgotten_at_once_however_many_keys_it_has() -> None:
    """A handshake costs what it costs; the loop is not held."""
    copies = Copies()
    alice, digest = PeerId(b"a" * 32), b"1" * 32
    for start in range(0, 50_000, 1_000):
        for number in range(start, start + 1_000):
            copies.note(Key(number.to_bytes(32, "big")), digest, [alice])
        await asyncio.sleep(0)
    for _ in range(1_000):
        copies.forget(alice)


async def test_the_next_nearest_takes_the_share_of_a_holder_without_room(world: World) -> None:
    hosts = await joined(world, 11)
    order = by_distance(hosts, key_of(hosts[0], "a"))
    full = order[8]

    def fault(operation: str) -> None:
        if operation == "put_record":
            raise NoRoomError("no room")

    full.store.fault = fault
    await put(hosts[0], "a", b"v")
    await order[0].crash(power=True)
    left = [host for host in order if host.lives and host is not full]

    async def on_eight() -> bool:
        return sum(await held(left, "a")) == 8

    await eventually(on_eight, within_s=40)
    assert not await kept(full, "a")


def repair_of(host: Host) -> Repairing:
    assert host.peer is not None
    return host.peer._maintaining._repairing


def showing_newer(mallory: Host, name: str, first: int) -> list[int]:
    """Let a host show a newer version of a name to whoever gives it one; returns the sequences that it has shown."""
    shown: list[int] = []

    def lie(peer: PeerId, request: Request, honest: Callable[[], Answer]) -> Answer:
        if isinstance(request, Prove):
            return Proven(request.rid, bytes(PROOF_BYTES * len(request.split())))
        ours = isinstance(request, Store) and read_record(request.record).body.name == name
        if not ours or len(shown) >= SHOWN_MAX:
            return honest()
        shown.append(first + len(shown))
        return Newer(request.rid, version(mallory, name, shown[-1]).raw)

    answering(mallory, lie)
    return shown


async def test_who_shows_newer_and_newer_versions_is_believed_a_few_times_a_round(world: World) -> None:
    alice, _, mallory = await joined(world, 3)
    await put(alice, "a", b"v")
    shown = showing_newer(mallory, "a", 100)
    core(alice).copies.clear()
    core(alice).missing_since[key_of(alice, "a")] = 0
    lacking: set[bytes] = set()
    await repair_of(alice)._records(lacking)
    assert shown == [100, 101]
    assert lacking == {key_of(alice, "a")}
    there = await kept(alice, "a")
    assert there is not None
    assert there.body.sequence == 101


def _no_room(operation: str) -> None:
    if operation == "put_record":
        raise NoRoomError("no room")


def _broken(operation: str) -> None:
    if operation == "put_record":
        raise StoreError("input/output error")


@pytest.mark.parametrize("fault", [None, _no_room, _broken], ids=["out of reach", "no room", "failing disk"])
async def test_a_newer_version_that_cannot_be_kept_keeps_no_other_key_from_its_holders(
    world: World, fault: Callable[[str], None] | None
) -> None:
    alice, bob, mallory = await joined(world, 3)
    names = ["a", "b", "c"]
    for name in names:
        await put(alice, name, b"v")
    first = min(names, key=lambda name: key_of(alice, name))
    showing_newer(mallory, first, 100 if fault else 3 * SEQUENCE_JUMP_MAX)
    for name in names:
        await bob.store.drop_record(key_of(bob, name))
        core(alice).missing_since[key_of(alice, name)] = 0
    core(alice).copies.clear()
    alice.store.fault = fault
    lacking: set[bytes] = set()
    await repair_of(alice)._records(lacking)
    alice.store.fault = None
    assert key_of(alice, first) in lacking
    assert [await held([bob], name) for name in names] == [[True]] * 3


async def test_of_those_without_room_the_longest_unheard_is_forgotten_first(world: World) -> None:
    (alice,) = await joined(world, 1)
    repair = repair_of(alice)
    peers = [PeerId(number.to_bytes(32, "big")) for number in range(FULL_MAX + 1)]
    for peer in [*peers[:-1], peers[0], peers[-1]]:
        repair._refused(peer, RefusedError("no_room"))
    assert list(repair._full) == [*peers[2:-1], peers[0], peers[-1]]


async def test_a_peer_that_was_started_again_is_asked_what_it_has(world: World) -> None:
    hosts = await joined(world, 4)
    await put(hosts[0], "a", b"v")
    await asyncio.sleep(hosts[0].settings.repair_interval_s + 5)
    await hosts[1].crash(power=True)
    await hosts[1].store.close()
    hosts[1].store.reopen()
    await hosts[1].store.drop_record(key_of(hosts[1], "a"))
    await hosts[1].start()

    async def there_again() -> bool:
        return await kept(hosts[1], "a") is not None

    await eventually(there_again, within_s=2 * hosts[0].settings.repair_interval_s)


async def test_who_comes_while_copies_are_placed_gets_one_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = await joined(world, 3)
    for host in hosts[1:]:
        await host.crash(power=False)
    await until(lambda: core(hosts[0]).members.alive_count() == 0)
    cid = ""
    while not cid or by_distance(hosts, Cid.parse(cid).digest)[0] is not hosts[0]:  # whose turn it is then
        cid = (await put(hosts[0], "a", world.chance.rng(cid).randbytes(20_000))).cid

    async def placed_slowly(*args: Any) -> Placed:
        placed = await place(*args)
        if not hosts[2].lives:
            await hosts[2].start()
            await meshed(hosts)
        return placed

    def is_due_here(self: restoring.Restoring, root: Root) -> bool:
        return self._core is core(hosts[0]) and is_due(self, root)  # nobody else mends it

    is_due = restoring.Restoring._is_due
    monkeypatch.setattr(restoring.Restoring, "_is_due", is_due_here)
    monkeypatch.setattr(restoring, "place", placed_slowly)
    await hosts[1].start()
    await eventually(lambda: _on_all(hosts, cid), within_s=3 * hosts[0].settings.repair_interval_s)


async def _on_all(hosts: list[Host], cid: str) -> bool:
    return all(host.lives for host in hosts) and await copies_of(hosts, cid) == len(hosts)
