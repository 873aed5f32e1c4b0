"""A simulated overlay to search in: who knows whom, who is dead, who lies, and how long an answer takes."""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from peerd.ids import NetworkId, NodeId, PeerId, distance
from peerd.kad.contact import Contact
from peerd.kad.disjoint import DisjointLookup
from peerd.kad.lookup import Finished, Lookup, Waiting

NETWORK = NetworkId(b"n" * 32)
HEDGE_S = 0.03
RTO_S = 0.2


def contact(number: int, *, port: int = 7433) -> Contact:
    """Contact number so-and-so, always the same; its place is as random as a hash."""
    peer = PeerId(number.to_bytes(32, "big"))
    return Contact.of(NETWORK, peer, (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", port))


def at(place: int) -> Contact:
    """A contact at a chosen place (the tests' privilege)."""
    raw = place.to_bytes(32, "big")
    return Contact(PeerId(sha256(raw).digest()), NodeId(raw), ("10.0.0.1", 7433))


def nearest(contacts: Sequence[Contact], target: bytes, count: int) -> list[Contact]:
    """The oracle: sort everything."""
    return sorted(contacts, key=lambda c: distance(c.place, target))[:count]


@dataclass
class Overlay:
    """Peers who each know their neighbours and a few of every bucket, as full routing tables would."""

    size: int
    seed: int
    per_bucket: int = 8
    neighbours: int = 16
    contacts: list[Contact] = field(default_factory=list)
    known: dict[PeerId, list[Contact]] = field(default_factory=dict)
    dead: set[PeerId] = field(default_factory=set)
    liars: dict[PeerId, Callable[[bytes], list[Contact]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        self.contacts = [contact(number) for number in range(1, self.size + 1)]
        places = {c.peer: int.from_bytes(c.place, "big") for c in self.contacts}
        for me in self.contacts:
            own = places[me.peer]
            buckets: dict[int, list[tuple[int, Contact]]] = {}
            for other in self.contacts:
                if other.peer != me.peer:
                    apart = own ^ places[other.peer]
                    buckets.setdefault(apart.bit_length(), []).append((apart, other))
            known: list[Contact] = []
            for depth in sorted(buckets):
                members = buckets[depth]
                if len(known) < self.neighbours or len(members) <= self.per_bucket:
                    known += [c for _, c in members]
                else:
                    known += [c for _, c in rng.sample(members, self.per_bucket)]
            self.known[me.peer] = known

    def living(self) -> list[Contact]:
        return [c for c in self.contacts if c.peer not in self.dead]

    def answer(self, peer: PeerId, target: bytes, count: int = 20) -> list[Contact]:
        if peer in self.liars:
            return self.liars[peer](target)
        return nearest(self.known[peer], target, count)


@dataclass
class Run:
    """What a search did."""

    asked: list[Contact] = field(default_factory=list)
    in_flight_max: int = 0
    ended_at: float = 0.0


def drive(
    search: Lookup | DisjointLookup, overlay: Overlay, *, seed: int = 1, rtt_s: tuple[float, float] = (0.001, 0.02)
) -> Run:
    """Run a search to its end on virtual time; requests over HEDGE_S are slow, over RTO_S failed."""
    rng = random.Random(seed)
    run = Run()
    now = 0.0
    events: list[tuple[float, int, str, Contact]] = []
    in_flight: set[PeerId] = set()
    count = 0
    real = {c.peer: c.address for c in overlay.contacts}

    def schedule(delay_s: float, kind: str, whom: Contact) -> None:
        nonlocal count
        count += 1
        heapq.heappush(events, (now + delay_s, count, kind, whom))

    while True:
        while isinstance(step := search.next(now), Contact):
            run.asked.append(step)
            in_flight.add(step.peer)
            run.in_flight_max = max(run.in_flight_max, len(in_flight))
            if real.get(step.peer) == step.address and step.peer not in overlay.dead:
                schedule(rng.uniform(*rtt_s), "answer", step)
            else:
                schedule(HEDGE_S, "slow", step)
                schedule(RTO_S, "fail", step)
        if isinstance(step, Finished):
            run.ended_at = now
            return run
        assert isinstance(step, Waiting)
        assert events, "waits for nothing"
        now, _, kind, whom = heapq.heappop(events)
        in_flight.discard(whom.peer)
        if kind == "answer":
            search.on_success(whom.peer, overlay.answer(whom.peer, search.target), now)
        elif kind == "slow":
            search.on_slow(whom.peer)
        else:
            search.on_failure(whom.peer, now)
