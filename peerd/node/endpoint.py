"""Sessions and requests over the datagram socket: who sent this, whom to send it to, what was asked and by when.

Not here: what a request means (responder), when to ask another peer instead (lookup, quorum). A reply counts only
from the peer that was asked, in its session. Retransmission follows the measured round trip (RFC 6298).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from peerd.config import HostPort, Settings
from peerd.errors import RefusedError, UnreachableError, WireError
from peerd.identity import Identity
from peerd.ids import PeerId
from peerd.io.environment import Datagrams, Environment
from peerd.kad.contact import Address, Contact
from peerd.logs import short
from peerd.node.handshakes import HANDSHAKE_TIMEOUT_S, Handshakes
from peerd.node.handshakes import TRIES_MAX as HELLOS_MAX
from peerd.node.roundtrips import RoundTrips
from peerd.node.sessions import SessionTable
from peerd.node.tasks import Tasks
from peerd.trust.admission import Admission
from peerd.wire import envelope, messages
from peerd.wire.handshake import Established
from peerd.wire.messages import Answering, Pong, Refused, Reply, Request
from peerd.wire.session import Session

REQUEST_TIMEOUT_S = 4.0
# By doubling waits no request is sent more often within its time.
TRIES_MAX = 64
# Hellos to an address that others named and where nobody was ever met: it may be invented, and there are many to ask.
HEARSAY_HELLOS_MAX = 3

# A timer that fires later than this says that this process stood still; then the others get a little more time.
LAG_MAX_S = 0.005
LAG_GRACE_S = 0.01


# Bounds on memory: strangers can fill none of these without proving an address and a key.
PENDING_MAX = 16384


def store_after_leases(rid: int, record: bytes, left_s: int | None) -> Request:
    """Return a `Store` whose answer waits for whoever has a lease: what that takes says nothing of disk and way."""
    return messages.Store(rid, record, left_s)


# Requests that are answered when something is on the other's disk.
_DURABLE = frozenset({messages.Store, messages.AddProvider, messages.Release, messages.Prepare, messages.Accept})
# Requests that are answered when somebody else did: how long that takes says nothing of the way to whom we ask. Of the
# dead it is seconds, and all who miss them ask at once.
_RELAYED = frozenset({messages.Relay, messages.Vouch, store_after_leases})

# Work by kind of request, in look-ups: what looks at the disk, and what is signed, checked or synced for it.
_READS = frozenset({messages.FindProviders, messages.Prove, messages.Attest, messages.FindFloors, messages.KeepFloors})
_COST_READ, _COST_CHANGE = 4.0, 8.0
_TELLING = (messages.Ping, messages.Tell)
_COSTS = dict.fromkeys(_READS, _COST_READ) | dict.fromkeys((*_DURABLE, messages.KeepCached), _COST_CHANGE)

REFUSED_BUSY = "busy"

Handler = Callable[[PeerId, Address, Request], Reply | Awaitable[Reply] | None]
Proven = Callable[[PeerId, Address, bool], None]


@dataclass(slots=True, eq=False)
class _Pending:
    """One request that waits for its reply."""

    rid: int
    future: asyncio.Future[Reply]
    contact: Contact
    plaintext: bytes
    kind: str
    deadline: float
    sent_at: float
    durable: bool
    measured: bool
    tries_max: int
    wait_min_s: float
    due: float = 0.0
    tries: int = 0
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class Counts:
    """What the status page shows of the wire."""

    rejected: Counter[str] = field(default_factory=Counter)
    sent_bytes: int = 0
    sent_count: int = 0
    received_count: int = 0
    sent_kinds: Counter[str] = field(default_factory=Counter)
    """Bytes sent by kind of message: its name, or `Handshake`."""
    sent_messages: Counter[str] = field(default_factory=Counter)
    """The same, in messages."""


def _waits_for_disk(kind: Callable[..., Request], fields: tuple[Any, ...]) -> bool:
    """Whether the answer comes when something is on the other's disk; a prepare of 0 only asks."""
    return kind in _DURABLE and not (kind is messages.Prepare and fields[1] == 0)


def admission_of(settings: Settings) -> Admission:
    """Return what the settings let others have of this peer's work."""
    return Admission(
        handshakes_per_s=settings.handshakes_per_s,
        group_handshakes_per_s=settings.group_handshakes_per_s,
        requests_per_s=settings.requests_per_s,
    )


