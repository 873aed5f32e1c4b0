"""Simulated byte streams: in order, with delay, bandwidth and backpressure; broken by crashes, stalled by cuts.

As TCP under TLS does it: a lost piece comes later, a cut stalls until it heals or the sender gives up, a host that
lost power answers nothing until it is back, and then with a reset. Not here: proofs of identity beyond the accepting
end's, which the simulated TLS takes from the host itself.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from peerd.errors import UnreachableError
from peerd.ids import PeerId
from peerd.kad.contact import Address
from peerd.sim.network import Interface, Network

PIECE_BYTES = 64 * 1024
# What may be under way or unread in one direction before the sender waits.
WINDOW_BYTES = 256 * 1024
# A long read tells of each so many bytes.
TOLD_BYTES = 256 * 1024
RETRANSMISSION_S = 0.2
RETRANSMISSION_MAX_S = 3.0
# For how long a sender tries before it counts the connection as broken.
STALL_MAX_S = 20.0

# Round trips until a stream stands: TCP, then TLS 1.3.
OPENING_TRIPS = 4

Accepted = Callable[["SimulatedStream"], Awaitable[None]]


class SimulatedStream:
    """One end of a connection; satisfies `Stream`."""

    def __init__(self, network: Network, own: Interface, other: Interface, remote: Address, server_key: PeerId) -> None:
        self._network = network
        self._loop = network.loop
        self._own = own
        self._other = other
        self._own_boot = own.boot
        self._other_boot = other.boot
        self._remote = remote
        self._server_key = server_key
        self._peer: SimulatedStream | None = None
        self._unread = bytearray()
        self._wanted = 0
        self._reader: asyncio.Future[None] | None = None
        self._arrived: Callable[[], None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._flying: deque[tuple[float, bytes | None]] = deque()
        self._flying_bytes = 0
        self._failures = 0
        self._stalled_at = 0.0
        self._closed = False
        self._ended = False

    @property
    def remote(self) -> Address:
        """Return the address of the other end."""
        return self._remote

    @property
    def server_key(self) -> PeerId:
        """Return the key of the end that accepted."""
        return self._server_key

    def join(self, other: "SimulatedStream") -> None:
        """Make two ends of one connection."""
        self._peer, other._peer = other, self

    async def read_exactly(self, count: int) -> bytes:
        """Return `count` bytes; raises UnreachableError where the stream ends before."""
        self._wanted = count
        try:
            while len(self._unread) < count:
                if self._closed or self._ended:
                    raise UnreachableError("the connection ended")
                self._other_end.room()
                self._reader = self._loop.create_future()
                await self._reader
        finally:
            self._reader = None
            self._wanted = 0
        data = bytes(self._unread[:count])
        del self._unread[:count]
        self._other_end.room()
        return data

    async def read_long(self, count: int, arrived: Callable[[], None]) -> bytes:
        """As `read_exactly`; calls `arrived` for each TOLD_BYTES that have come, and at the end."""
        self._arrived = arrived
        try:
            data = await self.read_exactly(count)
        finally:
            self._arrived = None
        arrived()
        return data

    async def write(self, data: bytes) -> None:
        """Write all, waiting while the other end is slow; raises UnreachableError where it is gone."""
        view = memoryview(data)
        for at in range(0, len(view), PIECE_BYTES):
            piece = bytes(view[at : at + PIECE_BYTES])
            while not self._broken and self._flying_bytes + self._other_end.backlog_bytes >= WINDOW_BYTES:
                self._writer = self._loop.create_future()
                try:
                    await self._writer
                finally:
                    self._writer = None
            if self._broken:
                raise UnreachableError("the connection ended")
            self._send(piece)

    def close(self) -> None:
        """Cut it; what is under way still arrives, then the end."""
        if self._closed:
            return
        if not self._ended and self._own.up and self._own.boot == self._own_boot:
            self._send(None)
        self._closed = True
        self._wake()

    @property
    def backlog_bytes(self) -> int:
        """What has arrived here and is neither read nor waited for."""
        return max(0, len(self._unread) - self._wanted)

    def room(self) -> None:
        """Let a writer see that the other end reads."""
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def end(self) -> None:
        """The connection is over, as this end sees it."""
        self._ended = True
        self._flying.clear()
        self._flying_bytes = 0
        self._wake()

    @property
    def _broken(self) -> bool:
        return self._closed or self._ended

    @property
    def _other_end(self) -> "SimulatedStream":
        assert self._peer is not None, "a stream has two ends"
        return self._peer

    def _wake(self) -> None:
        for waiter in (self._reader, self._writer):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    # Pieces under way, the first of them with an arrival in the loop.

    def _send(self, piece: bytes | None) -> None:
        size = len(piece) if piece is not None else 0
        when = self._network.departure(self._own, size) + self._network.delay_s(self._own, self._other)
        while self._network.is_lost():
            when += RETRANSMISSION_S
        self._flying.append((when, piece))
        self._flying_bytes += size
        self._own.streamed_bytes += size
        if len(self._flying) == 1:
            self._arrive_at(when)

    def _arrive_at(self, when: float) -> None:
        self._loop.arrive_at(max(when, self._loop.time()), self._arrive, context=self._other.context)

    def _arrive(self) -> None:
        if not self._flying or not self._way_open():
            return
        self._failures = 0
        _, piece = self._flying.popleft()
        if piece is None:
            self._other_end.end()
        else:
            self._flying_bytes -= len(piece)
            self._network.counts["delivered_pieces"] += 1
            self._network.note(self._own, self._other, piece)
            self._other_end.take(piece)
        if self._flying:
            self._arrive_at(self._flying[0][0])

    def _way_open(self) -> bool:
        """Return whether the first piece may arrive; else try it again later, or give up."""
        if self._own.boot != self._own_boot or not self._own.up:
            return False  # who was to send it again has lost power
        if self._other.up and self._other.boot != self._other_boot:
            self.end()  # the host is back and knows nothing of us: a reset
            return False
        network = self._network
        if network.open(self._own, self._other) and network.open(self._other, self._own):
            return True
        now = self._loop.time()
        if not self._failures:
            self._stalled_at = now
        if now - self._stalled_at >= STALL_MAX_S:
            self.end()
            return False
        self._failures += 1
        self._arrive_at(now + min(RETRANSMISSION_S * 2 ** (self._failures - 1), RETRANSMISSION_MAX_S))
        return False

    def take(self, piece: bytes) -> None:
        """A piece has arrived here."""
        if self._closed:
            return
        told = len(self._unread) // TOLD_BYTES
        self._unread += piece
        if self._arrived is not None and len(self._unread) // TOLD_BYTES > told:
            self._arrived()
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Listener:
    """A host's open port for streams; satisfies `StreamListener`."""

    def __init__(self, ports: "Ports", address: Address, key: PeerId, accepted: Accepted) -> None:
        self.key = key
        self.accepted = accepted
        self._ports = ports
        self._address = address

    async def close(self) -> None:
        """Stop listening; open streams go on."""
        if self._ports.open.get(self._address) is self:
            del self._ports.open[self._address]


