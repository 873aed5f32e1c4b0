"""Readers read the same few keys all the time, by leases mostly, while writers write, and some crash or stand still.

What was acknowledged, and what a peer itself has read, no read that begins later falls behind, where nobody is cut off.
"""

import asyncio
from random import Random

import pytest
from loguru import logger
from msgspec import UNSET

from peerd.errors import PeerdError
from peerd.node.results import GetOptions, PutOptions
from peerd.sim.host import Host
from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from tests.unit.node.hosts import core, joined, once

SEEDS = 8
PART = 4
PEERS = 3, 12
KEYS = 2
BUSY_S = 12.0
READ_EACH_S = 0.01, 0.15
WRITE_EACH_S = 0.2, 1.5
MISHAP_EACH_S = 1.0, 3.0
STILL_S = 0.2, 3.0
DRIFTS = 0.1, -0.1, 0.0


class Book:
    """What was acknowledged of each key, and what each host has read of it; values grow."""

    def __init__(self) -> None:
        self.least: dict[str, int] = dict.fromkeys(map(str, range(KEYS)), 0)
        self.read_by: dict[tuple[str, str], int] = {}
        self.next: dict[str, int] = dict.fromkeys(map(str, range(KEYS)), 0)
        self.wrong: list[str] = []
        self.reads = 0

    async def read(self, host: Host, key: str) -> None:
        """Read, and compare with what was known when it began."""
        least, peer = max(self.least[key], self.read_by.get((host.name, key), 0)), host.peer
        assert peer is not None and host.answers
        opened = await peer.open(key, GetOptions(timeout_s=2.0))
        value = int(b"".join([piece async for piece in opened.body()]))
        if not host.answers or opened.info.stale_since_s is not UNSET:
            return  # who stands still tells nobody; who is cut off, by that too, says that it may be old
        self.reads += 1
        if value < least:
            self.wrong.append(f"{host.name} read {value} of {key}, where {least} was known")
        self.read_by[host.name, key] = max(value, self.read_by.get((host.name, key), 0))

    async def write(self, host: Host, key: str) -> None:
        """Write a value above all before it; one writer at a time and key."""
        self.next[key] += 1
        value, peer = self.next[key], host.peer
        assert peer is not None
        await peer.put(key, once(b"%d" % value), form="file", options=PutOptions(timeout_s=5.0))
        self.least[key] = max(self.least[key], value)


async def _again_and_again(work, rng: Random, each_s: tuple[float, float], until: float) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        await asyncio.sleep(rng.uniform(*each_s))
        try:
            await work()
        except (PeerdError, AssertionError):
            continue


async def _play(seed: int) -> tuple[list[str], int, int]:
    rng = Random(f"leases {seed}")
    world = World(asyncio.get_running_loop(), seed=seed, expected=PEERS[1], signed=False)
    hosts = await joined(world, rng.randint(*PEERS))
    book, until = Book(), world.loop.time() + BUSY_S
    writer, readers = hosts[0], hosts[1:]
    for host in hosts:
        host.clock.drift(rng.choice(DRIFTS))
    for key in book.least:
        await book.write(writer, key)

    async def mishap() -> None:
        victim = rng.choice(readers)
        if rng.random() < 0.5:
            await victim.crash(power=rng.random() < 0.5)
            await asyncio.sleep(rng.uniform(*STILL_S))
            await victim.start()
        else:
            victim.stand_still()
            await asyncio.sleep(rng.uniform(*STILL_S))
            victim.go_on()

    async with asyncio.TaskGroup() as group:
        for key in book.least:
            group.create_task(_again_and_again(lambda key=key: book.write(writer, key), rng, WRITE_EACH_S, until))
            for reader in readers[:4]:
                group.create_task(
                    _again_and_again(lambda reader=reader, key=key: book.read(reader, key), rng, READ_EACH_S, until)
                )
        group.create_task(_again_and_again(mishap, rng, MISHAP_EACH_S, until))
    served = sum(core(host).changes.leases.served for host in hosts if host.peer is not None)
    await world.lights_out()
    return [f"seed {seed}: {each}" for each in book.wrong], book.reads, served


def play(seed: int) -> tuple[list[str], int, int]:
    """Play one seed: what was wrong, reads, and how many of those leases answered."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(_play(seed))


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_no_read_falls_behind_what_was_acknowledged_or_read(first):
    logger.remove()
    wrong, reads, served = [], 0, 0
    for seed in range(first, first + PART):
        found = play(seed)
        wrong += found[0]
        reads, served = reads + found[1], served + found[2]
    assert not wrong, "\n".join(wrong)
    assert served > reads / 4