def cost_of(request: Request) -> float:
    """Return how many look-ups' worth of work a request is."""
    if isinstance(request, _TELLING):
        return max(1.0, len(request.news))  # each item may be a signature
    return _COSTS.get(type(request), 1.0)


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
        spoke: Callable[[PeerId], None],
        unanswered: Callable[[PeerId], None],
        digest: Callable[[], bytes],
        sessions_max: int,
        admission: Admission,
        spare: Container[PeerId] = (),
        is_known: Callable[[PeerId, Address], bool] = lambda peer, address: False,
    ) -> None:
        self._clock = environment.clock
        self._tasks = tasks
        self._handler = handler
        self._proven = proven
        self._heard = heard
        self._spoke = spoke
        self._unanswered = unanswered
        self.doubted: Container[PeerId] = ()
        self.nobody_at: Callable[[PeerId, Address], None] = lambda peer, address: None
        self._is_known = is_known
        self._datagrams: Datagrams | None = None
        self._loop = asyncio.get_running_loop()
        self.sessions = SessionTable(sessions_max, spare)
        self._admission = admission
        self.roundtrips = RoundTrips()
        self._pending: dict[int, _Pending] = {}
        self._next_rid = int.from_bytes(environment.entropy(4), "big")
        self.counts = Counts()
        self._handshakes = Handshakes(
            identity,
            environment,
            self.sessions,
            send=self._send,
            established=self._established,
            flush=self._flush,
            unreachable=self._unreachable,
            greeting=lambda: messages.encode(Pong(0, digest())),
            admission=admission,
            is_known=is_known,
        )
        self.drop_list: frozenset[Address] = frozenset()

    def attach(self, datagrams: Datagrams) -> None:
        """Begin to send through `datagrams`."""
        self._datagrams = datagrams

    def close(self) -> None:
        """Fail what waits, and stop."""
        for pending in list(self._pending.values()):
            self._finish_pending(pending, UnreachableError("this peer is stopping"))
        self._pending.clear()
        self._handshakes.close()
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None

    # Asking.

    def ask(
        self,
        contact: Contact,
        kind: Callable[..., Request],
        *fields: Any,
        timeout_s: float = REQUEST_TIMEOUT_S,
        tries_max: int = TRIES_MAX,
        wait_min_s: float = 0.0,
    ) -> asyncio.Future[Reply]:
        """Send a request and return the future of its reply.

        It is sent at most `tries_max` times, at least `wait_min_s` apart. The future raises UnreachableError after
        `timeout_s`, RefusedError where the peer refused.
        """
        rid = self._next_rid = (self._next_rid + 1) & 0xFFFFFFFF
        future: asyncio.Future[Reply] = self._loop.create_future()
        if len(self._pending) >= PENDING_MAX:
            future.set_exception(UnreachableError("too many requests under way"))
            return future
        now = self._clock.monotonic()
        request = kind(rid, *fields)
        pending = _Pending(
            rid,
            future,
            contact,
            messages.encode(request),
            type(request).__name__,
            now + timeout_s,
            now,
            _waits_for_disk(kind, fields),
            kind not in _RELAYED,
            tries_max,
            wait_min_s,
        )
        self._pending[rid] = pending
        self._transmit(pending)
        return future

    async def connect(
        self,
        address: Address,
        expected: PeerId | None = None,
        *,
        timeout_s: float = HANDSHAKE_TIMEOUT_S,
        hellos_max: int = HELLOS_MAX,
    ) -> PeerId:
        """Shake hands with whoever is at `address` (or only with `expected`) and return who it is.

        Raises UnreachableError where nobody answers in time.
        """
        attempt = self._handshakes.begin(address, expected, timeout_s=timeout_s, tries_max=hellos_max)
        peer = await asyncio.shield(attempt.future)
        if expected is not None and peer != expected:
            raise UnreachableError("another peer lives at that address")
        return peer

    def refuse(self, refused: Callable[[PeerId], bool]) -> None:
        """Make no session with those of whom `refused` says so."""
        self._handshakes.refused = refused

    def tell_twin(self, twin: Callable[[Address], None]) -> None:
        """Call `twin` with the address from which somebody shook hands with our own key."""
        self._handshakes.twin = twin

    def drop_session(self, peer: PeerId) -> None:
        """Forget what we share with a peer; the next request shakes hands anew."""
        self.sessions.drop(peer)
        self.roundtrips.forget(peer)

    def _transmit(self, pending: _Pending) -> None:
        peer = pending.contact.peer
        session = self.sessions.of(peer)
        now = self._clock.monotonic()
        pending.tries += 1
        if pending.tries > pending.tries_max:
            wait_s = pending.deadline - now
        elif session is not None:
            pending.sent_at = now
            if session.worn:  # it goes on until the new one is there
                self._handshakes.begin(session.address, peer)
            self._send(session.seal(pending.plaintext), session.address, pending.kind)
            wait_s = self.roundtrips.rto_s(peer, durable=pending.durable) * (1 << min(pending.tries - 1, 6))
            wait_s = max(wait_s, pending.wait_min_s)
        else:
            address = pending.contact.address
            hellos_max = HELLOS_MAX if self._is_known(peer, address) else HEARSAY_HELLOS_MAX
            self._handshakes.begin(address, peer, timeout_s=pending.deadline - now, tries_max=hellos_max)
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
        answered_at = self.sessions.answered_at(peer)
        if answered_at is not None and answered_at <= pending.sent_at:  # nor anything else since
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

    # Receiving.

    def receive(self, data: bytes, address: Address) -> None:
        """Take one datagram; whatever is wrong with it is counted and otherwise ignored."""
        if self.drop_list and address in self.drop_list:
            return
        self.counts.received_count += 1
        try:
            kind = envelope.kind_of(data)
            if kind == envelope.SEALED:
                self._on_sealed(data, address)
            else:
                self._handshakes.receive(kind, data, address)
        except WireError as error:
            self.counts.rejected[error.reason] += 1

    def _on_sealed(self, data: bytes, address: Address) -> None:
        session = self.sessions.by_id(data[3:11])
        if session is None:
            self._handshakes.unknown_session(data, address)
            raise WireError("unknown_session")
        plaintext = session.open(data)
        now = session.heard_at = self._clock.monotonic()
        self.sessions.heard_in(session)
        message = messages.decode(plaintext)
        if answers := isinstance(message, Answering):
            session.answered_at = now
        if session.peer in self.doubted:  # only an answer shows that it hears us too
            (self._heard if answers else self._spoke)(session.peer)
        if address != session.address:
            # Moved: proven by a handshake before it counts. One hello only, for this may be somebody else's address.
            self._handshakes.begin(address, session.peer, tries_max=1)
        if isinstance(message, Answering):
            self._on_reply(session.peer, message, now)
        else:
            self._on_request(session, message)

    def _on_reply(self, peer: PeerId, reply: Reply, now: float) -> None:
        pending = self._pending.get(reply.rid)
        if pending is None or pending.contact.peer != peer:
            raise WireError("unasked")
        if pending.measured and pending.tries == 1:  # Karn: the answer to a repeated request may be to either
            self.roundtrips.measured(peer, now - pending.sent_at, durable=pending.durable)
        if isinstance(reply, Refused):
            self._finish_pending(pending, RefusedError(reply.code))
        else:
            self._finish_pending(pending, reply)

    def _on_request(self, session: Session, request: Request) -> None:
        """Answer at the address that was proven, wherever the request seems to come from."""
        now = self._clock.monotonic()
        if not self._admission.request(session.peer, cost_of(request), now):
            self.counts.rejected["busy"] += 1
            if self._admission.tells(session.peer, now):  # who repeats what was not answered asks again anyhow
                self._send(
                    session.seal(messages.encode(Refused(request.rid, REFUSED_BUSY))), session.address, "Refused"
                )
            return
        answer = self._handler(session.peer, session.address, request)
        if answer is None:
            return
        if isinstance(answer, Answering):
            self._send(session.seal(messages.encode(answer)), session.address, type(answer).__name__)
        else:
            self._tasks.spawn(self._answer_later(session, answer), "answer")

    async def _answer_later(self, session: Session, answer: Awaitable[Reply]) -> None:
        reply = await answer
        self._send(session.seal(messages.encode(reply)), session.address, type(reply).__name__)

    # Handshakes.

    def _established(self, established: Established, address: Address, initiated: bool) -> None:
        session = established.session
        now = self._clock.monotonic()
        session.address = address
        session.established_at = session.heard_at = session.answered_at = now
        self.sessions.install(session, sending=initiated or session.peer not in self.sessions)
        logger.debug("session established", peer=short(session.peer), address=HostPort(*address).text)
        self._proven(session.peer, address, initiated)

    def _unreachable(self, address: Address, expected: PeerId | None) -> None:
        """Nobody answered the handshake: fail what waited for it."""
        if expected is not None:
            self.nobody_at(expected, address)
        for pending in list(self._pending.values()):
            peer = pending.contact.peer
            waits = pending.contact.address == address and peer not in self.sessions
            if waits and (expected is None or peer == expected):
                self._finish_pending(pending, UnreachableError("no answer to the handshake"))

    def _flush(self, peer: PeerId) -> None:
        """Send again what waited for a session with `peer`."""
        for pending in list(self._pending.values()):
            if pending.contact.peer == peer and not pending.future.done():
                if pending.timer is not None:
                    pending.timer.cancel()
                pending.tries = 0
                self._transmit(pending)

    def _send(self, data: bytes, address: Address, kind: str = "Handshake") -> None:
        if self._datagrams is None or (self.drop_list and address in self.drop_list):
            return
        counts, size = self.counts, len(data)
        counts.sent_kinds[kind] += size
        counts.sent_messages[kind] += 1
        counts.sent_count += 1
        counts.sent_bytes += size
        self._datagrams.send(data, address)
