"""What the workload asks of an implementation: a network of peers in this process, and put, get and kill on it.

The adapters take the time themselves, so that one whose answers come on a thread of its own is not charged for the way
back to the event loop. Only the standard library is imported here: a rival may run under an interpreter of its own.
"""

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

LOOPBACK = "127.0.0.1"
_BIND_TRIES = 50
_BIND_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class Answer:
    """One operation: what came of it (None where it failed) and how long it took."""

    value: bytes | None
    seconds: float


class Publisher(Protocol):
    """Gives a peer's port another one by which the others reach it (the delaying relay), or the same (no relay)."""

    async def publish(self, port: int) -> int:
        """Return the port by which others reach the peer bound to `port`."""


class Direct:
    """No relay: peers reach each other as they are."""

    async def publish(self, port: int) -> int:
        """Return `port`."""
        return port


class Subject(ABC):
    """A network of one implementation, all its peers in this process on loopback."""

    modes: ClassVar[tuple[str, ...]] = ("",)
    """The kinds of get it has, by the names users give them; most have one."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The version of the implementation."""

    @abstractmethod
    async def start(self, count: int, publisher: Publisher, seed: int) -> None:
        """Start `count` peers and return when they know each other as well as they will; `seed` for what is chance."""

    @abstractmethod
    async def put(self, peer: int, key: str, value: bytes) -> Answer:
        """Store through `peer`; the answer's value is `value`, or None where it was not stored."""

    @abstractmethod
    async def get(self, peer: int, key: str, mode: str) -> Answer:
        """Ask `peer` for a key."""

    @abstractmethod
    def has(self, peer: int, key: str) -> bool:
        """Whether `peer` would answer without asking anybody; such a get is left out of the measurement."""

    @abstractmethod
    async def kill(self, peers: Iterable[int]) -> None:
        """Silence these peers at once, without a goodbye; what is sent to them vanishes."""

    @abstractmethod
    async def stop(self) -> None:
        """End all peers."""

    async def settle(self) -> None:
        """Called once after the puts, before the gets: bring up to date whatever `has` needs."""
        await asyncio.sleep(0.2)


class BlackHoles:
    """Bound sockets that nobody reads, in the place of killed peers.

    A closed port on loopback answers with ICMP, which a host that lost its power does not do; some implementations
    notice and would be measured on a death that is not silent.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    async def put_at(self, port: int) -> None:
        """Take over a port that is about to be free."""
        for _ in range(_BIND_TRIES):
            hole = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                hole.bind((LOOPBACK, port))
            except OSError:
                hole.close()
                await asyncio.sleep(_BIND_PAUSE_S)
                continue
            self._sockets.append(hole)
            return
        raise OSError(f"the port of a killed peer stays taken: {port}")

    def close(self) -> None:
        """Give the ports back."""
        for hole in self._sockets:
            hole.close()
        self._sockets.clear()


@contextlib.asynccontextmanager
async def running(subject: Subject, count: int, publisher: Publisher, seed: int) -> AsyncIterator[Subject]:
    """Start a network and end it in every case."""
    try:
        await subject.start(count, publisher, seed)
        yield subject
    finally:
        await subject.stop()
