"""Why content stays and when it goes: claims of names and adders, withdrawn only with proof (DESIGN.md 7)."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from peerd.content.cid import Cid
from peerd.errors import NotFoundError, PeerdError, RefusedError
from peerd.io.store.interface import Floor
from peerd.node.claims import add_claims, claims_on, expire_claims, make_claim
from peerd.node.collecting import LIFE_SLACK_S, collect_aged
from peerd.node.holding import keep_record, lay_floor
from peerd.node.maintaining import EXPIRY_INTERVAL_S
from peerd.node.placing import content_of, keep_here, place
from peerd.node.providing import REPLICA, announce
from peerd.node.results import PutOptions
from peerd.node.withdrawing import Rechecking, tell_withdrawals
from peerd.sim.host import Host
from peerd.wire.frames import ClaimBody, HoldBody
from peerd.wire.messages import Release

from .hosts import World, add, contact_of, core, eventually, get, joined, kept, key_of, put, serving, version

CONTENT = bytes(range(256)) * 20
OTHER = CONTENT[::-1]


def cid_of(result: object) -> bytes:
    return Cid.parse(result.cid).to_bytes()  # type: ignore[attr-defined]


async def classes(hosts: list[Host], cid: bytes) -> list[str | None]:
    roots = [await host.store.root(cid) for host in hosts]
    return [root.class_ if root else None for root in roots]


async def named_by(host: Host, cid: bytes) -> list[bytes]:
    """The keys of the names for which a host keeps content."""
    return sorted(held.claim.key for held in await claims_on(core(host), cid) if held.claim.key is not None)


async def added_by(host: Host, cid: bytes) -> list[bytes]:
    """The peers for which a host keeps what they added."""
    return [held.claim.claimant for held in await claims_on(core(host), cid) if held.claim.key is None]


async def removed(host: Host, name: str) -> None:
    assert host.peer is not None
    await host.peer.remove(name, PutOptions())
    await asyncio.sleep(2)


async def record_of(host: Host, name: str) -> bytes:
    raw = await host.store.record(key_of(host, name))
    assert raw is not None
    return raw


async def test_holders_keep_content_for_the_name_that_claims_it(world: World) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    for host in hosts:
        assert await named_by(host, cid) == [key_of(host, "a")]
    assert await classes(hosts, cid) == ["replica"] * 3


async def test_content_added_without_a_name_is_claimed_by_its_adder(world: World) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await add(hosts[0], CONTENT))
    for host in hosts:
        assert await added_by(host, cid) == [hosts[0].identity.peer]


@pytest.mark.parametrize("how", ["overwrite", "remove"])
async def test_a_new_version_and_a_delete_withdraw_the_names_claim_everywhere(world: World, how: str) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    if how == "overwrite":
        await put(hosts[1], "a", OTHER)
    else:
        assert hosts[1].peer is not None
        await hosts[1].peer.remove("a", PutOptions())
    await asyncio.sleep(2)
    assert [await host.store.claims(cid) for host in hosts] == [[]] * 3
    assert await classes(hosts, cid) == ["cache"] * 3


async def test_content_of_two_names_stays_for_the_other(world: World) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    await put(hosts[0], "b", CONTENT)
    assert hosts[0].peer is not None
    await hosts[0].peer.remove("a", PutOptions())
    await asyncio.sleep(2)
    assert await classes(hosts, cid) == ["replica"] * 3
    for host in hosts:
        assert await named_by(host, cid) == [key_of(host, "b")]


async def test_the_same_content_put_again_under_its_name_stays_claimed(world: World) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    await put(hosts[1], "a", CONTENT)
    await asyncio.sleep(2)
    assert await classes(hosts, cid) == ["replica"] * 3


async def test_the_same_content_put_again_and_again_is_claimed_once(world: World) -> None:
    hosts = await joined(world, 3)
    for number in range(6):
        cid = cid_of(await put(hosts[number % 3], "a", CONTENT))
    await asyncio.sleep(2)
    for host in hosts:
        assert await named_by(host, cid) == [key_of(host, "a")]


async def test_only_the_adder_withdraws_what_it_added(world: World) -> None:
    hosts = await joined(world, 3)
    result = await add(hosts[0], CONTENT)
    cid = cid_of(result)
    assert hosts[1].peer is not None
    with pytest.raises(NotFoundError):
        await hosts[1].peer.remove(result.cid, PutOptions())
    await core(hosts[1]).endpoint.ask(contact_of(hosts[2]), Release, cid, b"")
    assert await added_by(hosts[2], cid) == [hosts[0].identity.peer]
    assert hosts[0].peer is not None
    await hosts[0].peer.remove(result.cid, PutOptions())
    assert await classes(hosts, cid) == ["cache"] * 3


async def test_a_release_proven_by_a_record_that_names_the_content_is_refused(world: World) -> None:
    alice, mallory = await joined(world, 2)
    cid = cid_of(await put(alice, "a", CONTENT))
    with pytest.raises(RefusedError):
        await core(mallory).endpoint.ask(contact_of(alice), Release, cid, await record_of(alice, "a"))
    assert await alice.store.claims(cid)


async def test_a_release_proven_by_garbage_is_refused(world: World) -> None:
    alice, mallory = await joined(world, 2)
    cid = cid_of(await put(alice, "a", CONTENT))
    with pytest.raises(RefusedError):
        await core(mallory).endpoint.ask(contact_of(alice), Release, cid, b"garbage")
    assert await alice.store.claims(cid)


async def test_an_older_version_of_a_name_does_not_end_the_claim_of_its_newest(world: World) -> None:
    alice, mallory = await joined(world, 2)
    await put(alice, "a", OTHER)
    old = await record_of(alice, "a")
    cid = cid_of(await put(alice, "a", CONTENT))
    with suppress(RefusedError):
        await core(mallory).endpoint.ask(contact_of(alice), Release, cid, old)
    assert await named_by(alice, cid) == [key_of(alice, "a")]


async def test_a_late_release_does_not_take_what_the_name_names_again(world: World) -> None:
    alice, bob = await joined(world, 2)
    cid = cid_of(await put(alice, "a", CONTENT))
    await put(alice, "a", OTHER)
    between = await record_of(alice, "a")
    await put(alice, "a", CONTENT)
    await asyncio.sleep(1)
    with suppress(RefusedError):
        await core(alice).endpoint.ask(contact_of(bob), Release, cid, between)
    assert (await bob.store.root(cid)).class_ == "replica"  # type: ignore[union-attr]
    assert await named_by(bob, cid) == [key_of(bob, "a")]


async def test_what_is_pinned_stays_when_its_claims_end(world: World) -> None:
    hosts = await joined(world, 4)
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    pinning = hosts[3]
    assert pinning.peer is not None
    await pinning.peer.pin("a")
    await pinning.peer.remove("a", PutOptions())
    await asyncio.sleep(2)
    root = await pinning.store.root(cid)
    assert root is not None
    assert (root.class_, root.complete) == ("pinned", True)
    assert await pinning.store.evict_cache(10**9) >= 0
    assert await get(pinning, Cid.from_bytes(cid).text) == CONTENT
    await pinning.peer.unpin(Cid.from_bytes(cid).text)
    assert await classes([pinning], cid) == ["cache"]


async def test_the_largest_number_of_copies_asked_for_wins(world: World) -> None:
    hosts = await joined(world, 5)
    cid = cid_of(await put(hosts[0], "a", CONTENT, require=5))
    await put(hosts[0], "b", CONTENT)
    roots = [await host.store.root(cid) for host in hosts]
    assert [root.copies for root in roots if root] == [5] * 5


async def test_copies_wanted_shrink_again_when_the_claim_that_wanted_more_goes(world: World) -> None:
    hosts = await joined(world, 5)
    cid = cid_of(await put(hosts[0], "a", CONTENT, require=5))
    await put(hosts[0], "b", CONTENT)
    await removed(hosts[0], "a")
    roots = [root for host in hosts if (root := await host.store.root(cid)) is not None]
    assert {(root.class_, root.copies) for root in roots} <= {("replica", 3), ("cache", 0), ("cache", 3)}
    assert [root.class_ for root in roots].count("replica") >= 3


async def test_a_holder_that_was_away_ends_the_claims_of_versions_that_were_replaced_meanwhile(world: World) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    await hosts[2].crash(power=False)
    await put(hosts[0], "a", OTHER)
    await hosts[2].start()
    assert await named_by(hosts[2], cid) == [key_of(hosts[2], "a")]

    async def unclaimed() -> bool:
        return await classes([hosts[2]], cid) == ["cache"]

    await eventually(unclaimed, within_s=120)
    assert await named_by(hosts[2], cid) == []


async def test_a_holder_that_was_away_hears_what_an_adder_withdrew(world: World) -> None:
    hosts = await joined(world, 3)
    result = await add(hosts[0], CONTENT)
    await hosts[2].crash(power=False)
    assert hosts[0].peer is not None
    await hosts[0].peer.remove(result.cid, PutOptions())
    await hosts[2].start()

    async def unclaimed() -> bool:
        return await classes([hosts[2]], cid_of(result)) == ["cache"]

    await eventually(unclaimed, within_s=120)


async def test_what_was_withdrawn_is_told_again_where_a_copy_came_back_and_forgotten_after_the_grace(
    world: World,
) -> None:
    hosts = await joined(world, 3)
    result = await add(hosts[0], CONTENT)
    cid = cid_of(result)
    row = (await claims_on(core(hosts[1]), cid))[0].row
    assert hosts[0].peer is not None
    await hosts[0].peer.remove(result.cid, PutOptions())
    root = await hosts[1].store.root(cid)
    assert root is not None
    await hosts[1].store.add_claim(cid, row)
    await hosts[1].store.put_root(replace(root, class_="replica", copies=3))
    await announce(core(hosts[1]), Cid.from_bytes(cid), REPLICA)
    await tell_withdrawals(core(hosts[0]))
    assert await classes([hosts[1]], cid) == ["cache"]
    assert await hosts[0].store.addition(cid) is not None
    await hosts[0].store.note_addition(cid, -hosts[0].settings.tombstone_grace_s)
    await tell_withdrawals(core(hosts[0]))
    assert await hosts[0].store.addition(cid) is None


async def test_what_is_added_again_after_it_was_withdrawn_stays(world: World) -> None:
    hosts = await joined(world, 3)
    result = await add(hosts[0], CONTENT)
    assert hosts[0].peer is not None
    await hosts[0].peer.remove(result.cid, PutOptions())
    await add(hosts[0], CONTENT)
    await tell_withdrawals(core(hosts[0]))
    assert await classes(hosts, cid_of(result)) == ["replica"] * 3


async def test_a_restored_copy_is_claimed_by_the_adder_and_not_by_who_restored_it(world: World) -> None:
    hosts = await joined(world, 5)
    cid = cid_of(await add(hosts[0], CONTENT))
    holders = [host for host in hosts[1:] if await host.store.claims(cid)]
    await holders[0].crash(power=False)

    async def restored() -> bool:
        claimed = [host for host in world.living if (root := await host.store.root(cid)) and root.class_ == "replica"]
        return len(claimed) >= 3

    await eventually(restored, within_s=300)
    for host in world.living:
        if await host.store.claims(cid):
            assert await added_by(host, cid) == [hosts[0].identity.peer]


async def test_a_stale_holder_cannot_hand_on_what_a_newer_version_has_ended(world: World) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    root = await hosts[1].store.root(cid)
    assert root is not None
    stale = await content_of(core(hosts[1]), root)
    assert stale is not None
    await put(hosts[0], "a", OTHER)
    await asyncio.sleep(2)
    placed = await place(core(hosts[1]), stale)
    assert placed.holders in ([], [hosts[1].identity.peer])
    assert await named_by(hosts[2], cid) == []


async def test_the_claim_of_a_name_ends_with_the_names_life(world: World) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await put(hosts[0], "a", CONTENT, ttl_s=60))
    assert await classes(hosts, cid) == ["replica"] * 3
    await asyncio.sleep(60 + LIFE_SLACK_S + EXPIRY_INTERVAL_S + 2)
    for host in hosts:
        await collect_aged(core(host))
    assert await classes(hosts, cid) == ["cache"] * 3


async def test_a_claim_with_an_end_ends_also_where_the_record_is_not_kept(world: World) -> None:
    (alone,) = await joined(world, 1)
    cid = cid_of(await put(alone, "a", CONTENT, ttl_s=60))
    await alone.store.drop_record(key_of(alone, "a"))
    now = alone.store.now_s()
    assert await expire_claims(core(alone), now + 58) == 0
    assert await expire_claims(core(alone), now + 62) == 1
    assert await classes([alone], cid) == ["cache"]


async def test_a_holder_that_keeps_no_record_of_the_name_asks_whether_it_still_names_the_content(world: World) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    rows = await hosts[2].store.claims(cid)
    root = await hosts[2].store.root(cid)
    assert root is not None
    await put(hosts[0], "a", OTHER)
    await asyncio.sleep(2)
    await hosts[2].store.add_claim(cid, rows[0])  # as if it had been away, and were none of the record's holders
    await hosts[2].store.put_root(root)
    await hosts[2].store.drop_record(key_of(hosts[2], "a"))
    assert await Rechecking(core(hosts[2])).round() == 2  # for the content of each version
    assert await named_by(hosts[2], cid) == []
    assert await classes([hosts[2]], cid) == ["cache"]


async def test_who_wins_a_tie_keeps_its_content_though_the_loser_came_first(world: World) -> None:
    alice, bob = sorted(await joined(world, 2), key=lambda host: host.identity.peer)
    cid = cid_of(await put(bob, "a", CONTENT))
    held = (await claims_on(core(bob), cid))[0]
    lost, won = [version(host, "a", held.claim.sequence, b"value") for host in (alice, bob)]
    assert not held.claim.ended_by(lost)
    assert held.claim.ended_by(won)
    assert held.claim.ended_by(version(alice, "a", held.claim.sequence + 1, b"value"))
    assert not held.claim.ended_by(version(alice, "b", held.claim.sequence + 1, b"value"))


async def test_what_the_writer_keeps_beside_the_holders_copies_is_a_cached_copy_nothing_claims(world: World) -> None:
    hosts = await joined(world, 6)
    cids = [cid_of(await add(hosts[0], CONTENT + bytes([number]))) for number in range(8)]
    beside = [cid for cid in cids if (await hosts[0].store.root(cid)).class_ == "cache"]  # type: ignore[union-attr]
    assert beside
    for cid in beside:
        assert await hosts[0].store.claims(cid) == []
        root = await hosts[0].store.root(cid)
        assert root is not None
        assert root.copies == 3
    assert hosts[0].peer is not None
    await hosts[0].store.evict_cache(10**9)
    await hosts[0].peer.remove(Cid.from_bytes(beside[0]).text, PutOptions())
    assert [root.class_ for host in hosts if (root := await host.store.root(beside[0]))] == ["cache"] * 3


async def test_a_hold_that_fails_leaves_no_claim(world: World) -> None:
    alice, bob = await joined(world, 2)
    claim = make_claim(
        core(alice), Cid.from_bytes(b"\x01\x55\x12\x20" + bytes(32)), key=None, sequence=0, copies=3, name=""
    )
    body = HoldBody(claim.claim.root, 0, 5, [ClaimBody(claim.statement, None)])
    connection = await core(alice).bulk.get(contact_of(bob))
    with pytest.raises(PeerdError):
        await connection.hold(body)
    assert await bob.store.claims(claim.claim.root) == []


async def test_a_delete_ends_the_claims_of_a_put_that_failed_too(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"short")  # nothing that would have a claim
    cid = cid_of(await add(hosts[1], CONTENT))
    claim = make_claim(core(hosts[1]), Cid.from_bytes(cid), key=key_of(hosts[1], "a"), sequence=1, copies=3, name="a")
    for host in hosts:  # its put came so far, and not to its record
        await add_claims(core(host), cid, [claim])
    await removed(hosts[0], "a")
    for host in hosts:
        assert await named_by(host, cid) == []


# What is known here against a claim that comes late.


async def ended_claim(hosts: list[Host], how: str) -> tuple[bytes, HoldBody]:
    """Content of the first host that all know to be over: a root, and what its claimant may yet ask of others."""
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    held = (await claims_on(core(hosts[0]), cid))[0]
    await removed(hosts[0], "a")
    if how == "floor":
        for host in hosts:
            raw = await kept(host, "a")
            assert raw is not None
            assert await lay_floor(core(host), raw.key, Floor(*raw.version[:3], ends=None))
    return cid, HoldBody(cid, 1, len(CONTENT), [ClaimBody(held.statement, None)])


@pytest.mark.parametrize("how", ["tombstone", "floor"])
async def test_a_late_claim_of_the_writer_is_not_kept_where_its_name_is_over(world: World, how: str) -> None:
    hosts = await joined(world, 3)
    cid, late = await ended_claim(hosts, how)
    assert hosts[1].peer is not None
    await hosts[1].store.release_root(cid)
    connection = await core(hosts[0]).bulk.get(contact_of(hosts[1]))
    await connection.hold(late)  # a put that others overtook is none that failed: what it moves is taken
    root = await hosts[1].store.root(cid)
    assert root is not None
    assert (root.class_, root.copies, root.complete) == ("cache", 0, True)
    assert await hosts[1].store.claims(cid) == []


@pytest.mark.parametrize("how", ["tombstone", "floor"])
async def test_nobody_hands_on_a_claim_where_its_name_is_over(world: World, how: str) -> None:
    hosts = await joined(world, 3)
    cid, late = await ended_claim(hosts, how)
    connection = await core(hosts[2]).bulk.get(contact_of(hosts[1]))
    with pytest.raises(RefusedError):
        await connection.hold(late)
    assert await hosts[1].store.claims(cid) == []


async def test_a_claim_that_ends_while_its_content_comes_is_not_kept(world: World) -> None:
    hosts = await joined(world, 3)
    alice, bob = hosts[:2]
    await put(alice, "a", b"short")
    cid = cid_of(await add(alice, CONTENT))
    claim = make_claim(core(alice), Cid.from_bytes(cid), key=key_of(alice, "a"), sequence=2, copies=3, name="a")
    await bob.store.release_root(cid)
    for row in await bob.store.claims(cid):
        await bob.store.remove_claim(cid, row)

    def ends(_: bytes, data: bytes | None) -> bytes | None:
        ending.append(asyncio.get_running_loop().create_task(keep_record(core(bob), newer, None)))
        return data

    newer, ending = version(bob, "a", 2 if bob.identity.peer > alice.identity.peer else 3, b"newer"), []
    serving(alice, ends)
    connection = await core(alice).bulk.get(contact_of(bob))
    await connection.hold(HoldBody(cid, 1, len(CONTENT), [ClaimBody(claim.statement, None)]))
    assert len(ending) == 1
    await asyncio.gather(*ending)
    await asyncio.sleep(1)
    assert await named_by(bob, cid) == []
    assert await classes([bob], cid) == ["cache"]


async def test_a_floor_ends_the_claims_below_it_where_the_name_was_never_kept(world: World) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    record = await kept(hosts[1], "a")
    assert record is not None
    await hosts[1].store.drop_record(record.key)
    await lay_floor(core(hosts[1]), record.key, Floor(record.body.sequence, bytes(32), bytes(8), ends=None))
    await asyncio.sleep(1)
    assert await named_by(hosts[1], cid) == [record.key]  # it is above the floor
    await lay_floor(core(hosts[1]), record.key, Floor(*record.version[:3], ends=None))
    await asyncio.sleep(1)
    assert await named_by(hosts[1], cid) == []
    assert await classes([hosts[1]], cid) == ["cache"]


@pytest.mark.parametrize("saying", [1, 2])
async def test_who_missed_a_delete_hears_of_it_when_only_floors_are_left_of_it(world: World, saying: int) -> None:
    hosts = await joined(world, 3)
    cid = cid_of(await put(hosts[0], "a", CONTENT))
    rows, root = await hosts[2].store.claims(cid), await hosts[2].store.root(cid)
    assert root is not None
    await removed(hosts[0], "a")
    gone = await kept(hosts[0], "a")
    assert gone is not None
    for host in hosts:
        await host.store.drop_record(gone.key)
    for host in hosts[:saying]:
        await lay_floor(core(host), gone.key, Floor(*gone.version[:3], ends=None))
    await hosts[2].store.add_claim(cid, rows[0])  # as if it had been away, and were none of the record's holders
    await hosts[2].store.put_root(root)
    assert await Rechecking(core(hosts[2])).round() == 1
    believed = saying == 2  # most of those that answer
    assert await named_by(hosts[2], cid) == ([] if believed else [gone.key])
    assert await classes([hosts[2]], cid) == ["cache" if believed else "replica"]


async def test_what_an_adder_withdrew_comes_back_neither_by_itself_nor_by_others(world: World) -> None:
    hosts = await joined(world, 3)
    result = await add(hosts[0], CONTENT)
    cid = cid_of(result)
    root = await hosts[0].store.root(cid)
    assert root is not None
    content = await content_of(core(hosts[0]), root)
    assert content is not None
    assert hosts[0].peer is not None
    await hosts[0].peer.remove(result.cid, PutOptions())
    await keep_here(core(hosts[0]), content, ours=True)  # a restoring that had begun before
    assert await added_by(hosts[0], cid) == []
    assert await classes([hosts[0]], cid) == ["cache"]
    connection = await core(hosts[1]).bulk.get(contact_of(hosts[0]))
    with pytest.raises(RefusedError):
        await connection.hold(HoldBody(cid, 1, len(CONTENT), [ClaimBody(content.claims[0].statement, None)]))
    assert await added_by(hosts[0], cid) == []
