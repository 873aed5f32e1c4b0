"""The failure detector as a state machine: SWIM with Lifeguard, sentence by sentence (peerd.trust.membership)."""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from peerd.ids import PeerId
from peerd.trust.membership import (
    CONFIRMATIONS_MAX,
    HEALTH_MAX,
    HELPERS,
    UNCONFIRMED_FACTOR,
    Membership,
)

TIMEOUT_S = 8.0
LONGEST_S = TIMEOUT_S * UNCONFIRMED_FACTOR


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


BOB, CAROL, DAVE, ERIN, FRANK = (peer(number) for number in range(5))
ALL = [BOB, CAROL, DAVE, ERIN, FRANK]


def met(*peers: PeerId) -> Membership:
    made = Membership(suspect_timeout_s=TIMEOUT_S)
    for each in peers:
        made.met(each, 0.0)
    return made


def state(members: Membership, each: PeerId) -> str:
    return members.standings[each].state


def test_every_member_is_probed_once_in_a_round(rng: Random) -> None:
    members = met(*ALL)
    rounds = [[members.next_probe(rng) for _ in ALL] for _ in range(4)]
    assert all(sorted(each) == sorted(ALL) for each in rounds)  # type: ignore[type-var]


def test_a_suspect_is_probed_apart_from_the_round(rng: Random) -> None:
    members = met(BOB, CAROL)
    members.unanswered(BOB, 1.0)
    assert {members.next_probe(rng) for _ in range(4)} == {CAROL}
    assert members.to_probe(1.0, 8) == [(BOB, True)]


def test_helpers_are_others_and_those_first_that_do_not_miss_it_themselves(rng: Random) -> None:
    members = met(*ALL)
    members.unanswered(BOB, 1.0)
    members.unanswered(CAROL, 1.0)
    members.confirm(BOB, DAVE)
    for _ in range(20):
        helpers = members.helpers(BOB, rng)
        assert BOB not in helpers
        assert CAROL not in helpers
        assert len(helpers) == HELPERS
        assert helpers[-1] == DAVE


def test_others_word_alone_makes_nobody_suspect() -> None:
    members = met(*ALL)
    for teller in ALL[1:]:
        assert members.confirm(BOB, teller)  # worth a probe of our own, and no more
    assert state(members, BOB) == "alive"
    assert members.bury(1e9) == []


def test_nobody_speaks_of_itself() -> None:
    members = met(BOB, CAROL)
    members.unanswered(BOB, 0.0)
    members.confirm(BOB, BOB)
    assert members.standings[BOB].confirmed == set()


def test_a_suspicion_shrinks_with_independent_confirmations_and_never_below_the_shortest() -> None:
    members = met(*ALL)
    members.unanswered(BOB, 0.0)
    lengths = [members.timeout_s(BOB)]
    for teller in [CAROL, CAROL, DAVE, ERIN, FRANK]:
        members.confirm(BOB, teller)
        lengths.append(members.timeout_s(BOB))
    assert lengths[0] == LONGEST_S
    assert lengths[1] == lengths[2]  # the same teller twice is one
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] == lengths[-2] == TIMEOUT_S


def test_where_nobody_else_is_there_to_confirm_the_suspicion_is_the_shortest() -> None:
    members = met(BOB)
    members.unanswered(BOB, 0.0)
    assert members.bury(TIMEOUT_S - 0.1) == []
    assert members.bury(TIMEOUT_S) == [BOB]


def test_nobody_is_buried_before_others_were_asked_in_vain() -> None:
    members = met(*ALL)
    members.unanswered(BOB, 0.0)
    assert members.bury(10 * LONGEST_S) == []
    assert members.to_probe(10 * LONGEST_S, 8) == [(BOB, True)]
    members.failed(BOB, 10 * LONGEST_S, asked=True)
    assert members.bury(10 * LONGEST_S) == [BOB]


def test_a_silent_one_is_told_of_at_once_and_one_that_others_reach_is_not() -> None:
    members = met(BOB, CAROL)
    assert not members.silent(BOB)
    members.unanswered(BOB, 0.0)
    assert members.silent(BOB)
    assert not members.silent(BOB)
    assert not members.failed(BOB, 1.0, asked=True)
    members.lives(BOB, 2.0)
    assert not members.silent(BOB)  # behind a cut: looked for by all again and again
    assert members.failed(BOB, 9.0, asked=True)
    members.answered(BOB, 10.0)
    members.unanswered(BOB, 11.0)
    assert members.silent(BOB)


def test_what_was_asked_early_in_a_suspicion_is_asked_again_at_its_end() -> None:
    members = met(*ALL)
    members.unanswered(BOB, 0.0)
    members.failed(BOB, 1.0, asked=True)
    assert members.bury(LONGEST_S) == []
    assert members.to_probe(LONGEST_S, 8) == [(BOB, True)]


def test_a_failed_probe_is_told_once_for_each_suspicion() -> None:
    members = met(*ALL)
    members.unanswered(BOB, 0.0)
    assert not members.failed(BOB, 1.0, asked=False)  # others were not even asked
    assert members.failed(BOB, 2.0, asked=True)
    assert not members.failed(BOB, 3.0, asked=True)
    members.lives(BOB, 4.0)
    assert members.failed(BOB, 9.0, asked=True)


