"""The signed handshake: hello, challenge, finish, accept (DESIGN.md 5). State machines; datagrams in, datagrams out.

In the spirit of Node Discovery v5.1, but knowing only an address: the responder keeps no state and makes no signature
until the cookie shows that the other can receive where it says it is. The transcript both sign holds the network id,
the version, the challenge and both keys, and no addresses: NAT, port mappings and 0.0.0.0 would break it.
"""

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from peerd.clock import Entropy
from peerd.errors import WireError
from peerd.identity import Identity
from peerd.ids import NetworkId, PeerId
from peerd.wire import envelope, limits
from peerd.wire.envelope import Accept, Challenge, Finish, Hello
from peerd.wire.session import Session

Address = tuple[str, int]

_TAG_FINISH = b"peerd/1 handshake finish\x00"
_TAG_ACCEPT = b"peerd/1 handshake accept\x00"
_TAG_MAC = b"peerd/1 handshake mac\x00"
_TAG_KEYS = b"peerd/1 session keys\x00"

COOKIE_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Established:
    """A finished handshake: the session, and what the other said in its first sealed message (initiator's side)."""

    session: Session
    certificate: bytes
    first: bytes = b""


def mac_key(network: NetworkId) -> bytes:
    """Return the key of the MAC that only members of a network can make: strangers get silence."""
    return hashlib.sha256(_TAG_MAC + network).digest()


class Initiator:
    """One attempt to open a session. `accept_from` is whom we expect, None where only an address is known."""

    def __init__(
        self, identity: Identity, entropy: Entropy, *, expected: PeerId | None = None, certificate: bytes = b""
    ) -> None:
        self._identity = identity
        self._mac_key = mac_key(identity.network)
        self._private, ephemeral = identity.suite.ephemeral(entropy)
        self._certificate = certificate
        self.expected = expected
        self.hello = Hello(entropy(envelope.SESSION_ID_BYTES), ephemeral)
        self.finish: Finish | None = None

    @property
    def session_id(self) -> bytes:
        """Return the id that the other will write on datagrams for us."""
        return self.hello.session

    def hello_bytes(self) -> bytes:
        """Return the hello datagram."""
        body = self.hello.body()
        return body + _mac(self._mac_key, body)

    def on_challenge(self, challenge: Challenge) -> bytes:
        """Return the finish datagram that answers a challenge to us."""
        unsigned = Finish(
            echo=challenge.echo,
            cookie=challenge.cookie,
            session=self.hello.session,
            ephemeral=self.hello.ephemeral,
            peer=self._identity.peer,
            certificate=self._certificate,
            signature=b"",
        )
        signature = self._identity.sign(_TAG_FINISH, unsigned.unsigned())
        self.finish = Finish(**{**_fields(unsigned), "signature": signature})
        body = self.finish.body()
        return body + _mac(self._mac_key, body)

    def on_accept(self, accept: Accept) -> Established:
        """Return the session.

        Raises WireError: `unasked` (no finish of ours), `other_peer` (not whom we wanted), `signature`, `unauthentic`.
        """
        if self.finish is None or accept.echo != self.hello.session:
            raise WireError("unasked")
        peer = PeerId(accept.peer)
        if self.expected is not None and peer != self.expected:
            raise WireError("other_peer")
        if peer == self._identity.peer:
            raise WireError("ourselves")
        transcript = self.finish.unsigned() + accept.unsigned()
        if not self._identity.verify(peer, _TAG_ACCEPT, transcript, accept.signature):
            raise WireError("signature")
        secret = _exchange(self._identity, self._private, accept.ephemeral)
        to_responder, to_initiator = _session_keys(secret, self._identity.network, transcript)
        session = Session(
            peer=peer,
            local_id=self.hello.session,
            remote_id=accept.session,
            send_key=to_responder,
            receive_key=to_initiator,
        )
        return Established(session, accept.certificate, session.open(accept.sealed))


