"""What a crowd of identities round a key does, and what it costs: 40 honest simulated peers, 24 ground ones, one key.

    python -m tests.bench.crowds --seeds 5

Prints the rows of docs/BENCHMARKS.md. Signatures are stand-ins. The crowd denies, then sends altered records, then says
nothing; each time the key is put anew and read 60 times, half with `one`; then the crowd goes. Messages are all
datagrams of all peers, less those of as long a time without reads, over those of a key that nobody crowds.
"""

import argparse
import asyncio
import random
from collections import Counter
from unittest import mock

from loguru import logger

from peerd.errors import PeerdError
from peerd.node.members import Members
from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from tests.hostile.grind import ground
from tests.sim.test_sybil import AMONG_8, AT_THE_KEY, DAY, HONEST, SYBILS, Fickle, reads, sybils
from tests.unit.node.hosts import by_distance, core, joined, key_of, put

READS = 60
STANDS = ("at the key", "among the 8 nearest honest", "8, just ahead of the nearest honest")


async def _scene(world: World, stands: str) -> tuple[Counter[str], float, int]:
    """Return what the reads came to, the messages' ratio and how many peers hold the key."""
    await joined(world, HONEST)
    key = key_of(world.hosts[0], "wanted")
    rng = random.Random(world.chance.seed)
    reach, count = {"at the key": (AT_THE_KEY, SYBILS), "among the 8 nearest honest": (AMONG_8, SYBILS)}.get(
        stands, (_ahead(world, key), 8)
    )
    DAY["way"] = "denies"
    crowd = await sybils(world, ground(world.suite, world.overlay, key, count, reach=reach, rng=rng), Fickle)
    found = core(world.hosts[2]).members.responsible(key)
    outcomes: Counter[str] = Counter()
    sent = await _sent(world, "another", "value", Counter(), [])
    crowded = 0
    older: list[bytes] = []
    for way in Fickle.ways:
        DAY["way"] = way
        crowded += await _sent(world, "wanted", way, outcomes, older)
    for host in crowd:
        await host.crash(power=False)
    await asyncio.sleep(60)
    outcomes += await reads(world, "wanted", older[-1], older=older, count=READS)
    return outcomes, crowded / len(Fickle.ways) / sent, len(found.contacts) + found.ours


def _ahead(world: World, key: bytes) -> float:
    nearest = by_distance(world.hosts, key)[0]
    place = int.from_bytes(core(nearest).members.own_place, "big")
    return (place ^ int.from_bytes(key, "big")) / 2**256


async def _sent(world: World, name: str, value: str, outcomes: Counter[str], older: list[bytes]) -> int:
    loop, counts = asyncio.get_running_loop(), world.network.counts
    before = counts["sent"]
    await asyncio.sleep(10)
    idle_each_s = (counts["sent"] - before) / 10
    before, began = counts["sent"], loop.time()
    try:
        await put(world.hosts[5], name, value.encode())
    except PeerdError:
        outcomes["not put"] += READS
        return int(counts["sent"] - before - idle_each_s * (loop.time() - began))
    outcomes += await reads(world, name, value.encode(), older=older, count=READS)
    older.append(value.encode())
    return int(counts["sent"] - before - idle_each_s * (loop.time() - began))


def _run(stands: str, seed: int) -> tuple[Counter[str], float, int]:
    loop = VirtualLoop()

    async def play() -> tuple[Counter[str], float, int]:
        world = World(loop, seed=seed, expected=HONEST, signed=False)
        found = await _scene(world, stands)
        await world.lights_out()
        return found

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(play())


def _row(stands: str, seeds: int, *, regions: str = "yes") -> str:
    outcomes: Counter[str] = Counter()
    ratios, sizes = [], []
    for seed in range(seeds):
        told, ratio, size = _run(stands, seed)
        outcomes += told
        ratios.append(ratio)
        sizes.append(size)
    right = 100 * outcomes["right"] / outcomes.total()
    return (
        f"| {stands} | {regions} | {right:.1f} % of {outcomes.total()} | {sum(ratios) / seeds:.1f} (at most"
        f" {max(ratios):.1f}) | {min(sizes)} to {max(sizes)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crowds")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    logger.remove()
    for stands in STANDS:
        print(_row(stands, arguments.seeds), flush=True)
    with mock.patch.object(Members, "rule", lambda self: None):
        print(_row(STANDS[0], arguments.seeds, regions="no"), flush=True)


if __name__ == "__main__":
    main()
