"""The bulk connections of this peer: one for each other peer, made when needed, closed when idle, bounded.

Not here: what goes over one (bulk), and who calls (callers).
"""

import asyncio
from collections.abc import Callable

from loguru import logger

from peerd.config import HostPort, Settings
from peerd.errors import UnreachableError, WireError
from peerd.identity import Identity
from peerd.ids import PeerId
from peerd.io.environment import Environment, Stream, StreamListener
from peerd.kad.contact import Contact
from peerd.node.bulk import IDLE_CLOSE_S, BulkConnection
from peerd.node.bulk_handler import BulkHandler
from peerd.node.callers import OPENING_TIMEOUT_S, TAG_PROOF, Callers, expect
from peerd.node.inflow import Inflow
from peerd.node.tasks import Tasks
from peerd.wire import frames

# Connections that one peer may have open: crossing ones, and one whose end was not noticed. A further one of it takes
# the place of the one that was used least.
ACCEPTED_PER_PEER_MAX = 3


class BulkPool:
    """The connections of this peer, one for each other peer, made when needed and closed when idle."""

    def __init__(
        self, identity: Identity, environment: Environment, settings: Settings, tasks: Tasks, handler: BulkHandler
    ) -> None:
        self._identity = identity
        self._environment = environment
        self._tasks = tasks
        self._handler = handler
        self._stall_s = settings.transfer_timeout_s
        self._connections_max = settings.connections_max
        self._connections: dict[PeerId, BulkConnection] = {}
        self._opening: dict[PeerId, asyncio.Future[BulkConnection]] = {}
        self._open_ones: dict[BulkConnection, None] = {}
        self._callers = Callers(identity, environment.entropy)
        self._inflow = Inflow()
        self._listener: StreamListener | None = None
        self.cut: Callable[[PeerId], bool] = lambda peer: False
        """Says with whom this peer is cut off, by the harness."""

    async def listen(self) -> None:
        """Begin to accept."""
        self._listener = await self._environment.transports.listen_streams(self._accept)
        self._tasks.spawn(self._close_idle(), "close idle connections")

    async def close(self) -> None:
        """Stop accepting and cut all."""
        if self._listener is not None:
            await self._listener.close()
        for opening in list(self._opening.values()):
            opening.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for connection in list(self._open_ones):
            connection.close()

    def drop(self, peer: PeerId) -> None:
        """Cut all connections with a peer."""
        self._connections.pop(peer, None)
        for connection in [each for each in self._open_ones if each.peer == peer]:
            connection.close()

    def renew(self, peer: PeerId) -> None:
        """Open another connection when the next is needed: this peer, or we, may have another address by now."""
        self._connections.pop(peer, None)

    async def get(self, contact: Contact) -> BulkConnection:
        """Return an open connection with a peer, an existing one where there is one.

        Raises UnreachableError, WireError (the other end is not that peer).
        """
        if self.cut(contact.peer):
            raise UnreachableError("cut off")
        connection = self._connections.get(contact.peer)
        if connection is not None and not connection.closed:
            connection.used_at = asyncio.get_running_loop().time()
            return connection
        opening = self._opening.get(contact.peer)
        if opening is None:
            opening = asyncio.ensure_future(self._open(contact))
            self._opening[contact.peer] = opening
            opening.add_done_callback(lambda done: self._opened(contact.peer, done))
        return await asyncio.shield(opening)

    def _opened(self, peer: PeerId, done: asyncio.Future[BulkConnection]) -> None:
        self._opening.pop(peer, None)
        if not done.cancelled():
            done.exception()

    async def _open(self, contact: Contact) -> BulkConnection:
        try:
            async with asyncio.timeout(OPENING_TIMEOUT_S):
                stream = await self._environment.transports.connect_stream(contact.peer, contact.address)
                try:
                    await self._prove(stream)
                except BaseException:
                    stream.close()
                    raise
        except TimeoutError as error:
            raise UnreachableError("no connection in time") from error
        try:
            self._make_room()
        except UnreachableError:
            stream.close()
            raise
        return self._started(stream, contact.peer)

    async def _prove(self, stream: Stream) -> None:
        nonce = await expect(stream, frames.NONCE)
        proof = self._identity.sign(TAG_PROOF, stream.server_key + nonce)
        await stream.write(frames.pack(frames.PROOF, 0, self._identity.peer + proof))
        await expect(stream, frames.READY)

    async def _accept(self, stream: Stream) -> None:
        try:
            peer = await self._callers.check(stream)
            if self.cut(peer):
                raise WireError("cut_off")
            self._make_way(peer)
            self._make_room()
            connection = self._started(stream, peer, run=False)
            await connection.run()
        except (UnreachableError, WireError) as error:
            logger.debug("a bulk connection was refused", address=HostPort(*stream.remote).text, reason=str(error))
        finally:
            stream.close()

    def _make_way(self, peer: PeerId) -> None:
        """Close what a peer has open beyond the bound: it has proven its key anew, and may have lost the old ones."""
        own = [each for each in self._open_ones if each.peer == peer and not each.closed]
        current = self._connections.get(peer)
        own.sort(key=lambda each: (each.busy, each is current, each.used_at))
        for connection in own[: max(0, len(own) + 1 - ACCEPTED_PER_PEER_MAX)]:
            connection.close()

    def _make_room(self) -> None:
        """Close the idle connection that was used least where there are as many as may be; raise where none is idle."""
        open_ones = [each for each in self._open_ones if not each.closed]
        if len(open_ones) < self._connections_max:
            return
        idle = [each for each in open_ones if not each.busy]
        if not idle:
            raise UnreachableError("too many connections")
        min(idle, key=lambda each: each.used_at).close()

    def _started(self, stream: Stream, peer: PeerId, *, run: bool = True) -> BulkConnection:
        connection = BulkConnection(stream, peer, self._handler, self._tasks, self._inflow, stall_s=self._stall_s)
        self._open_ones = {each: None for each in self._open_ones if not each.closed}
        self._open_ones[connection] = None
        known = self._connections.get(peer)
        if known is None or known.closed or not known.busy:
            # The other one is not closed: somebody may just have been given it to ask over. It goes when it is idle.
            self._connections[peer] = connection
        if run and not self._tasks.spawn(connection.run(), "bulk connection"):
            connection.close()
        return connection

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_CLOSE_S / 4)
            limit = asyncio.get_running_loop().time() - IDLE_CLOSE_S
            for connection in list(self._open_ones):
                if connection.closed or (not connection.busy and connection.used_at < limit):
                    connection.close()
                    self._open_ones.pop(connection, None)
                    if self._connections.get(connection.peer) is connection:
                        del self._connections[connection.peer]
