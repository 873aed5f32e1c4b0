"""A flood of what others are to keep: whoever has filled a disk, others still put, and what was promised stays."""

import itertools
from collections.abc import Sequence

import pytest

from peerd.content.block import raw_block
from peerd.content.cid import Cid
from peerd.errors import NoRoomError, RefusedError
from peerd.identity import Identity
from peerd.ids import Key, PeerId, distance, name_key, node_id
from peerd.io.store import bounds
from peerd.io.store.bounds import record_bytes
from peerd.io.store.memory import MemoryStore
from peerd.node import announced
from peerd.node.blocks import FAR_PART
from peerd.node.claims import make_claim
from peerd.node.holding import keep_record
from peerd.node.responder import NEAR_HOLDERS
from peerd.node.shares import Shares
from peerd.records.provider import CACHE, REPLICA, Provider, providers
from peerd.records.record import INLINE, Record, RecordBody, make_record
from peerd.sim.host import Host
from peerd.wire import messages
from peerd.wire.frames import ClaimBody, HoldBody
from peerd.wire.messages import Prepare

from .hosts import World, add, by_distance, contact_of, core, get, joined, key_of, put, version

QUOTA_BYTES = 2 * 2**20
VALUE = bytes(700)

KINDS = ["one identity", "100 identities of one group", "100 groups", "100 identities never met"]


def identities(host: Host, count: int) -> list[Identity]:
    suite = host.identity.suite
    seeds = [number.to_bytes(32, "big") for number in range(1, count + 1)]
    return [Identity(suite.signing_key(seed), host.identity.network, suite) for seed in seeds]


def liars(hosts: Sequence[Host], kind: str) -> list[Identity]:
    """Writers that all of the hosts have met at their addresses, or never."""
    made = identities(hosts[0], 1 if kind == "one identity" else 100)
    groups = {
        liar.peer: b"crowd" if kind == "100 identities of one group" else b"group %d" % number
        for number, liar in enumerate(made)
        if kind != "100 identities never met"
    }
    for host in hosts:
        shares, members = core(host).room.shares, core(host).members
        shares.group_of = lambda peer, members=members: groups.get(peer) or members.budget_of(peer)
        shares.groups = lambda members=members: {*members.budgets(), *groups.values()}
    return made


def record_of(writer: Identity, name: str, value: bytes = VALUE) -> Record:
    body = RecordBody(
        format=1,
        key=name_key(writer.network, name),
        name=name,
        owner=None,
        sequence=1,
        writer=writer.peer,
        nonce=bytes(8),
        kind=INLINE,
        value=value,
        size=len(value),
        copies=3,
        ttl_s=None,
    )
    return make_record(writer, body)


