"""How safe everything is: copies on living machines counted, and never more said than is known."""

import asyncio

from peerd.content.cid import Cid
from peerd.node.results import Status
from peerd.node.safety import Safety, may_fail, sentence
from peerd.sim.host import Host

from .hosts import World, by_distance, core, eventually, joined, kept, key_of, put, until


async def status(host: Host) -> Status:
    assert host.peer is not None
    return await host.peer.status()


def said(safety: Safety | None, *, missing: int = 0, others: int = 4, degraded: tuple[str, ...] = ()) -> str:
    return sentence(safety, missing=missing, others=others, degraded=[*degraded])


def test_the_sentence_is_of_the_least_number_of_copies() -> None:
    assert said(Safety(10, 0, 3)) == "all keys safe, 2 machines may fail"
    assert said(Safety(10, 0, 2)) == "all keys safe, 1 machine may fail"
    assert said(Safety(10, 0, 1)) == "all keys safe, 0 machines may fail"
    assert said(Safety(10, 2, 2)) == "2 keys lack copies, they are being restored, 1 machine may fail meanwhile"
    assert said(Safety(10, 0, 3), missing=1).startswith("1 key lacks copies, they are being restored, 2 machines")
    assert said(Safety(0, 0, 0), others=1) == "well, with 1 other peer; nothing is kept here yet"
    assert said(None) == "well, with 4 other peers; copies are being counted"
    assert said(Safety(10, 0, 1), others=0).startswith("alone: ")
    assert said(Safety(10, 0, 3), degraded=("the disk is full",)) == "degraded: the disk is full"


def test_how_many_may_fail_is_not_said_of_nothing() -> None:
    assert [may_fail(None), may_fail(Safety(0, 0, 0)), may_fail(Safety(1, 0, 1))] == [None, None, 0]


async def test_copies_that_live_are_counted_and_deaths_are_seen(world: World) -> None:
    hosts = await joined(world, 6)
    await put(hosts[0], "small", b"value")
    assert (await status(hosts[0])).health == "all keys safe, 5 machines may fail"
    stored = await put(hosts[0], "big", bytes(5000))
    near = by_distance(hosts, Cid.parse(stored.cid).digest)
    await eventually(lambda: _says(near[0], "all keys safe, 2 machines may fail"))  # content has 3 copies
    assert (await status(near[0])).repair.may_fail == 2
    await near[1].crash(power=True)
    await until(lambda: core(near[0]).members.alive_count() == 4)
    assert (await status(near[0])).repair.may_fail == 1
    await eventually(lambda: _says(near[0], "all keys safe, 2 machines may fail"), within_s=60)


async def _says(host: Host, text: str) -> bool:
    return (await status(host)).health == text


async def test_a_key_that_lacks_copies_is_told_with_what_may_still_fail(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "k", b"value")
    await asyncio.sleep(1)
    near = by_distance(hosts, key_of(hosts[0], "k"))
    for host in (near[0], near[1]):
        core(host).copies.clear()
        core(host).copies.note(key_of(host, "k"), (await kept(host, "k")).version.digest, [near[2].identity.peer])  # type: ignore[union-attr]
    await asyncio.sleep(3)
    told = (await status(near[0])).health
    assert told == "1 key lacks copies, they are being restored, 1 machine may fail meanwhile"
    # It was only not known: those that should have it are asked.
    await eventually(lambda: _says(near[0], "all keys safe, 4 machines may fail"), within_s=10)
    # Who is not the nearest does not count them, and knows of a part only.
    assert (await status(near[1])).health == "all keys safe, 4 machines may fail"


async def test_who_is_alone_says_so(world: World) -> None:
    alone = await world.join()
    await put(alone, "k", b"value")
    assert (await status(alone)).health == "alone: what is put here has 1 copy until another peer is found"
    assert (await status(alone)).repair.may_fail == 0


async def test_nothing_kept_is_said(world: World) -> None:
    hosts = await joined(world, 2)
    assert (await status(hosts[0])).health == "well, with 1 other peer; nothing is kept here yet"
