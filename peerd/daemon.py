"""The composition root: a Peer on the real network, store and clock, with its API, mDNS and signals.

`run` is the daemon; `open_peer` embeds one in another asyncio program, without API and signals.
"""

import asyncio
import gc
import os
import random
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from loguru import logger

from peerd import logs
from peerd.api.gateway_server import GatewayServer
from peerd.api.listen import Listening, listen_all
from peerd.api.server import ApiServer, Places
from peerd.config import HostPort, Settings, read_network_key, read_passphrase
from peerd.errors import NoRoomError
from peerd.identity import ED25519, SEED_BYTES, Identity
from peerd.ids import NetworkId, PeerId, network_id
from peerd.io import descriptors, tls, udp
from peerd.io.datadir import STORE_NAME, TOKEN_NAME, DataDirectory, KnownStore
from peerd.io.environment import Environment, Stream, StreamListener
from peerd.io.identity_file import IdentityFile
from peerd.io.interfaces import choose, read_interfaces
from peerd.io.store.interface import Store
from peerd.io.store.memory import MemoryStore
from peerd.io.store.sqlite import SqliteStore
from peerd.io.system import SystemClock, ThreadOffload, system_entropy
from peerd.io.systemd import notify_ready, notify_stopping
from peerd.kad.contact import Address
from peerd.node.peer import Peer
from peerd.node.revoking import is_revoked

MEMORY_QUOTA_BYTES = 2**30
# Callers that have not done their TLS handshake; where few connections may be open, half as many as of these.
CALLERS_MAX = 64

# A library is silent until its program wants to hear it. Said once, when it is imported: whatever the program says
# later holds, however many peers it opens.
logger.disable("peerd")


class RealTransports:
    """Sockets bound before the peer is made, so that a taken port ends the start before anything is written."""

    def __init__(self, bound: udp.BoundSockets, seed: bytes, waiting_max: int) -> None:
        self._bound = bound
        self._seed = seed
        self._waiting_max = waiting_max
        self._client: ssl.SSLContext | None = None

    async def open_datagrams(self, receive: Callable[[bytes, Address], None]) -> udp.UdpSockets:
        """Begin to receive on the bound UDP sockets."""
        sockets = udp.UdpSockets()
        for sock in self._bound.udp:
            await sockets.add(sock, receive)
        self._bound.udp = []
        return sockets

    async def listen_streams(self, accepted: Callable[[Stream], Awaitable[None]]) -> StreamListener:
        """Begin to accept on the bound TCP sockets."""
        own = ED25519.signing_key(self._seed).public
        context = tls.server_context(self._seed, system_entropy)
        listener = tls.TlsListener(context, own, accepted, waiting_max=self._waiting_max)
        for sock in self._bound.tcp:
            listener.add(sock)
        self._bound.tcp = []
        return listener

    async def connect_stream(self, peer: PeerId, address: Address) -> Stream:
        """Connect to a peer's TCP port."""
        if self._client is None:
            self._client = tls.client_context()
        return await tls.connect(self._client, peer, address)


async def run(settings: Settings, settings_file: Path | None = None, passphrase: bytes | None = None) -> int:
    """Run a peer until SIGINT or SIGTERM and return the exit status; raises PeerdError where it cannot start.

    `passphrase` is what a person typed; else it is the one of the settings' file, if any.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        peer = await _start(settings, settings_file, passphrase or passphrase_in(settings), stack)
        # What start-up made lives as long as the daemon: collections need not look at it again.
        gc.collect()
        gc.freeze()
        ends = {asyncio.create_task(stopped.wait()), asyncio.create_task(peer.revoking.ours.wait())}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        logger.info("stopping")
        notify_stopping()
    if peer.revoking.ours.is_set():
        raise is_revoked(peer.peer_id)
    return 0


async def _start(
    settings: Settings, settings_file: Path | None, passphrase: bytes | None, stack: AsyncExitStack
) -> Peer:
    descriptors.ask_for_enough(settings)
    settings = descriptors.fitted(settings)
    network = _network(settings)
    # All addresses first: a port that is taken ends the start before anything is written.
    bound = udp.bind(settings.listen_on)
    stack.callback(bound.close)
    listening = await listen_all([address.text for address in settings.api])
    for each in listening:
        stack.callback(each.remove)
    for_all = await listen_all([] if settings.gateway is None else [settings.gateway.text], option="--gateway")
    for each in for_all:
        stack.callback(each.remove)
    data = stack.enter_context(DataDirectory.open(settings.data))
    clock = SystemClock()
    seed, store = await _open_data(settings, data, clock, passphrase)
    stack.push_async_callback(store.close)
    token = data.token(system_entropy)
    peer = await stack.enter_async_context(_running(settings, network, seed, bound=bound, store=store, clock=clock))
    places = Places(
        data=str(data.path),
        token=str(data.path / TOKEN_NAME),
        config=str(settings_file) if settings_file is not None else None,
    )
    api = ApiServer(
        peer,
        listening,
        token,
        places=places,
        new_token=lambda: data.new_token(system_entropy),
        connections_max=settings.api_connections_max,
    )
    addresses = await api.start()
    stack.push_async_callback(api.stop)
    gateway = await _serve_gateway(settings, peer, for_all, stack)
    await _discover(settings, peer, stack)
    listen = HostPort(settings.listen.host, peer.addresses[0][1]).text
    logs.ready_line(settings.log_format, id=peer.id_text, listen=listen, api=addresses, gateway=gateway)
    notify_ready()
    return peer


async def _serve_gateway(
    settings: Settings, peer: Peer, listening: Sequence[Listening], stack: AsyncExitStack
) -> list[str]:
    if not listening:
        return []
    server = GatewayServer(peer, listening, connections_max=settings.gateway_connections_max)
    addresses = await server.start()
    stack.push_async_callback(server.stop)
    return addresses


def _network(settings: Settings) -> NetworkId:
    if settings.network_key is None:
        return network_id(settings.network)
    return network_id(settings.network, read_network_key(settings.network_key))


def passphrase_in(settings: Settings) -> bytes | None:
    """Return the passphrase of the settings' file, None where none is named; raises UsageError where it is no good."""
    return None if settings.passphrase_file is None else read_passphrase(settings.passphrase_file)


