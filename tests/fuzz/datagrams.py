"""Mutated datagrams into a real peer of a simulated network, in whose sessions some of them are sealed.

It goes on serving others meanwhile, and in the end what was put is read.
"""

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

from peerd.errors import PeerdError
from peerd.kad.contact import Address
from peerd.node.results import GetOptions, PutOptions
from peerd.sim.host import Host
from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from tests.fuzz import samples
from tests.fuzz.judge import Judge
from tests.fuzz.mallory import Mallory
from tests.fuzz.mutate import Mutator
from tests.vectors.cast import OPEN

HOSTS = 4
MALLORIES = 6
BATCH = 50
BATCH_TAKES_S = 0.01
"""Virtual: five thousand datagrams a second."""

COLLECT_EVERY = 5_000
MARK_EVERY = 25_000
STRANGER: Address = ("10.250.0.1", 4000)
NAMES = 40


def fuzz_datagrams(judge: Judge, *, seed: int, count: int, seconds: float = float("inf")) -> Counter[str]:
    """Throw `count` datagrams, or for so many seconds; return how many were rejected, by the reason."""
    loop = VirtualLoop()
    asyncio.set_event_loop(None)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(_Run(loop, judge, seed, count, seconds).run())


class _Run:
    def __init__(self, loop: VirtualLoop, judge: Judge, seed: int, count: int, seconds: float) -> None:
        self.judge = judge
        self.count = count
        self.ends = time.monotonic() + seconds
        self.rng = random.Random(seed)
        self.mutator = Mutator(self.rng, samples.datagrams())
        self.world = World(loop, seed=seed, expected=HOSTS, settings={"probe_interval_s": 0.5})
        self.world.overlay = OPEN  # of the vectors, so that their records are of this network
        self.victim: Host = self.world.add()
        self.mallories: list[Mallory] = []
        self.made = 0
        self.values: dict[str, bytes] = {}
        loop.set_exception_handler(lambda _, context: judge.fault(f"in the loop: {context}"))

    async def run(self) -> Counter[str]:
        """Everything."""
        await self.victim.start()
        for _ in range(HOSTS - 1):
            await self.world.join()
        users = asyncio.get_running_loop().create_task(self._users())
        try:
            await self._throw()
        finally:
            users.cancel()
        await self._read_all()
        assert self.victim.peer is not None
        core = self.victim.peer._core
        rejected = core.endpoint.counts.rejected + core.counts.rejected
        for each in self.mallories:
            each.close()
        self._leftovers(await self.world.lights_out(), users)
        return rejected

    async def _throw(self) -> None:
        for number in range(self.count):
            if number % BATCH == 0:
                await asyncio.sleep(BATCH_TAKES_S)
                await self._renew()
                if time.monotonic() > self.ends:
                    break
            if number % COLLECT_EVERY == 0:
                gc.collect()
            if number % MARK_EVERY == 0:
                self.judge.mark()
            if not self._give(*self._next(), number):
                break
        self.judge.mark()
        self.judge.check_growth()

    def _give(self, data: bytes, sender: Address, number: int) -> bool:
        """Let the victim receive a datagram; False where it is there no more."""
        interface = self.victim.interface
        receive, context = interface.receive, interface.context
        if receive is None or context is None:
            self.judge.fault("the peer is gone")
            return False
        self.judge.tries += 1
        try:
            self.judge.measure(lambda: context.run(receive, data, sender), data[:64].hex())
        except Exception as error:  # noqa: BLE001  whatever comes out is what is looked for
            self.judge.fault(f"try {number}: {error!r} of {data.hex()} from {sender}")
        return True

    def _next(self) -> tuple[bytes, Address]:
        rng = self.rng
        mallory = rng.choice(self.mallories) if self.mallories else None
        chosen = rng.random()
        if mallory is None or chosen < 0.12:
            return self.mutator.mutate(rng.choice(samples.datagrams())), STRANGER
        if chosen < 0.2:
            return self.mutator.mutate(rng.choice(mallory.recorded)), rng.choice((STRANGER, mallory.address))
        if chosen < 0.23:
            return mallory.hello(), rng.choice((STRANGER, mallory.address))
        if chosen < 0.25:
            return mallory.finish(), mallory.address
        if chosen < 0.3:
            return self.mutator.mutate(mallory.sealed()), rng.choice((STRANGER, mallory.address))
        return mallory.sealed(), mallory.address

    async def _renew(self) -> None:
        """See that there are some with a session; who is not wanted any more comes back with another key."""
        self.mallories, before = [each for each in self.mallories if each.is_known()], self.mallories
        for each in before:
            if each not in self.mallories:
                if await each.shake_hands():
                    self.mallories.append(each)
                else:
                    each.close()
        while len(self.mallories) < MALLORIES and self.made < 2**16:
            self.made += 1
            each = Mallory(self.world, self.victim, self.made, random.Random(self.rng.randbytes(16)))
            if not await each.shake_hands():
                each.close()
                break
            self.mallories.append(each)

    async def _users(self) -> None:
        """Somebody puts and gets, at the victim and elsewhere: so the victim asks as well as answers."""
        while True:
            host = self.rng.choice(self.world.living)
            name = f"name {self.rng.randrange(NAMES)}"
            with suppress(PeerdError):
                if self.rng.random() < 0.5:
                    value = f"{name} {self.rng.random()}".encode()
                    await self._put(host, name, value)
                else:
                    await self._get(self.victim, name)
            await asyncio.sleep(0.2)

    async def _put(self, host: Host, name: str, value: bytes) -> None:
        assert host.peer is not None
        await host.do(host.peer.put(name, _once(value), form="file", options=PutOptions()), "put")
        self.values[name] = value

    async def _get(self, host: Host, name: str) -> bytes:
        async def read() -> bytes:
            assert host.peer is not None
            opened = await host.peer.open(name, GetOptions())
            return b"".join([piece async for piece in opened.body()])

        return await host.do(read(), "get")

    async def _read_all(self) -> None:
        """With nobody talking nonsense any more, all is as it was."""
        self.mallories, gone = [], self.mallories
        for each in gone:
            each.close()
        await asyncio.sleep(30)
        for number in range(5):
            name = f"afterwards {number}"
            host = self.world.hosts[1 + number % (HOSTS - 1)]
            await self._put(host, name, name.encode())
            got = await self._get(self.victim, name)
            if got != name.encode():
                self.judge.fault(f"{name} is {got!r} afterwards")

    def _leftovers(self, left: list[str], users: "asyncio.Task[None]") -> None:
        others = [each for each in left if users.get_name() not in each]
        if others:
            self.judge.fault(f"tasks outlive the peers: {others[:5]}")


async def _once(value: bytes) -> AsyncIterator[bytes]:
    yield value
