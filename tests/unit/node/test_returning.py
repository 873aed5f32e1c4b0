"""A peer that is back never answers with what it missed; a whole lab that starts at once serves within seconds."""

import asyncio
from typing import Any

import pytest

from peerd.errors import NotFoundError, RefusedError, TimedOutError, UnreachableError
from peerd.node.holding import keep_record
from peerd.node.reading import read
from peerd.records.record import TOMBSTONE, Record, read_record
from peerd.sim.host import Host
from peerd.wire.messages import FindValue, Value

from .hosts import (
    World,
    contact_of,
    core,
    eventually,
    get,
    joined,
    kept,
    key_of,
    meshed,
    opened,
    put,
    until,
    version,
)

COUNT = 200


async def keep(hosts: list[Host], *records: Record) -> None:
    for host in hosts:
        await asyncio.gather(*(keep_record(core(host), record, None) for record in records))


def named(hosts: list[Host], prefix: str, sequence: int, value: bytes = b"", **fields: Any) -> list[Record]:
    return [version(hosts[0], f"{prefix}{number}", sequence, value, **fields) for number in range(COUNT)]


async def everything_before(hosts: list[Host]) -> None:
    await keep(hosts, *named(hosts, "updated", 1, b"old"), *named(hosts, "deleted", 1, b"old"))


async def everything_after(hosts: list[Host]) -> None:
    await keep(
        hosts,
        *named(hosts, "updated", 2, b"new"),
        *named(hosts, "deleted", 2, kind=TOMBSTONE),
        *named(hosts, "added", 1, b"new"),
    )


async def told(asker: Host, asked: Host, name: str) -> bytes | None:
    """The record that one host tells another first; None where it will not, or cannot yet."""
    try:
        reply = await core(asker).endpoint.ask(contact_of(asked), FindValue, key_of(asked, name), timeout_s=0.5)
    except (RefusedError, UnreachableError):
        return None
    assert isinstance(reply, Value)
    return reply.record


