"""peerd itself: whole peers through the embedding call, as an application would have them, all on one event loop.

With `memory` the store is in memory; without it each peer has its own data directory and syncs before it signs a
receipt.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Literal, cast

from loguru import logger

import peerd
from peerd.config import HostPort, Settings
from peerd.daemon import open_peer
from peerd.errors import PeerdError
from peerd.io.store.interface import MISS
from peerd.node.peer import Peer
from peerd.node.results import GetOptions, PutOptions
from tests.bench.subject import LOOPBACK, Answer, BlackHoles, Publisher, Subject

_KNOW_ALL_LIMIT_S = 60.0
_KNOW_ALL_PAUSE_S = 0.1
_QUIET_S = 1.0
_QUIET_DATAGRAMS = 4
"""A network is quiet when its peers send no more than this in `_QUIET_S`: a probe, an answer, and some to spare."""


class PeerdNetwork(Subject):
    """A network of embedded peers with small values inside their records."""

    modes = ("one", "quorum")

    def __init__(self, *, memory: bool) -> None:
        logger.disable("peerd")
        self._memory = memory
        self._opened = contextlib.AsyncExitStack()
        self._folder = tempfile.TemporaryDirectory(prefix="peerd-bench-")
        self._peers: list[Peer] = []
        self._dead: set[int] = set()
        self._holes = BlackHoles()

    @property
    def version(self) -> str:
        return peerd.__version__

    async def start(self, count: int, publisher: Publisher, seed: int) -> None:
        bootstrap: tuple[HostPort, ...] = ()
        for number in range(count):
            settings = Settings(
                data=Path(self._folder.name) / str(number),
                listen=HostPort(LOOPBACK, 0),
                mdns=False,
                bootstrap=bootstrap,
            )
            peer = await self._opened.enter_async_context(open_peer(settings, memory=self._memory))
            self._peers.append(peer)
            public = await publisher.publish(_port(peer))
            if not bootstrap:
                bootstrap = (HostPort(LOOPBACK, public),)
        await self._until_all_know_all()

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
        core = self._peers[peer]._core
        return core.store.peek_record(core.key_of(key)[0]) not in (None, MISS)

    async def kill(self, peers: Iterable[int]) -> None:
        dead = set(peers)
        ports = [_port(self._peers[peer]) for peer in dead]
        self._dead |= dead
        await asyncio.gather(*(self._peers[peer].crash() for peer in dead))
        for port in ports:
            await self._holes.put_at(port)

    async def stop(self) -> None:
        # Not the way out of `open_peer`: a hundred goodbyes to a hundred peers are nobody's measurement.
        self._opened.pop_all()
        await asyncio.gather(*(peer.crash() for number, peer in enumerate(self._peers) if number not in self._dead))
        self._folder.cleanup()
        self._holes.close()

    async def _until_all_know_all(self) -> None:
        """Wait until every peer has every other as a member, or until that takes too long: then it is measured so."""
        deadline = time.monotonic() + _KNOW_ALL_LIMIT_S
        others = len(self._peers) - 1
        while any(peer._core.members.alive_count() < others for peer in self._peers) and time.monotonic() < deadline:
            await asyncio.sleep(_KNOW_ALL_PAUSE_S)
        # Crossing handshakes go on for some seconds after everybody has met everybody.
        sent = self._sent_count()
        while time.monotonic() < deadline:
            await asyncio.sleep(_QUIET_S)
            before, sent = sent, self._sent_count()
            if sent - before < _QUIET_DATAGRAMS * len(self._peers):
                return

    def _sent_count(self) -> int:
        return sum(peer._core.endpoint.counts.sent_count for peer in self._peers)


def _port(peer: Peer) -> int:
    return peer.addresses[0][1]


async def _once(value: bytes) -> AsyncIterator[bytes]:
    yield value
