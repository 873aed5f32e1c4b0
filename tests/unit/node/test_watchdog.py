"""Who promises and does not keep is found with the probability that is promised, and its share is restored."""

import asyncio
import math

import pytest
from msgspec.structs import replace

from peerd.content.cid import Cid
from peerd.errors import UnreachableError
from peerd.kad.contact import Contact
from peerd.node.auditing import kept_by
from peerd.node.endpoint import REFUSED_BUSY
from peerd.node.watchdog import Watchdog
from peerd.records.evidence import KIND_NAMES, read_evidence
from peerd.sim.host import Host
from peerd.trust.evidence import convicts
from peerd.wire import frames
from peerd.wire.limits import PROVEN_MAX
from peerd.wire.messages import Attest, Prove, Refused
from tests.hostile.audits import EVADES, SIGNS, CannotTell, MakesUpProofs
from tests.hostile.base import Liar
from tests.hostile.clan import Clan
from tests.unit.node.hosts import (
    World,
    add,
    answering,
    by_distance,
    contact_of,
    core,
    joined,
    key_of,
    late,
    mute,
    put,
    until,
)

NAMES = 12


def watchdog_of(host: Host) -> Watchdog:
    assert host.peer is not None
    return host.peer._maintaining._watchdog


async def world_with(world: World, count: int, liar: type[Liar] | None, **settings: object) -> tuple[list[Host], Host]:
    """Some hosts that audit when they are told to, and one more that lies; all hold all."""
    world._settings = replace(world._settings, audit_interval_s=80_000.0, **settings)
    hosts = await joined(world, count + 1)
    mallory = hosts.pop()
    if liar is not None:
        liar().install(core(mallory), Clan())
    return hosts, mallory


async def test_who_keeps_what_it_promised_is_not_suspected(world: World) -> None:
    hosts, other = await world_with(world, 3, None, audit_share=1.0)
    for at in range(NAMES):
        await put(hosts[0], f"name-{at}", b"v")
    for _ in range(3):
        for host in hosts:
            await watchdog_of(host).round()
    assert [dict(core(host).trust.faults_of(other.identity.peer)) for host in hosts] == [{}, {}, {}]
    assert not any(core(host).convicting.listed() for host in hosts)


@pytest.mark.parametrize("liar", SIGNS)
async def test_who_signs_a_lie_is_convicted_by_its_own_word(world: World, liar: type[Liar]) -> None:
    (alice, bob), mallory = await world_with(world, 2, liar, audit_share=1.0)
    for at in range(NAMES):
        await put(alice, f"name-{at}", b"v")
    await watchdog_of(alice).round()
    assert core(alice).trust.is_out(mallory.identity.peer)
    await until(lambda: core(bob).trust.is_out(mallory.identity.peer))
    (raw,) = await bob.store.evidence()
    assert convicts(raw, bob.identity.network, core(bob).verifier) == mallory.identity.peer
    assert KIND_NAMES[read_evidence(raw).kind] in ("broken_promise", "false_proof")


@pytest.mark.parametrize("liar", EVADES)
async def test_who_evades_is_found_out_and_not_relied_on_and_convicted_of_nothing(
    world: World, liar: type[Liar]
) -> None:
    (alice, bob), mallory = await world_with(world, 2, liar, audit_share=1.0)
    for at in range(NAMES):
        await put(alice, f"name-{at}", b"v")
    await watchdog_of(alice).round()
    assert core(alice).trust.shunned(mallory.identity.peer)
    assert not core(alice).trust.is_out(mallory.identity.peer)
    assert not core(bob).trust.shunned(mallory.identity.peer)


async def test_who_lost_a_record_in_this_run_is_given_it_again(world: World) -> None:
    (alice, _bob), carol = await world_with(world, 2, None, audit_share=1.0)
    await put(alice, "a", b"v")
    await carol.store.drop_record(key_of(carol, "a"))
    await watchdog_of(alice).round()
    await until(lambda: carol.store.peek_record(key_of(carol, "a")) is not None)
    assert core(alice).trust.faults_of(carol.identity.peer) == {"denied_held": 1}
    assert not core(alice).trust.is_out(carol.identity.peer)


async def test_who_came_back_without_what_it_had_is_not_blamed(world: World) -> None:
    (alice, _bob), carol = await world_with(world, 2, None, audit_share=1.0)
    await put(alice, "a", b"v")
    await carol.crash(power=False)
    carol.store.reopen()
    await carol.store.drop_record(key_of(carol, "a"))
    await carol.start()
    for _ in range(6):
        await asyncio.sleep(0.5)
        await watchdog_of(alice).round()
    assert core(alice).trust.faults_of(carol.identity.peer) == {}
    await until(lambda: carol.store.peek_record(key_of(carol, "a")) is not None)


async def test_who_is_silent_to_audits_alone_is_noted(world: World) -> None:
    (alice, _), mallory = await world_with(world, 2, None, audit_share=1.0)
    await put(alice, "a", b"v")
    mute(mallory, Prove)
    await watchdog_of(alice).round()
    assert core(alice).trust.faults_of(mallory.identity.peer) == {"unproven": 1}


