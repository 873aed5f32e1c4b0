"""Why content stays and when it goes: claims of names and adders, withdrawn only with proof (DESIGN.md 7)."""

import asyncio
from contextlib import suppress

import pytest

from peerd.content.cid import Cid
from peerd.errors import NotFoundError, RefusedError
from peerd.node.claims import claims_on
from peerd.node.results import PutOptions
from peerd.sim.host import Host
from peerd.wire.messages import Release

from .hosts import World, add, contact_of, core, get, joined, key_of, put

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
