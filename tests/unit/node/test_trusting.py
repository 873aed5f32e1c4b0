"""Who is out is out for good, and who listens hears it once."""

from peerd.ids import PeerId
from peerd.node.trusting import Trusting
from peerd.trust.faults import SHUN_S
from tests.unit.node.test_members import HandClock

LIAR, OTHER = PeerId(bytes([1]) * 32), PeerId(bytes([2]) * 32)


def test_who_was_caught_is_not_relied_on_for_a_while() -> None:
    clock = HandClock()
    trust = Trusting(clock)
    trust.note(LIAR, "wrong_block")
    assert trust.shunned(LIAR)
    assert trust.trust_of(LIAR) == "shunned"
    assert trust.trust_of(OTHER) == "trusted"
    assert trust.faults_of(LIAR) == {"wrong_block": 1}
    clock.now += SHUN_S
    assert not trust.shunned(LIAR)
    assert not trust.is_out(LIAR)


def test_who_is_out_stays_out_and_is_told_of_once() -> None:
    trust = Trusting(HandClock())
    heard: list[PeerId] = []
    trust.listen(heard.append)
    trust.put_out(LIAR, "convicted")
    trust.put_out(LIAR, "revoked")
    trust.put_out(LIAR, "convicted")
    assert heard == [LIAR]
    assert trust.is_out(LIAR)
    assert trust.shunned(LIAR)
    assert trust.trust_of(LIAR) == "revoked"


def test_they_are_counted_by_the_word_for_them() -> None:
    trust = Trusting(HandClock())
    for peer in (LIAR, OTHER):
        trust.note(peer, "wrong_block")
    trust.put_out(OTHER, "revoked")
    assert trust.counts() == {"shunned": 1, "convicted": 0, "revoked": 1}
