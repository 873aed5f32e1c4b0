"""What liars can make repair send: who lacks all again and again, is silent, or is not relied on."""

import asyncio
from collections.abc import Callable

import pytest

from peerd.ids import PeerId
from peerd.kad.crowd import Responsible
from peerd.node import repairing
from peerd.node.backoff import PEERS_MAX, VERSIONS_MAX, Backoff
from peerd.node.given import GIVEN_EACH, SAVED_MAX, Given
from peerd.node.repairing import CROWD_GIVERS, SENT_MAX, Repairing
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.fields import PROOF_BYTES
from peerd.wire.messages import FindValue, Prove, Proven, Request, Store, Value
from tests.unit.node.hosts import Answer, answering, by_distance, core, eventually, get, joined, kept, key_of, put

ALICE, BOB = PeerId(bytes(32)), PeerId(bytes([1] * 32))
DIGEST, OTHER = b"1" * 32, b"2" * 32
ROUNDS = 20
NAMES = [f"name {number}" for number in range(40)]


def repair_of(host: Host) -> Repairing:
    assert host.peer is not None
    return host.peer._maintaining._repairing


async def in_rounds(host: Host, count: int, pause_s: float = 1.0) -> None:
    """Have a host see to its records so many times, and to all of them whosever turn it is."""
    for _ in range(count):
        for name in NAMES:
            core(host).missing_since.setdefault(key_of(host, name), 0)
        await repair_of(host)._records(set())
        await asyncio.sleep(pause_s)


def test_a_version_is_given_again_soon_and_then_ever_more_rarely() -> None:
    tries = Backoff()
    given = [at for at in range(600) if tries.may_give(ALICE, DIGEST, float(at))]
    assert given == [0, 4, 20, 84, 340]
    assert tries.may_give(ALICE, OTHER, 341.0)
    assert tries.may_give(BOB, DIGEST, 341.0)


def test_who_has_shown_a_version_is_given_it_at_once_when_it_loses_it() -> None:
    tries = Backoff()
    assert tries.may_give(ALICE, DIGEST, 0.0)
    tries.shown(ALICE, DIGEST)
    assert tries.may_give(ALICE, DIGEST, 1.0)
    assert not tries.may_give(ALICE, DIGEST, 1.0)


def test_who_is_silent_is_tried_with_one_version_now_and_then() -> None:
    tries = Backoff()
    for _ in range(16):  # together
        tries.silent(ALICE, 0.0)
    assert tries.is_silent(ALICE, 1.9)
    assert not tries.is_silent(ALICE, 2.0)
    given = [at for at in range(1, 600) if tries.may_give(ALICE, at.to_bytes(32, "little"), float(at))]
    assert given == [2, 10, 42, 170, 410]
    tries.answered(ALICE)
    assert tries.may_give(ALICE, DIGEST, 600.0)
    assert tries.may_give(ALICE, OTHER, 600.0)


def test_who_was_silent_and_answers_something_else_is_on_trial_with_one_version() -> None:
    tries = Backoff()
    for at in (0.0, 3.0, 12.0):
        tries.silent(ALICE, at)
    assert tries.is_silent(ALICE, 20.0)
    tries.returned(ALICE, 20.0)
    given = [at for at in range(20, 40) if tries.may_give(ALICE, at.to_bytes(32, "little"), float(at))]
    assert given == [20, 22, 30]
    tries.returned(BOB, 20.0)
    assert all(tries.may_give(BOB, at.to_bytes(32, "little"), 20.0) for at in range(9))


def test_what_backs_off_is_bounded() -> None:
    tries = Backoff()
    for number in range(VERSIONS_MAX + 1):
        assert tries.may_give(ALICE, number.to_bytes(16, "big"), 0.0)
    for number in range(1, PEERS_MAX + 2):
        tries.silent(PeerId(number.to_bytes(32, "big")), 0.0)
    assert len(tries._versions) == VERSIONS_MAX
    assert len(tries._silent) == PEERS_MAX
    assert tries.may_give(ALICE, bytes(16), 0.0), "of too many the first is forgotten"
    assert not tries.is_silent(PeerId((1).to_bytes(32, "big")), 0.0)


def test_reads_give_a_few_at_once_and_a_few_in_each_interval() -> None:
    given = Given()
    assert sum(given.affords(0.0, 60.0) for _ in range(100)) == SAVED_MAX
    assert sum(given.affords(at / 10, 60.0) for at in range(1, 601)) == GIVEN_EACH
    assert sum(given.affords(10_000.0, 60.0) for _ in range(100)) == SAVED_MAX


