"""One simulated host: its clock, chance, store and interface; a peer runs on it, crashes, is started again.

What is durable on a real host stays here across the peers that run on it: the identity, the store, the clock.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from peerd.config import Settings
from peerd.errors import PeerdError, WireError
from peerd.identity import Identity, Suite
from peerd.ids import NetworkId, PeerId, peer_id_text
from peerd.io.environment import Environment
from peerd.io.store.memory import MemoryStore
from peerd.kad.contact import Address
from peerd.node.peer import Peer
from peerd.sim.chance import Chance
from peerd.sim.disk import Disk
from peerd.sim.faults import Faults
from peerd.sim.loop import on_tick, running_on
from peerd.sim.network import DatagramSocket, Network, Receive
from peerd.sim.streams import Accepted, Listener, Ports, SimulatedStream

P = ParamSpec("P")
R = TypeVar("R")

WALL_EPOCH_S = 1_750_000_000.0
# A monotonic clock counts from the host's start, so no two hosts share one.
UPTIME_MAX_S = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Rollback:
    """A store was put back to a copy of `copied_at` at `restored_at`: what came between is lost here."""

    copied_at: float
    restored_at: float


class HostClock:
    """Time as one host has it; satisfies `Clock`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, uptime_s: float, skew_s: float) -> None:
        self._time = loop.time
        self._uptime_s = uptime_s
        self._boots = 0
        self.skew_s = skew_s
        self._drift = 0.0
        self._drifts_from = 0.0

    def drift(self, share: float) -> None:
        """Let the monotonic clock run faster by that share from now on; below zero slower."""
        now = self._time()
        self._uptime_s = self.monotonic() - now
        self._drift, self._drifts_from = share, now

    def monotonic(self) -> float:
        """Seconds since the host was started, as its quartz counts them."""
        now = self._time()
        if not self._drift:
            return now + self._uptime_s
        return now + self._uptime_s + on_tick((now - self._drifts_from) * self._drift)

    def boot(self) -> tuple[str, float]:
        """Which start of the host this is, and the seconds since it (as by `monotonic`, which goes on counting)."""
        return str(self._boots), self.monotonic()

    def rebooted(self) -> None:
        """The host was started anew."""
        self._boots += 1

    def wall(self) -> float:
        """Unix seconds, as wrong as this host's clock is."""
        return WALL_EPOCH_S + self._time() + self.skew_s


