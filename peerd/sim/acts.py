"""The single things that a scenario's steps do: to whom, by chance, and what is to be noted of it.

Not here: when (play), and what users ask and get (requests).
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from math import log
from random import Random
from typing import Any

from msgspec.structs import replace

from peerd.errors import PeerdError
from peerd.sim import scenario as steps
from peerd.sim.host import Host
from peerd.sim.liars import Casting
from peerd.sim.requests import Requests
from peerd.sim.scenario import AnyStep
from peerd.sim.strong import Strong
from peerd.sim.world import World

Thing = Callable[[], Coroutine[Any, Any, None]]

START_AGAIN_S = 1.0
STARTS_MAX = 30


class Acts:
    """Does things to one world."""

    def __init__(self, world: World, requests: Requests, casting: Casting, peers: int) -> None:
        self.world = world
        self.requests = requests
        self.strong = Strong(world, requests)
        self.peers = peers
        self._casting = casting
        self.down: dict[Host, None] = {}

    def of(self, step: AnyStep, rng: Random) -> Sequence[Thing]:
        """Return the single things that a step does, in order."""
        match step:
            case steps.Put() | steps.Get() | steps.Remove() | steps.Work() | steps.Strong() | steps.Count():
                return self._asked(step, rng)
            case steps.Partition() | steps.Cut() | steps.Heal() | steps.Change():
                return self._wired(step, rng)
            case _:
                return self._befallen(step, rng)

    def _asked(self, step: steps.Users, rng: Random) -> Sequence[Thing]:
        match step:
            case steps.Put():
                return [partial(self._put, rng, step, n) for n in range(step.first, step.first + step.keys)]
            case steps.Get():
                return [partial(self._get, rng, step)] * step.count
            case steps.Remove():
                return [partial(self._remove, rng, n) for n in range(step.first, step.first + step.keys)]
            case steps.Work():
                return [partial(self._work, rng, step)] * step.count
            case steps.Strong():
                return [partial(self._strong, rng, step)] * step.count
            case steps.Count():
                return [partial(self._add, rng, step)] * step.writers

    def _wired(self, step: steps.Wires, rng: Random) -> Sequence[Thing]:
        match step:
            case steps.Partition():
                return [partial(self._part, rng, step.islands)]
            case steps.Cut():
                return [partial(self._cut, rng)] * step.links
            case steps.Heal():
                return [self.heal]
            case steps.Change():
                return [partial(self._change, step.faults)]

    def _befallen(self, step: steps.Peers, rng: Random) -> Sequence[Thing]:
        if isinstance(step, steps.Churn):
            return [partial(self._come_and_go, host, step) for host in self.world.living]
        count = step.count or self.peers
        match step:
            case steps.Join():
                thing: Thing = self._join
            case steps.Leave():
                thing = partial(self._leave, rng)
            case steps.Crash():
                thing = partial(self._crash, rng, step)
            case steps.Restart():
                thing, count = self._restart, step.count or len(self.down)
            case steps.Pause():
                thing = partial(self._pause, rng, step.for_s)
            case steps.Clock():
                thing = partial(self._clock, rng, step)
            case steps.Sick():
                thing = partial(self._sick, rng, step)
            case steps.Backup():
                thing = partial(self._copy, rng)
            case steps.Restore():
                thing = partial(self._put_back, rng)
        return [thing] * count

    # Users.

    async def _put(self, rng: Random, step: steps.Put, number: int) -> None:
        host = self._user(rng)
        if host is not None:
            await self.requests.put(host, _name(number), step.value_bytes, step.consistency)

    async def _get(self, rng: Random, step: steps.Get) -> None:
        ledger = self.requests.ledger
        host, names = self._user(rng), list(ledger.names.values()) if step.deleted else ledger.readable()
        if host is not None and names:
            await self.requests.get(host, rng.choice(names), step.consistency)

    async def _remove(self, rng: Random, number: int) -> None:
        host = self._user(rng)
        if host is not None:
            await self.requests.remove(host, _name(number))

    async def _work(self, rng: Random, step: steps.Work) -> None:
        host, draw = self._user(rng), rng.random()
        name = _name(step.first + rng.randrange(step.keys))
        if host is None:
            return
        if draw < step.puts + step.contents:
            size = 100 if draw < step.puts else step.content_bytes
            await self.requests.put(host, name, size, "quorum")
        elif draw < step.puts + step.contents + step.removes:
            await self.requests.remove(host, name)
        else:
            one = draw > 1 - step.ones
            await self.requests.get(host, self.requests.ledger.name(name), "one" if one else "quorum")

    async def _strong(self, rng: Random, step: steps.Strong) -> None:
        host = self._user(rng)
        if host is not None and await self._belongs(host):
            await self.strong.work(host, f"register-{step.first + rng.randrange(step.keys)}", rng)

    async def _add(self, rng: Random, step: steps.Count) -> None:
        for _ in range(step.times):
            host = self._user(rng)
            if host is not None and await self._belongs(host):
                await self.strong.increment(host, f"counter-{step.first}")

    async def _belongs(self, host: Host) -> bool:
        """Return whether a peer has met most of those that were there first, whether or not they live.

        Overlays that never met have histories of their own (DESIGN.md 6): not what a register is held to.
        """
        assert host.peer is not None, "only a running peer is asked"
        known = {member.id for member in await host.peer.peers()}
        first = self.world.hosts[: self.peers]
        return 2 * sum(each is host or each.id_text in known for each in first) > len(first)

    # Peers.

    async def _join(self) -> None:
        await self._start(self.world.add(self._casting.outfit(len(self.world.hosts))))

    async def _start(self, host: Host) -> None:
        """Start a peer, again and again as a service manager does where its disk lets it not."""
        self.down.pop(host, None)
        self.world.introduce(host)
        for _ in range(STARTS_MAX):
            try:
                await host.start()
            except PeerdError:
                await asyncio.sleep(START_AGAIN_S)
            else:
                return
        self.down[host] = None

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

    async def _come_and_go(self, host: Host, step: steps.Churn) -> None:
        loop, rng = self.world.loop, self.world.chance.rng("churn", host.index)
        until_s = step.at_s + step.for_s
        while True:
            await asyncio.sleep(min(rng.expovariate(log(2) / step.session_s), until_s - loop.time()))
            if loop.time() >= until_s:
                return
            if rng.random() < step.kills:
                await host.crash(power=False)
            else:
                await host.stop()
            await asyncio.sleep(rng.expovariate(log(2) / step.away_s))
            await self._start(host)

    async def _restart(self) -> None:
        host = next(iter(self.down), None)
        if host is not None:
            await self._start(host)

    async def _pause(self, rng: Random, for_s: float) -> None:
        host = self._anybody(rng)
        if host is not None:
            host.stand_still()
            self.requests.disturbed()
            await asyncio.sleep(for_s)
            host.go_on()
            self.requests.disturbed()

    async def _clock(self, rng: Random, step: steps.Clock) -> None:
        host = rng.choice(self.world.hosts)
        host.clock.skew_s += step.step_s
        host.clock.drift(step.drift)

    async def _sick(self, rng: Random, step: steps.Sick) -> None:
        host = rng.choice(self.world.hosts)
        host.disk.attach(host.store, step.fault)
        await asyncio.sleep(step.for_s)
        host.disk.attach(host.store)

    async def _copy(self, rng: Random) -> None:
        rng.choice(self.world.hosts).copy_store()

    async def _put_back(self, rng: Random) -> None:
        hosts = [host for host in self.world.hosts if host.has_copy and (host.lives or host in self.down)]
        if not hosts:
            return
        host = rng.choice(hosts)
        self.down.pop(host, None)
        if host.lives:
            await host.crash(power=True)
        host.put_back()
        await self._start(host)

    # The network.

    async def _part(self, rng: Random, sizes: list[int]) -> None:
        hosts = list(self.world.hosts)
        rng.shuffle(hosts)
        islands = []
        for size in sizes:
            islands.append([host.interface for host in hosts[:size]])
            del hosts[:size]
        self.world.network.part(islands)

    async def _cut(self, rng: Random) -> None:
        if len(self.world.hosts) > 1:
            source, target = rng.sample(self.world.hosts, 2)
            self.world.network.cut(source.interface, target.interface)

    async def heal(self) -> None:
        """Undo all cuts."""
        self.requests.disturbed()
        self.world.network.heal()

    async def _change(self, changes: dict[str, float | None]) -> None:
        self.requests.faults_change()
        self.world.set_faults(replace(self.world.faults, **changes))

    def mend(self) -> None:
        """End all that still befalls somebody: let stand nobody still, mend all disks, lose no message."""
        for host in self.world.hosts:
            host.go_on()
            host.disk.mend(host.store)
        self.world.set_faults(replace(self.world.faults, loss=0.0, duplicate=0.0, reorder=0.0))

    def _user(self, rng: Random) -> Host | None:
        hosts = [host for host in self.world.honest if host.answers]
        return rng.choice(hosts) if hosts else None

    def _anybody(self, rng: Random) -> Host | None:
        hosts = self.world.answering
        return rng.choice(hosts) if hosts else None


def _name(number: int) -> str:
    return f"key-{number}"
