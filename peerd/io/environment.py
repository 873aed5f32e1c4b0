"""What a node is given of the world: time, chance, a datagram socket, byte streams, threads for blocking work.

`peerd.io` gives the real ones, `peerd.sim` simulated ones; the node cannot tell which it has.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from peerd.clock import Clock, Entropy, Rng
from peerd.identity import Suite
from peerd.ids import PeerId
from peerd.kad.contact import Address

P = ParamSpec("P")
R = TypeVar("R")


class Datagrams(Protocol):
    """An open datagram socket (or one per address family)."""

    @property
    def addresses(self) -> list[Address]:
        """Return what we listen on."""

    def send(self, data: bytes, address: Address) -> None:
        """Send, or drop where the network says no; never raises, never waits."""

    def close(self) -> None:
        """Stop; nothing is received after this returns."""


class Stream(Protocol):
    """A byte stream both ways to one peer, encrypted where the network is real."""

    @property
    def remote(self) -> Address:
        """Return the address of the other end."""

    @property
    def server_key(self) -> PeerId:
        """Return the key that the accepting end has proven (ours, where we accepted)."""

    async def read_exactly(self, count: int) -> bytes:
        """Return `count` bytes; raises UnreachableError where the stream ends before."""

    async def read_long(self, count: int, arrived: Callable[[], None]) -> bytes:
        """As `read_exactly`, for what may take long; calls `arrived` at each 256 KiB of it, and at the end."""

    async def write(self, data: bytes) -> None:
        """Write all, waiting while the other end is slow; raises UnreachableError where it is gone."""

    def close(self) -> None:
        """Cut it; never waits."""


class StreamListener(Protocol):
    """An open listening socket."""

    async def close(self) -> None:
        """Stop listening; open streams go on."""


class Transports(Protocol):
    """The ways out of a host."""

    async def open_datagrams(self, receive: Callable[[bytes, Address], None]) -> Datagrams:
        """Bind the overlay address; raises UsageError where it is taken."""

    async def listen_streams(self, accepted: Callable[[Stream], Awaitable[None]]) -> StreamListener:
        """Listen on the TCP port of the same number."""

    async def connect_stream(self, peer: PeerId, address: Address) -> Stream:
        """Connect, and check that the other end proves to be `peer`; raises UnreachableError or WireError."""


class Offload(Protocol):
    """Runs blocking or long work off the event loop (in the simulator: at once)."""

    def __call__(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Return what `work` returns."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The world as one node has it."""

    clock: Clock
    rng: Rng
    entropy: Entropy
    suite: Suite
    transports: Transports
    offload: Callable[..., Awaitable[Any]]
