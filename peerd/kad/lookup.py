"""One look-up: the iterative search for the contacts closest to a target, as a state machine.

The caller asks `next` whom to ask until it says to wait, sends the requests, and tells what came of each; it is told
the time and reads none. Policy:

1. Of the k nearest contacts known that have not failed, the nearest not yet asked is asked; alpha requests are in
   flight at all times, there are no rounds (Kademlia 2.3).
2. When alpha answers in a row named nobody nearer, the rest of the k are asked at once (2.3: "resends to all of the k
   closest"): the last steps cost one round trip and not k / alpha.
3. A request over its hedge delay is slow: it makes room for another, and the k reach one contact further. Its answer
   still counts, and the look-up waits for it or its failure.
4. It ends when the k nearest known have all answered or failed; at the deadline; or when the requests are used up.
5. Of an answer the `referrer_max` nearest new contacts are taken. Those named by a peer most of whose contacts failed
   are asked after the others (who invents contacts pays first), and a failed peer is tried again at another address
   that another peer gave (a wrong address for a true peer hides it no further than that).

A search for a value is the same: the caller ends it with `finish` when it has seen enough. Not here: sending, retries,
what an answer proves. In the manner of rust-libp2p's closest.rs, which differs in 3 (does not wait for slow peers) and
has not 5.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from peerd.ids import PeerId
from peerd.kad.contact import Address, Contact

ALPHA = 3
"""Requests in flight (Kademlia 2.3)."""

RESULT_COUNT = 8
"""Closest contacts that a look-up is for: the holders of a record (DESIGN.md 6)."""

REQUESTS_MAX = 128
"""Requests in one look-up: liars who name ever nearer contacts end here."""

REFERRER_MAX = 8
"""New contacts taken from one answer: no one peer fills the search. Known ones, the dead among them, do not count."""

ADDRESSES_MAX = 3
"""Addresses tried for one peer: an answer cannot make us knock at every door of a network."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nobody to ask now: something is in flight."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Nobody to ask any more; `outcome` says why."""


WAITING = Waiting()
FINISHED = Finished()

Step = Contact | Waiting | Finished


class Outcome(Enum):
    """How a look-up ended, if it has."""

    RUNNING = "running"
    CONVERGED = "converged"  # the k nearest known have all answered or failed
    DEADLINE = "deadline"
    REQUESTS = "requests"  # the cap on requests
    STOPPED = "stopped"  # by the caller


class State(Enum):
    """What became of a contact in a look-up."""

    NEW = "new"
    WAITING = "waiting"
    SLOW = "slow"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(slots=True)
class Hop:
    """One request of the trace.

    `answered_at` is None where no answer came; `result` is a State's text, or what the caller said of the answer.
    """

    contact: Contact
    hop: int
    asked_at: float
    answered_at: float | None = None
    result: str = State.WAITING.value


@dataclass(slots=True, eq=False)
class _Candidate:
    """A contact of the search. `hop` is 1 for those known at the start, one more than the referrer's for others."""

    contact: Contact
    distance: int
    hop: int
    referrer: "_Candidate | None"
    state: State = State.NEW
    addresses: list[Address] = field(default_factory=list)
    asked: Hop | None = None
    named_failed: int = 0
    named_answered: int = 0

    @property
    def is_doubtful(self) -> bool:
        return self.referrer is not None and self.referrer.named_failed > self.referrer.named_answered


