"""Bulk streams over TLS 1.3, the server pinned to its peer's key (DESIGN.md 5).

The server's certificate is self-signed with the peer's Ed25519 key, and all of it but key and signature is fixed: no
names, no dates that mean anything, no extensions. The TLS handshake proves the key; the client takes a certificate
only where it is byte for byte the one of the peer it wants. So nothing of X.509 has to be parsed, which hostile bytes
could be made for and which costs memory in every daemon.

The client's own proof is the bulk protocol's business (node.bulk), since Python's `ssl` refuses unknown client
certificates.
"""

import asyncio
import base64
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from loguru import logger

from peerd.clock import Entropy
from peerd.errors import UnreachableError, WireError
from peerd.identity import ED25519
from peerd.ids import PeerId
from peerd.io.accepting import Acceptor
from peerd.io.environment import Stream
from peerd.io.streaming import ByteProtocol
from peerd.kad.contact import Address

BACKLOG = 128
HANDSHAKE_TIMEOUT_S = 5.0
# Bytes that may wait to be sent: what one block needs, so that memory does not grow with the transfer.
WRITE_BUFFER_BYTES = 256 * 1024
WRITE_PIECE_BYTES = 256 * 1024
# Of what was written so much may wait in the kernel before it was sent once: who has written a block has sent it.
UNSENT_BYTES = 128 * 1024
TCP_NOTSENT_LOWAT = 25

# RFC 5280 in DER: version 3, serial number 1, Ed25519 (RFC 8410), issuer and subject CN=peerd, 2020 to 2120; then the
# key. Around it the length, and behind it the algorithm and length of the signature.
_TBS_HEAD = bytes.fromhex(
    "308181a003020102020101300506032b65703010310e300c06035504030c057065657264"
    "3020170d3230303130313030303030305a180f32313230303130313030303030305a"
    "3010310e300c06035504030c057065657264302a300506032b6570032100"
)
_CERTIFICATE_HEAD = bytes.fromhex("3081ce")
_SIGNATURE_HEAD = bytes.fromhex("300506032b6570034100")
_PASSWORD_BYTES = 32
CERTIFICATE_BYTES = 209
SIGNATURE_BYTES = 64


def certificate_of(seed: bytes) -> bytes:
    """Return the DER certificate of the key of this seed, 209 bytes."""
    key = ED25519.signing_key(seed)
    tbs = _TBS_HEAD + key.public
    return _CERTIFICATE_HEAD + tbs + _SIGNATURE_HEAD + key.sign(tbs)


def is_certificate_of(peer: PeerId, certificate: bytes) -> bool:
    """Return whether a certificate is that of `peer`; its signature is not looked at, since TLS proves the key."""
    expected = _CERTIFICATE_HEAD + _TBS_HEAD + peer + _SIGNATURE_HEAD
    return len(certificate) == CERTIFICATE_BYTES and certificate[:-SIGNATURE_BYTES] == expected


def server_context(seed: bytes, entropy: Entropy) -> ssl.SSLContext:
    """Return the context of a server that proves the key of this seed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Without tickets nothing of a session outlives it, and no bytes are written after a handshake nobody answers.
    context.num_tickets = 0
    # The ssl module loads from files only. Nothing of the key may be found on a disk afterwards: it is encrypted under
    # a password that is never written. The file is 0600, and gone before the first connection.
    password = entropy(_PASSWORD_BYTES)
    key = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password)
    )
    pem = _pem("CERTIFICATE", certificate_of(seed)) + key.decode()
    with tempfile.TemporaryDirectory(prefix="peerd-") as directory:
        path = Path(directory) / "server.pem"
        path.touch(mode=0o600)
        path.write_text(pem)
        context.load_cert_chain(path, password=password)
    return context


def _pem(label: str, der: bytes) -> str:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n"


def client_context() -> ssl.SSLContext:
    """Return the context of a client; it takes any certificate, and the key in it is checked after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TlsStream:
    """One TLS connection; satisfies `Stream`."""

    def __init__(self, protocol: ByteProtocol, transport: asyncio.Transport, server_key: PeerId) -> None:
        self._protocol = protocol
        self._transport = transport
        self.server_key = server_key
        host, port = transport.get_extra_info("peername")[:2]
        self.remote: Address = (host, port)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        sock = transport.get_extra_info("socket")
        with suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    async def read_exactly(self, count: int) -> bytes:
        """Return `count` bytes."""
        return await self._protocol.read_long(count, _ignored)

    async def read_long(self, count: int, arrived: Callable[[], None]) -> bytes:
        """Return `count` bytes; calls `arrived` as they come, not for every little."""
        return await self._protocol.read_long(count, arrived)

    async def write(self, data: bytes) -> None:
        """Write all, waiting while the other end is slow."""
        try:
            if len(data) <= WRITE_PIECE_BYTES:
                self._transport.write(data)
                await self._protocol.drain()
                return
            view = memoryview(data)
            for at in range(0, len(view), WRITE_PIECE_BYTES):
                self._transport.write(view[at : at + WRITE_PIECE_BYTES])
                await self._protocol.drain()
        except (OSError, ssl.SSLError, RuntimeError) as error:
            raise UnreachableError("the connection ended") from error

    def close(self) -> None:
        """Cut it."""
        with suppress(OSError, RuntimeError):
            self._transport.abort()


def _ignored() -> None:
    pass


class TlsListener:
    """The listening sockets; satisfies `StreamListener`. `waiting_max` is how many may have no TLS yet."""

    def __init__(
        self,
        context: ssl.SSLContext,
        own: PeerId,
        accepted: Callable[[Stream], Awaitable[None]],
        *,
        waiting_max: int,
    ) -> None:
        self._context = context
        self._own = own
        self._accepted = accepted
        self._acceptor = Acceptor(self._shake_hands, waiting_max=waiting_max)
        self._open: set[asyncio.Task[None]] = set()

    def add(self, sock: socket.socket) -> None:
        """Listen on a bound socket."""
        self._acceptor.listen(sock, BACKLOG)

    async def close(self) -> None:
        """Stop listening; open streams go on."""
        await self._acceptor.close()

    async def _shake_hands(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        protocol = ByteProtocol()
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=1.0,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:  # the loop has closed the socket
            logger.debug("no TLS with a caller", reason=type(error).__name__)
            return
        stream = TlsStream(protocol, transport, self._own)
        serving = loop.create_task(self._serve(stream), name="stream")
        self._open.add(serving)
        serving.add_done_callback(self._open.discard)

    async def _serve(self, stream: TlsStream) -> None:
        try:
            await self._accepted(stream)
        finally:
            stream.close()


async def connect(context: ssl.SSLContext, peer: PeerId, address: Address) -> TlsStream:
    """Connect and check that `peer` is there.

    Raises UnreachableError, or WireError (`other_peer`) where somebody else is.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await loop.create_connection(
            ByteProtocol,
            *address,
            ssl=context,
            server_hostname="peerd",
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=1.0,
        )
    except (OSError, ssl.SSLError, TimeoutError) as error:
        raise UnreachableError(f"no connection: {error}") from error
    certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    if certificate is None or not is_certificate_of(peer, certificate):
        transport.abort()
        raise WireError("other_peer")
    return TlsStream(protocol, transport, peer)
