"""The signed handshake: hello, challenge, finish, accept (DESIGN.md 5). State machines; datagrams in, datagrams out.

In the spirit of Node Discovery v5.1, but knowing only an address: the responder keeps no state and makes no signature
until the cookie shows that the other can receive where it says it is. The transcript both sign holds the network id,
the version, the challenge and both keys, and no addresses: NAT, port mappings and 0.0.0.0 would break it. The
initiator's signature names the responder, so that nobody can pass it on to a third peer as made for that one.
"""

import hashlib
import hmac
from collections.abc import Callable
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
_TAG_SESSION = b"peerd/1 session id\x00"

COOKIE_SECRET_BYTES = 32
_COOKIE_STAMP_BYTES = 4
_COOKIE_STAMP_MASK = 2**32 - 1
_SESSION_RANDOM_BYTES = 5


@dataclass(frozen=True, slots=True)
class Established:
    """A finished handshake: the session, and what the other said in its first sealed message (initiator's side)."""

    session: Session
    certificate: bytes
    first: bytes = b""


def mac_key(network: NetworkId) -> bytes:
    """Return the key of the MAC that only members of a network can make: strangers get silence."""
    return hashlib.sha256(_TAG_MAC + network).digest()


def new_session_id(entropy: Entropy, key: bytes) -> bytes:
    """Return an id that members of the network (of MAC key `key`) know for one of theirs, and nobody else can guess."""
    random = entropy(_SESSION_RANDOM_BYTES)
    return random + _session_mark(key, random)


def is_session_id(session: bytes, key: bytes) -> bool:
    """Return whether a member of the network made this id; of invented ones each 16,777,216th passes."""
    random, mark = session[:_SESSION_RANDOM_BYTES], session[_SESSION_RANDOM_BYTES:]
    return hmac.compare_digest(_session_mark(key, random), mark)