class Host:
    """A machine that runs at most one peer at a time."""

    def __init__(
        self,
        index: int,
        address: Address,
        *,
        network: Network,
        ports: Ports,
        chance: Chance,
        faults: Faults,
        suite: Suite,
        overlay: NetworkId,
        settings: Settings,
        seed: bytes | None = None,
        outfit: Callable[[Peer], None] | None = None,
    ) -> None:
        self.index = index
        self.name = f"peer {index}"
        self.address = address
        self.settings = settings
        self.interface = network.attach(index, address)
        self.tasks: dict[asyncio.Task[Any], None] = {}
        """What runs here beside the peer's own: accepted connections, requests of its users. In order of starting."""
        self.peer: Peer | None = None
        self.outfit = outfit
        """What makes a liar of each peer that is started here; None where they are honest."""
        self._network = network
        self._ports = ports
        self._chance = chance
        rng = chance.rng("host", index)
        loop = network.loop
        self.clock = HostClock(
            loop,
            uptime_s=on_tick(rng.uniform(0, UPTIME_MAX_S)),
            skew_s=rng.uniform(-faults.clock_skew_s, faults.clock_skew_s),
        )
        self._entropy = chance.entropy("host", index)
        seed = seed or chance.rng("identity", index).randbytes(32)
        self.identity = Identity(suite.signing_key(seed), overlay, suite)
        self.id_text = peer_id_text(self.identity.peer)
        quota_bytes = settings.quota_bytes
        assert quota_bytes is not None, "a simulated host has no file system to take a part of"
        self.store = MemoryStore(quota_bytes, self._entropy, self.clock)
        self.disk = Disk(chance.rng("disk", index), faults)
        self.disk.attach(self.store)
        self.stands_still = False
        self.sent_kinds: Counter[str] = Counter()
        """Bytes that the peers sent which ended here, by kind of message."""
        self.sent_messages: Counter[str] = Counter()
        """The same, in messages."""
        self.lived_s = 0.0
        self.rollbacks: list[Rollback] = []
        self.started_at = 0.0
        """When the present peer began, or the last one."""
        self._copy: tuple[float, dict[str, Any]] | None = None
        self.interface.context = copy_context()
        self.interface.context.run(running_on.set, self.name)

    @property
    def lives(self) -> bool:
        """Whether a peer runs here."""
        return self.peer is not None

    @property
    def answers(self) -> bool:
        """Whether a peer runs here and does not stand still."""
        return self.peer is not None and not self.stands_still

    def run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something here that nobody waits for; what it raises is a fault of the loop's."""
        self.do(work, name).add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            fault = {"message": f"{task.get_name()} failed", "exception": error}
            self._network.loop.call_exception_handler(fault)

    def do(self, work: Coroutine[Any, Any, R], name: str) -> asyncio.Task[R]:
        """Run something on this host; it is cancelled when the host crashes."""
        loop = self._network.loop
        task = loop.create_task(work, name=f"{self.name} {name}", context=self.interface.context)
        self.tasks[task] = None
        task.add_done_callback(lambda done: self.tasks.pop(done, None))
        return task

    async def start(self) -> None:
        """Start a peer, with what the last one left durable; raises what the peer does where it cannot start."""
        assert self.peer is None, "a host runs one peer"
        self.interface.start()
        self.store.reopen()
        self.started_at = self._network.loop.time()
        peer = Peer(self.settings, self.identity, self._environment(), self.store)
        try:
            await self.do(self._begin(peer), "start")
        except PeerdError:
            await peer.crash()
            self._ports.open.pop(self.address, None)
            await self._ended()
            raise
        self.peer = peer

    async def _begin(self, peer: Peer) -> None:
        await peer.start()
        if self.outfit is not None:
            self.outfit(peer)

    async def stop(self) -> None:
        """Stop the peer as `peerd` does on SIGTERM."""
        peer, self.peer = self.peer, None
        assert peer is not None, "only what runs is stopped"
        self.go_on()
        await self.do(peer.stop(), "stop")
        self._count(peer)
        await self._ended()

    async def crash(self, *, power: bool) -> None:
        """End the peer at once, in the middle of whatever it does; what was not synced is lost.

        Without `power` the machine is dark: its connections hear nothing. With it only the process is gone, and the
        kernel resets them.
        """
        peer, self.peer = self.peer, None
        assert peer is not None, "only what runs can crash"
        self.go_on()
        if not power:
            self.interface.stop()
        self._ports.open.pop(self.address, None)
        self.store.crash(process_only=power)
        await self.store.close()
        if not power:
            self.clock.rebooted()
        await peer.crash()
        self._count(peer)
        await self._ended()

    def _count(self, peer: Peer) -> None:
        self.sent_kinds.update(peer.sent_kinds)
        self.sent_messages.update(peer.sent_messages)
        self.lived_s += self._network.loop.time() - self.started_at

    def stand_still(self) -> None:
        """Let nothing run here until `go_on`, as SIGSTOP does."""
        if self.lives and not self.stands_still:
            self.stands_still = True
            self._network.loop.pause(self.name)

    def go_on(self) -> None:
        """End what `stand_still` began."""
        if self.stands_still:
            self.stands_still = False
            self._network.loop.resume(self.name)

    def copy_store(self) -> None:
        """Make a copy of the store, for `put_back`; it takes the place of the last one."""
        self._copy = (self._network.loop.time(), self.store.backup())

    @property
    def has_copy(self) -> bool:
        """Whether there is a copy to put back."""
        return self._copy is not None

    def put_back(self) -> None:
        """Put the last copy in the place of the store; no peer may run here."""
        assert self._copy is not None, "only what was copied is put back"
        assert self.peer is None, "a store is put back where no peer runs"
        copied_at, kept = self._copy
        self.store.restore(kept)
        self.rollbacks.append(Rollback(copied_at, self._network.loop.time()))

    def has_lost(self, instant: float) -> bool:
        """Return whether what was written here at `instant` went when a copy was put back."""
        return any(each.copied_at <= instant <= each.restored_at for each in self.rollbacks)

    async def _ended(self) -> None:
        await self.store.close()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _environment(self) -> Environment:
        return Environment(
            clock=self.clock,
            rng=self._chance.rng("peer", self.index, self.interface.boot),
            entropy=self._entropy,
            suite=self.identity.suite,
            transports=HostTransports(self, self._network, self._ports),
            offload=_at_once,
        )


class HostTransports:
    """The ways out of one host; satisfies `Transports`."""

    def __init__(self, host: Host, network: Network, ports: Ports) -> None:
        self._host = host
        self._network = network
        self._ports = ports

    async def open_datagrams(self, receive: Receive) -> DatagramSocket:
        """Bind the overlay address."""
        return DatagramSocket(self._network, self._host.interface, receive)

    async def listen_streams(self, accepted: Accepted) -> Listener:
        """Listen for streams on the same address."""

        async def accept(stream: SimulatedStream) -> None:
            self._host.run(_hand_over(accepted, stream), "accepted stream")

        return self._ports.listen(self._host.address, self._host.identity.peer, accept)

    async def connect_stream(self, peer: PeerId, address: Address) -> SimulatedStream:
        """Connect; raises UnreachableError, or WireError where somebody else accepts."""
        near, far, listener = await self._ports.connect(self._host.interface, address)
        await listener.accepted(far)
        if listener.key != peer:
            near.close()
            raise WireError("other_peer")
        return near


async def _hand_over(accepted: Accepted, stream: SimulatedStream) -> None:
    await accepted(stream)


async def _at_once(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do what a real host would do in a thread; virtual time does not pass."""
    return work(*args, **kwargs)
