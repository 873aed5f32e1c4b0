"""The `kademlia` package as it comes: one `Server` per peer, all on one event loop.

Nothing of it is changed; on uvloop it is what a careful user could have.
"""

import asyncio
import importlib.metadata
import logging
import random
import time
from collections.abc import Iterable

from kademlia.network import Server
from kademlia.utils import digest

from tests.bench.subject import LOOPBACK, Answer, BlackHoles, Publisher, Subject

_JOIN_AT_ONCE = 10
_LOOK_UPS = 4
"""How many places each server looks up before anything is measured, to fill its buckets."""


class StockKademlia(Subject):
    """A network of stock servers; `ksize` is both the bucket size and the number of holders."""

    def __init__(self, ksize: int) -> None:
        # It formats a line for every datagram it sends and receives; nobody would run it so, with nobody listening.
        logging.disable(logging.CRITICAL)
        self._ksize = ksize
        self._servers: list[Server] = []
        self._ports: list[int] = []
        self._dead: set[int] = set()
        self._holes = BlackHoles()

    @property
    def version(self) -> str:
        return importlib.metadata.version("kademlia")

    async def start(self, count: int, publisher: Publisher, seed: int) -> None:
        chance = random.Random(seed)
        first: tuple[str, int] | None = None
        waiting: list[Server] = []
        for _ in range(count):
            server = Server(ksize=self._ksize, node_id=chance.randbytes(20))
            await server.listen(0, LOOPBACK)
            port = server.transport.get_extra_info("sockname")[1]
            public = await publisher.publish(port)
            self._servers.append(server)
            self._ports.append(port)
            if first is None:
                first = (LOOPBACK, public)
            else:
                waiting.append(server)
        # The first peers one by one: where all join at once, nobody knows anybody who could be told of.
        for server in waiting[:_JOIN_AT_ONCE]:
            await server.bootstrap([first])
        for start in range(_JOIN_AT_ONCE, len(waiting), _JOIN_AT_ONCE):
            await asyncio.gather(*(server.bootstrap([first]) for server in waiting[start : start + _JOIN_AT_ONCE]))
        # Who joined early knows few, and its look-ups fail where they begin in an empty bucket.
        for _ in range(_LOOK_UPS):
            await asyncio.gather(*(server.get(chance.randbytes(20).hex()) for server in self._servers))

    async def put(self, peer: int, key: str, value: bytes) -> Answer:
        began = time.perf_counter()
        stored = await self._servers[peer].set(key, value)
        return Answer(value if stored else None, time.perf_counter() - began)

    async def get(self, peer: int, key: str, mode: str) -> Answer:
        began = time.perf_counter()
        value = await self._servers[peer].get(key)
        return Answer(value, time.perf_counter() - began)

    def has(self, peer: int, key: str) -> bool:
        return self._servers[peer].storage.get(digest(key)) is not None

    async def kill(self, peers: Iterable[int]) -> None:
        dead = set(peers)
        self._dead |= dead
        for peer in dead:
            self._servers[peer].stop()
        for peer in dead:
            await self._holes.put_at(self._ports[peer])

    async def stop(self) -> None:
        for peer, server in enumerate(self._servers):
            if peer not in self._dead:
                server.stop()
        self._holes.close()