class Responder:
    """Answers hellos without state, and finishes with a session."""

    def __init__(self, identity: Identity, entropy: Entropy, *, certificate: bytes = b"") -> None:
        self._identity = identity
        self._entropy = entropy
        self._certificate = certificate
        self._mac_key = mac_key(identity.network)
        self._secret = entropy(COOKIE_SECRET_BYTES)

    def on_hello(self, data: bytes, address: Address, now: float) -> tuple[Hello, bytes]:
        """Return the hello and the challenge to send; raises WireError (`network`: not made by a member of ours)."""
        hello, body, mac = envelope.parse_hello(data)
        if not hmac.compare_digest(_mac(self._mac_key, body), mac):
            raise WireError("network")
        return hello, self.challenge(hello.session, address, now)

    def challenge(self, echo: bytes, address: Address, now: float) -> bytes:
        """Return the challenge to a hello, or to a sealed message of a session that we do not know."""
        return Challenge(echo, self._cookie(echo, address, int(now * 1000))).to_bytes()

    def on_finish(self, data: bytes, address: Address, now: float, *, first: bytes) -> tuple[Established, bytes]:
        """Return the session and the accept to send, with `first` sealed in it.

        Raises WireError: `network`, `cookie` (forged, old or for another address), `signature`, `ourselves`.
        """
        finish, body, mac = envelope.parse_finish(data)
        if not hmac.compare_digest(_mac(self._mac_key, body), mac):
            raise WireError("network")
        self._check_cookie(finish, address, now)
        peer = PeerId(finish.peer)
        if peer == self._identity.peer:
            raise WireError("ourselves")
        if not self._identity.verify(peer, _TAG_FINISH, finish.unsigned(), finish.signature):
            raise WireError("signature")
        private, ephemeral = self._identity.suite.ephemeral(self._entropy)
        secret = _exchange(self._identity, private, finish.ephemeral)
        accept = Accept(
            echo=finish.session,
            session=self._entropy(envelope.SESSION_ID_BYTES),
            ephemeral=ephemeral,
            peer=self._identity.peer,
            certificate=self._certificate,
            signature=b"",
            sealed=b"",
        )
        transcript = finish.unsigned() + accept.unsigned()
        to_responder, to_initiator = _session_keys(secret, self._identity.network, transcript)
        session = Session(
            peer=peer,
            local_id=accept.session,
            remote_id=finish.session,
            send_key=to_initiator,
            receive_key=to_responder,
        )
        signature = self._identity.sign(_TAG_ACCEPT, transcript)
        answer = Accept(**{**_fields(accept), "signature": signature, "sealed": session.seal(first)})
        return Established(session, finish.certificate), answer.to_bytes()

    def _check_cookie(self, finish: Finish, address: Address, now: float) -> None:
        made_ms = int.from_bytes(finish.cookie[:8], "big")
        age_s = now - made_ms / 1000
        if not -1 <= age_s <= limits.COOKIE_LIFE_S:
            raise WireError("cookie")
        if not hmac.compare_digest(self._cookie(finish.echo, address, made_ms), finish.cookie):
            raise WireError("cookie")

    def _cookie(self, echo: bytes, address: Address, made_ms: int) -> bytes:
        stamp = made_ms.to_bytes(8, "big")
        place = f"{address[0]} {address[1]}".encode()
        return stamp + hashlib.blake2b(stamp + echo + place, key=self._secret, digest_size=24).digest()


def _mac(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=envelope.MAC_BYTES).digest()


def _fields(packet: Finish | Accept) -> dict[str, bytes]:
    return {name: getattr(packet, name) for name in packet.__slots__}


def _exchange(identity: Identity, private: object, public: bytes) -> bytes:
    try:
        return identity.suite.exchange(private, public)
    except ValueError as error:
        raise WireError("ephemeral") from error


def _session_keys(secret: bytes, network: NetworkId, transcript: bytes) -> tuple[bytes, bytes]:
    """Return the keys (initiator to responder, responder to initiator), RFC 5869 over the transcript's hash."""
    salt = hashlib.sha256(network + transcript).digest()
    keys = HKDF(algorithm=SHA256(), length=64, salt=salt, info=_TAG_KEYS).derive(secret)
    return keys[:32], keys[32:]
