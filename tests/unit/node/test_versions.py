"""Watching a key: each version once and in order, deletes too, from any peer, through restarts and cuts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from peerd.errors import NoRoomError, UsageError
from peerd.ids import PeerId
from peerd.node import versions
from peerd.node.results import PutOptions, WatchedVersion
from peerd.sim.host import Host
from peerd.wire import frames
from peerd.wire.codec import encode

from .hosts import World, by_distance, core, joined, kept, key_of, put, until


class Watcher:
    """What was told of a key at one host."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.last = versions.NONE
        self.told: list[WatchedVersion] = []

    @property
    def versions(self) -> list[str]:
        return [entry.version for entry in self.told]

    @property
    def missed(self) -> int:
        return sum(entry.missed or 0 for entry in self.told)

    async def run(self, host: Host, name: str, after: str | None) -> None:
        assert host.peer is not None
        async with host.peer.versions.watch(name, after=after) as told:
            async for one in told:
                self.last = one.version
                if one.entry is not None:
                    self.told.append(one.entry)
                self.began.set()


@asynccontextmanager
async def watching(
    host: Host, name: str, *, after: str | None = None, watcher: Watcher | None = None
) -> AsyncIterator[Watcher]:
    watcher = watcher or Watcher()
    watcher.began.clear()
    task = asyncio.create_task(watcher.run(host, name, after))
    await asyncio.wait({task, began := asyncio.create_task(watcher.began.wait())}, return_when="FIRST_COMPLETED")
    try:
        yield watcher
    finally:
        for each in (task, began):
            each.cancel()
        await asyncio.gather(task, began, return_exceptions=True)


async def _put(host: Host, value: bytes) -> str:
    stored = await put(host, "k", value)
    assert isinstance(stored.version, str)
    return stored.version


async def _remove(host: Host) -> str:
    assert host.peer is not None
    removed = await host.peer.remove("k", PutOptions())
    assert isinstance(removed.version, str)
    return removed.version


async def test_each_version_is_told_once_and_in_order_everywhere(world: World) -> None:
    hosts = await joined(world, 12)
    before = await _put(hosts[0], b"before")
    holds = [await kept(host, "k") is not None for host in hosts]
    others = [host for host, has in zip(hosts, holds, strict=True) if not has]
    async with (
        watching(others[0], "k") as outside,
        watching(next(host for host, has in zip(hosts, holds, strict=True) if has), "k") as inside,
    ):
        assert outside.last == inside.last == before
        written = [await _put(hosts[at % 2], b"%d" % at) for at in range(10)]
        written.append(await _remove(hosts[2]))
        written.append(await _put(hosts[3], b"again"))
        await until(lambda: outside.versions == inside.versions == written)
    assert [entry.deleted for entry in outside.told] == [False] * 10 + [True, False]
    assert outside.missed == 0


async def test_a_watch_goes_on_after_the_version_it_is_given(world: World) -> None:
    hosts = await joined(world, 5)
    written = [await _put(hosts[at % 3], b"%d" % at) for at in range(8)]
    async with watching(hosts[4], "k", after=written[2]) as watcher:
        await until(lambda: watcher.versions == written[3:])
    async with watching(hosts[4], "k", after=versions.NONE) as watcher:
        await until(lambda: watcher.versions == written)


async def test_what_the_histories_lost_is_said_to_be_missed(world: World) -> None:
    hosts = await joined(world, 4)
    first = await _put(hosts[0], b"first")
    written = [await _put(hosts[0], b"%d" % at) for at in range(24)]
    async with watching(hosts[3], "k", after=first) as watcher:
        await until(lambda: bool(watcher.told) and watcher.versions[-1] == written[-1])
    assert watcher.versions == written[-len(watcher.told) :]
    assert len(watcher.told) >= 15
    assert watcher.missed == len(written) - len(watcher.told)
    assert watcher.told[0].missed == watcher.missed