def forgetting(mallory: Host) -> list[Request]:
    """Let a host sign for each record and say of each that it has it not; returns the Stores that it hears."""
    stores: list[Request] = []

    def lie(peer: PeerId, request: Request, honest: Callable[[], Answer]) -> Answer:
        if isinstance(request, Prove):
            return Proven(request.rid, bytes(PROOF_BYTES * len(request.split())))
        stores.extend([request] if isinstance(request, Store) else [])
        return honest()

    answering(mallory, lie)
    return stores


async def test_who_takes_all_and_has_nothing_in_every_round_is_given_it_ever_more_rarely(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    for name in NAMES:
        await put(alice, name, b"v")
    stores = forgetting(mallory)
    for _ in range(20):
        core(alice).copies.clear()  # as where audits find that it lacks them
        await in_rounds(alice, 1)
    assert len(NAMES) <= len(stores) <= 4 * len(NAMES)
    await bob.store.drop_record(key_of(bob, NAMES[0]))
    core(alice).copies.clear()
    await in_rounds(alice, 1)
    assert await kept(bob, NAMES[0]) is not None


async def test_who_says_nothing_to_repair_is_sent_little(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    for name in NAMES:
        await put(alice, name, b"v")
    stores: list[Request] = []

    def silent(peer: PeerId, request: Request, honest: Callable[[], Answer]) -> Answer:
        stores.extend([request] if isinstance(request, Store) else [])
        return None if isinstance(request, Store | Prove) else honest()

    answering(mallory, silent)
    for name in NAMES:
        await bob.store.drop_record(key_of(bob, name))
    core(alice).copies.clear()
    await in_rounds(alice, 10)
    assert 1 <= len(stores) <= SENT_MAX * (repairing.GIVEN_AT_ONCE + 4)
    assert all([await kept(bob, name) is not None for name in NAMES])


async def test_who_was_silent_and_is_met_again_is_given_its_share_at_once(world: World) -> None:
    alice, bob, _ = await joined(world, 3)
    await put(alice, NAMES[0], b"v")
    core(alice).backoff.silent(bob.identity.peer, core(alice).now() + 1e6)
    await bob.crash(power=True)
    assert core(alice).backoff.is_silent(bob.identity.peer, core(alice).now())
    bob.store.reopen()
    await bob.store.drop_record(key_of(bob, NAMES[0]))
    await bob.start()

    async def has_it() -> bool:
        return await kept(bob, NAMES[0]) is not None

    await eventually(has_it)
    assert not core(alice).backoff.is_silent(bob.identity.peer, core(alice).now())


async def test_who_is_not_relied_on_is_given_nothing_where_others_take_its_place(world: World) -> None:
    hosts = await joined(world, 10)
    await put(hosts[0], NAMES[0], b"v")
    order = by_distance(hosts, key_of(hosts[0], NAMES[0]))
    nearest, mallory, spare = order[0], order[3], order[8]
    stores = forgetting(mallory)
    core(nearest).trust.note(mallory.identity.peer, "wrong_proof")
    core(nearest).copies.clear()
    await in_rounds(nearest, 3)
    assert not stores
    assert await kept(spare, NAMES[0]) is not None


async def test_of_a_crowded_region_a_few_give_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = await joined(world, 16)
    await put(hosts[0], NAMES[0], b"v")
    key = key_of(hosts[0], NAMES[0])
    order = by_distance(hosts, key)
    for host in order:
        everybody = core(host).members.closest(key, 64)
        weights = {contact.peer: 0.5 for contact in everybody}
        crowd = Responsible(everybody, ours=True, crowded=True, weights=weights, own_weight=0.5)
        monkeypatch.setattr(core(host).members, "responsible", lambda *_, crowd=crowd, **__: crowd)
    stores = forgetting(order[0])
    holders = order[1:8]
    assert all([await kept(host, NAMES[0]) is not None for host in holders])
    for _ in range(ROUNDS):
        for host in holders:
            core(host).copies.clear()
            core(host).backoff = Backoff()
        await asyncio.gather(*(repair_of(host)._records(set()) for host in holders))
    # One in five of seven by its own chance: 26 are to be expected, and 60 are seven deviations off.
    assert 1 <= len(stores) <= ROUNDS * CROWD_GIVERS


async def test_who_denies_all_keys_costs_reads_a_few_stores(world: World) -> None:
    hosts = await joined(world, 8)
    for name in NAMES:
        await put(hosts[0], name, b"v")
    mallory, reader = hosts[1:3]
    stores: list[Request] = []

    def deny(peer: PeerId, request: Request, honest: Callable[[], Answer]) -> Answer:
        stores.extend([request] if isinstance(request, Store) else [])
        return Value(request.rid, b"", None, b"") if isinstance(request, FindValue) else honest()

    answering(mallory, deny)
    for name in NAMES:
        assert await get(reader, name, consistency="quorum") == b"v"
    await asyncio.sleep(1)
    assert 1 <= len(stores) <= SAVED_MAX + 2
