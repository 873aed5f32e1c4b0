import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.kad.rtt import HEDGE_INITIAL_S, RTO_INITIAL_S, RttEstimator


def test_before_the_first_sample_the_delays_are_the_initial_ones():
    rtt = RttEstimator()
    assert (rtt.srtt_s, rtt.rto_s, rtt.hedge_s) == (None, RTO_INITIAL_S, HEDGE_INITIAL_S)


def test_the_first_sample_sets_mean_and_half_of_it_as_variance():  # RFC 6298 2.2
    rtt = RttEstimator(rto_min_s=0.001)
    rtt.sample(0.1)
    assert rtt.srtt_s == 0.1
    assert rtt.rto_s == pytest.approx(0.1 + 4 * 0.05)


def test_later_samples_move_mean_by_an_eighth_and_variance_by_a_quarter():  # RFC 6298 2.3
    rtt = RttEstimator(rto_min_s=0.001)
    rtt.sample(0.1)
    rtt.sample(0.2)
    variance_s = 0.75 * 0.05 + 0.25 * 0.1
    assert rtt.srtt_s == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.2)
    assert rtt.rto_s == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.2 + 4 * variance_s)


def test_each_timeout_doubles_the_wait_up_to_the_bound_and_a_sample_ends_that():  # RFC 6298 5.5, Karn
    rtt = RttEstimator(rto_min_s=0.2, rto_max_s=1.0, rto_initial_s=0.3)
    waits = []
    for _ in range(4):
        waits.append(rtt.rto_s)
        rtt.timed_out()
    assert waits == pytest.approx([0.3, 0.6, 1.0, 1.0])
    rtt.sample(0.01)
    assert rtt.rto_s == 0.2


def test_a_contact_silent_for_ever_stays_at_the_bound():
    rtt = RttEstimator()
    for _ in range(5000):
        rtt.timed_out()
    assert rtt.rto_s == 5.0


def test_hedging_follows_the_measured_time_and_not_the_least_timeout():
    rtt = RttEstimator(rto_min_s=0.2)
    for _ in range(100):
        rtt.sample(0.01)
    assert rtt.hedge_s == pytest.approx(0.01, rel=0.01)
    assert rtt.rto_s == 0.2


def test_hedging_is_not_sooner_than_its_floor():
    rtt = RttEstimator(hedge_min_s=0.003)
    for _ in range(100):
        rtt.sample(0.0001)
    assert rtt.hedge_s == 0.003


def test_a_timeout_does_not_put_hedging_off():
    rtt = RttEstimator()
    rtt.sample(0.02)
    before = rtt.hedge_s
    rtt.timed_out()
    assert rtt.hedge_s == before


@given(st.lists(st.one_of(st.none(), st.floats(-1, 100)), max_size=60))
def test_the_delays_stay_in_their_bounds_and_hedging_never_waits_longer_than_the_timeout(events):
    rtt = RttEstimator(rto_min_s=0.05, rto_max_s=2.0, rto_initial_s=0.5)
    for event in events:
        rtt.timed_out() if event is None else rtt.sample(event)
        assert 0.05 <= rtt.rto_s <= 2.0
        assert 0 < rtt.hedge_s <= rtt.rto_s
