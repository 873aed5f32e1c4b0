"""Bulk streams over TLS 1.3, the server pinned to its peer's key (DESIGN.md 5).

The server's certificate is self-signed with the peer's Ed25519 key; its handshake proves the key. The client checks
that key and nothing else of the certificate: no names, no dates, no chain. The client's own proof is the bulk
protocol's business (node.bulk), since Python's `ssl` refuses unknown client certificates.
"""

import asyncio
import datetime
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from peerd.errors import UnreachableError, WireError
from peerd.ids import PeerId
from peerd.io.environment import Stream
from peerd.kad.contact import Address

BACKLOG = 128
HANDSHAKE_TIMEOUT_S = 5.0
# Bytes that may wait in a stream's buffers: what one block needs, so that memory does not grow with the transfer.
READ_BUFFER_BYTES = 1024 * 1024
WRITE_BUFFER_BYTES = 1024 * 1024
WRITE_PIECE_BYTES = 256 * 1024
_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peerd")])
# Dates mean nothing to us: clocks may be wrong. They only have to be there.
_BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)


def server_context(seed: bytes) -> ssl.SSLContext:
    """Return the context of a server that proves the key of this seed."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_SUBJECT)
        .issuer_name(_SUBJECT)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .sign(key, None)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Without tickets nothing of a session outlives it, and no bytes are written after a handshake nobody answers.
    context.num_tickets = 0
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # The ssl module loads from files only; this one is 0600, never synced, and gone before the first connection.
    with tempfile.TemporaryDirectory(prefix="peerd-") as directory:
        path = Path(directory) / "server.pem"
        path.touch(mode=0o600)
        path.write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
        context.load_cert_chain(path)
    return context


def client_context() -> ssl.SSLContext:
    """Return the context of a client; it takes any certificate, and the key in it is checked after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def key_in(certificate: bytes) -> PeerId:
    """Return the key of a DER certificate; raises WireError where it is no Ed25519 key."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError as error:
        raise WireError("certificate") from error
    if not isinstance(key, Ed25519PublicKey):
        raise WireError("certificate")
    return PeerId(key.public_bytes_raw())


class TlsStream:
    """One TLS connection; satisfies `Stream`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server_key: PeerId) -> None:
        self._reader = reader
        self._writer = writer
        self.server_key = server_key
        host, port = writer.get_extra_info("peername")[:2]
        self.remote: Address = (host, port)
        writer.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        sock = writer.get_extra_info("socket")
        with suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def read_exactly(self, count: int) -> bytes:
        """Return `count` bytes."""
        try:
            return await self._reader.readexactly(count)
        except (asyncio.IncompleteReadError, OSError, ssl.SSLError) as error:
            raise UnreachableError("the connection ended") from error

    async def write(self, data: bytes) -> None:
        """Write all, waiting while the other end is slow."""
        try:
            if len(data) <= WRITE_PIECE_BYTES:
                self._writer.write(data)
                await self._writer.drain()
                return
            view = memoryview(data)
            for at in range(0, len(view), WRITE_PIECE_BYTES):
                self._writer.write(view[at : at + WRITE_PIECE_BYTES])
                await self._writer.drain()
        except (OSError, ssl.SSLError, RuntimeError) as error:
            raise UnreachableError("the connection ended") from error

    def close(self) -> None:
        """Cut it."""
        with suppress(OSError, RuntimeError):
            self._writer.transport.abort()


class TlsListener:
    """The listening sockets; satisfies `StreamListener`."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []

    async def add(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        own: PeerId,
        accepted: Callable[[Stream], Awaitable[None]],
    ) -> None:
        """Listen on a bound socket."""

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await accepted(TlsStream(reader, writer, own))

        server = await asyncio.start_server(
            on_connection,
            sock=sock,
            ssl=context,
            backlog=BACKLOG,
            limit=READ_BUFFER_BYTES,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=1.0,
        )
        self._servers.append(server)

    async def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()


async def connect(context: ssl.SSLContext, peer: PeerId, address: Address) -> TlsStream:
    """Connect and check that `peer` is there.

    Raises UnreachableError, or WireError (`other_peer`) where somebody else is.
    """
    try:
        reader, writer = await asyncio.open_connection(
            *address,
            ssl=context,
            server_hostname="peerd",
            limit=READ_BUFFER_BYTES,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=1.0,
        )
    except (OSError, ssl.SSLError, TimeoutError) as error:
        raise UnreachableError(f"no connection: {error}") from error
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    if certificate is None or key_in(certificate) != peer:
        writer.transport.abort()
        raise WireError("other_peer")
    return TlsStream(reader, writer, peer)
