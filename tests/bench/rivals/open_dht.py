"""OpenDHT (Debian's python3-opendht): one `DhtRunner` per peer, each with a thread of its own.

Runs under the system's interpreter, so it imports the standard library and `tests.bench.subject` alone. No rate limit.
"""

import asyncio
import subprocess
import time
from collections.abc import Iterable

import opendht

from tests.bench.subject import LOOPBACK, Answer, BlackHoles, Publisher, Subject

_NETWORK = 7
_SETTLE_S = 3.0


class OpenDht(Subject):
    """A network of runners; an answer's time is taken in the runner's own callback."""

    def __init__(self) -> None:
        self._runners: list[opendht.DhtRunner] = []
        self._ports: list[int] = []
        self._dead: set[int] = set()
        self._holes = BlackHoles()
        self._stored: list[str] = []

    @property
    def version(self) -> str:
        asked = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "python3-opendht"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or "unknown"

    async def start(self, count: int, publisher: Publisher, seed: int) -> None:
        first: str | None = None
        for _ in range(count):
            config = opendht.DhtConfig()
            config.setNetwork(_NETWORK)
            config.setRateLimit(-1, -1)
            runner = opendht.DhtRunner()
            runner.run(port=0, config=config, ipv4=LOOPBACK, ipv6="")
            port = int(runner.getBound().getPort())
            public = str(await publisher.publish(port))
            self._runners.append(runner)
            self._ports.append(port)
            if first is None:
                first = public
            else:
                runner.bootstrap(LOOPBACK, first)
        await asyncio.sleep(_SETTLE_S)

    async def put(self, peer: int, key: str, value: bytes) -> Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        began = time.perf_counter()

        def done(stored: bool, nodes: list[object]) -> None:
            answer = Answer(value if stored and nodes else None, time.perf_counter() - began)
            loop.call_soon_threadsafe(_settle, future, answer)

        self._runners[peer].put(opendht.InfoHash.get(key), opendht.Value(value), done)
        return await future

    async def get(self, peer: int, key: str, mode: str) -> Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        began = time.perf_counter()

        def found(value: opendht.Value) -> bool:
            answer = Answer(value.data, time.perf_counter() - began)
            loop.call_soon_threadsafe(_settle, future, answer)
            return False

        def done(_complete: bool, _nodes: list[object]) -> None:
            loop.call_soon_threadsafe(_settle, future, Answer(None, time.perf_counter() - began))

        self._runners[peer].get(opendht.InfoHash.get(key), found, done)
        return await future

    def has(self, peer: int, key: str) -> bool:
        return opendht.InfoHash.get(key).toString().decode() in self._stored[peer]

    async def settle(self) -> None:
        await super().settle()
        self._stored = [_text(runner.getStorageLog()) for runner in self._runners]

    async def kill(self, peers: Iterable[int]) -> None:
        dead = set(peers)
        self._dead |= dead
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, self._runners[peer].join) for peer in dead))
        for peer in dead:
            await self._holes.put_at(self._ports[peer])

    async def stop(self) -> None:
        loop = asyncio.get_running_loop()
        living = [runner for peer, runner in enumerate(self._runners) if peer not in self._dead]
        await asyncio.gather(*(loop.run_in_executor(None, runner.join) for runner in living))
        self._holes.close()


def _settle(future: "asyncio.Future[Answer]", answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _text(log: str | bytes) -> str:
    return log.decode() if isinstance(log, bytes) else log
