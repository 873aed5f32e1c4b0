"""One search over d disjoint paths (S/Kademlia 4.4): a liar on one path cannot bend the others.

Wraps `Lookup` and changes nothing in it. The seeds are dealt out to the paths, a contact that one path asks is asked by
no other, and what it names is told to its own path only. A path that comes to another's contact learns no more than
whether it answered. The results are merged.

A small network has no disjoint paths: with fewer than 2 k seeds it is one path, a plain `Lookup`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from peerd.ids import PeerId
from peerd.kad.contact import Address, Contact
from peerd.kad.lookup import (
    ALPHA,
    FINISHED,
    REFERRER_MAX,
    REQUESTS_MAX,
    RESULT_COUNT,
    WAITING,
    Hop,
    Lookup,
    Outcome,
    State,
    Step,
)

PATHS = 3
"""Disjoint paths of a search (d of S/Kademlia 4.4). Each more is a search more to pay for."""


def paths_for(seeds: int, k: int, wanted: int = PATHS) -> int:
    """Return over how many paths a search that starts from so many contacts goes."""
    return wanted if seeds >= 2 * k else 1


@dataclass(slots=True, eq=False)
class _Claim:
    """A contact that was asked: by which path, what came of it, and which paths came to it later.

    A follower's own hop is kept, as it may hold another address of the contact than the one that failed.
    """

    owner: Lookup
    hop: Hop
    """Of the request under way, as the trace shows it."""
    state: State = State.WAITING
    tried: list[Address] = field(default_factory=list)
    followers: list[tuple[Lookup, Hop]] = field(default_factory=list)


class DisjointLookup:
    """A search for the `k` contacts closest to `target` over up to `paths` disjoint paths; used as `Lookup` is.

    `seeds` are the closest known, 2 k or more where there are so many; of few there is one path, unless `apart`.
    `alpha` and `requests_max` are for all paths
    together, `alpha` at least one for each.
    """

    def __init__(
        self,
        target: bytes,
        seeds: Iterable[Contact],
        *,
        deadline: float,
        own: PeerId | None = None,
        paths: int = PATHS,
        apart: bool = False,
        alpha: int = ALPHA,
        k: int = RESULT_COUNT,
        requests_max: int = REQUESTS_MAX,
        referrer_max: int = REFERRER_MAX,
    ) -> None:
        point = int.from_bytes(target, "big")
        dealt = {seed.peer: seed for seed in seeds if seed.peer != own}
        nearest = sorted(dealt.values(), key=lambda seed: int.from_bytes(seed.place, "big") ^ point)
        wanted = max(1, min(paths, len(nearest))) if apart else paths_for(len(nearest), k, paths)
        count = min(wanted, requests_max)
        self.target = target
        self.deadline = deadline
        self.k = k
        self._paths = [
            Lookup(
                target,
                nearest[index::count],
                deadline=deadline,
                own=own,
                alpha=-(-alpha // count),
                k=k,
                requests_max=requests_max // count,
                referrer_max=referrer_max,
            )
            for index in range(count)
        ]
        self.trace: list[Hop] = []
        self._point = point
        self._claims: dict[PeerId, _Claim] = {}
        self._ready: list[Contact] = []
        self._turn = 0

    def next(self, now: float) -> Step:
        """Return whom to ask, or that there is something to wait for, or that it is over; the paths take turns."""
        if self._ready and now < self.deadline:
            return self._ready.pop()
        waiting = False
        for _ in self._paths:
            path = self._paths[self._turn]
            self._turn = (self._turn + 1) % len(self._paths)
            step = self._next_of(path, now)
            if isinstance(step, Contact):
                return step
            waiting = waiting or step is WAITING
        return WAITING if waiting else FINISHED

    def on_success(
        self, peer: PeerId, contacts: Iterable[Contact], now: float, result: str = State.ANSWERED.value
    ) -> bool:
        """Take in the answer of `peer`, for the path that asked; the others learn that it answered.

        Returns False, and does nothing, where it was not asked, has answered before, or the search is over.
        """
        claim = self._claims.get(peer)
        if claim is None or claim.state is State.ANSWERED:
            return False
        claim.state = State.ANSWERED
        taken = claim.owner.on_success(peer, contacts, now, result)
        for path, _ in claim.followers:
            taken = path.on_success(peer, (), now) or taken
        claim.followers.clear()
        if taken and claim.hop.answered_at is None:  # the path that asked was over, one that came later is not
            claim.hop.answered_at, claim.hop.result = now, result
        return taken

    def on_failure(self, peer: PeerId, now: float, result: str = State.FAILED.value) -> bool:
        """Note that `peer` did not answer; a path that has another address of it tries that.

        Returns False, and does nothing, where no request to it is open or the search is over.
        """
        claim = self._claims.get(peer)
        if claim is None or claim.state not in (State.WAITING, State.SLOW):
            return False
        claim.state = State.FAILED
        taken = claim.owner.on_failure(peer, now, result)
        followers, claim.followers = claim.followers, []
        for path, hop in followers:
            if claim.state is not State.FAILED:
                claim.followers.append((path, hop))
            elif hop.contact.address not in claim.tried and path.outcome is Outcome.RUNNING:
                hop.asked_at = now
                hop.result = State.WAITING.value
                self._claim(path, hop)
                self._ready.append(hop.contact)
            else:
                taken = path.on_failure(peer, now, result) or taken
        return taken

    def on_slow(self, peer: PeerId) -> bool:
        """Note that the request to `peer` is over its hedge delay; every path that waits for it asks another."""
        claim = self._claims.get(peer)
        if claim is None or claim.state is not State.WAITING:
            return False
        claim.state = State.SLOW
        taken = claim.owner.on_slow(peer)
        for path, _ in claim.followers:
            taken = path.on_slow(peer) or taken
        return taken

    def finish(self) -> None:
        """End the search: the caller has what it wanted."""
        self._ready.clear()
        for path in self._paths:
            path.finish()

    def closest(self) -> list[Contact]:
        """Return the contacts that answered on any path, nearest first, at most `k`."""
        found = {contact.peer: contact for path in self._paths for contact in path.closest()}
        return self._nearest_first(found.values())[: self.k]

    def open(self) -> list[Contact]:
        """Return the contacts whose answers are awaited, slow ones included, nearest first."""
        return self._nearest_first(
            contact for path in self._paths for contact in path.open() if self._claims[contact.peer].owner is path
        )

    @property
    def outcome(self) -> Outcome:
        """How the search ended; CONVERGED only where every path has."""
        outcomes = [path.outcome for path in self._paths]
        order = (Outcome.RUNNING, Outcome.STOPPED, Outcome.DEADLINE, Outcome.REQUESTS)
        return next((outcome for outcome in order if outcome in outcomes), Outcome.CONVERGED)

    @property
    def path_count(self) -> int:
        """Over how many paths the search goes."""
        return len(self._paths)

    @property
    def only_slow_left(self) -> bool:
        """Whether all that any path awaits is slow and enough others have answered (`Lookup.only_slow_left`)."""
        running = [path for path in self._paths if path.outcome is Outcome.RUNNING]
        return bool(running) and all(path.only_slow_left for path in running)

    def hop(self, peer: PeerId) -> int | None:
        """Return how many requests away `peer` was found by the shortest path; None where it was not."""
        return min((hop for path in self._paths if (hop := path.hop(peer)) is not None), default=None)

    def _next_of(self, path: Lookup, now: float) -> Step:
        """Return the next step of one path; what another path has asked is answered from what became of it."""
        while isinstance(step := path.next(now), Contact):
            claim = self._claims.get(step.peer)
            if claim is None or (claim.state is State.FAILED and step.address not in claim.tried):
                self._claim(path, path.trace[-1])
                break
            match claim.state:
                case State.ANSWERED:
                    path.on_success(step.peer, (), now)
                case State.FAILED:
                    path.on_failure(step.peer, now)
                case state:
                    claim.followers.append((path, path.trace[-1]))
                    if state is State.SLOW:
                        path.on_slow(step.peer)
        return step

    def _claim(self, path: Lookup, hop: Hop) -> None:
        claim = self._claims.setdefault(hop.contact.peer, _Claim(path, hop))
        claim.owner, claim.hop = path, hop
        claim.state = State.WAITING
        claim.tried.append(hop.contact.address)
        self.trace.append(hop)

    def _nearest_first(self, contacts: Iterable[Contact]) -> list[Contact]:
        return sorted(contacts, key=lambda contact: int.from_bytes(contact.place, "big") ^ self._point)
