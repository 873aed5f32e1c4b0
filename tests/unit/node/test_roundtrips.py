"""When another peer is asked beside a slow one: by what was measured of it, of all of late, and of its way alone."""

import pytest

from peerd.ids import PeerId
from peerd.kad.rtt import HEDGE_INITIAL_S, HEDGE_MIN_S
from peerd.node.roundtrips import HEDGE_MEDIANS, LEAST_SAMPLES_MIN, RECENT_SAMPLES, RoundTrips

A, B = PeerId(b"a" * 32), PeerId(b"b" * 32)


def measured(roundtrips: RoundTrips, peer: PeerId, *took_s: float) -> None:
    for each_s in took_s:
        roundtrips.measured(peer, each_s, durable=False)


def test_nothing_measured_waits_a_moment() -> None:
    assert RoundTrips().hedge_s(A) == HEDGE_INITIAL_S


def test_a_storm_that_is_over_does_not_delay_asking_another() -> None:
    roundtrips = RoundTrips()
    measured(roundtrips, A, 0.0004, *[0.03, 0.06] * 10)
    measured(roundtrips, B, *[0.0003] * RECENT_SAMPLES)
    assert roundtrips.hedge_s(A) == HEDGE_MIN_S


def test_in_a_storm_nobody_is_asked_twice() -> None:
    roundtrips = RoundTrips()
    measured(roundtrips, A, *[0.0003] * 20)
    measured(roundtrips, B, 0.0003, *[0.02] * RECENT_SAMPLES)
    assert roundtrips.hedge_s(B) > 0.02


def test_beside_one_far_away_nobody_is_asked_though_the_others_are_near() -> None:
    roundtrips = RoundTrips()
    measured(roundtrips, A, *[0.08, 0.081] * 10)
    measured(roundtrips, B, *[0.0003] * RECENT_SAMPLES)
    assert roundtrips.hedge_s(A) == pytest.approx(0.082, rel=0.05)
    assert roundtrips.hedge_s(A) > HEDGE_MEDIANS * 0.0003


def test_few_round_trips_of_a_storm_do_not_tell_what_the_way_takes() -> None:
    roundtrips = RoundTrips()
    measured(roundtrips, A, *[0.2] * (LEAST_SAMPLES_MIN - 1))
    measured(roundtrips, B, *[0.0003] * RECENT_SAMPLES)
    assert roundtrips.hedge_s(A) == HEDGE_MIN_S
    measured(roundtrips, A, 0.2)
    assert roundtrips.hedge_s(A) >= 0.2
