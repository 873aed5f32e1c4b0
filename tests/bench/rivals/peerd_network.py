"""peerd itself: whole peers through the embedding call, as an application would have them, all on one event loop.

With `memory` the store is in memory; without it each peer has its own data directory and syncs before it signs a
receipt.
"""

import asyncio
import contextlib
import importlib.metadata
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Literal, cast

from peerd.config import HostPort, Settings, parse_host_port
from peerd.daemon import open_peer
from peerd.errors import PeerdError
from peerd.io.store.interface import MISS
from peerd.node.peer import Peer
from peerd.node.results import GetOptions, PutOptions
from tests.bench.subject import LOOPBACK, Answer, BlackHoles, Publisher, Subject

_KNOW_ALL_LIMIT_S = 60.0
_KNOW_ALL_PAUSE_S = 0.1


class PeerdNetwork(Subject):
    """A network of embedded peers with small values inside their records."""

    modes = ("one", "quorum")

    def __init__(self, *, memory: bool) -> None:
        self._memory = memory
        self._stack = contextlib.AsyncExitStack()
        self._peers: list[Peer] = []
        self._ports: list[int] = []
        self._dead: set[int] = set()
        self._holes = BlackHoles()

    @property
    def version(self) -> str:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version("peerd")
        return "checkout"

    async def start(self, count: int, publisher: Publisher, seed: int) -> None:
        data = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="peerd-bench-")))
        bootstrap: list[HostPort] = []
        for number in range(count):
            settings = Settings(
                data=data / str(number), listen=HostPort(LOOPBACK, 0), mdns=False, bootstrap=tuple(bootstrap)
            )
            peer = await self._stack.enter_async_context(open_peer(settings, memory=self._memory))
            self._peers.append(peer)
            self._ports.append(parse_host_port((await peer.status()).listen).port)
            public = await publisher.publish(self._ports[-1])
            if not bootstrap:
                bootstrap.append(HostPort(LOOPBACK, public))
        await self._until_all_know_all(count)

    async def put(self, peer: int, key: str, value: bytes) -> Answer:
        began = time.perf_counter()
        try:
            await self._peers[peer].put(key, _once(value), form="file", options=PutOptions())
        except PeerdError:
            return Answer(None, time.perf_counter() - began)
        return Answer(value, time.perf_counter() - began)

    async def get(self, peer: int, key: str, mode: str) -> Answer:
        consistency = cast(Literal["one", "quorum"], mode)
        began = time.perf_counter()
        try:
            opened = await self._peers[peer].open(key, GetOptions(consistency=consistency))
            value = b"".join([part async for part in opened.body(0, None)])
        except PeerdError:
            return Answer(None, time.perf_counter() - began)
        return Answer(value, time.perf_counter() - began)

    def has(self, peer: int, key: str) -> bool:
        core = self._peers[peer].core
        return core.store.peek_record(core.key_of(key)[0]) not in (None, MISS)

    async def kill(self, peers: Iterable[int]) -> None:
        dead = set(peers)
        self._dead |= dead
        await asyncio.gather(*(self._peers[peer].crash() for peer in dead))
        for peer in dead:
            await self._holes.put_at(self._ports[peer])

    async def stop(self) -> None:
        for peer, running in enumerate(self._peers):
            if peer not in self._dead:
                await running.crash()
        with contextlib.suppress(PeerdError):
            await self._stack.aclose()
        self._holes.close()

    async def _until_all_know_all(self, count: int) -> None:
        deadline = time.monotonic() + _KNOW_ALL_LIMIT_S
        while any([(await peer.status()).contacts < count - 1 for peer in self._peers]):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_KNOW_ALL_PAUSE_S)


async def _once(value: bytes) -> AsyncIterator[bytes]:
    yield value
