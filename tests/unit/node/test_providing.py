"""Who says that it has some content: signed, ending, withdrawn; lies about it cost time and no bytes."""

import asyncio
from typing import Any

import pytest

from peerd.content.block import raw_block
from peerd.errors import RefusedError, StoreError
from peerd.ids import PeerId
from peerd.node.providing import announce, find_providers, sources_of
from peerd.records.provider import CACHE, GONE, REPLICA, Provider, providers
from peerd.sim.host import Host
from peerd.wire.messages import AddProvider, FindProviders, Providers

from .hosts import World, add, answering, contact_of, core, damaged, get, joined

BLOCK, OTHER = raw_block(b"hello" * 1000), raw_block(b"other" * 1000)
CID, OTHER_CID = BLOCK.cid, OTHER.cid


def said(host: Host, **changes: Any) -> bytes:
    """What a host says of having BLOCK."""
    fields = {"root": CID.to_bytes(), "kind": REPLICA, "stamp": 1000, "life_s": 60, **changes}
    return providers.sign(host.identity, Provider(format=1, provider=host.identity.peer, **fields))


async def known(host: Host) -> dict[PeerId, int]:
    return (await find_providers(core(host), CID)).providers


async def test_what_is_announced_is_found_by_everybody_until_it_is_withdrawn(world: World) -> None:
    alice, bob, carol = await joined(world, 3)
    await announce(core(alice), CID, CACHE)
    assert await known(bob) == await known(carol) == {alice.identity.peer: CACHE}
    await asyncio.sleep(1)
    await announce(core(alice), CID, GONE)
    assert await known(bob) == await known(carol) == {}


async def test_an_announcement_ends(world: World) -> None:
    alice, bob = await joined(world, 2)
    await core(alice).endpoint.ask(contact_of(bob), AddProvider, said(alice))
    assert await known(bob) == {alice.identity.peer: REPLICA}
    await asyncio.sleep(61)
    assert await known(bob) == {}


async def test_an_older_statement_does_not_displace_a_newer(world: World) -> None:
    alice, bob = await joined(world, 2)
    for stamp, kind in ((5, CACHE), (4, REPLICA)):
        await core(alice).endpoint.ask(contact_of(bob), AddProvider, said(alice, stamp=stamp, kind=kind))
    assert await known(bob) == {alice.identity.peer: CACHE}


async def test_a_statement_outlives_no_withdrawal_that_came_before_it(world: World) -> None:
    alice, bob = await joined(world, 2)
    for stamp, kind in ((5, GONE), (4, REPLICA)):
        await core(alice).endpoint.ask(contact_of(bob), AddProvider, said(alice, stamp=stamp, kind=kind))
    assert await known(bob) == {}


async def test_nobody_announces_for_another(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    forged = said(mallory).replace(mallory.identity.peer, bob.identity.peer)
    with pytest.raises(RefusedError):
        await core(mallory).endpoint.ask(contact_of(alice), AddProvider, forged)
    assert await known(alice) == {}


@pytest.mark.parametrize("lie", ["of other content", "forged", "garbage"])
async def test_a_lie_in_an_answer_names_no_provider(world: World, lie: str) -> None:
    alice, bob, mallory = await joined(world, 3)
    told = {
        "of other content": said(bob, root=OTHER_CID.to_bytes()),
        "forged": damaged(said(bob)),
        "garbage": b"garbage",
    }[lie]
    answering(
        mallory,
        lambda peer, request, honest: (
            Providers(request.rid, [told], b"") if isinstance(request, FindProviders) else honest()
        ),
    )
    assert await known(alice) == {}
    assert core(alice).counts.rejected.total() >= 1


async def test_content_is_got_though_many_say_to_have_it_that_have_not(world: World) -> None:
    hosts = await joined(world, 8)
    result = await add(hosts[0], BLOCK.data)
    liars = [host for host in hosts[1:] if host.id_text not in result.holders][:3]
    for liar in liars:
        for host in hosts:
            if host is not liar:
                await core(liar).endpoint.ask(contact_of(host), AddProvider, said(liar, stamp=2**50))
    reader = next(host for host in hosts[1:] if host not in liars and host.id_text not in result.holders)
    assert await get(reader, result.cid) == BLOCK.data


async def test_who_cannot_read_its_disk_says_so_and_is_not_taken_for_silent(world: World) -> None:
    alice, bob = await joined(world, 2)

    def fail(operation: str) -> None:
        raise StoreError("input/output error")

    bob.store.fault = fail
    for kind, field in ((FindProviders, bytes(32)), (AddProvider, said(alice))):
        with pytest.raises(RefusedError, match="store"):
            await core(alice).endpoint.ask(contact_of(bob), kind, field)
    bob.store.fault = None


async def test_half_of_the_sources_are_those_that_should_have_it_and_liars_come_last(world: World) -> None:
    hosts = await joined(world, 12)
    reader, *others = hosts
    holders = [contact.peer for contact in core(reader).members.copy_holders(CID.digest, 3).contacts]
    only_say_so = [host for host in others if host.identity.peer not in holders][:6]
    for liar in only_say_so:
        for host in others:
            if host is not liar:
                await core(liar).endpoint.ask(contact_of(host), AddProvider, said(liar, stamp=2**50))
    order = [contact.peer for contact in await sources_of(core(reader), CID)]
    assert set(holders) <= set(order[:6])
    caught = order[0]
    core(reader).trust.note(caught, "wrong_block")
    for _ in range(6):  # those that are equally near come in any order
        again = [contact.peer for contact in await sources_of(core(reader), CID)]
        assert again[-1] == caught
        assert sorted(again) == sorted(order)