async def test_a_watch_goes_on_through_restarts_of_who_watches_and_of_holders(world: World) -> None:
    hosts = await joined(world, 6)
    written = [await _put(hosts[0], b"0")]
    watcher = Watcher()
    async with watching(hosts[5], "k", watcher=watcher):
        written.append(await _put(hosts[1], b"1"))
        await until(lambda: watcher.versions == written[1:])
    await hosts[5].crash(power=True)
    written.append(await _put(hosts[0], b"2"))
    await hosts[5].start()
    async with watching(hosts[5], "k", after=watcher.last, watcher=watcher):
        await hosts[1].crash(power=True)
        written.append(await _put(hosts[2], b"3"))
        await hosts[1].start()
        await hosts[2].crash(power=True)
        written.append(await _remove(hosts[3]))
        await hosts[2].start()
        await until(lambda: watcher.versions == written[1:])


async def test_both_sides_of_a_cut_are_told_in_one_order_when_they_meet(world: World) -> None:
    hosts = await joined(world, 8)
    await _put(hosts[0], b"0")
    async with watching(hosts[0], "k") as left, watching(hosts[7], "k") as right:
        for one in hosts[:4]:
            for other in hosts[4:]:
                world.network.cut(one.interface, other.interface)
                world.network.cut(other.interface, one.interface)
        await asyncio.sleep(20)
        for at in range(3):
            await _put(hosts[1], b"left %d" % at)
        for at in range(4):
            await _put(hosts[6], b"right %d" % at)
        await asyncio.sleep(20)
        world.network.heal()
        await asyncio.sleep(60)
        last = await _put(hosts[2], b"met")
        await until(lambda: left.versions[-1] == right.versions[-1] == last)
    for told in (left.versions, right.versions):
        assert len(set(told)) == len(told)
        assert [int(each.partition("-")[0]) for each in told] == sorted(int(each.partition("-")[0]) for each in told)


async def test_a_version_that_a_liar_alone_has_in_its_history_is_not_told(world: World) -> None:
    hosts = await joined(world, 6)
    written = [await _put(hosts[0], b"%d" % at) for at in range(4)]
    near, *_, far = by_distance(hosts, key_of(hosts[0], "k"))
    liar = core(near).bulk._handler
    honest = liar.answer
    made_up = frames.VersionBody(2, b"\xee" * 32, b"\xee" * 8, None, 7, False, False)

    async def answer(peer: PeerId, kind: int, payload: bytes) -> bytes:
        told = await honest(peer, kind, payload)
        if kind != frames.VERSIONS:
            return told
        return encode([made_up, *frames.history_codec.decode_canonical(told)])

    liar.answer = answer  # type: ignore[method-assign]
    async with watching(far, "k", after=written[0]) as watcher:
        await until(lambda: len(watcher.told) >= len(written) - 1)
    assert watcher.versions == written[1:]


async def test_a_delete_whose_tombstone_is_a_floor_by_now_is_told(world: World) -> None:
    hosts = await joined(world, 3)
    first = await _put(hosts[0], b"first")
    removed = await _remove(hosts[0])
    await asyncio.sleep(900)
    async with watching(hosts[1], "k", after=first) as watcher:
        await until(lambda: watcher.versions == [removed])
    assert watcher.told[0].deleted


@pytest.mark.parametrize("after", ["x", "1-", "-1-" + "0" * 20, "1-" + "0" * 21, "9" * 30 + "-" + "0" * 20])
async def test_what_is_no_version_is_wrong_usage(world: World, after: str) -> None:
    (host,) = await joined(world, 1)
    assert host.peer is not None
    with pytest.raises(UsageError):
        async with host.peer.versions.watch("k", after=after):
            pass


async def test_no_more_than_so_many_watch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "WATCHERS_MAX", 1)
    (host,) = await joined(world, 1)
    assert host.peer is not None
    async with watching(host, "k"):
        with pytest.raises(NoRoomError):
            async with host.peer.versions.watch("k"):
                pass
    async with watching(host, "k") as watcher:
        assert watcher.last == versions.NONE
    assert core(host).changes._keys == {}
