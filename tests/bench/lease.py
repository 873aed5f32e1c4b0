"""Repeated `quorum` reads by leases, and what leases cost writers: `python -m tests.bench --only lease`.

Twelve simulated peers, a round trip of 2 ms, disks that sync in 1 ms. One reads a key again and again, with leases and
without; one writes it, while nobody has a lease, while four have one, and while one that has one is dead. Signatures
are stand-ins; the time is virtual, so that the numbers are the same on any machine.
"""

import asyncio
from collections.abc import Sequence

from loguru import logger

from peerd.sim.faults import Faults
from peerd.sim.host import Host
from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from tests.bench.rows import Goal, Line, Row
from tests.bench.stats import percentile, spread
from tests.unit.node.hosts import by_distance, core, get, joined, key_of, put

PEERS = 12
READS = 200
READ_EACH_S = 0.05
PUTS = 20
TAKERS = 4
ONE_WAY_MS = 1.0
SYNC_MS = 1.0
GOAL_READ_MS = 1.0
GOAL_PUT_TIMES = 3.0
GOAL_DEAD_MS = 1700.0


async def _took_ms(work: object) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await work  # type: ignore[misc]
    return (loop.time() - began) * 1000


async def _reads(host: Host) -> tuple[list[float], float]:
    """Return what reads took in ms, and the messages that the reader sent for each."""
    before = core(host).endpoint.counts.sent_messages.total()
    took = []
    for _ in range(READS):
        took.append(await _took_ms(get(host, "a")))
        await asyncio.sleep(READ_EACH_S)
    return took[2:], (core(host).endpoint.counts.sent_messages.total() - before) / READS


async def _puts(writer: Host, readers: Sequence[Host]) -> list[float]:
    took = []
    for number in range(PUTS):
        for _ in range(3):
            for reader in readers:
                await get(reader, "a")
            await asyncio.sleep(0.05)
        took.append(await _took_ms(put(writer, "a", b"%d" % number)))
        await asyncio.sleep(2.0)
    return took


async def _measure() -> dict[str, tuple[list[float], float]]:
    faults = Faults(latency_ms=ONE_WAY_MS, sync_ms=SYNC_MS)
    world = World(asyncio.get_running_loop(), seed=1, expected=PEERS, signed=False, faults=faults)  # type: ignore[arg-type]
    hosts = by_distance(await joined(world, PEERS), key_of(world.living[0], "a"))
    writer, readers = hosts[0], hosts[-TAKERS:]
    await put(writer, "a", b"value")
    found = {"reads by leases": await _reads(readers[0])}
    core(readers[0]).changes.leases.off = True
    await asyncio.sleep(2.0)
    found["reads without leases"] = await _reads(readers[0])
    core(readers[0]).changes.leases.off = False
    found["puts, nobody has a lease"] = await _puts(writer, []), 0.0
    found[f"puts, {TAKERS} have leases"] = await _puts(writer, readers), 0.0
    for _ in range(3):
        await get(readers[0], "a")
        await asyncio.sleep(0.05)
    await readers[0].crash(power=True)
    found["a put, a taker is dead"] = [await _took_ms(put(writer, "a", b"last"))], 0.0
    await world.lights_out()
    return found


def row_of() -> Row:
    """Measure, and return the row."""
    logger.disable("peerd")
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        found = runner.run(_measure())
    row = Row("lease", f"one key again and again, {PEERS} simulated peers at {2 * ONE_WAY_MS:.0f} ms", "p50 ms", [])
    free = percentile(found["puts, nobody has a lease"][0], 0.5)
    for name, (took, messages) in found.items():
        others = {"p99 ms": percentile(took, 0.99)}
        if name.startswith("reads"):
            others["messages a read"] = messages
        line = Line("lease", name, spread([percentile(took, 0.5)]), "ms", 1, others)
        if name == "reads by leases":
            line.goals.append(Goal("p50 ms", line.main.middle, GOAL_READ_MS))
        elif name.endswith("have leases"):
            line.goals.append(Goal("times a put without leases", line.main.middle / free, GOAL_PUT_TIMES))
        elif name.endswith("dead"):
            line.goals.append(Goal("ms", line.main.middle, GOAL_DEAD_MS))
        row.lines.append(line)
    return row


if __name__ == "__main__":
    for each in row_of().lines:
        print(f"{each.subject}: p50 {each.main.middle:.2f} ms, {each.others}")
