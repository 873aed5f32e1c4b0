"""Handshakes under way: those that we began, and what we answer to those of others (wire.handshake has the steps).

An attempt belongs to an address: who lives there may not be known yet. Strangers who have not proven an address cost
no memory here. Not here: sessions once they stand (sessions), and what waits for one (endpoint).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from peerd.errors import UnreachableError, WireError
from peerd.identity import Identity
from peerd.ids import PeerId
from peerd.io.environment import Environment
from peerd.kad.contact import Address
from peerd.kad.groups import group_or_host
from peerd.node.sessions import SessionTable
from peerd.trust.admission import Admission
from peerd.wire import envelope, limits
from peerd.wire.envelope import Finish
from peerd.wire.handshake import Established, Initiator, Responder

HELLO_RETRY_S = 0.1
HANDSHAKE_TIMEOUT_S = 4.0
# A simultaneous hello of the other is ignored while ours, the lower, was sent so few times; then a way may be cut.
SIMULTANEOUS_TRIES = 3
TRIES_MAX = 8

# Bounds on memory: our own attempts, and accepts kept for those who repeat their finish.
ATTEMPTS_MAX = 1024
ACCEPTS_MAX = 512
# Finishes that made a session within a cookie's life, 100 B each: far above what is let in within that time.
USED_MAX = 16_384

Send = Callable[[bytes, Address], None]


@dataclass(slots=True, eq=False)
class Attempt:
    """One handshake that we began; its future gives who answered, or UnreachableError."""

    initiator: Initiator
    address: Address
    deadline: float
    tries_max: int
    future: asyncio.Future[PeerId]
    last: bytes = b""
    tries: int = 0
    timer: asyncio.TimerHandle | None = None
    challenged: bool = False
    ours: bool = False
    """Whether its hello came to us: at that address nobody lives but we, or whoever sends us back what is ours."""


@dataclass(slots=True)
class _Accepted:
    """What answered a finish; `repeats` says how often it was sent again."""

    made_at: float
    data: bytes
    repeats: int = 0


class Handshakes:
    """Begins handshakes and answers them."""

    def __init__(
        self,
        identity: Identity,
        environment: Environment,
        sessions: SessionTable,
        *,
        send: Send,
        established: Callable[[Established, Address, bool], None],
        flush: Callable[[PeerId], None],
        unreachable: Callable[[Address, PeerId | None], None],
        greeting: Callable[[], bytes],
        admission: Admission,
        is_known: Callable[[PeerId, Address], bool],
    ) -> None:
        self._identity = identity
        self._clock = environment.clock
        self._rng = environment.rng
        self._entropy = environment.entropy
        self._sessions = sessions
        self._send = send
        self._established = established
        self._flush = flush
        self._unreachable = unreachable
        self._greeting = greeting
        self._admission = admission
        self._is_known = is_known
        self.refused: Callable[[PeerId], bool] = lambda peer: False
        self.twin: Callable[[Address], None] = lambda address: None
        self._loop = asyncio.get_running_loop()
        self._responder = Responder(identity, environment.entropy)
        self._attempts: dict[Address, Attempt] = {}
        self._by_id: dict[bytes, Attempt] = {}
        self._accepts: OrderedDict[tuple[Address, bytes], _Accepted] = OrderedDict()
        self._used: OrderedDict[bytes, float] = OrderedDict()
        """Echo and cookie of each finish that made a session, and when: none makes two."""

    def begin(
        self,
        address: Address,
        expected: PeerId | None,
        *,
        timeout_s: float = HANDSHAKE_TIMEOUT_S,
        tries_max: int = TRIES_MAX,
    ) -> Attempt:
        """Return the handshake under way with `address`, begun now where there is none."""
        attempt = self._attempts.get(address)
        if attempt is not None:
            if attempt.tries_max < tries_max:  # now somebody waits for it
                idle = attempt.tries >= attempt.tries_max
                attempt.tries_max = tries_max
                if idle and attempt.timer is not None:
                    attempt.timer.cancel()
                    self._send_attempt(attempt)
            return attempt
        future: asyncio.Future[PeerId] = self._loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        initiator = Initiator(self._identity, self._entropy, expected=expected)
        deadline = self._clock.monotonic() + min(timeout_s, HANDSHAKE_TIMEOUT_S)
        attempt = Attempt(initiator, address, deadline, tries_max, future, last=initiator.hello_bytes())
        if len(self._attempts) >= ATTEMPTS_MAX:
            future.set_exception(UnreachableError("too many handshakes under way"))
            return attempt
        self._attempts[address] = attempt
        self._by_id[initiator.session_id] = attempt
        self._send_attempt(attempt)
        return attempt

    def close(self) -> None:
        """Give up all attempts."""
        for attempt in list(self._attempts.values()):
            self._end(attempt, UnreachableError("this peer is stopping"))

    def receive(self, kind: int, data: bytes, address: Address) -> None:
        """Take a datagram of a handshake; raises WireError for what is wrong with it."""
        match kind:
            case envelope.HELLO:
                self._on_hello(data, address)
            case envelope.CHALLENGE:
                self._on_challenge(data, address)
            case envelope.FINISH:
                self._on_finish(data, address)
            case envelope.ACCEPT:
                self._on_accept(data, address)
            case _:
                raise WireError("kind")

    def unknown_session(self, data: bytes, address: Address) -> None:
        """Answer a sealed message of a session that we do not know (any more) by a challenge, never a longer one."""
        if data[3:11] not in self._by_id and len(data) >= envelope.CHALLENGE_BYTES:
            self._send(self._responder.challenge(data[3:11], address, self._clock.monotonic()), address)

    def _send_attempt(self, attempt: Attempt) -> None:
        now = self._clock.monotonic()
        if now >= attempt.deadline - 1e-6:
            self._end(attempt, UnreachableError("no answer to the handshake"))
            return
        wait_s = attempt.deadline - now
        if attempt.tries < attempt.tries_max:
            attempt.tries += 1
            self._send(attempt.last, attempt.address)
            wait_s = min(wait_s, HELLO_RETRY_S * (1 << min(attempt.tries - 1, 5)) * self._rng.uniform(0.9, 1.1))
        attempt.timer = self._loop.call_later(wait_s, self._send_attempt, attempt)

    def _end(self, attempt: Attempt, outcome: PeerId | UnreachableError) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
        self._by_id.pop(attempt.initiator.session_id, None)
        if self._attempts.get(attempt.address) is attempt:
            del self._attempts[attempt.address]
        if attempt.future.done():
            return
        if isinstance(outcome, UnreachableError):
            attempt.future.set_exception(outcome)
            self._unreachable(attempt.address, attempt.initiator.expected)
        else:
            attempt.future.set_result(outcome)

    def _on_hello(self, data: bytes, address: Address) -> None:
        hello, challenge = self._responder.on_hello(data, address, self._clock.monotonic())
        own = self._by_id.get(hello.session)
        if own is not None:
            own.ours = True
        ours = self._attempts.get(address)
        # An attempt that sends no more hellos, as the one to somebody dead, is nothing to wait for.
        waits = (
            ours is not None and ours.tries <= SIMULTANEOUS_TRIES and (ours.challenged or ours.tries < ours.tries_max)
        )
        if ours is not None and waits and (ours.challenged or ours.initiator.hello.ephemeral < hello.ephemeral):
            return
        self._send(challenge, address)

    def _on_challenge(self, data: bytes, address: Address) -> None:
        challenge = envelope.parse_challenge(data)
        attempt = self._by_id.get(challenge.echo)
        if attempt is None:
            if not self._responder.is_ours(challenge):
                raise WireError("network")
            attempt = self._reopen(challenge.echo, address)
        if attempt.address != address:
            raise WireError("unasked")
        if self.refused(PeerId(challenge.peer)):
            self._end(attempt, UnreachableError("nothing is had to do with who lives at that address"))
            raise WireError("out")
        if attempt.challenged:
            return  # a repeated hello was answered twice: the first finish is under way
        try:
            finish = attempt.initiator.on_challenge(challenge)
        except WireError as error:
            if error.reason == "ourselves" and not attempt.ours:
                # Another with our key can tell by it that we run too. It is signed with the other's cookie and for our
                # own id, so that nobody else can have made it; nor is it of any use here.
                self._send(attempt.initiator.answer(challenge), address)
            if error.reason in ("other_peer", "ourselves"):
                self._end(attempt, UnreachableError("another peer lives at that address"))
            raise
        attempt.challenged = True
        attempt.last = finish
        attempt.tries = 0
        attempt.tries_max = TRIES_MAX
        if attempt.timer is not None:
            attempt.timer.cancel()
        self._send_attempt(attempt)

    def _reopen(self, remote_id: bytes, address: Address) -> Attempt:
        """Return a handshake with the peer that has forgotten our session (it restarted)."""
        session = self._sessions.by_remote(address, remote_id)
        if session is None:
            raise WireError("unasked")
        attempt = self.begin(address, session.peer)
        if attempt.future.done():
            raise WireError("busy")
        return attempt

    def _on_finish(self, data: bytes, address: Address) -> None:
        now = self._clock.monotonic()
        known = self._accepts.get((address, data))
        if known is not None:
            if known.repeats < TRIES_MAX:  # whoever saw it can repeat it, in the name of who sent it
                known.repeats += 1
                self._send(known.data, address)
            return
        self._forget(now)
        used = b""

        def admit(finish: Finish) -> None:
            nonlocal used
            used = finish.echo + finish.cookie
            self._admit(used, PeerId(finish.peer), address, now)

        try:
            established, accept = self._responder.on_finish(data, address, now, first=self._greeting(), admit=admit)
        except WireError as error:
            if error.reason == "twin":
                self.twin(address)
            raise
        peer = established.session.peer
        self._used[used] = now
        self._accepts[address, data] = _Accepted(now, accept)
        self._established(established, address, False)
        self._send(accept, address)
        ours = self._attempts.get(address)
        # Where our own finish is under way too, its accept ends it: else each end would keep what the other drops.
        if ours is not None and not ours.challenged and ours.initiator.expected in (None, peer):
            self._end(ours, peer)
        self._flush(peer)

    def _admit(self, used: bytes, peer: PeerId, address: Address, now: float) -> None:
        """Raise WireError where a finish was used already, or where its signature is more work than is to be done now.

        Only for who has proven an address. One address group cannot have what others need; members are still let in
        where all strangers together want more than there is.
        """
        if self.refused(peer):
            raise WireError("out")
        if used in self._used:
            raise WireError("replayed")
        known = self._is_known(peer, address)
        if len(self._used) >= USED_MAX or not self._admission.handshake(group_or_host(address), now, known=known):
            raise WireError("busy")

    def _forget(self, now: float) -> None:
        """Let go what is too old to be repeated: its cookie is refused by then."""
        until = now - limits.COOKIE_LIFE_S - 1
        while self._used and next(iter(self._used.values())) < until:
            self._used.popitem(last=False)
        while self._accepts:
            if len(self._accepts) < ACCEPTS_MAX and next(iter(self._accepts.values())).made_at >= until:
                return
            self._accepts.popitem(last=False)

    def _on_accept(self, data: bytes, address: Address) -> None:
        accept = envelope.parse_accept(data)
        attempt = self._by_id.get(accept.echo)
        if attempt is None or attempt.address != address:
            raise WireError("unasked")
        established = attempt.initiator.on_accept(accept)
        peer = established.session.peer
        if self.refused(peer):  # put out since it sent its challenge
            self._end(attempt, UnreachableError("nothing is had to do with who lives at that address"))
            raise WireError("out")
        self._established(established, address, True)
        self._end(attempt, peer)
        self._flush(peer)