class Lookup:
    """A search for the `k` contacts closest to `target`.

    `seeds` are the closest we know, in any order; `own` is never asked. `deadline` is a monotonic instant.
    """

    def __init__(
        self,
        target: bytes,
        seeds: Iterable[Contact],
        *,
        deadline: float,
        own: PeerId | None = None,
        alpha: int = ALPHA,
        k: int = RESULT_COUNT,
        requests_max: int = REQUESTS_MAX,
        referrer_max: int = REFERRER_MAX,
    ) -> None:
        assert alpha > 0 and k > 0 and requests_max > 0 and referrer_max > 0
        self.target = target
        self.deadline = deadline
        self.alpha = alpha
        self.k = k
        self.requests_max = requests_max
        self.referrer_max = referrer_max
        self.outcome = Outcome.RUNNING
        self.trace: list[Hop] = []
        self._own = own
        self._point = int.from_bytes(target, "big")
        self._candidates: dict[PeerId, _Candidate] = {}
        self._order: list[int] = []  # distances of the candidates that have not failed
        self._by_distance: dict[int, _Candidate] = {}
        self._in_flight = 0
        self._no_progress = 0
        for contact in seeds:
            self._add(contact, None)

    def next(self, now: float) -> Step:
        """Return whom to ask, or that there is something to wait for, or that it is over.

        A contact that is returned counts as asked at `now`. Call again until it is not a contact, and after each
        `on_` call.
        """
        if self.outcome is not Outcome.RUNNING:
            return FINISHED
        if now >= self.deadline:
            return self._end(Outcome.DEADLINE)
        chosen, pending = self._survey()
        if chosen is None:
            return WAITING if pending else self._end(Outcome.CONVERGED)
        if self._in_flight >= (max(self.k, self.alpha) if self._no_progress >= self.alpha else self.alpha):
            return WAITING
        if len(self.trace) >= self.requests_max:
            return WAITING if pending else self._end(Outcome.REQUESTS)
        return self._ask(chosen, now)

    def on_success(
        self, peer: PeerId, contacts: Iterable[Contact], now: float, result: str = State.ANSWERED.value
    ) -> bool:
        """Take in the answer of `peer` with the contacts it named; `result` is for the trace.

        Returns False, and does nothing, where it was not asked, has answered before, or the search is over. An
        answer that comes after its failure was told counts still.
        """
        candidate = self._asked(peer)
        if candidate is None or candidate.state is State.ANSWERED:
            return False
        if candidate.state is State.FAILED:
            self._enter(candidate)
        self._conclude(candidate, State.ANSWERED, now, result)
        if candidate.referrer is not None:
            candidate.referrer.named_answered += 1
        nearest = self._order[0]
        few = len(self._order) < self.k
        named = sorted({self._distance(contact): contact for contact in contacts}.items(), key=lambda item: item[0])
        room = self.referrer_max
        for _, contact in named:
            room -= self._add(contact, candidate)
            if room == 0:
                break
        progress = self._order[0] < nearest or (few and room < self.referrer_max)
        self._no_progress = 0 if progress else self._no_progress + 1
        return True

    def on_failure(self, peer: PeerId, now: float, result: str = State.FAILED.value) -> bool:
        """Note that `peer` refused, broke the rules or let its timeout pass.

        Returns False, and does nothing, where no request to it is open or the search is over.
        """
        candidate = self._asked(peer)
        if candidate is None or candidate.state not in (State.WAITING, State.SLOW):
            return False
        self._conclude(candidate, State.FAILED, now, result)
        tried = [hop.contact.address for hop in self.trace if hop.contact.peer == peer]
        untried = [address for address in candidate.addresses if address not in tried]
        if untried:
            candidate.contact = Contact(peer, candidate.contact.place, untried[0])
            candidate.state = State.NEW
            return True
        self._leave(candidate)
        if candidate.referrer is not None:
            candidate.referrer.named_failed += 1
        return True

    def on_slow(self, peer: PeerId) -> bool:
        """Note that the request to `peer` is over its hedge delay: it makes room for another.

        Returns False, and does nothing, where it is not in flight or the search is over.
        """
        candidate = self._asked(peer)
        if candidate is None or candidate.state is not State.WAITING:
            return False
        candidate.state = State.SLOW
        self._in_flight -= 1
        assert candidate.asked is not None
        candidate.asked.result = State.SLOW.value
        return True

    def finish(self) -> None:
        """End the search: the caller has what it wanted."""
        if self.outcome is Outcome.RUNNING:
            self._end(Outcome.STOPPED)

    def closest(self) -> list[Contact]:
        """Return the contacts that answered, nearest first, at most `k`."""
        found = (self._by_distance[distance] for distance in self._order)
        return [candidate.contact for candidate in found if candidate.state is State.ANSWERED][: self.k]

    def open(self) -> list[Contact]:
        """Return the contacts whose answers are awaited, slow ones included, nearest first."""
        found = (self._by_distance[distance] for distance in self._order)
        return [candidate.contact for candidate in found if candidate.state in (State.WAITING, State.SLOW)]

    @property
    def only_slow_left(self) -> bool:
        """Whether all that is awaited is slow and k others have answered: a caller in haste may `finish` here."""
        chosen, pending = self._survey()
        return chosen is None and pending and self._in_flight == 0 and len(self.closest()) >= self.k

    def hop(self, peer: PeerId) -> int | None:
        """Return how many requests away from ourselves `peer` was found, 1 for a seed; None where it was not."""
        candidate = self._candidates.get(peer)
        return candidate.hop if candidate is not None else None

    def _survey(self) -> tuple[_Candidate | None, bool]:
        """Return the candidate to ask next, if any, and whether an answer is awaited from one of those that matter.

        Those are the k nearest that have not failed; a slow one is awaited and takes none of the k places.
        """
        chosen: _Candidate | None = None
        pending = False
        places = self.k
        for distance in self._order:
            candidate = self._by_distance[distance]
            if candidate.state is State.SLOW:
                pending = True
                continue
            if candidate.state is State.WAITING:
                pending = True
            elif candidate.state is State.NEW and (chosen is None or (chosen.is_doubtful > candidate.is_doubtful)):
                chosen = candidate
            places -= 1
            if places == 0:
                break
        return chosen, pending

    def _ask(self, candidate: _Candidate, now: float) -> Contact:
        candidate.state = State.WAITING
        candidate.asked = Hop(candidate.contact, candidate.hop, now)
        self.trace.append(candidate.asked)
        self._in_flight += 1
        return candidate.contact

    def _asked(self, peer: PeerId) -> _Candidate | None:
        if self.outcome is not Outcome.RUNNING:
            return None
        candidate = self._candidates.get(peer)
        return candidate if candidate is not None and candidate.asked is not None else None

    def _conclude(self, candidate: _Candidate, state: State, now: float, result: str) -> None:
        if candidate.state is State.WAITING:
            self._in_flight -= 1
        candidate.state = state
        assert candidate.asked is not None
        candidate.asked.answered_at = now if state is State.ANSWERED else None
        candidate.asked.result = result

    def _add(self, contact: Contact, referrer: _Candidate | None) -> bool:
        """Make a contact a candidate; return whether it is new. Of a known one, only another address is noted."""
        if contact.peer == self._own:
            return False
        known = self._candidates.get(contact.peer)
        if known is None:
            hop = 1 if referrer is None else referrer.hop + 1
            candidate = _Candidate(contact, self._distance(contact), hop, referrer, addresses=[contact.address])
            self._candidates[contact.peer] = candidate
            self._enter(candidate)
            return True
        if contact.address not in known.addresses and len(known.addresses) < ADDRESSES_MAX:
            known.addresses.append(contact.address)
            if known.state is State.FAILED:
                known.contact = contact
                known.state = State.NEW
                self._enter(known)
        return False

    def _enter(self, candidate: _Candidate) -> None:
        insort(self._order, candidate.distance)
        self._by_distance[candidate.distance] = candidate

    def _leave(self, candidate: _Candidate) -> None:
        del self._order[bisect_left(self._order, candidate.distance)]
        del self._by_distance[candidate.distance]

    def _distance(self, contact: Contact) -> int:
        return int.from_bytes(contact.place, "big") ^ self._point

    def _end(self, outcome: Outcome) -> Finished:
        self.outcome = outcome
        return FINISHED
