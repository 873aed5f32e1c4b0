"""Everything that was ever said is said again: nobody's state changes."""

import asyncio
from typing import Any

import pytest
from loguru import logger

from peerd.errors import NotFoundError
from peerd.node.results import PutOptions
from peerd.records.provider import providers
from peerd.sim.host import Host
from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from tests.hostile.clan import Clan
from tests.hostile.replays import Replays
from tests.unit.node.hosts import core, get, joined, meshed, put

PEERS = 20
SETTINGS = {
    "probe_interval_s": 0.5,
    "suspect_timeout_s": 2.0,
    "repair_interval_s": 4.0,
    "tombstone_grace_s": 5.0,
    "unclaimed_grace_s": 5.0,
}
SETTLE_S = 40.0
REPLAY_S = 60.0
RECORDED_MAX = 8000


@pytest.fixture(autouse=True)
def quiet():
    """No logs."""
    logger.remove()


class Wire:
    """Who hears every datagram, and can send it again from where it came or from its own address."""

    def __init__(self, world: World) -> None:
        self.network = world.network
        self.heard: list[tuple[Any, Any, bytes]] = []
        self.listening = True
        deliver = self.network._deliver

        def heard(source: Any, target: Any, boot: int, data: bytes) -> None:
            if self.listening:
                self.heard.append((source, target, data))
            deliver(source, target, boot, data)

        self.network._deliver = heard  # type: ignore[method-assign]

    async def replay(self, elsewhere: Any, count: int) -> None:
        """Send the first and the last that were heard again, from their own addresses and from another."""
        self.listening = False
        for number, (source, target, data) in enumerate([*self.heard[: count // 2], *self.heard[-count // 2 :]]):
            self.network.send(source, data, target.address)
            self.network.send(elsewhere, data, target.address)
            if number % 50 == 0:
                await asyncio.sleep(0.01)


def _state(host: Host) -> dict[str, Any]:
    """What a peer would do otherwise if it changed: what it keeps, whom it knows, in which sessions and where."""
    peer, store = core(host), host.store
    now = store.now_s()
    statements = [raw for kept in store._providers.values() for expires, raw in kept.values() if expires > now]
    return {
        "records": {key: raw for key, (raw, _) in store._records.items()},
        "floors": {key: floor.version for key, floor in store._floors.items()},
        "roots": {cid: (kept.root.class_, kept.root.complete) for cid, kept in store._roots.items()},
        "claims": {cid: sorted(claims) for cid, claims in store._claims.items() if claims},
        "providers": {(read.root, read.provider): read.stamp for read in map(providers.read, statements)},
        "members": {contact.peer for contact in peer.members.alive()},
        "addresses": {contact.peer: contact.address for contact in peer.members.alive()},
        "sessions": {
            contact.peer: session.address
            for contact in peer.members.alive()
            if (session := peer.endpoint.sessions.of(contact.peer)) is not None
        },
        "forgotten": sorted(peer.members.forgotten_notices()),
    }


def _require_same(before: dict[Host, dict[str, Any]]) -> None:
    """Nothing that a peer knew has changed.

    A record or floor of which it knew nothing it takes, as a copy too many, and of who has some content what was said
    last: what is read stays the same (`_read_all`).
    """
    for host, state in before.items():
        now = _state(host)
        for what in ("records", "floors"):
            now[what] = {key: kept for key, kept in now[what].items() if key in state[what]}
        told = now["providers"]
        assert all(told.get(what, stamp) >= stamp for what, stamp in state["providers"].items()), host.name
        now["providers"] = state["providers"]
        for what, was in state.items():
            assert now[what] == was, f"{what} of {host.name} changed"


async def _read_all(hosts: list[Host]) -> list[bytes | None]:
    """Return what each peer reads under each name; None where there is nothing."""
    found: list[bytes | None] = []
    for host in hosts:
        for name in [*(f"name-{number}" for number in range(12)), *(f"content-{number}" for number in range(4))]:
            try:
                found.append(await get(host, name, cache=False))
            except NotFoundError:
                found.append(None)
    return found


async def _lively(world: World, hosts: list[Host]) -> None:
    """Let everything be said that peers say: values, versions, deletions, content, goodbyes, deaths, returns."""
    for number in range(12):
        await put(hosts[number % PEERS], f"name-{number}", b"first")
        await put(hosts[(number + 1) % PEERS], f"name-{number}", b"second")
    for number in range(4):
        host = hosts[5 + number]
        assert host.peer is not None
        await host.peer.remove(f"name-{number}", PutOptions())
    for number in range(4):
        await put(hosts[number], f"content-{number}", bytes([number]) * 5000)
        await put(hosts[number], f"content-{number}", bytes([number + 100]) * 5000)
    assert hosts[9].peer is not None
    await hosts[9].peer.remove("content-3", PutOptions())
    await hosts[3].stop()
    await hosts[4].crash(power=False)
    await asyncio.sleep(8)
    await hosts[3].start()
    await hosts[4].start()
    await meshed(world.living)


async def _run(seed: int) -> int:
    loop = asyncio.get_running_loop()
    world = World(loop, seed=seed, expected=PEERS, signed=False, settings=SETTINGS)  # type: ignore[arg-type]
    wire, liar = Wire(world), Replays()
    mallory = world.add(outfit=lambda peer: liar.install(peer._core, Clan()))
    await mallory.start()
    hosts = await joined(world, PEERS - 1)
    await _lively(world, [mallory, *hosts])
    await asyncio.sleep(SETTLE_S)
    honest = [host for host in hosts if host.outfit is None]
    readers = honest[::3]
    read = await _read_all(readers)
    assert read == [*[None] * 4, *[b"second"] * 8, *(bytes([number + 100]) * 5000 for number in range(3)), None] * len(
        readers
    )
    await asyncio.sleep(SETTLE_S / 4)
    before = {host: _state(host) for host in honest}
    await asyncio.sleep(SETTLE_S / 4)
    _require_same(before)  # nothing goes on any more

    # In the same sessions, from the same and from other addresses.
    said = await liar.replay()
    await wire.replay(mallory.interface, RECORDED_MAX)
    await asyncio.sleep(REPLAY_S / 2)
    _require_same(before)

    # To one that was started again, which has lost its sessions and all that is in memory alone.
    victim = honest[7]
    await victim.crash(power=True)
    await victim.start()
    said += await liar.replay()
    await wire.replay(mallory.interface, RECORDED_MAX)
    await meshed(world.living)
    await asyncio.sleep(REPLAY_S / 2)
    _require_same(before)
    assert await _read_all(readers) == read
    assert await world.lights_out() == []
    return said


def test_what_was_said_is_said_again_and_nothing_changes() -> None:
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(_run(5)) > 1000