async def _open_data(
    settings: Settings, data: DataDirectory, clock: SystemClock, passphrase: bytes | None
) -> tuple[bytes, SqliteStore]:
    """Return the seed of this peer's key, and its store.

    The store is made before the identity: so a peer with an identity has had a store, and where it lacks, or is older
    than it was, that is a fault and never a reason to believe that there is nothing.
    """
    identity = IdentityFile(data.path)
    known, seed = None, b""
    if identity.exists:
        # In a thread, as below: a passphrase takes part of a second on purpose.
        seed = await asyncio.to_thread(identity.seed, passphrase)
        known = data.known_store()
        if passphrase is not None and not identity.is_protected():
            logger.warning("the identity is not protected by the passphrase: peerd identity protect does that")
    quota = settings.quota_of(shutil.disk_usage(data.path).total)
    store = await SqliteStore.open(
        data.path / STORE_NAME,
        quota,
        system_entropy,
        clock,
        known=known,
        check_interval_s=settings.disk_check_interval_s,
    )
    try:
        seed = seed or await asyncio.to_thread(identity.seed_or_new, passphrase, system_entropy)
        with suppress(NoRoomError):  # the last note does nearly as well
            data.note_store(KnownStore(store.store_id, store.run))
    except BaseException:
        await store.close()
        raise
    return seed, store


@asynccontextmanager
async def _running(
    settings: Settings, network: NetworkId, seed: bytes, *, bound: udp.BoundSockets, store: Store, clock: SystemClock
) -> AsyncIterator[Peer]:
    offload = ThreadOffload()
    environment = Environment(
        clock=clock,
        rng=random.Random(system_entropy(16)),  # noqa: S311  jitter and samples, no secrets
        entropy=system_entropy,
        suite=ED25519,
        transports=RealTransports(bound, seed, max(4, min(CALLERS_MAX, settings.connections_max // 2))),
        offload=offload,
    )
    peer = Peer(settings, Identity(ED25519.signing_key(seed), network, ED25519), environment, store)
    await peer.start()
    peer.watch()
    port = peer.addresses[0][1]
    only = _only_address(settings)
    chosen = [] if only else choose(read_interfaces(), settings.interfaces)
    for host in (*only, *(str(each.ip) for interface in chosen for each in interface.addresses)):
        peer.own_address((host, port))
    try:
        yield peer
    finally:
        await peer.stop()
        offload.close()


async def _discover(settings: Settings, peer: Peer, stack: AsyncExitStack) -> None:
    """Announce and browse on the LAN, where that is wanted; what goes wrong there never stops a start."""
    if not settings.mdns:
        return
    from peerd.io.mdns import LanDiscovery  # noqa: PLC0415  5 MB that a peer without mDNS does not need

    def on_candidate(found: PeerId, addresses: list[Address]) -> None:
        for address in addresses:
            peer.offer(found, address, "mdns")

    discovery = LanDiscovery(
        peer.peer_id,
        peer.network_digest,
        peer.addresses[0][1],
        interfaces=settings.interfaces or _only_address(settings),
        on_candidate=on_candidate,
        lonely=lambda: peer.lonely,
        knows=peer.strangers.knows,
        rejected=peer.strangers.refused,
        rng=random.Random(system_entropy(16)),  # noqa: S311
        lonely_interval_s=settings.lonely_interval_s,
        hints_max=settings.hints_max,
    )
    await discovery.start()
    stack.push_async_callback(discovery.stop)
    peer.watched.append(lambda: discovery.problem)


def _only_address(settings: Settings) -> tuple[str, ...]:
    """Return the one address that is listened on, which then is the only one to announce."""
    host = settings.listen.host
    return () if host in ("0.0.0.0", "::") else (host,)  # noqa: S104


@asynccontextmanager
async def open_peer(settings: Settings, *, memory: bool = False) -> AsyncIterator[Peer]:
    """Run a peer inside this program: no API, no signals. With `memory` nothing touches the disk, not even its key.

    Raises what starting a daemon raises.
    """
    settings = descriptors.fitted(settings)
    network = _network(settings)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        bound = udp.bind(settings.listen_on)
        stack.callback(bound.close)
        store: Store
        if memory:
            seed = os.urandom(SEED_BYTES)
            store = MemoryStore(settings.quota_bytes or MEMORY_QUOTA_BYTES, system_entropy, clock)
        else:
            data = stack.enter_context(DataDirectory.open(settings.data))
            seed, store = await _open_data(settings, data, clock, passphrase_in(settings))
        stack.push_async_callback(store.close)
        peer = await stack.enter_async_context(_running(settings, network, seed, bound=bound, store=store, clock=clock))
        await _discover(settings, peer, stack)
        yield peer


__all__ = ["open_peer", "run"]
