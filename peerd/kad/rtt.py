"""How long to wait for one contact: RFC 6298's estimator, and when to hedge.

Two delays come of it. After `hedge_s` a request is slow: another contact is asked beside it, the answer may still
come. After `rto_s` it has failed.

Departs from RFC 6298 in its bounds, which are given: a second as the least timeout (2.4) is for the open internet; in
that a backoff is taken back by the next sample at once, as each request has an id of its own; and in that a sample of
less than a quarter of the mean replaces it.
"""

SRTT_GAIN = 1 / 8
RTTVAR_GAIN = 1 / 4
RTTVAR_FACTOR = 4
BACKOFF_FACTOR = 2
FALL_FRACTION = 1 / 4
LEAST_FORGOTTEN = 1.02

RTO_MIN_S = 0.02
RTO_MAX_S = 5.0
RTO_INITIAL_S = 0.5
HEDGE_MIN_S = 0.003
HEDGE_INITIAL_S = 0.05


class RttEstimator:
    """The round-trip times of one contact.

    `rto_min_s` must cover a busy host's scheduling, not only the wire: a timeout shorter than a garbage collection
    counts living peers as dead.
    """

    __slots__ = ("_backoff", "_bounds", "_rttvar_s", "_srtt_s", "count", "least_s")

    def __init__(
        self,
        *,
        rto_min_s: float = RTO_MIN_S,
        rto_max_s: float = RTO_MAX_S,
        rto_initial_s: float = RTO_INITIAL_S,
        hedge_min_s: float = HEDGE_MIN_S,
        hedge_initial_s: float = HEDGE_INITIAL_S,
    ) -> None:
        assert 0 < rto_min_s <= rto_initial_s <= rto_max_s
        assert 0 < hedge_min_s <= rto_max_s
        assert 0 < hedge_initial_s <= rto_max_s
        self._bounds = (rto_min_s, rto_max_s, rto_initial_s, hedge_min_s, hedge_initial_s)
        self._srtt_s: float | None = None
        self._rttvar_s = 0.0
        self.count = 0
        """Samples taken so far."""
        self.least_s = 0.0
        """The shortest round trip of late: what the way alone takes. Each sample takes it back by a fiftieth."""
        self._backoff = 1

    def sample(self, rtt_s: float) -> None:
        """Take in one measured round trip and end any backoff.

        Only of a request that was sent once (Karn): the answer to a datagram that was sent again may be to either.
        """
        rtt_s = max(rtt_s, 0.0)
        self.count += 1
        self.least_s = min(rtt_s, self.least_s * LEAST_FORGOTTEN) if self._srtt_s is not None else rtt_s
        if self._srtt_s is None:
            self._srtt_s = rtt_s
            self._rttvar_s = rtt_s / 2
        elif rtt_s < self._srtt_s * FALL_FRACTION:
            # The estimate is of another time (a storm at the start, another route): by eighths it would stay wrong for
            # a dozen samples, and a contact that is rarely asked has few.
            self._srtt_s = rtt_s
            self._rttvar_s = rtt_s / 2
        else:
            # RFC 6298 2.3: the variance first, with the old mean.
            self._rttvar_s += RTTVAR_GAIN * (abs(self._srtt_s - rtt_s) - self._rttvar_s)
            self._srtt_s += SRTT_GAIN * (rtt_s - self._srtt_s)
        self._backoff = 1

    def timed_out(self) -> None:
        """Double the timeout, up to its bound, until the next sample (RFC 6298 5.5)."""
        if self.rto_s < self._bounds[1]:
            self._backoff *= BACKOFF_FACTOR

    @property
    def srtt_s(self) -> float | None:
        """The smoothed round-trip time; None before the first sample."""
        return self._srtt_s

    @property
    def rto_s(self) -> float:
        """After how long a request has failed."""
        rto_min_s, rto_max_s, rto_initial_s, _, _ = self._bounds
        if self._srtt_s is None:
            return min(rto_initial_s * self._backoff, rto_max_s)
        base_s = max(self._srtt_s + RTTVAR_FACTOR * self._rttvar_s, rto_min_s)
        return min(base_s * self._backoff, rto_max_s)

    @property
    def hedge_s(self) -> float:
        """After how long a request is slow and another contact is asked beside it; never beyond `rto_s`.

        No backoff: a contact that lost our last request is not waited for longer.
        """
        _, _, _, hedge_min_s, hedge_initial_s = self._bounds
        if self._srtt_s is None:
            return min(hedge_initial_s, self.rto_s)
        return min(max(self._srtt_s + RTTVAR_FACTOR * self._rttvar_s, hedge_min_s), self.rto_s)
