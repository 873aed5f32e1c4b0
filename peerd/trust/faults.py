"""What each peer was caught at by ourselves: weighed, fading, told to nobody.

A fault is what an honest peer may also do once (a bad disk, a restart, an old list); enough of them in a short time
and the peer is *shunned* for a while: asked last, and not relied on. It is local: others' word never adds to it, so
nobody can be talked out of the overlay. Signed contradictions, which convince others, are `trust.evidence`.
Pure: `now` is given (seconds, monotonic).
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from peerd.ids import PeerId

# kind -> weight. A wrong byte under a proven session is never an accident of the network, and seldom one of the disk.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "wrong_block": 3.0,
        "wrong_record": 3.0,
        "wrong_proof": 3.0,
        "denied_held": 1.0,
        "unproven": 0.5,
        "malformed": 1.0,
        "dripped": 0.5,
        "invented": 0.5,
        "unasked": 0.5,
    }
)

SHUNNED_AT = 3.0
HALF_LIFE_S = 3600.0
SHUN_S = 600.0
SHUN_MAX_S = 86_400.0

# Key pairs are cheap: a liar that comes under new ones must not fill memory. The least recently caught goes.
FAULTY_MAX = 4096


@dataclass(slots=True)
class _Tally:
    kinds: Counter[str] = field(default_factory=Counter)
    points: float = 0.0
    at: float = 0.0
    until: float = 0.0
    times: int = 0

    def points_at(self, now: float) -> float:
        return self.points * math.exp2((self.at - now) / HALF_LIFE_S)


class Faults:
    """The faults of up to FAULTY_MAX peers."""

    def __init__(self) -> None:
        self._tallies: OrderedDict[PeerId, _Tally] = OrderedDict()

    def note(self, peer: PeerId, kind: str, now: float) -> bool:
        """Count a fault of a kind of WEIGHTS; returns whether the peer is shunned from this moment on."""
        tally = self._tallies.setdefault(peer, _Tally(at=now))
        self._tallies.move_to_end(peer)
        while len(self._tallies) > FAULTY_MAX:
            self._tallies.popitem(last=False)
        tally.points = tally.points_at(now) + WEIGHTS[kind]
        tally.at = now
        tally.kinds[kind] += 1
        if tally.points < SHUNNED_AT or now < tally.until:
            return False
        tally.until = now + min(SHUN_S * 2**tally.times, SHUN_MAX_S)
        tally.times = min(tally.times + 1, 16)
        tally.points = 0.0
        return True

    def shunned(self, peer: PeerId, now: float) -> bool:
        """Return whether the peer is not relied on now."""
        tally = self._tallies.get(peer)
        return tally is not None and now < tally.until

    def shunned_count(self, now: float, besides: Container[PeerId] = ()) -> int:
        """Return how many peers are not relied on now, `besides` those."""
        return sum(now < tally.until and peer not in besides for peer, tally in self._tallies.items())

    def points(self, peer: PeerId, now: float) -> float:
        """Return what stands against the peer now; the more, the later it is asked."""
        tally = self._tallies.get(peer)
        if tally is None:
            return 0.0
        return tally.points_at(now) + (SHUNNED_AT if now < tally.until else 0.0)

    def kinds(self, peer: PeerId) -> Mapping[str, int]:
        """Return how often the peer was caught at what, since this process began."""
        tally = self._tallies.get(peer)
        return dict(tally.kinds) if tally is not None else {}