async def watch_first_answers(hosts: list[Host], returned: Host, seconds: float) -> int:
    """Ask one that is back, from elsewhere and through itself, again and again; return how often it answered."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds
    number = answers = 0
    while loop.time() < until_s:
        number = (number + 7) % COUNT
        for kind in ("updated", "deleted", "added"):
            raw = await told(hosts[0], returned, f"{kind}{number}")
            if raw is None:
                continue
            answers += 1
            record = read_record(raw) if raw else None
            assert record is not None, f"{kind}{number} was denied"
            assert record.deleted if kind == "deleted" else record.body.value == b"new"
        for consistency in ("one", "quorum"):
            assert await get(returned, f"updated{number}", consistency=consistency) == b"new"
            assert await get(returned, f"added{number}", consistency=consistency) == b"new"
            with pytest.raises(NotFoundError):
                await get(returned, f"deleted{number}", consistency=consistency)
        await asyncio.sleep(0.04)
    return answers


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("restored", [False, True])
async def test_who_was_away_never_answers_with_what_it_missed(world: World, restored: bool) -> None:
    hosts = await joined(world, 4)
    await everything_before(hosts)
    away = hosts[3]
    backup = away.store.backup()
    if restored:
        await everything_after(hosts)
        await away.crash(power=False)
        away.store.restore(backup)
    else:
        await away.crash(power=False)
        await everything_after(hosts[:3])
    await asyncio.sleep(30)
    await away.start()
    assert await watch_first_answers(hosts, away, 4.0) > 50
    assert not core(away).returning.active
    assert knows(away) == knows(hosts[0])


def knows(host: Host) -> dict[bytes, bytes]:
    items = core(host).known.items
    return {item[:32]: item[32:] for item in items.items(b"", b"")}


@pytest.mark.may_block
async def test_a_lab_that_lost_power_and_starts_again_serves_within_seconds(world: World) -> None:
    hosts = await joined(world, 6)
    await put(hosts[0], "a", b"value")
    await asyncio.sleep(1)
    for host in hosts:
        await host.crash(power=False)
    await asyncio.sleep(5)
    await asyncio.gather(*(host.start() for host in hosts))
    started = world.loop.time()
    for host in hosts:
        assert await get(host, "a") == b"value"
    assert world.loop.time() - started < 6.0
    await until(lambda: not any(core(host).returning.active for host in hosts), within_s=15)


async def test_a_peer_that_never_knew_another_serves_after_a_moment(world: World) -> None:
    alone = await world.join()
    await put(alone, "a", b"value")
    await alone.crash(power=False)
    await alone.start()
    assert await get(alone, "a") == b"value"


async def test_a_peer_alone_after_a_short_absence_serves_what_it_has(world: World) -> None:
    alice, bob = await joined(world, 2)
    await put(alice, "a", b"value")
    await asyncio.sleep(40)
    await bob.crash(power=False)
    await alice.crash(power=False)
    await alice.start()
    found = await read(core(alice), key_of(alice, "a"), consistency="one", timeout_s=10)
    assert found.record is not None
    assert found.stale_since_s is not None
    assert (await opened(alice, "a", consistency="one")).info.stale_since_s
    assert await get(alice, "a") == b"value"


async def test_a_peer_alone_after_a_long_absence_serves_only_one_marked_stale(world: World) -> None:
    alice, bob = await joined(world, 2)
    await put(alice, "a", b"value")
    await asyncio.sleep(40)
    await bob.crash(power=False)
    await alice.crash(power=True)
    await asyncio.sleep(alice.settings.tombstone_grace_s + 100)
    await alice.start()
    await asyncio.sleep(10)
    with pytest.raises(TimedOutError):
        await get(alice, "a")
    found = await opened(alice, "a", consistency="one")
    assert found.info.stale_since_s > alice.settings.tombstone_grace_s  # type: ignore[operator]


async def test_a_peer_alone_after_a_long_absence_serves_what_it_has_once_the_others_are_forgotten(world: World) -> None:
    alice, bob = await joined(world, 2)
    await put(alice, "a", b"value")
    await asyncio.sleep(40)
    await bob.crash(power=False)
    await alice.crash(power=True)
    await asyncio.sleep(alice.settings.tombstone_grace_s + 100)
    await alice.start()
    await asyncio.sleep(10)
    assert alice.peer is not None
    await alice.peer.forget(bob.id_text)
    assert await get(alice, "a") == b"value"
    await put(alice, "a", b"next", if_version="*")


async def test_a_newcomer_takes_nothing_that_one_who_is_back_has_not_confirmed(world: World) -> None:
    hosts = await joined(world, 3)
    await keep(hosts, version(hosts[0], "k", 1, b"old"))
    await hosts[2].crash(power=False)
    await keep(hosts[:2], version(hosts[0], "k", 2, kind=TOMBSTONE))
    await asyncio.sleep(20)
    late = world.add()
    world.network.part([[host.interface for host in hosts[:2]], [hosts[2].interface, late.interface]])
    await hosts[2].start()
    returning = core(hosts[2]).returning
    honest = returning.confirmed
    returning.confirmed = lambda key: False  # type: ignore[method-assign]
    await late.start()
    assert late.peer is not None
    late.peer.offer(None, hosts[2].address, "mdns")
    await meshed([hosts[2], late])
    await asyncio.sleep(20)
    assert await kept(late, "k") is None
    world.network.heal()
    returning.confirmed = honest  # type: ignore[method-assign]

    async def both_know() -> bool:
        records = [await kept(host, "k") for host in (hosts[2], late)]
        return all(record is not None and record.deleted for record in records)

    await eventually(both_know, within_s=40)


async def test_what_was_written_on_it_since_is_confirmed(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "k", b"old")
    await hosts[2].crash(power=False)
    await asyncio.sleep(10)
    await hosts[2].start()
    core(hosts[2]).returning._started_at += 3600  # nothing is settled while this test lasts
    await meshed(hosts)
    assert await told(hosts[0], hosts[2], "k") is None
    await put(hosts[0], "k", b"new")
    raw = await told(hosts[0], hosts[2], "k")
    assert raw
    assert read_record(raw).body.value == b"new"


async def test_content_whose_name_names_something_else_by_now_loses_its_claim(world: World) -> None:
    hosts = await joined(world, 4)
    big, other = bytes(range(256)) * 4000, bytes(range(255, -1, -1)) * 4000
    first = await put(hosts[0], "k", big)
    await asyncio.sleep(1)
    away = next(host for host in hosts if host.id_text in first.holders and host is not hosts[0])
    await away.crash(power=False)
    await asyncio.sleep(10)
    writer = next(host for host in hosts if host.lives)
    await put(writer, "k", other)
    await asyncio.sleep(20)
    await away.start()
    from peerd.content.cid import Cid

    cid = Cid.parse(first.cid).to_bytes()

    async def let_go() -> bool:
        root = await away.store.root(cid)
        return root is None or (root.class_ == "cache" and not await away.store.claims(cid))

    await eventually(let_go)