async def flood(hosts: Sequence[Host], writers: Sequence[Identity]) -> int:
    """Fill the disks with records until none takes more of any writer; return how many were kept."""
    count = 0
    for host in hosts:
        refused: set[PeerId] = set()
        for number in range(4 * QUOTA_BYTES // len(VALUE)):
            writer = writers[number % len(writers)]
            if writer.peer in refused:
                continue
            try:
                await keep_record(core(host), record_of(writer, f"junk {number}"), None)
                count += 1
            except NoRoomError:
                refused.add(writer.peer)
            if len(refused) == len(writers):
                break
    return count


async def small(world: World, count: int) -> list[Host]:
    hosts = await joined(world, count)
    for host in hosts:
        host.store.quota_bytes = QUOTA_BYTES
    return hosts


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("kind", KINDS)
async def test_whoever_has_filled_the_disks_honest_puts_go_on_and_promises_stay(world: World, kind: str) -> None:
    hosts = await small(world, 3)
    alice = hosts[0]
    for number in range(10):
        await put(alice, f"before {number}", b"sound %d" % number)
    kept = await flood(hosts, liars(hosts, kind))
    assert kept > 1000
    for host in hosts:
        usage = await host.store.usage()
        assert usage.used_bytes > 0.95 * bounds.common_bytes(QUOTA_BYTES)

    for number in range(10):
        result = await put(alice, f"after {number}", b"fresh %d" % number)
        assert result.copies == 3

    for host in hosts:
        for number in range(10):
            assert await host.store.record(key_of(host, f"before {number}")) is not None
            assert await get(host, f"after {number}") == b"fresh %d" % number


@pytest.mark.may_block
async def test_what_identities_of_one_group_have_does_not_grow_with_their_number(world: World) -> None:
    one, many = await small(world, 2)
    alone = liars([one], "one identity")
    crowd = liars([many], "100 identities of one group")
    await flood([one], alone)
    await flood([many], crowd)
    left = [bounds.limit_bytes(QUOTA_BYTES, reserve=False) - (await h.store.usage()).used_bytes for h in (one, many)]
    assert abs(left[0] - left[1]) < QUOTA_BYTES // 50, left


async def counted(used: dict[PeerId, int]) -> Shares:
    shares = Shares(MemoryStore(QUOTA_BYTES, bytes, _Clock()))
    await shares.used(PeerId(bytes(32)))
    for writer, size in used.items():
        shares.charge(writer, size)
    return shares


async def test_each_group_has_its_part_of_the_kept_tenth_whatever_others_use() -> None:
    writers = [PeerId(bytes([number]) * 32) for number in range(1, 12)]
    shares = await counted({writers[0]: 9_000})
    shares.groups = lambda: writers[1:]
    surely = 1_000 // 12

    assert shares.refuses(writers[0], 1, most=10_000, kept=1_000, free=1_000)
    for writer in writers[1:]:
        assert not shares.refuses(writer, surely, most=10_000, kept=1_000, free=1_000)
    # Beyond that only what is not others'.
    assert shares.refuses(writers[1], 400, most=10_000, kept=1_000, free=1_000)
    assert not shares.refuses(writers[1], surely + 50, most=10_000, kept=1_000, free=1_000)


async def test_another_key_of_a_group_has_no_share_of_its_own() -> None:
    crowd = [PeerId(bytes([number]) * 32) for number in range(1, 11)]
    shares = await counted(dict.fromkeys(crowd[:9], 1_000))
    shares.group_of = lambda writer: b"crowd" if writer in crowd else b"house"

    assert shares.refuses(crowd[9], 400, most=10_000, kept=1_000, free=1_000)
    assert not shares.refuses(PeerId(b"a" * 32), 300, most=10_000, kept=1_000, free=1_000)


async def test_within_a_group_nobody_has_more_than_the_others() -> None:
    alice, bob = PeerId(b"a" * 32), PeerId(b"b" * 32)
    shares = await counted({alice: 3_000, bob: 10})
    shares.group_of = lambda writer: b"house"

    assert shares.refuses(alice, 100, most=10_000, kept=1_000, free=5_000)
    assert not shares.refuses(bob, 100, most=10_000, kept=1_000, free=5_000)


@pytest.mark.slow
@pytest.mark.may_block
async def test_a_record_that_others_should_keep_is_taken_only_of_who_has_few_here(world: World) -> None:
    hosts = await joined(world, NEAR_HOLDERS + 6)
    mallory, far = hosts[0], hosts[1]
    far.store.quota_bytes = FAR_PART * 64 * 1024
    names = (name for number in range(100_000) if is_far(far, hosts, name := f"junk {number}"))
    taken = 0
    for name in itertools.islice(names, 150):
        try:
            await core(mallory).endpoint.ask(
                contact_of(far), messages.Store, version(mallory, name, 1, VALUE).raw, None
            )
            taken += 1
        except RefusedError as error:
            assert error.reason == "no_room"
    most = far.store.quota_bytes // FAR_PART // record_bytes(version(mallory, "junk 1", 1, VALUE).raw)
    assert most - 2 <= taken <= most + 2
    ours = next(name for number in range(100_000) if not is_far(far, hosts, name := f"near {number}"))
    await core(mallory).endpoint.ask(contact_of(far), messages.Store, version(mallory, ours, 1, VALUE).raw, None)


def is_far(host: Host, hosts: Sequence[Host], name: str) -> bool:
    return host in by_distance(hosts, key_of(host, name))[NEAR_HOLDERS:]


async def test_a_share_is_that_of_the_address_at_which_a_writer_was_met(world: World) -> None:
    alice, bob = await joined(world, 2)
    members, writers = core(alice).members, [each.peer for each in identities(alice, 4)]
    for number, address in enumerate(["203.0.113.1", "203.0.113.200", "203.0.114.1"]):
        members.proven(writers[number], (address, number + 1), "overlay")
    shares = core(alice).room.shares

    budgets = [shares.group_of(peer) for peer in (*writers, alice.identity.peer, bob.identity.peer)]

    assert budgets[0] == budgets[1]
    assert len(set(budgets)) == 5
    assert set(budgets) == set(shares.groups())


# Providers.


def statement(provider: Identity, data: bytes, *, kind: int = REPLICA, life_s: int = 10_860, stamp: int = 1) -> bytes:
    root = raw_block(data).cid.to_bytes()
    body = Provider(format=1, root=root, provider=provider.peer, kind=kind, stamp=stamp, life_s=life_s)
    return providers.sign(provider, body)


KEY = Key(raw_block(b"wanted").cid.digest)


async def test_a_provider_that_was_never_met_is_not_noted(world: World) -> None:
    alice, bob = await joined(world, 2)
    (mallory,) = identities(alice, 1)

    with pytest.raises(RefusedError):
        await announced.keep(core(alice), bob.identity.peer, statement(mallory, b"wanted"))

    assert await announced.named(core(alice), KEY) == []


async def test_a_crowd_of_providers_hides_none_of_another_group(world: World) -> None:
    alice, bob, carol = await joined(world, 3)
    for host in (bob, carol):
        await announced.keep(core(alice), host.identity.peer, statement(host.identity, b"wanted"))
    for number, liar in enumerate(identities(alice, 100)):
        core(alice).members.proven(liar.peer, (f"203.0.113.{number}", 1), "overlay")
        await announced.keep(core(alice), liar.peer, statement(liar, b"wanted", life_s=172_800))

    named = await announced.named(core(alice), KEY)

    assert {bob.identity.peer, carol.identity.peer} <= {providers.read(raw).provider for raw in named}


async def test_promised_copies_are_named_before_cached_ones(world: World) -> None:
    alice, *others = await joined(world, 9)
    for number, host in enumerate(others):
        raw = statement(host.identity, b"wanted", kind=REPLICA if number in (2, 5) else CACHE)
        await announced.keep(core(alice), host.identity.peer, raw)

    named = [providers.read(raw) for raw in await announced.named(core(alice), KEY)]

    assert len(named) == 5
    assert {one.provider for one in named[:2]} == {others[2].identity.peer, others[5].identity.peer}


# Rows that stay.


@pytest.mark.may_block
async def test_a_register_is_counted_for_who_makes_it(world: World) -> None:
    alice, bob, mallory = await small(world, 3)
    await flood([alice], [mallory.identity])

    kept = 0
    for number in range(40):
        try:
            await prepare(mallory, alice, number)
            kept += 1
        except RefusedError as error:
            assert error.reason == "no_room"
    assert kept < 20
    await prepare(bob, alice, 99)
    assert len(await alice.store.registers(None, 100)) == kept + 1
    assert await core(alice).room.shares.used(bob.identity.peer) > 0


async def prepare(source: Host, target: Host, number: int) -> None:
    key = name_key(source.identity.network, f"register {number}")
    holders = core(target).members.expected_holders(key, within_grace=False)
    nearest = sorted(holders, key=lambda peer: distance(node_id(source.identity.network, peer), key))
    await core(source).endpoint.ask(contact_of(target), Prepare, key, 1 << 33, b"".join(nearest))


@pytest.mark.may_block
async def test_a_claim_on_what_others_claimed_is_counted_for_who_makes_it(world: World) -> None:
    alice, bob, mallory = await small(world, 3)
    added = await add(bob, bytes(100_000))
    root = Cid.parse(added.cid or "")
    before = await core(alice).room.shares.used(mallory.identity.peer)
    for number in range(5):
        key = name_key(mallory.identity.network, f"claim {number}")
        held = make_claim(core(mallory), root, key=key, sequence=1, copies=3, name=f"claim {number}")
        body = HoldBody(root.to_bytes(), 1, 100_000, [ClaimBody(held.statement, None)])
        await (await core(mallory).bulk.get(contact_of(alice))).hold(body)
    used = await core(alice).room.shares.used(mallory.identity.peer) - before
    assert used > 5 * 200
    core(alice).room.shares._questions_left = 0
    assert await core(alice).room.shares.used(mallory.identity.peer) > 5 * 200


class _Clock:
    def monotonic(self) -> float:
        return 1.0

    def wall(self) -> float:
        return 1.0

    def boot(self) -> tuple[str, float]:
        return "boot", 1.0
