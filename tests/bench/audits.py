"""What audits find, how soon, and what they cost: `python -m tests.bench.audits`, for docs/BENCHMARKS.md.

Simulated peers with stand-ins for signatures and the default settings: a sixteenth of the shared keys each minute.
"""

import asyncio
import statistics
from collections.abc import Callable, Coroutine
from typing import Any

from loguru import logger
from msgspec.structs import replace

from peerd.ids import PeerId
from peerd.kad.contact import Contact
from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from tests.hostile.audits import CannotTell, Drops
from tests.hostile.base import Liar
from tests.hostile.clan import Clan
from tests.unit.node.hosts import core, joined, key_of, meshed, put

KEYS = 400
ROUNDS = (1, 5, 10, 20, 40)
SHARE = 0.0625
PEERS = 20
SEEDS = 5


def _run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work())


def _world(seed: int) -> World:
    return World(asyncio.get_running_loop(), seed=seed, expected=PEERS, signed=False)  # type: ignore[arg-type]


async def _found() -> list[tuple[int, float, float]]:
    """Of many keys that one of three dropped, the share that was found in so many rounds, and the share promised."""
    world = _world(1)
    world._settings = replace(world._settings, audit_interval_s=80_000.0)
    alice, _, mallory = await joined(world, 3)
    for at in range(KEYS):
        await put(alice, f"name-{at}", b"v")
    assert alice.peer is not None
    watchdog = alice.peer._maintaining._watchdog
    asked, found, turn = watchdog.question, dict[bytes, int](), 0

    async def question(contact: Contact, kind: int, key: bytes, digest: bytes) -> bytes:
        if contact.peer == mallory.identity.peer:
            found.setdefault(key, turn)
        return await asked(contact, kind, key, digest)

    watchdog.question = question  # type: ignore[method-assign]
    CannotTell().install(core(mallory), Clan())
    for at in range(KEYS):
        await mallory.store.drop_record(key_of(alice, f"name-{at}"))
    for _ in range(max(ROUNDS)):
        turn += 1
        await watchdog.round()
    assert await world.lights_out() == []
    return [
        (rounds, sum(1 for at in found.values() if at <= rounds) / KEYS, 1 - (1 - SHARE) ** rounds) for rounds in ROUNDS
    ]


async def _spread(seed: int, names: int) -> tuple[float, float, float]:
    """Of twenty one drops all: when the first has evidence, how much later the last, and bytes a second of audits."""
    world = _world(seed)
    hosts = [world.add(outfit=Drops.outfit({}))] + [world.add() for _ in range(PEERS - 1)]
    for host in hosts:
        await host.start()
    await meshed(hosts)
    await asyncio.sleep(5)
    mallory, *honest = hosts
    for at in range(names):
        await put(honest[at % len(honest)], f"name-{at}", b"value")
    began, who = world.loop.time(), mallory.identity.peer
    first = last = 0.0
    while last == 0.0:
        await asyncio.sleep(0.1)
        out = sum(core(host).trust.is_out(PeerId(who)) for host in honest)
        first = first or (world.loop.time() - began if out else 0.0)
        last = world.loop.time() - began if out == len(honest) else 0.0
    before, at = _audit_bytes(honest), world.loop.time()
    await asyncio.sleep(600)
    audits_bytes, took_s = _audit_bytes(honest) - before, world.loop.time() - at
    assert await world.lights_out() == []
    return first, last - first, audits_bytes / took_s / len(honest)


def _audit_bytes(hosts: list[Any]) -> int:
    kinds = ("Prove", "Proven", "Attest", "Attested")
    return sum(core(host).endpoint.counts.sent_kinds[kind] for host in hosts for kind in kinds)


def main() -> None:
    """Print the figures."""
    logger.remove()
    assert issubclass(Drops, Liar)
    for rounds, measured, promised in _run(_found):
        print(f"within {rounds} rounds: {measured:.1%} of {KEYS} dropped keys were found, {promised:.1%} promised")
    for names in (40, 400):
        runs = [_run(lambda seed=seed, names=names: _spread(seed, names)) for seed in range(SEEDS)]
        first, spread, cost = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"{names} names: first {first:.0f} s, all {spread:.1f} s later, audits {cost:.0f} bytes a second a peer")


if __name__ == "__main__":
    main()
