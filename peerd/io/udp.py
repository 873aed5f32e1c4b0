"""The overlay's datagram sockets: one for each address family, on one port number.

`send` never raises and never waits: a datagram that the system does not take is lost, as the network may lose any.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from peerd.config import HostPort
from peerd.errors import UsageError
from peerd.kad.contact import Address
from peerd.wire.limits import DATAGRAM_MAX_BYTES

# The largest datagram that is read whole; asyncio allocates this much for each, 256 KiB where it is not told.
RECEIVE_MAX_BYTES = 2048
# Kernel buffers: a burst of a few thousand datagrams does not drown while the loop is busy.
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
# Tries to find a number that is free for UDP and TCP, IPv4 and IPv6, where any will do.
PORT_TRIES_MAX = 32


class UdpSockets:
    """The open sockets; satisfies `Datagrams`."""

    def __init__(self) -> None:
        self._v4: asyncio.DatagramTransport | None = None
        self._v6: asyncio.DatagramTransport | None = None
        self.addresses: list[Address] = []

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram, or lose it."""
        transport = self._v6 if ":" in address[0] else self._v4
        if transport is None or len(data) > DATAGRAM_MAX_BYTES:
            return
        try:  # noqa: SIM105  for each datagram; `suppress` costs fifteen times as much
            transport.sendto(data, address)
        except OSError:
            pass

    def close(self) -> None:
        """Close the sockets."""
        for transport in (self._v4, self._v6):
            if transport is not None:
                transport.abort()
        self._v4 = self._v6 = None

    async def add(self, sock: socket.socket, receive: Callable[[bytes, Address], None]) -> None:
        """Take over a bound socket."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(receive), sock=sock)
        if hasattr(transport, "max_size"):
            transport.max_size = RECEIVE_MAX_BYTES
        if sock.family == socket.AF_INET6:
            self._v6 = transport
        else:
            self._v4 = transport
        host, port = sock.getsockname()[:2]
        self.addresses.append((host, port))


class _Protocol(asyncio.DatagramProtocol):
    """Hands datagrams on."""

    def __init__(self, receive: Callable[[bytes, Address], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: tuple[str, int] | tuple[str, int, int, int]) -> None:
        self._receive(data, addr if len(addr) == 2 else (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """Ignore: an ICMP refusal is somebody's word, silence is measured."""


class BoundSockets:
    """UDP and TCP sockets bound to one number, before anything is received."""

    def __init__(self, udp: list[socket.socket], tcp: list[socket.socket]) -> None:
        self.udp = udp
        self.tcp = tcp

    @property
    def port(self) -> int:
        """The common number."""
        port: int = self.udp[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Close what was not handed on."""
        for sock in (*self.udp, *self.tcp):
            sock.close()


def bind(listen_on: Sequence[HostPort]) -> BoundSockets:
    """Bind UDP and TCP on the addresses, all with one port number; the first must succeed, an IPv6 twin may be missing.

    Raises UsageError where the address is taken, not of this host, or not allowed.
    """
    first = listen_on[0]
    for attempt in range(PORT_TRIES_MAX):
        try:
            return _bind_all(listen_on)
        except OSError as error:
            again = first.port == 0 and error.errno == errno.EADDRINUSE and attempt < PORT_TRIES_MAX - 1
            if not again:
                raise _refusal(first, error) from error
    raise AssertionError("the last attempt raises")


def _bind_all(listen_on: Sequence[HostPort]) -> BoundSockets:
    bound = BoundSockets([], [])
    port = listen_on[0].port
    try:
        for index, address in enumerate(listen_on):
            try:
                family, target = _resolve(address.host)
                udp = _socket(family, socket.SOCK_DGRAM)
            except OSError:
                if index == 0:
                    raise
                continue  # a host without IPv6
            bound.udp.append(udp)
            udp.bind((target, port))
            port = udp.getsockname()[1]
            tcp = _socket(family, socket.SOCK_STREAM)
            bound.tcp.append(tcp)
            tcp.bind((target, port))
    except OSError:
        bound.close()
        raise
    return bound


def _resolve(host: str) -> tuple[socket.AddressFamily, str]:
    info = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0]
    return info[0], str(info[4][0])


def _socket(family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    return sock


def _refusal(address: HostPort, error: OSError) -> UsageError:
    text = address.text
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"{text} is taken: another program listens there (UDP or TCP)",
            hint="stop it, or choose another address with --listen, such as --listen 0.0.0.0:0",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(
            f"{text} is no address of this host", hint="--listen takes an address of this host, or 0.0.0.0"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UsageError(f"this user may not listen on {text}", hint="choose a port of 1024 or more with --listen")
    return UsageError(
        f"cannot listen on {text}: {error.strerror or error}", hint="choose another address with --listen"
    )
