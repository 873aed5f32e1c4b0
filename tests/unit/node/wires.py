"""A wire with endpoints on it, for the tests of sessions and requests: no peer, no store."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from peerd.identity import STAND_IN, Identity
from peerd.ids import NetworkId, PeerId
from peerd.io.environment import Environment
from peerd.kad.contact import Address, Contact
from peerd.node.endpoint import Endpoint
from peerd.node.tasks import Tasks
from peerd.trust.admission import Admission
from peerd.wire.messages import Ping, Pong, Reply, Request
from peerd.wire.session import Session

NETWORK, OTHER_NETWORK = NetworkId(bytes(32)), NetworkId(b"\x01" * 32)
LATENCY_S = 0.001
TARGET = bytes(32)

Pass = Callable[[bytes, Address, Address], float | None]


class LoopClock:
    """Virtual time, as both of a host's clocks."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.monotonic()


def few(*, handshakes_per_s: float = 400, group_handshakes_per_s: float = 20, requests_per_s: float = 256) -> Admission:
    """Return an admission; what is not said is as in the settings."""
    return Admission(
        handshakes_per_s=handshakes_per_s,
        group_handshakes_per_s=group_handshakes_per_s,
        requests_per_s=requests_per_s,
    )


@dataclass
class End:
    """One endpoint, what it heard, and its place on the wire."""

    wire: "Wire"
    identity: Identity
    address: Address
    seed: int
    asked: list[Request] = field(default_factory=list)
    proven: list[tuple[PeerId, Address, bool]] = field(default_factory=list)
    silent: list[PeerId] = field(default_factory=list)
    mute: bool = False
    admission: Admission = field(default_factory=few)
    spare: set[PeerId] = field(default_factory=set)
    known: set[PeerId] = field(default_factory=set)
    answer: Callable[[Request], Reply] = field(default=lambda request: Pong(request.rid, bytes(8)))
    endpoint: Endpoint = field(init=False)

    def start(self) -> None:
        """Begin anew, knowing nothing but the own key."""
        self.seed += 1000
        chance = random.Random(self.seed)
        environment = Environment(
            clock=LoopClock(),
            rng=chance,
            entropy=chance.randbytes,
            suite=STAND_IN,
            transports=cast(Any, None),
            offload=cast(Any, None),
        )
        self.endpoint = Endpoint(
            self.identity,
            environment,
            Tasks(),
            handler=self._handle,
            proven=lambda peer, address, initiated: self.proven.append((peer, address, initiated)),
            heard=lambda peer: None,
            spoke=lambda peer: None,
            unanswered=self.silent.append,
            digest=lambda: bytes(8),
            sessions_max=8,
            admission=self.admission,
            spare=self.spare,
            is_known=lambda peer, address: peer in self.known,
        )
        self.endpoint.attach(self)
        self.wire.ends[self.address] = self

    def _handle(self, peer: PeerId, address: Address, request: Request) -> Reply | None:
        self.asked.append(request)
        return None if self.mute else self.answer(request)

    @property
    def peer(self) -> PeerId:
        return self.identity.peer

    @property
    def contact(self) -> Contact:
        return Contact.of(NETWORK, self.peer, self.address)

    @property
    def addresses(self) -> list[Address]:
        return [self.address]

    def send(self, data: bytes, address: Address) -> None:
        self.wire.carry(data, self.address, address)

    def close(self) -> None:
        pass

    def move(self, address: Address) -> None:
        """Be reachable at another address only; nobody is told."""
        del self.wire.ends[self.address]
        self.address = address
        self.wire.ends[address] = self

    def session_with(self, other: "End") -> Session:
        """The session that it sends in."""
        session = self.endpoint.sessions.of(other.peer)
        assert session is not None
        return session

    def rto_s(self, other: "End") -> float:
        """After how long it counts the other as silent."""
        return self.endpoint.roundtrips.rto_s(other.peer)

    async def ask(self, other: "End", kind: Callable[..., Request] = Ping, *fields: object, **options: Any) -> Reply:
        return await self.endpoint.ask(other.contact, kind, *fields, **options)


class Wire:
    """What lies between: `passes` says how long a datagram takes, None where it is lost."""

    def __init__(self) -> None:
        self.ends: dict[Address, End] = {}
        self.sent: list[tuple[bytes, Address, Address]] = []
        self.passes: Pass = lambda data, source, target: LATENCY_S

    def add(self, number: int, network: NetworkId = NETWORK) -> End:
        identity = Identity(STAND_IN.signing_key(bytes([number])), network, STAND_IN)
        end = End(self, identity, (f"10.0.0.{number}", 7433), number)
        end.start()
        return end

    def carry(self, data: bytes, source: Address, target: Address) -> None:
        self.sent.append((data, source, target))
        delay_s = self.passes(data, source, target)
        if delay_s is not None:
            asyncio.get_running_loop().call_later(delay_s, self._arrive, data, source, target)

    def _arrive(self, data: bytes, source: Address, target: Address) -> None:
        end = self.ends.get(target)
        if end is not None:
            end.endpoint.receive(data, source)

    def lose(self, count: int, *, kind: int, source: End) -> None:
        """Lose the next datagrams of a kind from somebody."""
        left = count

        def passes(data: bytes, sender: Address, target: Address) -> float | None:
            nonlocal left
            if left and sender == source.address and data[2] == kind:
                left -= 1
                return None
            return LATENCY_S

        self.passes = passes

    def count(self, kind: int, source: End) -> int:
        return sum(1 for data, sender, _ in self.sent if sender == source.address and data[2] == kind)


def now() -> float:
    return asyncio.get_running_loop().time()


async def acquainted(*pairs: tuple[End, End]) -> None:
    """Give each of these a session with the other, with a measured round trip."""
    for one, other in pairs:
        for _ in range(3):
            await one.ask(other)
            await other.ask(one)
        one.asked.clear()
        other.asked.clear()
        one.wire.sent.clear()
