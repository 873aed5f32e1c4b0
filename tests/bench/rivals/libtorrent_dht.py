"""libtorrent's DHT (BEP 44, immutable items): one session per peer.

Loopback addresses and many nodes of one address are against its rules for the open internet, so those rules and its
rate limits are off, as is all that is not the DHT.
"""

import asyncio
import random
import socket
import time
from collections.abc import Iterable
from typing import Any

import libtorrent as lt

from tests.bench.subject import LOOPBACK, Answer, Publisher, Subject

_SETTINGS: Any = {
    "listen_interfaces": f"{LOOPBACK}:0",
    "dht_bootstrap_nodes": "",
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_tcp": False,
    "enable_outgoing_tcp": False,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "dht_prefer_verified_node_ids": False,
    "dht_enforce_node_id": False,
    "dht_upload_rate_limit": 1_000_000_000,
    "dht_block_ratelimit": 1_000_000,
    "dht_max_dht_items": 100_000,
    "aio_threads": 1,
    "hashing_threads": 1,
    "alert_mask": lt.alert.category_t.dht_notification,
}
_CONTACTS = 30
"""How many random others each peer is told of; it then looks up places of its own to fill its buckets."""

_LOOK_UPS = 8
_LISTEN_LIMIT_S = 5.0
_SETTLE_S = 1.0

_Waiter = tuple[float, asyncio.Future[Answer]]


class LibtorrentDht(Subject):
    """A network of sessions; an alert wakes the event loop through a socket of the session's own."""

    def __init__(self) -> None:
        self._sessions: list[lt.session] = []
        self._wakes: list[socket.socket] = []
        self._waiting: list[dict[str, list[_Waiter]]] = []
        self._targets: dict[str, lt.sha1_hash] = {}

    @property
    def version(self) -> str:
        return str(lt.__version__)

    async def start(self, count: int, publisher: Publisher, seed: int) -> None:
        chance = random.Random(seed)
        loop = asyncio.get_running_loop()
        for peer in range(count):
            session = lt.session(_SETTINGS)
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.setblocking(False)
            session.set_alert_fd(theirs.fileno())
            self._sessions.append(session)
            self._wakes += [ours, theirs]
            self._waiting.append({})
            loop.add_reader(ours, self._woken, peer, ours)
        ports = [await publisher.publish(await _port(session)) for session in self._sessions]
        for peer, session in enumerate(self._sessions):
            others = [port for other, port in enumerate(ports) if other != peer]
            for port in chance.sample(others, min(_CONTACTS, len(others))):
                session.add_dht_node((LOOPBACK, port))
        await asyncio.sleep(_SETTLE_S)
        for _ in range(_LOOK_UPS):
            await asyncio.gather(*(self._ask(peer, lt.sha1_hash(chance.randbytes(20))) for peer in range(count)))

    async def put(self, peer: int, key: str, value: bytes) -> Answer:
        began = time.perf_counter()
        target = self._sessions[peer].dht_put_immutable_item(value)
        answer = await self._wait(peer, target, began)
        self._targets[key] = target
        return Answer(value if answer.value is not None else None, answer.seconds)

    async def get(self, peer: int, key: str, mode: str) -> Answer:
        return await self._ask(peer, self._targets[key])

    def has(self, peer: int, key: str) -> bool:
        # A get of an item always asks the network, also where the asker holds it.
        return False

    async def kill(self, peers: Iterable[int]) -> None:
        # The socket stays open and nothing reads DHT messages from it: they vanish.
        for peer in peers:
            self._sessions[peer].apply_settings({"enable_dht": False})
        for peer in peers:
            while self._sessions[peer].is_dht_running():
                await asyncio.sleep(0)

    async def stop(self) -> None:
        loop = asyncio.get_running_loop()
        for ours in self._wakes[::2]:
            loop.remove_reader(ours)
        self._sessions.clear()
        for wake in self._wakes:
            wake.close()

    async def _ask(self, peer: int, target: lt.sha1_hash) -> Answer:
        began = time.perf_counter()
        self._sessions[peer].dht_get_immutable_item(target)
        return await self._wait(peer, target, began)

    async def _wait(self, peer: int, target: lt.sha1_hash, began: float) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[peer].setdefault(str(target), []).append((began, future))
        return await future

    def _woken(self, peer: int, wake: socket.socket) -> None:
        wake.recv(4096)
        now = time.perf_counter()
        for alert in self._sessions[peer].pop_alerts():
            if isinstance(alert, lt.dht_immutable_item_alert):
                # An item that was not found is an empty one.
                value = alert.item if isinstance(alert.item, bytes) and alert.item else None
            elif isinstance(alert, lt.dht_put_alert):
                value = b"stored" if alert.num_success else None
            else:
                continue
            for began, future in self._waiting[peer].pop(str(alert.target), []):
                if not future.done():
                    future.set_result(Answer(value, now - began))


async def _port(session: lt.session) -> int:
    deadline = time.monotonic() + _LISTEN_LIMIT_S
    while not (port := int(session.listen_port())):
        if time.monotonic() > deadline:
            raise OSError("a libtorrent session does not listen")
        await asyncio.sleep(0.01)
    return port
