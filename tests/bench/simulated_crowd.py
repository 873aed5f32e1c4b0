"""A flash crowd of simulated peers: what the way blocks are chosen costs, without CPUs, encryption and headers.

    python -m tests.bench.simulated_crowd --hosts 12 --seeds 3

Prints when the last has all of it over the bound, in virtual time, and what the origin and all others have sent.
"""

import argparse
import asyncio
import random

from loguru import logger
from msgspec.structs import replace

from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from tests.bench.flash_crowd import MIB, RATE_MBIT, bound_s
from tests.unit.node.test_filling import crowd, timed


async def _crowd(world: World, hosts: int, mib: int) -> tuple[float, list[float]]:
    """Return when the last had all, in bounds, and what each host sent, in files, the origin first."""
    world._settings = replace(world._settings, copies=1, repair_interval_s=3600.0)
    data = random.Random(world.chance.seed).randbytes(mib * MIB)
    cid, origin, others = await crowd(world, hosts, data)
    everybody = (origin, *others)
    before = [host.interface.streamed_bytes for host in everybody]
    took = await asyncio.gather(*(timed(host, cid, data) for host in others))
    sent = [host.interface.streamed_bytes - at for host, at in zip(everybody, before, strict=True)]
    return max(took) / bound_s(hosts, len(data), RATE_MBIT), [each / len(data) for each in sent]


def _run(seed: int, hosts: int, mib: int) -> tuple[float, list[float]]:
    loop = VirtualLoop()

    async def play() -> tuple[float, list[float]]:
        world = World(loop, seed=seed, expected=hosts, signed=False)
        found = await _crowd(world, hosts, mib)
        await world.lights_out()
        return found

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(play())


def main() -> None:
    """Print a line for each seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.simulated_crowd")
    parser.add_argument("--hosts", type=int, default=12)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    logger.remove()
    for seed in range(1, options.seeds + 1):
        ratio, sent = _run(seed, options.hosts, options.mib)
        mean = sum(sent) / (options.hosts - 1)
        print(
            f"{options.hosts} hosts: {ratio:.2f} of the bound; the origin sent {sent[0]:.2f} files, all {mean:.2f} each"
        )


if __name__ == "__main__":
    main()
