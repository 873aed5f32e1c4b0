"""Sessions and requests over the datagram socket: who sent this, whom to send it to, what was asked and by when.

Not here: what a request means (responder), when to ask another peer instead (lookup, quorum). A reply counts only
from the peer that was asked, in its session. Retransmission follows the measured round trip (RFC 6298).
"""

import asyncio
import inspect
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from peerd.config import HostPort
from peerd.errors import RefusedError, UnreachableError, WireError
from peerd.identity import Identity
from peerd.ids import PeerId
from peerd.io.environment import Datagrams, Environment
from peerd.kad.contact import Address, Contact
from peerd.logs import short
from peerd.node.roundtrips import RoundTrips
from peerd.node.sessions import SessionTable
from peerd.node.tasks import Tasks
from peerd.wire import envelope, limits, messages
from peerd.wire.handshake import Established, Initiator, Responder
from peerd.wire.messages import Pong, Refused, Reply, Request
from peerd.wire.session import Session

HELLO_RETRY_S = 0.1
HANDSHAKE_TIMEOUT_S = 4.0
REQUEST_TIMEOUT_S = 4.0
# A simultaneous hello of the other is ignored while ours, the lower, was sent so few times; then a way may be cut.
SIMULTANEOUS_TRIES = 3

# A timer that fires later than this says that this process stood still; then the others get a little more time.
LAG_MAX_S = 0.005
LAG_GRACE_S = 0.01

# How long the session of a peer that said goodbye stays, so that its last requests are answered.
LEAVE_LINGER_S = 1.0

# Bounds on memory: strangers can fill none of these without proving an address and a key.
SESSIONS_MAX = 4096
ATTEMPTS_MAX = 1024
PENDING_MAX = 16384
ACCEPTS_MAX = 512

# Requests that are answered when something is on the other's disk.
_DURABLE = frozenset({messages.Store, messages.AddProvider, messages.Release})

Handler = Callable[[PeerId, Address, Request], Reply | Awaitable[Reply] | None]
Proven = Callable[[PeerId, Address, bool], None]


@dataclass(slots=True, eq=False)
class _Pending:
    """One request that waits for its reply."""

    rid: int
    future: asyncio.Future[Reply]
    contact: Contact
    plaintext: bytes
    deadline: float
    sent_at: float
    durable: bool
    due: float = 0.0
    tries: int = 0
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, eq=False)
class _Attempt:
    """One handshake that we began."""

    initiator: Initiator
    address: Address
    deadline: float
    future: asyncio.Future[PeerId]
    tries: int = 0
    last: bytes = b""
    timer: asyncio.TimerHandle | None = None
    challenged: bool = False


@dataclass(slots=True)
class Counts:
    """What the status page shows of the wire."""

    rejected: Counter[str] = field(default_factory=Counter)
    sent_bytes: int = 0
    sent_count: int = 0
    received_count: int = 0


