"""Audits: every holder is asked, what it has is compared, who says nothing is told apart from who has nothing."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from peerd.content.cid import Cid
from peerd.errors import NotFoundError, UnreachableError, UsageError, WireError
from peerd.ids import PeerId, peer_id_text
from peerd.io.store.interface import Floor
from peerd.node import auditing
from peerd.node.answering import answer, known_of
from peerd.node.holding import keep_record, row_of
from peerd.node.results import Audit, AuditedKey, PutOptions
from peerd.records.record import make_record, read_record
from peerd.records.version import version_text
from peerd.sim.host import Host
from peerd.wire import frames, limits
from peerd.wire.codec import encode

from .hosts import World, contact_of, core, joined, key_of, put, version


def ids(*hosts: Host) -> list[str]:
    return sorted(peer_id_text(host.identity.peer) for host in hosts)


async def audit(host: Host, name: str | None = None) -> Audit:
    assert host.peer is not None
    return await host.peer.audit(name)


async def one(host: Host, name: str) -> AuditedKey:
    found = await audit(host, name)
    assert found.divergent == sum(each.divergent for each in found.keys)
    [key] = found.keys
    return key


async def forget(host: Host, name: str) -> None:
    await host.store.drop_record(key_of(host, name))


async def test_of_one_key_all_that_hold_it_are_told(world: World) -> None:
    hosts = await joined(world, 4)
    stored = await put(hosts[0], "k", b"value")
    await asyncio.sleep(1)
    told = await one(hosts[2], "k")
    assert (told.version, told.deleted, told.holders) == (stored.version, False, ids(*hosts))
    assert (told.missing, told.differing, told.silent, told.versions) == ([], [], [], {})


async def test_who_lacks_it_who_differs_and_who_is_silent_are_told_apart(world: World) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "k", b"value")
    await asyncio.sleep(1)
    newer = version(hosts[0], "k", 7, b"newer")
    for host in hosts[:2]:
        await keep_record(core(host), newer, None)
    await forget(hosts[2], "k")
    await hosts[4].crash(power=True)
    told = await one(hosts[0], "k")
    assert (told.version, told.holders) == (newer.version.text, ids(*hosts[:2]))
    assert (told.missing, told.differing, told.silent) == (ids(hosts[2]), ids(hosts[3]), ids(hosts[4]))
    assert told.versions == {ids(hosts[3])[0]: (await one_version(hosts[3], "k"))}


async def one_version(host: Host, name: str) -> str:
    history = await host.store.history(key_of(host, name))
    return version_text(*history[0].row.version)


async def test_one_version_with_two_contents_differs(world: World) -> None:
    hosts = await joined(world, 3)
    record = version(hosts[0], "k", 3, b"one")
    other = make_record(hosts[0].identity, msgspec.structs.replace(record.body, value=b"two"))
    assert other.version[:3] == record.version[:3]
    for host, each in zip(hosts, (record, record, other), strict=True):
        await keep_record(core(host), each, None)
    assert len((await one(hosts[0], "k")).differing) in (1, 2)


async def test_all_keys_cost_one_question_for_each_holder_and_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "PAGE", 16)
    hosts = await joined(world, 3)
    for number in range(40):
        record = version(hosts[0], f"k{number}", 1, b"x")
        for host in hosts:
            await keep_record(core(host), record, None)
    asked: list[int] = []
    handler = core(hosts[1]).bulk._handler
    honest = handler.answer

    async def counted(peer: PeerId, kind: int, payload: bytes) -> bytes:
        if kind == frames.AUDIT:
            asked.append(len(payload) // 32)
        return await honest(peer, kind, payload)

    handler.answer = counted  # type: ignore[method-assign]
    await forget(hosts[1], "k7")
    found = await audit(hosts[0])
    assert asked == [16, 16, 8]
    assert sorted(each.key for each in found.keys) == sorted(f"k{number}" for number in range(40))
    assert ([each.key for each in found.keys if each.divergent], found.divergent) == (["k7"], 1)


async def test_a_deleted_key_is_told_as_such_and_who_still_has_a_value_differs(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "k", b"value")
    old = await hosts[2].store.record(key_of(hosts[0], "k"))
    assert old is not None
    assert hosts[0].peer is not None
    await hosts[0].peer.remove("k", PutOptions())
    await asyncio.sleep(1)
    told = await one(hosts[1], "k")
    assert (told.deleted, told.divergent) == (True, False)
    await forget(hosts[2], "k")
    await keep_record(core(hosts[2]), read_record(old), None)
    assert (await one(hosts[1], "k")).differing == ids(hosts[2])


async def test_a_floor_is_the_tombstone_that_it_stands_for_and_above_an_older_value(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "k", b"value")
    await asyncio.sleep(1)
    old = await hosts[2].store.record(key_of(hosts[0], "k"))
    assert old is not None and hosts[0].peer is not None
    await hosts[0].peer.remove("k", PutOptions())
    await asyncio.sleep(1)
    key = key_of(hosts[0], "k")
    tombstone = await hosts[1].store.record(key)
    assert tombstone is not None
    body = read_record(tombstone).body
    await hosts[1].store.put_floor(key, Floor(body.sequence, body.writer, body.nonce))
    told = await one(hosts[0], "k")
    assert (told.deleted, told.holders, told.divergent) == (True, ids(*hosts), False)
    for host in hosts[::2]:
        await host.store.put_floor(key, Floor(body.sequence, body.writer, body.nonce))
    await hosts[2].store.drop_floor(key)
    # Where only floors say so, who has nothing agrees with them; who has the old value does not.
    assert not (await one(hosts[0], "k")).divergent
    record = read_record(old)
    row = row_of(core(hosts[2]), record, None)
    await hosts[2].store.put_record(key, old, row=row)
    assert (await one(hosts[0], "k")).differing == ids(hosts[2])


async def test_a_key_that_nobody_has_is_not_found_and_content_is_no_key(world: World) -> None:
    hosts = await joined(world, 2)
    with pytest.raises(NotFoundError):
        await audit(hosts[0], "nothing")
    stored = await put(hosts[0], "k", bytes(5000))
    with pytest.raises(UsageError):
        await audit(hosts[0], stored.cid)


async def test_a_lone_peer_audits_itself(world: World) -> None:
    alone = await world.join()
    await put(alone, "k", b"value")
    assert (await one(alone, "k")).holders == ids(alone)


@pytest.mark.parametrize("told", [b"\x91\xc0\xc0", encode([]), encode([None, None]), b"\xff"])
async def test_an_answer_that_is_none_is_silence_and_counted(world: World, told: bytes) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "k", b"value")
    await asyncio.sleep(1)

    async def lie(peer: PeerId, kind: int, payload: bytes) -> bytes:
        return told if kind == frames.AUDIT else await honest(peer, kind, payload)

    honest = core(hosts[1]).bulk._handler.answer
    core(hosts[1]).bulk._handler.answer = lie  # type: ignore[method-assign]
    assert (await one(hosts[0], "k")).silent == ids(hosts[1])
    assert sum(core(hosts[0]).counts.rejected.values()) == 1


async def test_what_is_no_question_is_refused(world: World) -> None:
    alice = await world.join()
    for kind, payload in ((frames.AUDIT, bytes(33)), (frames.ROOTS, bytes(37)), (frames.WANT, bytes(36))):
        with pytest.raises(WireError):
            await answer(core(alice), alice.identity.peer, kind, payload)


async def test_an_answer_of_another_kind_than_was_asked_for_ends_the_connection(world: World) -> None:
    alice, bob = await joined(world, 2)
    connection = await core(alice).bulk.get(contact_of(bob))
    other = next(each for each in core(bob).bulk._open_ones if each.peer == alice.identity.peer)
    asking = asyncio.ensure_future(connection.ask(frames.ROOTS, bytes(36)))
    await asyncio.sleep(0)
    await other._stream.write(frames.pack(frames.HISTORY, connection._next_rid, encode([])))
    with pytest.raises(UnreachableError):
        await asking


async def test_roots_are_told_by_class(world: World) -> None:
    alice, bob = await joined(world, 2)
    stored = await put(alice, "big", bytes(5000))
    cid = Cid.parse(stored.cid).to_bytes()
    root = await bob.store.root(cid)
    assert root is not None

    async def told() -> int:
        return (await answer(core(bob), bob.identity.peer, frames.ROOTS, cid + cid[:-1] + b"x"))[0]

    assert await answer(core(bob), bob.identity.peer, frames.ROOTS, cid + cid[:-1] + b"x") == bytes(
        [frames.PROMISED, frames.ABSENT]
    )
    await bob.store.put_root(replace(root, class_="pinned"))
    assert await told() == frames.PINNED
    await bob.store.put_root(replace(root, class_="cache"))
    assert await told() == frames.CACHED
    await bob.store.put_root(replace(root, complete=False))
    assert await told() == frames.INCOMPLETE


async def test_an_answer_about_a_full_frame_fits_its_bound(world: World) -> None:
    alice = await world.join()
    record = version(alice, "k", limits.SEQUENCE_JUMP_MAX, b"x")
    await keep_record(core(alice), record, None)
    body = await known_of(core(alice), record.key)
    assert body is not None
    longest = frames.AuditedBody(limits.SEQUENCE_MAX, body.writer, body.nonce, body.digest, body.known)
    most = len(encode([longest] * limits.AUDITED_PER_FRAME_MAX))
    assert most == limits.AUDITED_MAX_BYTES
