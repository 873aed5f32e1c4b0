"""Plays a scenario: what is to happen, at its virtual time, in one world; then settles, checks, and reports."""

import asyncio
import gc
import time
from typing import Any

from peerd.sim import scenario as steps
from peerd.sim.acts import Acts, Thing
from peerd.sim.checks import Checks
from peerd.sim.host import Host
from peerd.sim.ledger import Name
from peerd.sim.liars import Casting
from peerd.sim.logs import errors_logged, raised_at
from peerd.sim.loop import VirtualLoop, running_on
from peerd.sim.report import Report, outcome, report, sent_per_peer_s, view
from peerd.sim.requests import Requests
from peerd.sim.scenario import AnyStep, Scenario
from peerd.sim.world import World

# How often each name is read in the end, each time at another peer; and how many such reads are under way at a time.
CHECK_READERS = 2
CHECKS_AT_A_TIME = 50
# How often everything is checked from outside, beside after each thing that happens.
LOOK_INTERVAL_S = 1.0
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
        self.world = World(
            loop,
            seed=seed,
            expected=scenario.peers,
            faults=scenario.faults,
            settings=scenario.settings,
            signed=scenario.signed,
        )
        self.requests = Requests(self.world)
        self.acts = Acts(self.world, self.requests, Casting(self.world, scenario), scenario.peers)
        self.checks = Checks(self.world, self.requests)

    async def run(self) -> Report:
        """Play all steps, check, end."""
        self.loop.set_exception_handler(self._on_fault)
        with errors_logged(self.requests.violate):
            aside = [self.loop.create_task(work) for work in (_collect_garbage(), self._look())]
            try:
                await self._steps()
                await self._settle()
                await self._check()
            finally:
                for task in aside:
                    task.cancel()
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
        things = self.acts.of(step, rng)
        async with asyncio.TaskGroup() as group:
            for index, thing in enumerate(things):
                await self._until(step.at_s + step.over_s * (index + rng.random()) / len(things))
                work = thing() if isinstance(step, steps.Users) else self._do(thing)
                group.create_task(work, name=f"step {number} thing {index}")

    async def _do(self, thing: Thing) -> None:
        await thing()
        await self.checks.look()

    async def _look(self) -> None:
        """Check beside all else, whether or not anything befalls anybody."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            await self.checks.look()

    async def _until(self, instant: float) -> None:
        await asyncio.sleep(max(0.0, instant - self.loop.time()))

    # The end.

    async def _settle(self) -> None:
        if self.world.network.parted:
            await self.acts.heal()
        self.acts.mend()
        await asyncio.sleep(self.scenario.settle_s)

    async def _check(self) -> None:
        """When cuts and loss are over and the world has settled: is everything acknowledged still there?"""
        world = self.world
        honest = world.honest
        if not honest:
            return
        rng = world.chance.rng("check")
        turns = asyncio.Semaphore(CHECKS_AT_A_TIME)
        async with asyncio.TaskGroup() as group:
            for name in self.requests.ledger.names.values():
                for host in rng.sample(honest, min(CHECK_READERS, len(honest))):
                    group.create_task(self._check_name(turns, host, name), name=f"check {name.name}")
            for text in self.acts.strong.histories:
                for host in rng.sample(honest, min(CHECK_READERS, len(honest))):
                    group.create_task(self._read_strong(turns, host, text), name=f"check {text}")
        self.acts.strong.check()
        await self.checks.look()
        if self.scenario.expect.agree:
            await self.checks.settled()

    async def _check_name(self, turns: asyncio.Semaphore, host: Host, name: Name) -> None:
        async with turns:
            await self.requests.get(host, name, "quorum", final=True)

    async def _read_strong(self, turns: asyncio.Semaphore, host: Host, text: str) -> None:
        async with turns:
            await self.acts.strong.read(host, text)

    def _expect(self) -> None:
        expect, violate = self.scenario.expect, self.requests.violate
        for kind, least in (("put", expect.puts_ok), ("get", expect.gets_ok), ("check", expect.checks_ok)):
            if (share := self.requests.tallies[kind].share_ok()) < least:
                violate(f"{share:.2%} of all {kind}s succeeded, {least:.2%} were to")
        gets = outcome(self.requests.tallies["get"])
        sent = sent_per_peer_s(self.world).get("maintenance")
        for what, measured, most in (
            ("the 95th percentile of gets in ms", gets.p95_ms, expect.gets_p95_ms),
            ("the 99th percentile of gets in ms", gets.p99_ms, expect.gets_p99_ms),
            ("maintenance in bytes a second a peer", sent, expect.maintenance_per_peer_s),
        ):
            if most is not None and (measured is None or measured > most):
                violate(f"{what} is {measured}, at most {most} was to be")

    def _on_fault(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something raised where nobody awaits it."""
        error = context.get("exception")
        place = raised_at(error) if error is not None else ""
        self.requests.violate(f"{running_on.get()}: {context.get('message')}: {error!r} {place}")


async def _collect_garbage() -> None:
    second = 0
    while True:
        await asyncio.sleep(1)
        second += 1
        gc.collect(0 if second % FULL_COLLECTION_S else 2)