class Endpoint:
    """All sessions of this peer."""

    def __init__(
        self,
        identity: Identity,
        environment: Environment,
        tasks: Tasks,
        *,
        handler: Handler,
        proven: Proven,
        heard: Callable[[PeerId], None],
        unanswered: Callable[[PeerId], None],
        digest: Callable[[], bytes],
    ) -> None:
        self._identity = identity
        self._clock = environment.clock
        self._entropy = environment.entropy
        self._rng = environment.rng
        self._tasks = tasks
        self._handler = handler
        self._proven = proven
        self._heard = heard
        self._unanswered = unanswered
        self.digest = digest
        self.doubted: set[PeerId] = set()
        self._responder = Responder(identity, environment.entropy)
        self._datagrams: Datagrams | None = None
        self._loop = asyncio.get_running_loop()
        self.sessions = SessionTable(SESSIONS_MAX)
        self.roundtrips = RoundTrips()
        self._attempts: dict[Address, _Attempt] = {}
        self._attempt_ids: dict[bytes, _Attempt] = {}
        self._accepts: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._pending: dict[int, _Pending] = {}
        self._next_rid = int.from_bytes(environment.entropy(4), "big")
        self.counts = Counts()
        self.drop_list: frozenset[Address] = frozenset()

    def attach(self, datagrams: Datagrams) -> None:
        """Begin to send through `datagrams`."""
        self._datagrams = datagrams

    def close(self) -> None:
        """Fail what waits, and stop."""
        for pending in list(self._pending.values()):
            self._finish_pending(pending, UnreachableError("this peer is stopping"))
        self._pending.clear()
        for attempt in list(self._attempts.values()):
            self._end_attempt(attempt, UnreachableError("this peer is stopping"))
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None

    # Asking.

    def ask(
        self, contact: Contact, kind: Callable[..., Request], *fields: Any, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> asyncio.Future[Reply]:
        """Send a request and return the future of its reply.

        The future raises UnreachableError after `timeout_s`, RefusedError where the peer refused.
        """
        rid = self._next_rid = (self._next_rid + 1) & 0xFFFFFFFF
        future: asyncio.Future[Reply] = self._loop.create_future()
        if len(self._pending) >= PENDING_MAX:
            future.set_exception(UnreachableError("too many requests under way"))
            return future
        now = self._clock.monotonic()
        plaintext = messages.encode(kind(rid, *fields))
        pending = _Pending(rid, future, contact, plaintext, now + timeout_s, now, kind in _DURABLE)
        self._pending[rid] = pending
        self._transmit(pending)
        return future

    async def connect(
        self, address: Address, expected: PeerId | None = None, *, timeout_s: float = HANDSHAKE_TIMEOUT_S
    ) -> PeerId:
        """Shake hands with whoever is at `address` (or only with `expected`) and return who it is.

        Raises UnreachableError where nobody answers in time.
        """
        attempt = self._attempts.get(address)
        if attempt is None:
            attempt = self._begin(address, expected, timeout_s)
        return await asyncio.shield(attempt.future)

    def drop_session_later(self, peer: PeerId) -> None:
        """Forget what we share with a peer once what is being answered to it is sent."""
        self._loop.call_later(LEAVE_LINGER_S, self.drop_session, peer)

    def drop_session(self, peer: PeerId) -> None:
        """Forget what we share with a peer; the next request shakes hands anew."""
        self.sessions.drop(peer)
        self.roundtrips.forget(peer)

    def _transmit(self, pending: _Pending) -> None:
        peer = pending.contact.peer
        session = self.sessions.of(peer)
        now = self._clock.monotonic()
        pending.tries += 1
        if session is not None:
            pending.sent_at = now
            self._send(session.seal(pending.plaintext), session.address)
            wait_s = self.roundtrips.rto_s(peer, durable=pending.durable) * (1 << min(pending.tries - 1, 6))
        else:
            if pending.contact.address not in self._attempts:
                self._begin(pending.contact.address, peer, pending.deadline - now)
            wait_s = HANDSHAKE_TIMEOUT_S
        self._arm(pending, max(0.0, min(wait_s, pending.deadline - now)))

    def _arm(self, pending: _Pending, delay_s: float) -> None:
        pending.due = self._loop.time() + delay_s
        pending.timer = self._loop.call_later(delay_s, self._on_request_timer, pending)

    def _on_request_timer(self, pending: _Pending) -> None:
        lag_s = self._loop.time() - pending.due
        if lag_s > LAG_MAX_S and self._clock.monotonic() < pending.deadline:
            # We stood still, not the other: what came meanwhile is read before anybody is suspected (Lifeguard 3.A).
            self._arm(pending, LAG_GRACE_S)
            return
        peer = pending.contact.peer
        if peer in self.sessions:
            self._unanswered(peer)
        if pending.future.done():  # the caller went away; that the peer is silent was still worth knowing
            self._pending.pop(pending.rid, None)
            return
        if self._clock.monotonic() >= pending.deadline - 1e-6:
            self._finish_pending(pending, UnreachableError("no answer in time"))
            return
        self._transmit(pending)

    def _finish_pending(self, pending: _Pending, outcome: Reply | Exception) -> None:
        self._pending.pop(pending.rid, None)
        if pending.timer is not None:
            pending.timer.cancel()
            pending.timer = None
        if pending.future.done():
            return
        if isinstance(outcome, Exception):
            pending.future.set_exception(outcome)
            pending.future.exception()  # a caller that went away is no error
        else:
            pending.future.set_result(outcome)

    # Handshakes that we begin.

    def _begin(self, address: Address, expected: PeerId | None, timeout_s: float) -> _Attempt:
        future: asyncio.Future[PeerId] = self._loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        initiator = Initiator(self._identity, self._entropy, expected=expected)
        deadline = self._clock.monotonic() + min(timeout_s, HANDSHAKE_TIMEOUT_S)
        attempt = _Attempt(initiator, address, deadline, future, last=initiator.hello_bytes())
        if len(self._attempts) >= ATTEMPTS_MAX:
            future.set_exception(UnreachableError("too many handshakes under way"))
            return attempt
        self._attempts[address] = attempt
        self._attempt_ids[initiator.session_id] = attempt
        self._send_attempt(attempt)
        return attempt

    def _send_attempt(self, attempt: _Attempt) -> None:
        now = self._clock.monotonic()
        if now >= attempt.deadline - 1e-6:
            self._end_attempt(attempt, UnreachableError("no answer to the handshake"))
            return
        attempt.tries += 1
        self._send(attempt.last, attempt.address)
        wait_s = HELLO_RETRY_S * (1 << min(attempt.tries - 1, 5)) * self._rng.uniform(0.9, 1.1)
        delay_s = min(wait_s, attempt.deadline - now)
        attempt.timer = self._loop.call_later(delay_s, self._send_attempt, attempt)

    def _end_attempt(self, attempt: _Attempt, outcome: PeerId | Exception) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
        self._attempt_ids.pop(attempt.initiator.session_id, None)
        if self._attempts.get(attempt.address) is attempt:
            del self._attempts[attempt.address]
        if attempt.future.done():
            return
        if isinstance(outcome, Exception):
            attempt.future.set_exception(outcome)
            expected = attempt.initiator.expected
            for pending in list(self._pending.values()):
                waits = pending.contact.address == attempt.address and pending.contact.peer not in self.sessions
                if waits and (expected is None or pending.contact.peer == expected):
                    self._finish_pending(pending, UnreachableError("no answer to the handshake"))
        else:
            attempt.future.set_result(outcome)

    # Receiving.

    def receive(self, data: bytes, address: Address) -> None:
        """Take one datagram; whatever is wrong with it is counted and otherwise ignored."""
        if address in self.drop_list:
            return
        self.counts.received_count += 1
        try:
            kind = envelope.kind_of(data)
            if kind == envelope.SEALED:
                self._on_sealed(data, address)
            elif kind == envelope.HELLO:
                self._on_hello(data, address)
            elif kind == envelope.CHALLENGE:
                self._on_challenge(data, address)
            elif kind == envelope.FINISH:
                self._on_finish(data, address)
            elif kind == envelope.ACCEPT:
                self._on_accept(data, address)
            else:
                raise WireError("kind")
        except WireError as error:
            self.counts.rejected[error.reason] += 1

    def _on_sealed(self, data: bytes, address: Address) -> None:
        session = self.sessions.by_id(data[3:11])
        if session is None:
            if data[3:11] not in self._attempt_ids and len(data) > len(envelope.SEALED_HEADER) + 40:
                self._send(self._responder.challenge(data[3:11], address, self._clock.monotonic()), address)
            raise WireError("unknown_session")
        plaintext = session.open(data)
        now = session.heard_at = self._clock.monotonic()
        if session.peer in self.doubted:
            self._heard(session.peer)
        self.sessions.heard_in(session)
        message = messages.decode(plaintext)
        if address != session.address and address not in self._attempts:
            self._begin(address, session.peer, HANDSHAKE_TIMEOUT_S)  # moved: proven by a handshake before it counts
        if isinstance(message, Reply):
            self._on_reply(session.peer, message, now)
        else:
            self._on_request(session, message, address)

    def _on_reply(self, peer: PeerId, reply: Reply, now: float) -> None:
        pending = self._pending.get(reply.rid)
        if pending is None or pending.contact.peer != peer:
            raise WireError("unasked")
        if pending.tries == 1:  # Karn: the answer to a repeated request says nothing of the round trip
            self.roundtrips.measured(peer, now - pending.sent_at, durable=pending.durable)
        if isinstance(reply, Refused):
            self._finish_pending(pending, RefusedError(reply.code))
        else:
            self._finish_pending(pending, reply)

    def _on_request(self, session: Session, request: Request, address: Address) -> None:
        answer = self._handler(session.peer, address, request)
        if answer is None:
            return
        if inspect.isawaitable(answer):
            self._tasks.spawn(self._answer_later(session, answer, address), "answer")
        else:
            self._send(session.seal(messages.encode(answer)), address)

    async def _answer_later(self, session: Session, answer: Awaitable[Reply], address: Address) -> None:
        reply = await answer
        self._send(session.seal(messages.encode(reply)), address)

    def _on_hello(self, data: bytes, address: Address) -> None:
        now = self._clock.monotonic()
        hello, challenge = self._responder.on_hello(data, address, now)
        ours = self._attempts.get(address)
        waits = ours is not None and ours.tries <= SIMULTANEOUS_TRIES
        if ours is not None and waits and (ours.challenged or ours.initiator.hello.ephemeral < hello.ephemeral):
            return
        self._send(challenge, address)

    def _on_challenge(self, data: bytes, address: Address) -> None:
        challenge = envelope.parse_challenge(data)
        attempt = self._attempt_ids.get(challenge.echo)
        if attempt is None:
            attempt = self._reopen(challenge.echo, address)
        if attempt.address != address:
            raise WireError("unasked")
        if attempt.challenged:
            return  # a repeated hello was answered twice: the first finish is under way
        attempt.challenged = True
        attempt.last = attempt.initiator.on_challenge(challenge)
        attempt.tries = 0
        if attempt.timer is not None:
            attempt.timer.cancel()
        self._send_attempt(attempt)

    def _reopen(self, remote_id: bytes, address: Address) -> _Attempt:
        """Return a handshake with the peer that has forgotten our session (it restarted)."""
        session = self.sessions.by_remote(address, remote_id)
        if session is None:
            raise WireError("unasked")
        if address in self._attempts:
            return self._attempts[address]
        attempt = self._begin(address, session.peer, HANDSHAKE_TIMEOUT_S)
        if attempt.future.done():
            raise WireError("busy")
        return attempt

    def _on_finish(self, data: bytes, address: Address) -> None:
        now = self._clock.monotonic()
        known = self._accepts.get(data)
        if known is not None:
            self._send(known[1], address)
            return
        first = messages.encode(Pong(0, self.digest()))
        established, accept = self._responder.on_finish(data, address, now, first=first)
        self._accepts[data] = (now, accept)
        while self._accepts and (
            len(self._accepts) > ACCEPTS_MAX or next(iter(self._accepts.values()))[0] < now - limits.COOKIE_LIFE_S
        ):
            self._accepts.popitem(last=False)
        self._install(established, address, now, sending=established.session.peer not in self.sessions)
        self._send(accept, address)
        self._proven(established.session.peer, address, False)
        ours = self._attempts.get(address)
        if ours is not None and ours.initiator.expected in (None, established.session.peer):
            self._end_attempt(ours, established.session.peer)
        self._flush(established.session.peer)

    def _on_accept(self, data: bytes, address: Address) -> None:
        accept = envelope.parse_accept(data)
        attempt = self._attempt_ids.get(accept.echo)
        if attempt is None or attempt.address != address:
            raise WireError("unasked")
        try:
            established = attempt.initiator.on_accept(accept)
        except WireError as error:
            if error.reason in ("other_peer", "ourselves"):
                self._end_attempt(attempt, UnreachableError("another peer lives at that address"))
            raise
        peer = established.session.peer
        now = self._clock.monotonic()
        self._install(established, address, now, sending=True)
        self._proven(peer, address, True)
        self._end_attempt(attempt, peer)
        self._flush(peer)

    # Sessions.

    def _install(self, established: Established, address: Address, now: float, *, sending: bool) -> None:
        session = established.session
        session.address = address
        session.established_at = session.heard_at = now
        self.sessions.install(session, sending=sending)
        logger.debug("session established", peer=short(session.peer), address=HostPort(*address).text)

    def _flush(self, peer: PeerId) -> None:
        """Send again what waited for a session with `peer`."""
        for pending in list(self._pending.values()):
            if pending.contact.peer == peer and not pending.future.done():
                if pending.timer is not None:
                    pending.timer.cancel()
                pending.tries = 0
                self._transmit(pending)

    def _send(self, data: bytes, address: Address) -> None:
        if self._datagrams is None or address in self.drop_list:
            return
        self.counts.sent_count += 1
        self.counts.sent_bytes += len(data)
        self._datagrams.send(data, address)
