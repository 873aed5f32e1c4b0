"""The five kinds of datagram, field by field (PROTOCOL.md, "Datagrams"). Only layout: no keys, no checks of proofs.

Layout: "P", version, kind, then the fixed fields of the kind, integers big-endian. Source: the packet forms of Node
Discovery v5.1 and WireGuard (receiver index, counter); departs from both in that a peer may be known by address only,
so that a challenge says whose it is.
"""

from dataclasses import dataclass

from peerd.errors import WireError
from peerd.wire import limits

MAGIC = 0x50
HELLO, CHALLENGE, FINISH, ACCEPT, SEALED = 1, 2, 3, 4, 5

HEADER_BYTES = 3
SESSION_ID_BYTES = 8
MAC_BYTES = 16
COOKIE_BYTES = 16
CHALLENGE_BYTES = HEADER_BYTES + SESSION_ID_BYTES + 32 + COOKIE_BYTES + MAC_BYTES
SEALED_HEADER_BYTES = HEADER_BYTES + SESSION_ID_BYTES + 8
TAG_BYTES = 16
PLAINTEXT_MAX_BYTES = limits.DATAGRAM_MAX_BYTES - SEALED_HEADER_BYTES - TAG_BYTES


def header(kind: int) -> bytes:
    """Return the three bytes every datagram of this kind begins with."""
    return bytes((MAGIC, limits.PROTOCOL_VERSION, kind))


SEALED_HEADER = header(SEALED)


def kind_of(data: bytes) -> int:
    """Return the kind of a datagram.

    Raises WireError: `size` (shorter or longer than any of ours), `foreign` (not ours), `version`.
    """
    if not limits.DATAGRAM_MIN_BYTES <= len(data) <= limits.DATAGRAM_MAX_BYTES:
        raise WireError("size")
    if data[0] != MAGIC:
        raise WireError("foreign")
    if data[1] != limits.PROTOCOL_VERSION:
        raise WireError("version")
    return data[2]


@dataclass(frozen=True, slots=True)
class Hello:
    """I would like to talk: the session id to answer to, an ephemeral key; padded, with a MAC by the network."""

    session: bytes
    ephemeral: bytes

    def body(self) -> bytes:
        """Return the bytes that the MAC covers."""
        padding = limits.HELLO_BYTES - HEADER_BYTES - SESSION_ID_BYTES - 32 - MAC_BYTES
        return header(HELLO) + self.session + self.ephemeral + bytes(padding)


def parse_hello(data: bytes) -> tuple[Hello, bytes, bytes]:
    """Return the hello, the bytes its MAC covers, and the MAC; raises WireError."""
    if len(data) != limits.HELLO_BYTES:
        raise WireError("hello_size")
    return Hello(data[3:11], data[11:43]), data[:-MAC_BYTES], data[-MAC_BYTES:]


@dataclass(frozen=True, slots=True)
class Challenge:
    """Prove that you receive here: `echo` is the session id of what is answered, `cookie` a MAC over the address.

    `peer` is who asks for it; `mac` is by the network, as a hello's.
    """

    echo: bytes
    peer: bytes
    cookie: bytes
    mac: bytes = b""

    def body(self) -> bytes:
        """Return the bytes that the MAC covers."""
        return header(CHALLENGE) + self.echo + self.peer + self.cookie

    def to_bytes(self) -> bytes:
        """Return the datagram."""
        return self.body() + self.mac


def parse_challenge(data: bytes) -> Challenge:
    """Return the challenge; raises WireError."""
    if len(data) != CHALLENGE_BYTES:
        raise WireError("challenge_size")
    return Challenge(data[3:11], data[11:43], data[43:59], data[59:])


@dataclass(frozen=True, slots=True)
class Finish:
    """Here is the cookie, and who I am: identity key, certificate if any, signature over the transcript."""

    echo: bytes
    cookie: bytes
    session: bytes
    ephemeral: bytes
    peer: bytes
    certificate: bytes
    signature: bytes

    def unsigned(self) -> bytes:
        """Return the bytes before the signature; they are the transcript so far."""
        fields = self.echo + self.cookie + self.session + self.ephemeral + self.peer
        return header(FINISH) + fields + len(self.certificate).to_bytes(2, "big") + self.certificate

    def body(self) -> bytes:
        """Return the bytes that the MAC covers."""
        return self.unsigned() + self.signature


_FINISH_FIXED = HEADER_BYTES + 8 + COOKIE_BYTES + 8 + 32 + 32 + 2


def parse_finish(data: bytes) -> tuple[Finish, bytes, bytes]:
    """Return the finish, the bytes its MAC covers, and the MAC; raises WireError."""
    if len(data) < _FINISH_FIXED + 64 + MAC_BYTES:
        raise WireError("finish_size")
    length = int.from_bytes(data[99:101], "big")
    end = _FINISH_FIXED + length
    if length > limits.CERTIFICATE_MAX_BYTES or len(data) != end + 64 + MAC_BYTES:
        raise WireError("finish_size")
    finish = Finish(
        echo=data[3:11],
        cookie=data[11:27],
        session=data[27:35],
        ephemeral=data[35:67],
        peer=data[67:99],
        certificate=data[101:end],
        signature=data[end : end + 64],
    )
    return finish, data[:-MAC_BYTES], data[-MAC_BYTES:]


@dataclass(frozen=True, slots=True)
class Accept:
    """The other half: our session id, keys and signature, and the first sealed message of the session."""

    echo: bytes
    session: bytes
    ephemeral: bytes
    peer: bytes
    certificate: bytes
    signature: bytes
    sealed: bytes

    def unsigned(self) -> bytes:
        """Return the bytes before the signature; they end the transcript."""
        fields = self.echo + self.session + self.ephemeral + self.peer
        return header(ACCEPT) + fields + len(self.certificate).to_bytes(2, "big") + self.certificate

    def to_bytes(self) -> bytes:
        """Return the datagram."""
        return self.unsigned() + self.signature + self.sealed


_ACCEPT_FIXED = HEADER_BYTES + 8 + 8 + 32 + 32 + 2


def parse_accept(data: bytes) -> Accept:
    """Return the accept; raises WireError."""
    if len(data) < _ACCEPT_FIXED + 64 + SEALED_HEADER_BYTES + TAG_BYTES:
        raise WireError("accept_size")
    length = int.from_bytes(data[83:85], "big")
    end = _ACCEPT_FIXED + length
    if length > limits.CERTIFICATE_MAX_BYTES or len(data) < end + 64 + SEALED_HEADER_BYTES + TAG_BYTES:
        raise WireError("accept_size")
    return Accept(
        echo=data[3:11],
        session=data[11:19],
        ephemeral=data[19:51],
        peer=data[51:83],
        certificate=data[85:end],
        signature=data[end : end + 64],
        sealed=data[end + 64 :],
    )
