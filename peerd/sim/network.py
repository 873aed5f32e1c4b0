"""The simulated network: datagrams between hosts, with each link's latency, loss, duplicates, reordering, and cuts.

Streams are in `streams`; they ask here for delays and cuts. Everything delivered goes into the trace, whose hash is
what two runs of one seed must share.
"""

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import Context
from math import log
from typing import NoReturn

from peerd.errors import UsageError
from peerd.kad.contact import Address
from peerd.sim.chance import Chance
from peerd.sim.faults import Faults
from peerd.sim.loop import VirtualLoop

Receive = Callable[[bytes, Address], None]

_STAMP = struct.Struct(">dII")


class Interface:
    """A host's one way in and out. `boot` counts its starts: what was sent to an earlier life is not delivered."""

    __slots__ = ("address", "boot", "context", "free_at", "index", "island", "place", "receive", "streamed_bytes", "up")

    def __init__(self, index: int, address: Address, place: float) -> None:
        self.index = index
        self.address = address
        self.place = place
        """On a circle of circumference 1: how near two hosts are decides the latency between them."""
        self.island = 0
        self.up = False
        self.boot = 0
        self.receive: Receive | None = None
        self.context: Context | None = None
        self.free_at = 0.0
        self.streamed_bytes = 0

    def start(self) -> None:
        """Switch it on."""
        self.up = True
        self.boot += 1

    def stop(self) -> None:
        """Switch it off: nothing goes out or comes in any more."""
        self.up = False
        self.receive = None


class Network:
    """All hosts' interfaces, and what lies between."""

    def __init__(self, loop: VirtualLoop, chance: Chance, faults: Faults) -> None:
        self.loop = loop
        self.faults = faults
        self.counts: Counter[str] = Counter()
        self.sent_bytes = 0
        self._chance = chance
        self._random = chance.rng("network").random
        self._interfaces: dict[Address, Interface] = {}
        self._cuts: set[tuple[int, int]] = set()
        self._parted = False
        self._trace = hashlib.sha256()

    def attach(self, index: int, address: Address) -> Interface:
        """Return a new interface, still off; raises UsageError where the address is taken."""
        if address in self._interfaces:
            raise UsageError(f"two hosts at {address[0]}:{address[1]}")
        interface = Interface(index, address, self._chance.rng("place", index).random())
        self._interfaces[address] = interface
        return interface

    def at(self, address: Address) -> Interface | None:
        """Return whose address that is."""
        return self._interfaces.get(address)

    @property
    def trace_hash(self) -> str:
        """The hash of everything delivered so far: when, from whom, to whom, which bytes."""
        return self._trace.hexdigest()

    # Cuts.

    def part(self, islands: Iterable[Iterable[Interface]]) -> None:
        """Let only hosts of the same island reach each other; whoever is in none is in the first."""
        for interface in self._interfaces.values():
            interface.island = 0
        for number, island in enumerate(islands):
            for interface in island:
                interface.island = number
        self._parted = True

    def cut(self, source: Interface, target: Interface) -> None:
        """Let nothing through from `source` to `target`; the other way stays as it is."""
        self._cuts.add((source.index, target.index))
        self._parted = True

    def heal(self) -> None:
        """Undo all cuts."""
        self._cuts.clear()
        for interface in self._interfaces.values():
            interface.island = 0
        self._parted = False

    def open(self, source: Interface, target: Interface) -> bool:
        """Return whether what `source` sends now can reach `target`."""
        if not (source.up and target.up):
            return False
        return not self._parted or (source.island == target.island and (source.index, target.index) not in self._cuts)

    @property
    def parted(self) -> bool:
        """Whether anything is cut."""
        return self._parted

    # Datagrams.

    def send(self, source: Interface, data: bytes, address: Address) -> None:
        """Let one datagram go; it arrives once, twice or never."""
        counts, faults, random = self.counts, self.faults, self._random
        counts["sent"] += 1
        self.sent_bytes += len(data)
        target = self._interfaces.get(address)
        if target is None or not self.open(source, target):
            counts["unreachable"] += 1
            return
        if faults.loss and random() < faults.loss:
            counts["lost"] += 1
            return
        self._fly(source, target, data)
        if faults.duplicate and random() < faults.duplicate:
            counts["duplicated"] += 1
            self._fly(source, target, data)

    def _fly(self, source: Interface, target: Interface, data: bytes) -> None:
        faults = self.faults
        when = self.departure(source, len(data)) + self.delay_s(source, target)
        if faults.reorder and self._random() < faults.reorder:
            self.counts["held"] += 1
            when += faults.reorder_ms / 1000
        self.loop.arrive_at(when, self._deliver, source, target, target.boot, data, context=target.context)

    def _deliver(self, source: Interface, target: Interface, boot: int, data: bytes) -> None:
        receive = target.receive
        if receive is None or target.boot != boot or (self._parted and not self._passes(source, target)):
            self.counts["unreachable"] += 1
            return
        self.counts["delivered"] += 1
        self.note(source, target, data)
        receive(data, source.address)

    def _passes(self, source: Interface, target: Interface) -> bool:
        return source.island == target.island and (source.index, target.index) not in self._cuts

    # What streams need too.

    def delay_s(self, source: Interface, target: Interface) -> float:
        """Return how long one message takes from host to host."""
        faults = self.faults
        apart = abs(source.place - target.place)
        nearness = 4 * min(apart, 1 - apart) - 1
        jitter_ms = -log(1.0 - self._random()) * faults.jitter_ms if faults.jitter_ms else 0.0
        return (faults.latency_ms * (1 + faults.spread * nearness) + jitter_ms) / 1000

    def departure(self, source: Interface, size: int) -> float:
        """Return when `size` bytes have left a host, behind what left it before."""
        now = self.loop.time()
        if self.faults.bandwidth_mbit is None:
            return now
        begun = max(now, source.free_at)
        source.free_at = begun + size * 8 / (self.faults.bandwidth_mbit * 1e6)
        return source.free_at

    def is_lost(self) -> bool:
        """Draw whether one message is lost."""
        return self.faults.loss > 0 and self._random() < self.faults.loss

    def note(self, source: Interface, target: Interface, data: bytes) -> None:
        """Take a delivered message into the trace."""
        self._trace.update(_STAMP.pack(self.loop.time(), source.index, target.index))
        self._trace.update(data)


class DatagramSocket:
    """A host's datagram socket; satisfies `Datagrams`."""

    def __init__(self, network: Network, interface: Interface, receive: Receive) -> None:
        if interface.receive is not None:
            _taken(interface)
        self._network = network
        self._interface = interface
        self._closed = False
        interface.receive = receive

    @property
    def addresses(self) -> list[Address]:
        """Return what the host listens on."""
        return [self._interface.address]

    def send(self, data: bytes, address: Address) -> None:
        """Send; what a host that is off sends goes nowhere."""
        if not self._closed:
            self._network.send(self._interface, data, address)

    def close(self) -> None:
        """Stop; nothing is received after this returns."""
        if not self._closed:
            self._closed = True
            self._interface.receive = None


def _taken(interface: Interface) -> NoReturn:
    raise UsageError(f"the address {interface.address[0]}:{interface.address[1]} is taken")
