"""Following a key: who follows is told of each change by its holders, and liars cost a read."""

import asyncio

import pytest

from peerd.errors import NoRoomError
from peerd.node import changes
from peerd.node.changes import POLL_S, RENEWED_S, Followed
from peerd.node.results import PutOptions
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.messages import Changed
from tests.unit.node.hosts import Answer, answering, by_distance, core, joined, key_of, put

TOLD_S = 0.5
LOOKED_S = 0.1


async def watching(world: World) -> tuple[list[Host], Host]:
    """The holders of "a", nearest first, and a peer that holds nothing of it."""
    hosts = by_distance(await joined(world, 12), key_of(world.living[0], "a"))
    await put(hosts[0], "a", b"one")
    return hosts, hosts[-1]


async def took_s(following: Followed) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await following.changed()
    return loop.time() - started


async def test_who_follows_is_told_of_each_change_and_deletion(world: World) -> None:
    hosts, follower = await watching(world)
    async with core(follower).changes.follow(key_of(follower, "a")) as following:
        await asyncio.sleep(LOOKED_S)
        for data in (b"two", b"three"):
            await put(hosts[2], "a", data)
            assert await took_s(following) < TOLD_S
        assert hosts[1].peer is not None
        await asyncio.sleep(1)
        following._event.clear()
        await hosts[1].peer.remove("a", PutOptions())

        assert await took_s(following) < TOLD_S


async def test_a_holder_and_a_writer_that_follow_hear_of_it_too(world: World) -> None:
    hosts, writer = await watching(world)
    for host in (hosts[0], writer):
        async with core(host).changes.follow(key_of(host, "a")) as following:
            await asyncio.sleep(LOOKED_S)
            await put(writer, "a", b"two")

            assert await took_s(following) < TOLD_S


async def test_what_was_told_and_lost_is_noticed_when_it_is_asked_for_again(world: World) -> None:
    hosts, follower = await watching(world)

    def answer(peer: object, request: object, honest: object) -> Answer:
        return None if isinstance(request, Changed) else honest()  # type: ignore[operator, no-any-return]

    answering(follower, answer)
    async with core(follower).changes.follow(key_of(follower, "a")) as following:
        await asyncio.sleep(LOOKED_S)
        await put(hosts[2], "a", b"two")

        assert TOLD_S < await took_s(following) < RENEWED_S + 1


async def test_who_follows_is_woken_now_and_then_where_nobody_tells(world: World) -> None:
    _, follower = await watching(world)
    async with core(follower).changes.follow(key_of(follower, "a")) as following:
        assert await took_s(following) == pytest.approx(POLL_S, abs=1)


async def test_who_says_all_the_time_that_it_changes_wakes_no_faster_than_that(world: World) -> None:
    hosts, follower = await watching(world)
    mallory, key = core(hosts[0]), key_of(follower, "a")
    contact = mallory.members.contact(follower.identity.peer)
    assert contact is not None
    woken = 0
    async with core(follower).changes.follow(key) as following:
        await asyncio.sleep(LOOKED_S)
        for _ in range(50):
            await mallory.endpoint.ask(contact, Changed, key)
            await following.changed()
            woken += 1
            if woken == 1:
                started = asyncio.get_running_loop().time()

    assert asyncio.get_running_loop().time() - started >= 49 * changes.WAKES_MIN_S * 0.99


async def test_a_stranger_to_the_key_wakes_nobody(world: World) -> None:
    hosts, follower = await watching(world)
    key = key_of(follower, "a")
    stranger = core(hosts[9])
    contact = stranger.members.contact(follower.identity.peer)
    assert contact is not None
    async with core(follower).changes.follow(key) as following:
        await asyncio.sleep(LOOKED_S)
        await stranger.endpoint.ask(contact, Changed, key)

        assert not following._event.is_set()


async def test_keys_followed_are_bounded_and_let_go_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _, follower = await watching(world)
    monkeypatch.setattr(changes, "FOLLOWED_MAX", 1)
    async with core(follower).changes.follow(key_of(follower, "a")):
        with pytest.raises(NoRoomError):
            async with core(follower).changes.follow(key_of(follower, "b")):
                pass

    assert len(core(follower).changes) == 0


async def test_who_stops_following_is_not_asked_for_any_more(world: World) -> None:
    _, follower = await watching(world)
    async with core(follower).changes.follow(key_of(follower, "a")):
        await asyncio.sleep(LOOKED_S)
    before = core(follower).endpoint.counts.sent_messages["Follow"]

    await asyncio.sleep(2 * RENEWED_S)

    assert core(follower).endpoint.counts.sent_messages["Follow"] == before
