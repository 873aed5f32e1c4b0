"""Registers made while peers come (back): nobody makes one alone, or on what it missed."""

import asyncio

import pytest
from msgspec.structs import replace as with_settings

from peerd.config import HostPort
from peerd.errors import ConflictError, RefusedError
from peerd.node.core import Core
from peerd.node.reconciling import Reconciling
from peerd.sim.host import Host
from peerd.trust.register import pack_peers
from peerd.wire.messages import Prepare, Promise

from .hosts import World, contact_of, core, get, joined, key_of, meshed, mute, put


def unconfirmed(host: Host) -> None:
    """Let a host that was just started be one that has not reconciled yet, however fast it meets the others."""
    core(host).returning._started_at += 3600


async def prepared(asker: Host, asked: Host, name: str, counter: int = 0) -> Promise:
    listed = pack_peers(sorted([core(asker).peer, *core(asker).members.known()]))
    asking: Core = core(asker)
    reply = await asking.endpoint.ask(contact_of(asked), Prepare, key_of(asked, name), counter, listed, timeout_s=1.0)
    assert isinstance(reply, Promise)
    return reply


async def test_who_is_back_promises_no_new_register_before_it_knows_what_it_missed(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "k", b"old")
    await put(hosts[0], "s", b"strong", consistency="strong")
    await hosts[2].crash(power=False)
    await hosts[2].start()
    unconfirmed(hosts[2])
    await meshed(hosts)
    for counter in (0, 1 << 32):
        with pytest.raises(RefusedError, match="returning"):
            await prepared(hosts[0], hosts[2], "k", counter)
        assert (await prepared(hosts[0], hosts[2], "s", counter)).epoch  # that is its own word, on its own disk
    core(hosts[2]).returning._started_at -= 3600
    await asyncio.sleep(5)
    assert (await prepared(hosts[0], hosts[2], "k", 1 << 32)).ok


async def test_a_condition_does_not_hold_by_what_those_that_are_back_have_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = await joined(world, 5)
    old = await put(hosts[0], "k", b"old")
    back = hosts[2:]
    for host in back:
        await host.crash(power=False)
    await asyncio.sleep(40)
    await put(hosts[0], "k", b"new")
    with monkeypatch.context() as patch:
        patch.setattr(Reconciling, "_at_once", lambda reconciling: 0)
        for host in back:
            await host.start()
        await meshed(hosts)
    for host in hosts[:2]:
        mute(host, Prepare)  # slow: the three alone would be a majority

    async def confirm() -> None:
        await asyncio.sleep(2)
        for host in hosts:
            core(host).reconciling.changed()

    confirming = asyncio.ensure_future(confirm())
    with pytest.raises(ConflictError):
        await put(back[0], "k", b"lost", if_version=old.version)
    await confirming
    assert await get(hosts[0], "k") == b"new"


async def test_a_lab_that_starts_again_makes_registers_soon(world: World) -> None:
    hosts = await joined(world, 3)
    plain = await put(hosts[0], "k", b"plain")
    await asyncio.sleep(2)
    for host in hosts:
        await host.crash(power=False)
    await asyncio.gather(*(host.start() for host in hosts))
    started = world.loop.time()
    await put(hosts[1], "k", b"strong", if_version=plain.version)
    assert await get(hosts[2], "k", consistency="strong") == b"strong"
    assert world.loop.time() - started < 8.0


async def test_who_has_only_just_started_makes_no_register_alone(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "a", b"one", if_version="none")
    late = world.add()
    late.settings = with_settings(late.settings, bootstrap=(HostPort(*hosts[0].address),))
    await late.start()
    assert core(late).members.alive_count() == 0
    with pytest.raises(ConflictError):
        await put(late, "a", b"other", if_version="none")
    assert await get(late, "a", consistency="strong") == b"one"
