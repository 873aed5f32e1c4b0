"""Plays a scenario: what is to happen, at its virtual time, in one world; then settles, checks, and reports."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import Any

from msgspec.structs import replace

from peerd.sim import scenario as steps
from peerd.sim.host import Host, running_on
from peerd.sim.ledger import Name
from peerd.sim.logs import errors_logged, raised_at
from peerd.sim.loop import VirtualLoop
from peerd.sim.report import Report, report, view
from peerd.sim.requests import Requests
from peerd.sim.scenario import AnyStep, Scenario
from peerd.sim.world import World

Thing = Callable[[], Coroutine[Any, Any, None]]

# How often each name is read in the end, each time at another peer; and how many such reads are under way at a time.
CHECK_READERS = 2
CHECKS_AT_A_TIME = 50
# Garbage is collected each virtual second, all of it now and then.
FULL_COLLECTION_S = 30


def play(scenario: Scenario, seed: int) -> Report:
    """Run a scenario to its end and return what came of it. Takes as long as its messages take to compute."""
    started = time.perf_counter(), time.process_time()
    loop = VirtualLoop()
    asyncio.set_event_loop(None)
    # What is collected when depends on how much was allocated, and a finalizer may send: only at fixed points.
    collecting = gc.isenabled()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(_Play(loop, scenario, seed, started).run())
    finally:
        if collecting:
            gc.enable()


class _Play:
    """One run."""

    def __init__(self, loop: VirtualLoop, scenario: Scenario, seed: int, started: tuple[float, float]) -> None:
        self.loop = loop
        self.scenario = scenario
        self.seed = seed
        self.started = started
        self.steps = scenario.step or steps.plain_steps(scenario.peers)
        self.world = World(loop, seed=seed, expected=scenario.peers, faults=scenario.faults, settings=scenario.settings)
        self.requests = Requests(self.world)
        self.rng = self.world.chance.rng("play")
        self.down: dict[Host, None] = {}

    async def run(self) -> Report:
        """Play all steps, check, end."""
        self.loop.set_exception_handler(self._on_fault)
        with errors_logged(self.requests.violate):
            collector = self.loop.create_task(_collect_garbage(), name="collector")
            try:
                await self._steps()
                await self._check()
            finally:
                collector.cancel()
            seen = await view(self.world)
            left = await self.world.lights_out()
        if left:
            self.requests.violate(f"{len(left)} tasks outlive their peers: {', '.join(left[:5])}")
        self._expect()
        wall_s, cpu_s = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
        return report(self.scenario, self.seed, self.world, self.requests, seen, wall_s=wall_s, cpu_s=cpu_s)

    async def _steps(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number, step in enumerate(sorted(self.steps, key=lambda step: step.at_s)):
                group.create_task(self._play(number, step), name=f"step {number}")

    async def _play(self, number: int, step: AnyStep) -> None:
        """Do what a step says, each single thing at its instant and beside the others."""
        await self._until(step.at_s)
        rng = self.world.chance.rng("step", number)
        things = self._things(step, rng)
        async with asyncio.TaskGroup() as group:
            for index, thing in enumerate(things):
                await self._until(step.at_s + step.over_s * (index + rng.random()) / len(things))
                group.create_task(thing(), name=f"step {number} thing {index}")

    async def _until(self, instant: float) -> None:
        await asyncio.sleep(max(0.0, instant - self.loop.time()))

    def _things(self, step: AnyStep, rng: Random) -> list[Thing]:
        """Return the single things that a step does, in order."""
        things: list[Thing]
        match step:
            case steps.Join():
                things = [self._join] * (step.count or self.scenario.peers)
            case steps.Put():
                things = [partial(self._put, rng, step, n) for n in range(step.first, step.first + step.keys)]
            case steps.Get():
                things = [partial(self._get, rng, step)] * step.count
            case steps.Remove():
                things = [partial(self._remove, rng, n) for n in range(step.first, step.first + step.keys)]
            case steps.Leave():
                things = [partial(self._leave, rng)] * step.count
            case steps.Crash():
                things = [partial(self._crash, rng, step)] * step.count
            case steps.Restart():
                things = [self._restart] * (step.count or len(self.down))
            case steps.Partition():
                things = [partial(self._part, rng, step.islands)]
            case steps.Cut():
                things = [partial(self._cut, rng)] * step.links
            case steps.Heal():
                things = [self._heal]
            case steps.Change():
                things = [partial(self._change, step.faults)]
        return things

    # Single things.

    async def _join(self) -> None:
        await self.world.join()

    async def _put(self, rng: Random, step: steps.Put, number: int) -> None:
        host = self._anybody(rng)
        if host is not None:
            await self.requests.put(host, _name(number), step.value_bytes, step.consistency)

    async def _get(self, rng: Random, step: steps.Get) -> None:
        host, names = self._anybody(rng), self.requests.ledger.readable()
        if host is not None and names:
            await self.requests.get(host, rng.choice(names), step.consistency)

    async def _remove(self, rng: Random, number: int) -> None:
        host = self._anybody(rng)
        if host is not None:
            await self.requests.remove(host, _name(number))

    async def _leave(self, rng: Random) -> None:
        host = self._anybody(rng)
        if host is not None:
            await host.stop()
            self.down[host] = None

    async def _crash(self, rng: Random, step: steps.Crash) -> None:
        candidates = self.world.living
        if step.holders_of is not None:
            newest = self.requests.ledger.name(_name(step.holders_of)).newest
            candidates = [host for host in candidates if newest is not None and host.id_text in newest.holders]
        if candidates:
            host = rng.choice(candidates)
            await host.crash(power=step.power)
            self.down[host] = None

    async def _restart(self) -> None:
        host = next(iter(self.down), None)
        if host is not None:
            del self.down[host]
            await host.start()

    async def _part(self, rng: Random, sizes: list[int]) -> None:
        hosts = list(self.world.hosts)
        rng.shuffle(hosts)
        islands = []
        for size in sizes:
            islands.append([host.interface for host in hosts[:size]])
            del hosts[:size]
        self.world.network.part(islands)

    async def _cut(self, rng: Random) -> None:
        source, target = rng.sample(self.world.hosts, 2)
        self.world.network.cut(source.interface, target.interface)

    async def _heal(self) -> None:
        self.requests.healed_at = self.loop.time()
        self.world.network.heal()

    async def _change(self, changes: dict[str, float | None]) -> None:
        self.world.set_faults(replace(self.world.faults, **changes))

    def _anybody(self, rng: Random) -> Host | None:
        living = self.world.living
        return rng.choice(living) if living else None

    # The end.

    async def _check(self) -> None:
        """When cuts and loss are over and the world has settled: is everything acknowledged still there?"""
        world = self.world
        if world.network.parted:
            await self._heal()
        world.set_faults(replace(world.faults, loss=0.0, duplicate=0.0, reorder=0.0))
        await asyncio.sleep(self.scenario.settle_s)
        if not world.living:
            return
        rng = world.chance.rng("check")
        turns = asyncio.Semaphore(CHECKS_AT_A_TIME)
        async with asyncio.TaskGroup() as group:
            for name in self.requests.ledger.readable():
                for host in rng.sample(world.living, min(CHECK_READERS, len(world.living))):
                    group.create_task(self._check_name(turns, host, name), name=f"check {name.name}")

    async def _check_name(self, turns: asyncio.Semaphore, host: Host, name: Name) -> None:
        async with turns:
            await self.requests.get(host, name, "quorum", final=True)

    def _expect(self) -> None:
        expect, tallies = self.scenario.expect, self.requests.tallies
        for kind, least in (("put", expect.puts_ok), ("get", expect.gets_ok)):
            if (share := tallies[kind].share_ok()) < least:
                self.requests.violate(f"{share:.1%} of all {kind}s succeeded, {least:.1%} were to")

    def _on_fault(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something raised where nobody awaits it."""
        error = context.get("exception")
        place = raised_at(error) if error is not None else ""
        self.requests.violate(f"{running_on.get()}: {context.get('message')}: {error!r} {place}")


def _name(number: int) -> str:
    return f"key-{number}"


async def _collect_garbage() -> None:
    second = 0
    while True:
        await asyncio.sleep(1)
        second += 1
        gc.collect(0 if second % FULL_COLLECTION_S else 2)