class Initiator:
    """One attempt to open a session. `expected` is whom we want there, None where only an address is known."""

    def __init__(
        self, identity: Identity, entropy: Entropy, *, expected: PeerId | None = None, certificate: bytes = b""
    ) -> None:
        self._identity = identity
        self._mac_key = mac_key(identity.network)
        self._private, ephemeral = identity.suite.ephemeral(entropy)
        self._certificate = certificate
        self.expected = expected
        self.hello = Hello(new_session_id(entropy, self._mac_key), ephemeral)
        self.finish: Finish | None = None
        self._responder: bytes | None = None

    @property
    def session_id(self) -> bytes:
        """Return the id that the other will write on datagrams for us."""
        return self.hello.session

    def hello_bytes(self) -> bytes:
        """Return the hello datagram."""
        body = self.hello.body()
        return body + _mac(self._mac_key, body)

    def on_challenge(self, challenge: Challenge) -> bytes:
        """Return the finish datagram that answers a challenge to us.

        Raises WireError: `network` (not made by a member of ours), `other_peer` (not whom we wanted), `ourselves`.
        """
        if not _is_authentic(challenge, self._mac_key):
            raise WireError("network")
        if self.expected is not None and challenge.peer != self.expected:
            raise WireError("other_peer")
        if challenge.peer == self._identity.peer:
            raise WireError("ourselves")
        return self.answer(challenge)

    def answer(self, challenge: Challenge) -> bytes:
        """Return the finish datagram without a look at who is to be there: it also tells another of our own key."""
        self._responder = challenge.peer
        unsigned = Finish(
            echo=challenge.echo,
            cookie=challenge.cookie,
            session=self.hello.session,
            ephemeral=self.hello.ephemeral,
            peer=self._identity.peer,
            certificate=self._certificate,
            signature=b"",
        )
        signature = self._identity.sign(_TAG_FINISH, challenge.peer + unsigned.unsigned())
        self.finish = Finish(**{**_fields(unsigned), "signature": signature})
        body = self.finish.body()
        return body + _mac(self._mac_key, body)

    def on_accept(self, accept: Accept) -> Established:
        """Return the session.

        Raises WireError: `unasked` (no finish of ours, or to somebody else), `signature`, `ephemeral`, `unauthentic`.
        """
        if self.finish is None or accept.echo != self.hello.session or accept.peer != self._responder:
            raise WireError("unasked")
        peer = PeerId(accept.peer)
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
        return hello, self._challenge(hello.session, address, now)

    def challenge(self, echo: bytes, address: Address, now: float) -> bytes:
        """Return the challenge to a sealed message of a session that we do not know.

        Raises WireError (`unknown_session`) where no member of the network made that session's id.
        """
        if not is_session_id(echo, self._mac_key):
            raise WireError("unknown_session")
        return self._challenge(echo, address, now)

    def is_ours(self, challenge: Challenge) -> bool:
        """Return whether a member of the network made this challenge."""
        return _is_authentic(challenge, self._mac_key)

    def on_finish(
        self,
        data: bytes,
        address: Address,
        now: float,
        *,
        first: bytes,
        admit: Callable[[Finish], None] = lambda finish: None,
    ) -> tuple[Established, bytes]:
        """Return the session and the accept to send, with `first` sealed in it.

        `admit` is asked once the address is proven, before the first signature; what it raises is raised. Raises
        WireError: `network`, `cookie` (forged, old or for another address), `ourselves`, `twin` (made with our own
        key), `signature` (also where it was made for another responder), `ephemeral`.
        """
        finish, body, mac = envelope.parse_finish(data)
        if not hmac.compare_digest(_mac(self._mac_key, body), mac):
            raise WireError("network")
        self._check_cookie(finish, address, now)
        peer = PeerId(finish.peer)
        admit(finish)
        ours = peer == self._identity.peer
        if not self._identity.verify(peer, _TAG_FINISH, self._identity.peer + finish.unsigned(), finish.signature):
            raise WireError("ourselves" if ours else "signature")
        if ours:
            raise WireError("twin")
        private, ephemeral = self._identity.suite.ephemeral(self._entropy)
        secret = _exchange(self._identity, private, finish.ephemeral)
        accept = Accept(
            echo=finish.session,
            session=new_session_id(self._entropy, self._mac_key),
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

    def _challenge(self, echo: bytes, address: Address, now: float) -> bytes:
        unproven = Challenge(echo, self._identity.peer, self._cookie(echo, address, int(now) & _COOKIE_STAMP_MASK))
        return Challenge(echo, unproven.peer, unproven.cookie, _mac(self._mac_key, unproven.body())).to_bytes()

    def _check_cookie(self, finish: Finish, address: Address, now: float) -> None:
        made_s = int.from_bytes(finish.cookie[:_COOKIE_STAMP_BYTES], "big")
        if (int(now) - made_s) & _COOKIE_STAMP_MASK > limits.COOKIE_LIFE_S:
            raise WireError("cookie")
        if not hmac.compare_digest(self._cookie(finish.echo, address, made_s), finish.cookie):
            raise WireError("cookie")

    def _cookie(self, echo: bytes, address: Address, made_s: int) -> bytes:
        stamp = made_s.to_bytes(_COOKIE_STAMP_BYTES, "big")
        place = f"{address[0]} {address[1]}".encode()
        mac_bytes = envelope.COOKIE_BYTES - _COOKIE_STAMP_BYTES
        return stamp + hashlib.blake2b(stamp + echo + place, key=self._secret, digest_size=mac_bytes).digest()


def _is_authentic(challenge: Challenge, key: bytes) -> bool:
    return hmac.compare_digest(_mac(key, challenge.body()), challenge.mac)


def _mac(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=envelope.MAC_BYTES).digest()


def _session_mark(key: bytes, random: bytes) -> bytes:
    mark_bytes = envelope.SESSION_ID_BYTES - _SESSION_RANDOM_BYTES
    return hashlib.blake2b(_TAG_SESSION + random, key=key, digest_size=mark_bytes).digest()


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
