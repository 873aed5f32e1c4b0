"""How long each peer takes to answer, as measured; and from that when it is silent and when another is asked as well.

Answers that wait for a disk are measured apart from those that do not. Not here: the estimator itself (kad.rtt), and
sending anything.
"""

from collections import deque

from peerd.ids import PeerId
from peerd.kad.rtt import HEDGE_MIN_S, RttEstimator

DURABLE_RTO_MIN_S = 0.1

# What was measured of a peer may be of a storm that is over: what all peers took of late counts too, but nobody is
# asked beside one whose way alone takes longer. Fewer samples than this tell nothing of the way alone.
RECENT_SAMPLES = 16
HEDGE_MEDIANS = 4
HEDGE_LEASTS = 2
LEAST_SAMPLES_MIN = 8

# Peers whose round trips are remembered; those measured first go first.
PEERS_MAX = 8192


class RoundTrips:
    """The estimators of all peers."""

    def __init__(self) -> None:
        self._quick: dict[PeerId, RttEstimator] = {}
        self._durable: dict[PeerId, RttEstimator] = {}
        self._quick_of_all = RttEstimator()
        self._durable_of_all = RttEstimator(rto_min_s=DURABLE_RTO_MIN_S)
        self._recent: deque[float] = deque(maxlen=RECENT_SAMPLES)

    def measured(self, peer: PeerId, rtt_s: float, *, durable: bool) -> None:
        """Take in one round trip of a request that was sent once."""
        if durable:
            if peer not in self._durable:
                _bound(self._durable)
                self._durable[peer] = RttEstimator(rto_min_s=DURABLE_RTO_MIN_S)
            self._durable[peer].sample(rtt_s)
            self._durable_of_all.sample(rtt_s)
            return
        estimator = self._quick.get(peer)
        if estimator is None:
            _bound(self._quick)
            estimator = self._quick[peer] = RttEstimator()
        estimator.sample(rtt_s)
        self._quick_of_all.sample(rtt_s)
        self._recent.append(rtt_s)

    def forget(self, peer: PeerId) -> None:
        """Drop what was measured of a peer."""
        self._quick.pop(peer, None)
        self._durable.pop(peer, None)

    def rto_s(self, peer: PeerId, *, durable: bool = False) -> float:
        """Return after how long without a reply a request has failed; of all peers together where none was measured."""
        if durable:
            return (self._durable.get(peer) or self._durable_of_all).rto_s
        return (self._quick.get(peer) or self._quick_of_all).rto_s

    def srtt_s(self, peer: PeerId) -> float | None:
        """Return the smoothed round trip, None where none was measured."""
        estimator = self._quick.get(peer)
        return estimator.srtt_s if estimator is not None else None

    def median_s(self) -> float | None:
        """Return what a round trip took of late, whoever answered; None where none was measured."""
        return sorted(self._recent)[len(self._recent) // 2] if self._recent else None

    def hedge_s(self, peer: PeerId) -> float:
        """Return after how long without a reply another peer is asked as well."""
        estimator = self._quick.get(peer)
        own = (estimator or self._quick_of_all).hedge_s
        median = self.median_s()
        if median is None:
            return own
        least = estimator.least_s if estimator is not None and estimator.count >= LEAST_SAMPLES_MIN else 0.0
        return min(own, max(HEDGE_MIN_S, HEDGE_MEDIANS * median, HEDGE_LEASTS * least))


def _bound(table: dict[PeerId, RttEstimator]) -> None:
    if len(table) >= PEERS_MAX:
        del table[next(iter(table))]
