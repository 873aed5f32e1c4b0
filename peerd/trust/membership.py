"""Who is there, as one peer sees it: SWIM (Das, Gupta, Motivala 2002) with Lifeguard (Dadgar, Phillips, Currey 2018).

A state machine without clock, chance or socket: it is told what was seen, and says whom to probe, whom to ask for help
and whose suspicion has run out. Departures: only our own unanswered requests make a suspect; what others say can clear
it (by something signed that is new), shorten it down to `suspect_timeout_s`, and no more (DESIGN.md 7). A suspect that
others reach stays a member for as long as they do: cut ways and partial partitions expel nobody. Not here: contacts and
addresses (node.members), how news travels (news).
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from peerd.clock import Rng
from peerd.ids import PeerId

State = Literal["alive", "suspect", "dead", "left"]

# So many others are asked to reach a peer that does not answer us (SWIM 3.1; k there).
HELPERS = 3
# So many others that do not reach it either make a suspicion as short as it gets (Lifeguard 4.2; K there).
CONFIRMATIONS_MAX = 3
# A suspicion that nobody confirms lasts so many times the shortest one.
UNCONFIRMED_FACTOR = 1.5
# Local health: how many times slower than usual we probe when it is we who are slow (Lifeguard 4.1; S there).
HEALTH_MAX = 8
# A timer that fires later than this says that this process stood still.
LAG_MAX_S = 0.5
# Of a suspicion's time: when it is probed again, and when others are asked for the last time.
_PROBED_EACH = 0.35
_LAST_ASKED_AT = 0.6
# A request of a suspect shows that it lives, not that it hears us: it is probed again, at most so often.
_LOOK_AGAIN_S = 1.0


@dataclass(slots=True)
class Standing:
    """What is known of one peer. Times are monotonic instants."""

    state: State = "dead"
    stamp: int = 0
    """Its incarnation: the highest stamp that it has signed, of being alive or of leaving."""
    leave_stamp: int = 0
    came_at: float = 0.0
    """When it was last found to live after it was not (or not known)."""
    died_at: float = 0.0
    left_at: float = 0.0
    suspected_at: float = 0.0
    """Since when our requests go unanswered; the time that this process stood still does not count."""
    proven_at: float = float("-inf")
    """When a suspect last gave a sign of life, though not to us or not as an answer."""
    probe_at: float = 0.0
    looked_at: float = float("-inf")
    asked_at: float = float("-inf")
    """When others were last asked for it and had nothing of it to show."""
    told: bool = False
    """Whether others are told of the suspicion."""
    confirmed: set[PeerId] = field(default_factory=set)
    """Who does not reach it either."""


class Membership:
    """The failure detector of one peer."""

    def __init__(self, *, suspect_timeout_s: float) -> None:
        self.standings: dict[PeerId, Standing] = {}
        self.suspects: dict[PeerId, None] = {}
        self.health = 0
        """0 is well; it grows while our own probes and timers fail."""
        self._timeout_s = suspect_timeout_s
        self._round: list[PeerId] = []
        self._present = 0

    # What was seen.

    def know(self, peer: PeerId) -> Standing:
        """Return what is known of a peer, dead until it shows itself."""
        return self.standings.setdefault(peer, Standing())

    def drop(self, peer: PeerId) -> None:
        """Know nothing more of a peer."""
        standing = self.standings.pop(peer, None)
        if standing is not None and standing.state in ("alive", "suspect"):
            self._present -= 1
        self.suspects.pop(peer, None)

    def met(self, peer: PeerId, now: float) -> bool:
        """It proved with a handshake that it lives and hears us; return whether it was not there before."""
        return self._both_ways(peer, self.know(peer), now)

    def answered(self, peer: PeerId, now: float) -> bool:
        """It answered a request; return whether it was not there before. Who left is back by a handshake alone."""
        standing = self.standings.get(peer)
        if standing is None or standing.state == "left":
            return False
        return self._both_ways(peer, standing, now)

    def _both_ways(self, peer: PeerId, standing: Standing, now: float) -> bool:
        came = standing.state in ("dead", "left")
        standing.state = "alive"
        self._clear(standing)
        self.suspects.pop(peer, None)
        if came:
            standing.came_at = now
            self._present += 1
        return came

    def unanswered(self, peer: PeerId, now: float) -> bool:
        """A request had no answer in its time; return whether the peer is suspected from now on."""
        standing = self.standings.get(peer)
        if standing is None or standing.state != "alive":
            return False
        standing.state = "suspect"
        standing.suspected_at = standing.probe_at = now
        self.suspects[peer] = None
        return True

    def silent(self, peer: PeerId) -> bool:
        """A whole probe of a peer had no answer; return whether others are to be told at once, to look for themselves.

        Only while there is no sign of life since: whom others reach is missed behind a cut, and news to nobody.
        """
        standing = self.standings.get(peer)
        if standing is None or standing.state != "suspect" or standing.proven_at >= standing.suspected_at:
            return False
        news, standing.told = not standing.told, True
        return news

    def lives(self, peer: PeerId, now: float) -> bool:
        """A suspect gave a sign of life that is no answer to us: a request, or its signature over what we chose.

        It stays a suspect, not asked first, and is not buried. Return whether to probe it again at once.
        """
        standing = self.standings.get(peer)
        if standing is None or standing.state != "suspect":
            return False
        self._clear(standing)
        standing.proven_at = now
        again = standing.looked_at <= now - _LOOK_AGAIN_S
        if again:
            standing.looked_at = now
        return again

    def refuted(self, peer: PeerId, stamp: int, now: float) -> bool:
        """It signed that it lives, with this incarnation; return whether that is new (an old one proves nothing)."""
        standing = self.standings.get(peer)
        if standing is None or stamp <= standing.stamp:
            return False
        standing.stamp = stamp
        self.lives(peer, now)
        return True

    def left(self, peer: PeerId, stamp: int, now: float) -> bool:
        """It signed that it goes; return whether it was there, or thought dead, until now."""
        standing = self.standings.get(peer)
        if standing is None or stamp <= max(standing.leave_stamp, standing.stamp):
            return False
        standing.leave_stamp = standing.stamp = stamp
        if standing.state == "left":
            return False
        standing.left_at = now
        self._gone(peer, standing, "left")
        return True

    # Probes.

    def next_probe(self, rng: Rng) -> PeerId | None:
        """Return whom to probe: everybody once in each round, the rounds shuffled (SWIM 4.3); suspects apart."""
        for _ in range(2):
            while self._round:
                peer = self._round.pop()
                standing = self.standings.get(peer)
                if standing is not None and standing.state == "alive":
                    return peer
            self._round = [peer for peer, standing in self.standings.items() if standing.state == "alive"]
            rng.shuffle(self._round)
        return None

    def helpers(self, target: PeerId, rng: Rng, count: int = HELPERS) -> list[PeerId]:
        """Return others to ask for `target`: chosen by chance, those first that have not said they miss it too.

        One fewer where enough others have said that.
        """
        missing = self.know(target).confirmed
        count -= len(missing) >= CONFIRMATIONS_MAX
        able = [p for p, standing in self.standings.items() if standing.state == "alive" and p != target]
        rng.shuffle(able)
        return sorted(able, key=lambda peer: peer in missing)[:count]

    def to_probe(self, now: float, at_most: int) -> list[tuple[PeerId, bool]]:
        """Return the suspects to probe now, each with whether others are to be asked as well where it is silent."""
        due = []
        for peer in self.suspects:
            standing = self.standings[peer]
            if standing.probe_at <= now:
                timeout_s = self.timeout_s(peer)
                since = max(standing.suspected_at, standing.proven_at)
                last = now - since >= timeout_s * _LAST_ASKED_AT
                ask = standing.asked_at < (since + timeout_s * _LAST_ASKED_AT if last else since)
                standing.probe_at = now + timeout_s * _PROBED_EACH
                due.append((peer, ask and (last or not standing.confirmed)))
                if len(due) == at_most:
                    break
        return due

    def failed(self, peer: PeerId, now: float, *, asked: bool) -> bool:
        """A probe of a suspect failed, `asked` through others too; return whether others are to be told of it now."""
        standing = self.standings.get(peer)
        if standing is None or standing.state != "suspect":
            return False
        if asked:
            standing.asked_at = now
        news = not standing.told and (asked or bool(standing.confirmed))
        standing.told = standing.told or news
        return news

    def confirm(self, peer: PeerId, by: PeerId) -> bool:
        """Another does not reach a peer either; return whether that peer is nobody's suspect here yet: probe it."""
        standing = self.standings.get(peer)
        if standing is None or standing.state not in ("alive", "suspect") or peer == by:
            return False
        if len(standing.confirmed) < CONFIRMATIONS_MAX:
            standing.confirmed.add(by)
        return standing.state == "alive"

    def timeout_s(self, peer: PeerId) -> float:
        """Return how long the suspicion of a peer lasts, by how many others confirm it (Lifeguard 4.2)."""
        wanted = min(CONFIRMATIONS_MAX, self._present - len(self.suspects))
        if wanted <= 0:
            return self._timeout_s
        confirmed = min(wanted, len(self.standings[peer].confirmed))
        longest_s = self._timeout_s * UNCONFIRMED_FACTOR
        return longest_s - (longest_s - self._timeout_s) * math.log(confirmed + 1) / math.log(wanted + 1)

    def bury(self, now: float) -> list[PeerId]:
        """Return the suspects whose time has run out, and for whom nobody could be asked in vain; dead from now on."""
        helped = self._present > len(self.suspects)
        dead = []
        for peer in self.suspects:
            standing = self.standings[peer]
            timeout_s = self.timeout_s(peer)
            since = max(standing.suspected_at, standing.proven_at)
            if now - since >= timeout_s and (not helped or standing.asked_at >= since + timeout_s * _LAST_ASKED_AT):
                dead.append(peer)
        for peer in dead:
            standing = self.standings[peer]
            standing.died_at = now
            self._gone(peer, standing, "dead")
        return dead

    # Our own health.

    def probed(self, *, well: bool, unheard: int = 0) -> None:
        """A probe ended; `unheard` are the helpers that said nothing at all: then it may be we who are not heard."""
        self._feel(-1 if well else max(1, unheard))

    def stood_still(self, lag_s: float) -> None:
        """A timer was late by `lag_s`: this process stood still, and nobody's silence counts for that time."""
        if lag_s <= LAG_MAX_S:
            return
        self._feel(1 + int(lag_s))
        for peer in self.suspects:
            standing = self.standings[peer]
            standing.suspected_at += lag_s
            standing.proven_at += lag_s

    def _feel(self, worse: int) -> None:
        self.health = min(HEALTH_MAX, max(0, self.health + worse))

    @staticmethod
    def _clear(standing: Standing) -> None:
        standing.confirmed.clear()
        standing.told = False

    def _gone(self, peer: PeerId, standing: Standing, state: State) -> None:
        if standing.state in ("alive", "suspect"):
            self._present -= 1
        standing.state = state
        self._clear(standing)
        self.suspects.pop(peer, None)
