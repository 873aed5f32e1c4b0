"""What is shown: copies of this version only, who should have one and has none, patience."""

import asyncio

import pytest

from peerd.content.cid import Cid
from peerd.errors import TimedOutError, UsageError
from peerd.ids import peer_id_text
from peerd.io.store.interface import HistoryRow, RecordRow
from peerd.node.holding import keep_record
from peerd.node.results import GetOptions, Stat
from peerd.node.showing import lost_ties
from peerd.sim.host import Host

from .hosts import World, by_distance, core, get, joined, key_of, put, until, version


def ids(*hosts: Host) -> list[str]:
    return sorted(peer_id_text(host.identity.peer) for host in hosts)


async def stat(host: Host, target: str) -> Stat:
    assert host.peer is not None
    return await host.peer.stat(target)


async def test_stat_counts_this_version_and_names_who_lacks_it_and_who_is_silent(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "k", b"value")
    await asyncio.sleep(1)
    newer = version(hosts[0], "k", 9, b"newer")
    for host in hosts[:3]:
        await keep_record(core(host), newer, None)
    await hosts[3].store.drop_record(key_of(hosts[0], "k"))
    await hosts[4].crash(power=True)
    told = await stat(hosts[0], "k")
    assert told.version == newer.version.text
    assert told.silent == ids(hosts[4])
    # The read mends who is stale or empty; who was asked before that is shown as it was.
    assert set(told.missing) <= set(ids(hosts[3]))
    assert told.copies == sum(holder.version == told.version for holder in told.holders) >= 3
    assert told.record_holders == told.holders


async def test_stat_of_content_tells_copies_caches_and_who_should_have_it_apart(world: World) -> None:
    hosts = await joined(world, 6)
    stored = await put(hosts[0], "big", bytes(5000))
    near = by_distance(hosts, key_of_content(stored.cid))
    await get(near[4], "big")
    await asyncio.sleep(1)
    root = stored.cid
    told = await stat(near[5], "big")
    assert (told.copies, told.copies_wanted) == (3, 3)
    kinds = {holder.id: holder.kind for holder in told.holders}
    assert [kinds[each] for each in ids(*near[:3])] == ["replica"] * 3
    assert kinds[ids(near[4])[0]] == "cache"
    assert len(told.record_holders) == 6
    # One that announced it and lost it is no holder, whatever it announced.
    await near[1].store.delete_root(raw(root))
    told = await stat(near[5], root)
    assert (told.copies, told.missing) == (2, ids(near[1]))


def raw(cid: str) -> bytes:
    return Cid.parse(cid).to_bytes()


def key_of_content(cid: str) -> bytes:
    return raw(cid)[4:]


async def test_a_read_with_a_deadline_of_the_users_asks_again_until_it_is_known(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "k", b"value")
    await asyncio.sleep(1)
    for host in hosts[1:]:
        await host.crash(power=True)
    await hosts[0].store.drop_record(key_of(hosts[0], "k"))
    assert hosts[0].peer is not None
    with pytest.raises(TimedOutError):
        await hosts[0].peer.open("k", GetOptions())
    reading = asyncio.ensure_future(hosts[0].peer.open("k", GetOptions(patience_s=60)))
    await asyncio.sleep(10)
    assert not reading.done()
    for host in hosts[1:]:
        await host.start()
    opened = await reading
    assert opened.inline == b"value"
    started = world.loop.time()
    with pytest.raises(TimedOutError):
        for host in hosts[1:]:
            await host.crash(power=True)
        await hosts[0].store.drop_record(key_of(hosts[0], "k"))
        await hosts[0].peer.open("k", GetOptions(patience_s=6))
    assert 4 < world.loop.time() - started < 12


async def test_hops_that_were_not_waited_for_say_so(world: World) -> None:
    hosts = await joined(world, 6)
    await put(hosts[0], "k", b"value")
    assert hosts[0].peer is not None
    hops = (await hosts[0].peer.find("k")).hops
    assert "waiting" not in {hop.result for hop in hops}


def _version(sequence: int, writer: bytes, *, conflict: bool = False) -> HistoryRow:
    row = RecordRow("k", None, sequence, writer, b"", None, 0, deleted=False, expires=None, written_at=0.0)
    return HistoryRow(row, conflict)


@pytest.mark.parametrize(
    ("newest_first", "lost"),
    [
        ([(2, b"b"), (2, b"a"), (1, b"c")], {(2, b"a")}),
        # A side that wrote more often wins with all its versions, also where one of them was the lower of two.
        ([(3, b"a"), (2, b"b"), (2, b"a"), (1, b"c")], {(2, b"b")}),
        ([(4, b"a"), (3, b"b"), (3, b"a"), (2, b"b"), (2, b"a")], {(3, b"b"), (2, b"b")}),
        # Who wrote the next one is none of the two: it went on from the winner.
        ([(3, b"c"), (2, b"b"), (2, b"a")], {(2, b"a")}),
    ],
)
def test_what_lost_a_tie_is_what_nobody_went_on_from(
    newest_first: list[tuple[int, bytes]], lost: set[tuple[int, bytes]]
) -> None:
    assert lost_ties([_version(*one) for one in newest_first]) == {(*one, b"") for one in lost}


def test_a_tie_that_was_seen_is_decided_as_it_was_seen() -> None:
    rows = [_version(3, b"a"), _version(2, b"b"), _version(2, b"a", conflict=True)]
    assert lost_ties(rows) == {(2, b"a", b"")}


async def test_of_a_tie_both_versions_are_shown_and_the_loser_told_once(world: World) -> None:
    hosts = await joined(world, 3)
    one, other = sorted((version(hosts[number], "k", 1, b"x") for number in (0, 1)), key=lambda each: each.version)
    assert hosts[2].peer is not None
    events = hosts[2].peer.events()
    for record in (one, other, one):
        await keep_record(core(hosts[2]), record, None)
    history = await hosts[2].peer.history("k")
    assert [(each.version, each.conflict) for each in history] == [
        (other.version.text, False),
        (one.version.text, True),
    ]
    told = [(await anext(events)).kind for _ in range(3)]
    assert told == ["record", "conflict", "record"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await anext(events)


async def test_who_was_forgotten_is_shown_so_and_may_come_back(world: World) -> None:
    hosts = await joined(world, 3)
    gone = peer_id_text(hosts[2].identity.peer)
    assert hosts[0].peer is not None
    with pytest.raises(UsageError):
        await hosts[0].peer.forget(gone)
    await hosts[2].crash(power=True)
    await until(lambda: core(hosts[0]).members.all[hosts[2].identity.peer].state == "dead", within_s=60)
    assert (await hosts[0].peer.forget(gone[:6])).id == gone

    async def shown() -> dict[str, tuple[str, bool]]:
        assert hosts[0].peer is not None
        return {each.id: (each.state, each.forgotten) for each in await hosts[0].peer.peers()}

    assert (await shown())[gone] == ("dead", True)
    assert (await shown())[peer_id_text(hosts[1].identity.peer)] == ("alive", False)
    await hosts[2].start()
    await until(lambda: core(hosts[0]).members.alive_count() == 2, within_s=60)
    assert (await shown())[gone] == ("alive", False)


async def test_of_a_strong_key_those_who_agree_on_it_are_shown(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "plain", b"value")
    await put(hosts[0], "strong", b"value", consistency="strong")
    assert (await stat(hosts[1], "plain")).agreed is None
    told = (await stat(hosts[1], "strong")).agreed
    assert told is not None and told.holders == ids(*hosts)