async def test_who_is_busy_or_stalls_for_a_moment_is_not_given_up(world: World) -> None:
    (alice, _), carol = await world_with(world, 2, None, audit_share=1.0)
    for at in range(5 * PROVEN_MAX):
        await put(alice, f"name-{at}", b"v")
    late(carol, 3.0, Prove)
    await watchdog_of(alice).round()
    assert core(alice).trust.faults_of(carol.identity.peer) == {"unproven": 1}, "one stall, one fault"


async def test_who_refuses_an_audit_for_being_busy_is_not_blamed(world: World) -> None:
    (alice, _), carol = await world_with(world, 2, None, audit_share=1.0)
    for at in range(NAMES):
        await put(alice, f"name-{at}", b"v")
    core(alice).proofs._waiting.clear()  # so that its word is asked for
    answering(
        carol,
        lambda peer, request, honest: Refused(request.rid, REFUSED_BUSY) if isinstance(request, Attest) else honest(),
    )
    await watchdog_of(alice).round()
    assert core(alice).trust.faults_of(carol.identity.peer) == {}
    assert not core(alice).missing_since


async def test_who_cannot_be_asked_over_a_connection_and_shows_its_content_is_not_blamed(world: World) -> None:
    (alice, _), carol = await world_with(world, 2, None, audit_share=1.0, copies=3)
    for at in range(4):
        await add(alice, bytes([at]) * 50_000)
    assert alice.peer is not None
    await alice.peer._maintaining.restoring.round(set())
    reach = core(alice).bulk.get

    async def cut(contact: Contact) -> object:
        if contact.peer == carol.identity.peer:
            raise UnreachableError("no connection")
        return await reach(contact)

    core(alice).bulk.get = cut  # type: ignore[method-assign,assignment]
    assert await watchdog_of(alice)._content.round(), "its copies are counted anew"
    assert core(alice).trust.faults_of(carol.identity.peer) == {}


async def test_content_that_was_dropped_is_found_and_restored(world: World) -> None:
    (alice, _), mallory = await world_with(world, 2, None, audit_share=1.0, copies=3)
    done = await add(alice, b"x" * 50_000)
    assert done.copies == 3
    root = Cid.parse(done.cid)
    assert alice.peer is not None
    restoring = alice.peer._maintaining.restoring
    await restoring.round(set())
    assert mallory.identity.peer in (restoring.living(root.to_bytes()) or ())
    assert not await watchdog_of(alice)._content.round()
    await mallory.store.delete_blocks([root])
    assert await watchdog_of(alice)._content.round()
    assert core(alice).trust.faults_of(mallory.identity.peer) == {"denied_held": 1}
    assert restoring.living(root.to_bytes()) is None, "it is not counted anew"


async def test_a_copy_that_is_said_to_be_kept_and_is_not_shown_does_not_count(world: World) -> None:
    (alice, bob), mallory = await world_with(world, 2, MakesUpProofs, copies=3)
    root = Cid.parse((await add(alice, b"x" * 50_000)).cid).to_bytes()
    told = await kept_by(core(alice), [contact_of(mallory)], [root])
    assert told == {mallory.identity.peer: bytes([frames.PROMISED])}
    assert alice.peer is not None
    kept = await alice.store.root(root)
    assert kept is not None
    assert await alice.peer._maintaining.restoring._count([kept]) == {root: {bob.identity.peer}}


async def test_the_share_of_who_is_not_relied_on_is_given_to_the_next_nearest_too(world: World) -> None:
    hosts = await joined(world, 10)
    await put(hosts[0], "a", b"v")
    order = by_distance(hosts, key_of(hosts[0], "a"))
    nearest, shunned, spare = order[0], order[3], order[8]
    assert spare.store.peek_record(key_of(spare, "a")) is None
    for _ in range(3):
        core(nearest).trust.note(shunned.identity.peer, "denied_held")
        core(nearest).trust.note(shunned.identity.peer, "denied_held")
    assert nearest.peer is not None
    await nearest.peer._maintaining._repairing._records(set())
    assert spare.store.peek_record(key_of(spare, "a")) is not None


SHARE, ROUNDS, KEYS = 0.25, 10, 60


async def test_a_dropped_key_is_found_within_some_rounds_as_often_as_promised(world: World) -> None:
    (alice, _), mallory = await world_with(world, 2, None, audit_share=SHARE)
    for at in range(KEYS):
        await put(alice, f"name-{at}", b"v")
    found: dict[bytes, int] = {}
    turn = 0
    asked = watchdog_of(alice).question

    async def question(contact: Contact, kind: int, key: bytes, digest: bytes) -> bytes:
        if contact.peer == mallory.identity.peer:
            found.setdefault(key, turn)
        return await asked(contact, kind, key, digest)

    watchdog_of(alice).question = question  # type: ignore[method-assign]
    CannotTell().install(core(mallory), Clan())
    for at in range(KEYS):
        await mallory.store.drop_record(key_of(alice, f"name-{at}"))
    for _ in range(ROUNDS):
        turn += 1
        await watchdog_of(alice).round()
    for rounds in (1, 3, 6, 10):
        expected = 1 - (1 - SHARE) ** rounds
        measured = sum(1 for at in found.values() if at <= rounds) / KEYS
        spread = math.sqrt(expected * (1 - expected) / KEYS)
        assert abs(measured - expected) <= 4 * spread, (rounds, measured, expected)