class Ports:
    """Who listens where; how a connection is made."""

    def __init__(self, network: Network) -> None:
        self.open: dict[Address, Listener] = {}
        self._network = network
        self._next_port = 32768

    def listen(self, address: Address, key: PeerId, accepted: Accepted) -> Listener:
        """Open a port."""
        listener = self.open[address] = Listener(self, address, key, accepted)
        return listener

    async def connect(self, own: Interface, address: Address) -> tuple[SimulatedStream, SimulatedStream, Listener]:
        """Return both ends of a new connection and who accepts it.

        Raises UnreachableError where nobody listens or nothing comes through.
        """
        network = self._network
        other = network.at(address)
        if other is None:
            await asyncio.sleep(STALL_MAX_S)
            raise UnreachableError("no such host")
        deadline = network.loop.time() + STALL_MAX_S
        wait_s = 1.0
        while not (network.open(own, other) and network.open(other, own)) or network.is_lost():
            if network.loop.time() >= deadline:
                raise UnreachableError("no connection in time")
            await asyncio.sleep(wait_s)
            wait_s *= 2
        await asyncio.sleep(sum(network.delay_s(own, other) for _ in range(OPENING_TRIPS)))
        listener = self.open.get(address)
        if listener is None:
            raise UnreachableError("no connection: refused")
        self._next_port = self._next_port % 65535 + 1
        near = SimulatedStream(network, own, other, address, listener.key)
        far = SimulatedStream(network, other, own, (own.address[0], self._next_port), listener.key)
        near.join(far)
        network.counts["streams"] += 1
        return near, far, listener
