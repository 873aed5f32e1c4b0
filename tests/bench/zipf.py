"""Reads by popularity in a network that is not known whole: how many hops each takes, with cached records and without.

    python -m tests.bench.zipf --seeds 3

200 simulated peers with tables so small that a look-up takes hops; names read with a frequency that falls as their
rank (Zipf, exponent 1), each by a peer drawn by lot, with `one`. A read answered here is no hop, one of a peer that was
known is one. Signatures are stand-ins; the time is virtual, so that the numbers are the same on any machine.
"""

import argparse
import asyncio
import random
from collections import Counter
from functools import partial
from unittest import mock

from loguru import logger

from peerd.errors import PeerdError
from peerd.kad import table
from peerd.node import holding, vicinity
from peerd.node.reading import read
from peerd.sim.host import Host
from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from tests.bench.rows import Goal, Line, Row, compare
from tests.bench.stats import spread
from tests.unit.node.hosts import by_distance, core, key_of, version

PEERS = 200
NAMES = 300
READS_PER_S = 1.0
"""Of each peer."""
WARM_UP_S = 20.0
MEASURED_S = 20.0
SMALL = {"k": 8, "split_bits": 1}
"""Buckets of 8 contacts (K is 20) that split only where our own place is (Kademlia 2.4): tables of about 33 of 200."""

GOAL_HOPS = 1.0
PASSIVE_HOPS, BEEHIVE_HOPS = 1.54, 0.98
"""Passive caching on Pastry and Beehive, as Ramasubramanian and Sirer (2004) measured them, at other sizes."""


class Reads:
    """What the reads of a run came to."""

    def __init__(self) -> None:
        self.hops: Counter[int] = Counter()
        self.failed = 0
        self.wrong = 0
        self.answered: Counter[int] = Counter()

    @property
    def mean(self) -> float:
        """Hops of a read."""
        return sum(hops * count for hops, count in self.hops.items()) / max(1, self.hops.total())


async def _network(loop: VirtualLoop, seed: int, life_s: float) -> World:
    settings = {"members_max": 16, "record_cache_s": life_s}
    world = World(loop, seed=seed, expected=PEERS, signed=False, settings=settings)
    for number in range(PEERS):
        await world.join()
        if number % 20 == 0:
            await asyncio.sleep(1)
    await asyncio.sleep(20)
    for number in range(NAMES):
        record = version(world.hosts[number % PEERS], str(number), 1, str(number).encode())
        for host in by_distance(world.hosts, record.key)[:8]:
            await host.store.put_record(record.key, record.raw, row=holding.row_of(core(host), record, None))
    return world


async def _read_some(world: World, rng: random.Random, for_s: float, into: Reads) -> None:
    weights = [1 / (rank + 1) for rank in range(NAMES)]

    async def one(host: Host, name: int) -> None:
        key = key_of(host, str(name))
        try:
            found = await read(core(host), key, consistency="one", timeout_s=5.0)
        except PeerdError:
            into.failed += 1
            return
        into.wrong += found.record is None or found.record.body.value != str(name).encode()
        into.hops[found.hops] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(int(for_s * READS_PER_S * PEERS)):
            await asyncio.sleep(rng.expovariate(READS_PER_S * PEERS))
            name = rng.choices(range(NAMES), weights)[0]
            group.create_task(one(rng.choice(world.hosts), name))


def run(seed: int, *, life_s: float, warm_up_s: float = WARM_UP_S, measured_s: float = MEASURED_S) -> Reads:
    """Return what reads came to where records are cached for so long at most."""
    loop = VirtualLoop()

    async def play() -> Reads:
        world = await _network(loop, seed, life_s)
        rng = random.Random(seed)
        await _read_some(world, rng, warm_up_s, Reads())
        reads = Reads()
        before = sum_sent(world)
        await _read_some(world, rng, measured_s, reads)
        reads.answered = sum_sent(world) - before
        await world.lights_out()
        return reads

    small = partial(table.RoutingTable, k=SMALL["k"])
    patched = mock.patch.object(vicinity, "RoutingTable", small), mock.patch.object(table, "SPLIT_BITS", 1)
    with patched[0], patched[1], asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(play())


def sum_sent(world: World) -> Counter[int]:
    """Return how many records each host has answered with, by its number."""
    return Counter({host.index: core(host).endpoint.counts.sent_messages["Value"] for host in world.hosts})


def row_of(seeds: int, *, life_s: float = 120.0) -> Row:
    """Measure, and return the row."""
    logger.disable("peerd")
    row = Row("zipf", "reads by popularity, `one`, 200 simulated peers with small tables", "hops", [])
    for name, life in (("peerd", life_s), ("peerd, nothing cached", 0.0)):
        runs = [run(seed, life_s=life) for seed in range(seeds)]
        means = [each.mean for each in runs]
        here = sum(each.hops[0] for each in runs) / sum(each.hops.total() for each in runs)
        right = 1 - sum(each.failed + each.wrong for each in runs) / sum(each.hops.total() for each in runs)
        busiest = [max(each.answered.values()) * PEERS / max(1, each.answered.total()) for each in runs]
        others = {"here %": 100 * here, "busiest / mean": sum(busiest) / seeds, "right %": 100 * right}
        line = Line("zipf", name, spread(means), "hops", seeds, others)
        if life:
            line.goals.append(Goal("hops", line.main.middle, GOAL_HOPS))
        row.lines.append(line)
    compare(row, ("peerd, nothing cached",))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.zipf")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    row = row_of(arguments.seeds)
    print(row.title)
    for line in row.lines:
        shown = ", ".join(f"{name} {value:.3g}" for name, value in line.others.items())
        print(f"  {line.subject}: {line.main.middle:.3f} hops ({line.main.low:.3f} to {line.main.high:.3f}); {shown}")
        for goal in line.goals:
            print(f"  {goal.text}")
    print(f"  by its paper: passive caching {PASSIVE_HOPS}, Beehive {BEEHIVE_HOPS}")


if __name__ == "__main__":
    main()
