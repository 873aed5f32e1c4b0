"""Joining among liars: what they invent costs themselves, and the honest are found as fast as without them."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from peerd.ids import PeerId
from peerd.kad.contact import Address, Contact, pack_contacts
from peerd.node.endpoint import HEARSAY_HELLOS_MAX
from peerd.node.gossip import JOINED
from peerd.node.handshakes import TRIES_MAX
from peerd.node.nearest import search
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.messages import FindNode, Members, Nodes, Request, Tell
from tests.unit.node.hosts import Answer, answering, contact_of, core, joined, until

_numbers = itertools.count(1)


def invented(host: Host, count: int, place_above: bytes = b"") -> list[Contact]:
    """Contacts at which nobody lives, in order of place."""
    found: list[Contact] = []
    while len(found) < count:
        number = next(_numbers)
        peer = PeerId(number.to_bytes(32, "little"))
        address = (f"10.{200 + number // 65536}.{number // 256 % 256}.{number % 256}", 9)
        contact = Contact.of(host.identity.network, peer, address)
        if contact.place > place_above:
            found.append(contact)
    return sorted(found, key=lambda contact: contact.place)


def is_there(host: Host, other: Host) -> bool:
    return core(host).members.contact(other.identity.peer) is not None


def inventing(host: Host) -> None:
    """Let a host name only peers that do not exist, as many as fit each answer."""

    def lie(peer: PeerId, request: Request, honest: object) -> Answer:
        if isinstance(request, Members):
            if request.after >= b"\xf0":
                return Nodes(request.rid, b"")
            page = invented(host, 400, request.after)[:20]
            return Nodes(request.rid, pack_contacts(page, 1100))
        if isinstance(request, FindNode):
            return Nodes(request.rid, pack_contacts(invented(host, 20), 1100))
        return honest()  # type: ignore[operator, no-any-return]

    answering(host, lie)


async def stranger(world: World) -> Host:
    """A peer that knows nobody and looks for nobody."""
    host = world.add()
    host.settings = replace(host.settings, bootstrap=())
    await host.start()
    return host


async def test_invented_contacts_do_not_keep_the_true_ones_waiting(world: World) -> None:
    hosts = await joined(world, 6)
    alice, carol = hosts[0], hosts[5]
    found, named = await stranger(world), await stranger(world)
    for liar in hosts[1:3]:
        inventing(liar)
    assert alice.peer is not None
    joining = alice.peer._joining
    await asyncio.gather(*(joining.exchange(contact_of(liar)) for liar in hosts[1:3]))

    alice.peer.offer(found.identity.peer, found.address, "mdns")
    joining.offer_named(contact_of(named), carol.identity.peer)

    for host in (found, named):
        assert await until(lambda host=host: is_there(alice, host), within_s=60) < 2  # type: ignore[misc]


async def test_where_nobody_was_found_nobody_is_tried_for_a_minute(world: World) -> None:
    alice, mallory = (await joined(world, 4))[:2]
    named = invented(mallory, 5)
    hellos = 0
    send = world.network.send

    def count(source: Any, data: bytes, address: Address) -> None:
        nonlocal hellos
        hellos += address in [contact.address for contact in named]
        send(source, data, address)

    world.network.send = count  # type: ignore[method-assign]
    assert alice.peer is not None
    for _ in range(11):
        for contact in named:
            alice.peer._joining.offer_named(contact, mallory.identity.peer)
        await asyncio.sleep(5)
    assert 5 <= hellos <= 5 * TRIES_MAX
    hellos = 0
    await asyncio.sleep(15)
    for contact in named:
        alice.peer._joining.offer_named(contact, mallory.identity.peer)
    await asyncio.sleep(1)
    assert hellos > 0


async def test_a_look_up_that_ended_before_nobody_answered_is_enough_to_try_nobody_there_again(world: World) -> None:
    """Look-ups do not wait for invented contacts; each would send its hellos all the same."""
    alice, mallory = (await joined(world, 10))[:2]
    named = {contact.address: contact for contact in invented(mallory, 8)}

    def lie(peer: PeerId, request: Request, honest: Callable[[], Answer]) -> Answer:
        told = pack_contacts([*named.values()], 1100)
        return Nodes(request.rid, told) if isinstance(request, FindNode) else honest()

    answering(mallory, lie)
    hellos: Counter[Address] = Counter()
    send = world.network.send

    def count(source: Any, data: bytes, address: Address) -> None:
        hellos[address] += 1
        send(source, data, address)

    world.network.send = count  # type: ignore[method-assign]
    for _ in range(3):
        for contact in named.values():
            await search(core(alice), contact.place, FindNode)
        await asyncio.sleep(5)
    assert HEARSAY_HELLOS_MAX in [hellos[address] for address in named]
    assert max(hellos[address] for address in named) <= HEARSAY_HELLOS_MAX


async def test_who_invents_contacts_is_noted(world: World) -> None:
    hosts = await joined(world, 4)
    alice, mallory = hosts[:2]
    inventing(mallory)
    assert alice.peer is not None
    for _ in range(12):
        await alice.peer._joining.exchange(contact_of(mallory))
        await asyncio.sleep(10)
    assert core(alice).trust.faults_of(mallory.identity.peer).get("invented", 0) > 0
    assert not core(alice).trust.faults_of(hosts[2].identity.peer)


async def test_news_of_newcomers_that_are_none_keeps_no_true_newcomer_waiting(world: World) -> None:
    hosts = await joined(world, 4)
    alice, mallory = hosts[:2]
    for _ in range(60):
        items = tuple(bytes([JOINED]) + pack_contacts([each], 64) for each in invented(mallory, 4))
        await core(mallory).endpoint.ask(contact_of(alice), Tell, items)
    late = await stranger(world)
    await core(hosts[2]).endpoint.ask(
        contact_of(alice), Tell, (bytes([JOINED]) + pack_contacts([contact_of(late)], 64),)
    )
    assert await until(lambda: is_there(alice, late), within_s=60) < 2


async def test_one_member_cannot_make_the_others_believe_that_the_network_is_too_large(world: World) -> None:
    hosts = await joined(world, 6)
    mallory = hosts[0]
    answering(
        mallory,
        lambda peer, request, honest: Nodes(request.rid, b"") if isinstance(request, Members) else honest(),
    )
    for host in hosts[1:]:
        assert host.peer is not None
        await host.peer._joining.exchange(contact_of(mallory))
    await asyncio.sleep(2)
    assert [core(host).members.complete for host in hosts[1:]] == [True] * 5

    late = world.add()
    await late.start()
    await until(lambda: core(late).members.alive_count() == 6)
    await until(lambda: core(late).members.complete, within_s=5)


async def test_whose_table_is_full_asks_nobody_on_and_on_how_large_the_network_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = await joined(world, 4)
    alice = core(hosts[0])
    for host in (hosts[1], hosts[3]):  # most: by chance all have said the contrary as they met
        alice.members.size_said(host.identity.peer, large=True)
    assert alice.members.partial
    monkeypatch.setattr(type(alice.members.table), "complete", False)
    assert hosts[0].peer is not None
    assert not await hosts[0].peer._joining.exchange(contact_of(hosts[2]))
    spawned = alice.tasks.spawn
    names: list[str] = []
    monkeypatch.setattr(alice.tasks, "spawn", lambda work, name: names.append(name) or spawned(work, name))
    await asyncio.sleep(5)
    assert "ask another" not in names
