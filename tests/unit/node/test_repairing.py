"""Copies are counted and restored by one of those that are left; who joins gets its share, and nobody gets it twice."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from peerd.content.cid import Cid
from peerd.errors import NoRoomError
from peerd.io.store.interface import Root
from peerd.node import restoring
from peerd.node.copies import Copies
from peerd.node.placing import Placed, place
from peerd.sim.host import Host
from peerd.wire.messages import Store
from tests.unit.node.hosts import World, by_distance, core, eventually, get, joined, kept, key_of, meshed, put, until

NAMES = 24


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
    copies.lost(key, b"c")
    assert copies.of(key, two) == set()
    copies.drop(key)
    assert copies.of(key, two) is None


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