@pytest.mark.parametrize("proof", ["word", "signature"])
def test_a_suspect_that_others_reach_stays_a_member_and_a_suspect(proof: str) -> None:
    members = met(*ALL)
    members.unanswered(BOB, 0.0)
    now = 0.0
    for stamp in range(1, 50):
        now += 0.9 * TIMEOUT_S
        members.failed(BOB, now, asked=True)
        assert members.bury(now) == []
        if proof == "word":
            members.lives(BOB, now)
        else:
            assert members.refuted(BOB, stamp, now)
    assert state(members, BOB) == "suspect"
    members.failed(BOB, now + LONGEST_S, asked=True)
    assert members.bury(now + LONGEST_S) == [BOB]


def test_an_old_signature_keeps_nobody_alive() -> None:
    members = met(*ALL)
    assert members.refuted(BOB, 7, 0.0)
    members.unanswered(BOB, 0.0)
    for _ in range(5):
        assert not members.refuted(BOB, 7, TIMEOUT_S)
        assert not members.refuted(BOB, 6, TIMEOUT_S)
    members.failed(BOB, LONGEST_S, asked=True)
    assert members.bury(LONGEST_S) == [BOB]


def test_a_goodbye_older_than_a_sign_of_life_is_none() -> None:
    members = met(BOB)
    members.refuted(BOB, 7, 0.0)
    assert not members.left(BOB, 6, 1.0)
    assert members.left(BOB, 8, 1.0)
    assert not members.answered(BOB, 2.0)
    assert state(members, BOB) == "left"
    assert members.met(BOB, 3.0)


def test_the_time_that_this_process_stood_still_makes_nobody_dead() -> None:
    members = met(*ALL)
    members.unanswered(BOB, 0.0)
    members.failed(BOB, 5.0, asked=True)
    members.stood_still(100.0)
    members.failed(BOB, 105.0, asked=True)
    assert members.bury(105.0) == []
    assert members.health > 0
    members.failed(BOB, 100.0 + LONGEST_S, asked=True)
    assert members.bury(100.0 + LONGEST_S) == [BOB]


def test_our_own_failures_slow_us_down_within_bounds_and_successes_mend_that() -> None:
    members = met(*ALL)
    for _ in range(20):
        members.probed(well=False, unheard=3)
    assert members.health == HEALTH_MAX
    for _ in range(20):
        members.probed(well=True)
    assert members.health == 0


class Lives(RuleBasedStateMachine):
    """Whatever happens in whatever order, what must hold holds."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.members = Membership(suspect_timeout_s=TIMEOUT_S)
        self.shown = dict.fromkeys(ALL, 0.0)
        self.stamps = dict.fromkeys(ALL, 0)

    @rule(each=st.sampled_from(ALL))
    def meet(self, each: PeerId) -> None:
        self.members.met(each, self.now)
        self.shown[each] = self.now

    @rule(each=st.sampled_from(ALL))
    def answer(self, each: PeerId) -> None:
        self.members.answered(each, self.now)
        self.shown[each] = self.now

    @rule(each=st.sampled_from(ALL))
    def silence(self, each: PeerId) -> None:
        self.members.unanswered(each, self.now)

    @rule(each=st.sampled_from(ALL), asked=st.booleans())
    def fail(self, each: PeerId, asked: bool) -> None:
        self.members.failed(each, self.now, asked=asked)

    @rule(each=st.sampled_from(ALL), by=st.sampled_from(ALL))
    def confirm(self, each: PeerId, by: PeerId) -> None:
        self.members.confirm(each, by)

    @rule(each=st.sampled_from(ALL), stamp=st.integers(1, 9))
    def refute(self, each: PeerId, stamp: int) -> None:
        standing = self.members.standings.get(each)
        known = standing.stamp if standing else None
        new = self.members.refuted(each, stamp, self.now)
        assert new == (known is not None and stamp > known)
        if new:
            self.shown[each] = self.now

    @rule(each=st.sampled_from(ALL), stamp=st.integers(1, 9))
    def leave(self, each: PeerId, stamp: int) -> None:
        self.members.left(each, stamp, self.now)

    @rule(seconds=st.floats(0, 2 * LONGEST_S))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def bury(self) -> None:
        before = {each: standing.state for each, standing in self.members.standings.items()}
        for each in self.members.bury(self.now):
            assert before[each] == "suspect"
            assert self.now - self.shown[each] >= TIMEOUT_S

    @rule()
    def probe(self) -> None:
        for each, _ in self.members.to_probe(self.now, 8):
            assert state(self.members, each) == "suspect"

    @invariant()
    def suspects_are_those_in_that_state(self) -> None:
        if not hasattr(self, "members"):
            return
        states = {each: standing.state for each, standing in self.members.standings.items()}
        assert set(self.members.suspects) == {each for each, one in states.items() if one == "suspect"}
        assert self.members._present == sum(one in ("alive", "suspect") for one in states.values())
        assert all(len(each.confirmed) <= CONFIRMATIONS_MAX for each in self.members.standings.values())
        for each, standing in self.members.standings.items():
            assert standing.stamp >= self.stamps[each]
            self.stamps[each] = standing.stamp


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
