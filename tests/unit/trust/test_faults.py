"""Faults fade, add up to being shunned for a while, and are bounded."""

from peerd.ids import PeerId
from peerd.trust import faults
from peerd.trust.faults import FAULTY_MAX, HALF_LIFE_S, SHUN_S, Faults


def peer_of(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


LIAR = peer_of(1)


def test_one_wrong_block_shuns_for_a_while_and_the_next_for_longer() -> None:
    seen = Faults()
    assert seen.note(LIAR, "wrong_block", 100.0)
    assert seen.shunned(LIAR, 100.0 + SHUN_S - 1)
    assert not seen.shunned(LIAR, 100.0 + SHUN_S)
    later = 100.0 + SHUN_S
    assert seen.note(LIAR, "wrong_block", later)
    assert seen.shunned(LIAR, later + 2 * SHUN_S - 1)
    assert not seen.shunned(LIAR, later + 2 * SHUN_S)


def test_small_faults_shun_only_together_and_fade() -> None:
    seen = Faults()
    assert [seen.note(LIAR, "invented", 0.0) for _ in range(6)] == [False] * 5 + [True]
    slow = Faults()
    assert not any(slow.note(LIAR, "invented", n * HALF_LIFE_S) for n in range(50))


def test_a_shunning_ends_within_a_day_however_often() -> None:
    seen = Faults()
    now = 0.0
    for _ in range(40):
        seen.note(LIAR, "wrong_block", now)
        now += faults.SHUN_MAX_S
        assert not seen.shunned(LIAR, now)


def test_many_liars_fill_no_memory_and_the_last_caught_is_remembered() -> None:
    seen = Faults()
    for number in range(FAULTY_MAX + 10):
        seen.note(peer_of(number), "wrong_block", float(number))
    assert not seen.kinds(peer_of(0))
    assert seen.kinds(peer_of(FAULTY_MAX + 9)) == {"wrong_block": 1}
    assert seen.points(peer_of(FAULTY_MAX + 9), FAULTY_MAX + 9.0) > seen.points(peer_of(0), FAULTY_MAX + 9.0) == 0


def test_those_not_relied_on_now_are_counted() -> None:
    seen = Faults()
    for number in range(3):
        seen.note(peer_of(number), "wrong_block", 10.0 * number)
    seen.note(peer_of(9), "invented", 0.0)
    assert seen.shunned_count(30.0) == 3
    assert seen.shunned_count(30.0, {peer_of(0)}) == 2
    assert seen.shunned_count(SHUN_S + 15.0) == 1
