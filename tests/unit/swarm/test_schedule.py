"""The schedule against every order of what sources can do, and its rules one by one."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from peerd.ids import PeerId
from peerd.swarm.schedule import (
    DRIPPING_FACTOR,
    ENDGAME_S,
    HEAD_BLOCKS,
    LATE_ASKED_MAX,
    LATE_FACTOR,
    LATE_MIN_S,
    LOOK_MAX_S,
    LOOK_MIN_S,
    REQUEST_BLOCKS_MAX,
    SILENT_MIN_S,
    Schedule,
)

ALICE, BOB, CAROL = (PeerId(bytes([number]) * 32) for number in range(3))
PEERS = (ALICE, BOB, CAROL)
CIDS = tuple(bytes([number]) * 36 for number in range(100, 160))
ENDGAME_BLOCKS_MAX = 2


class SchedulesHoldTheirRules(RuleBasedStateMachine):
    """Sources come, deliver, lack, stall and go in any order; a model knows who has what and what is still wanted."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.schedule = Schedule()
        self.now = 0.0
        self.wanted: set[bytes] = set()
        self.sources: set[PeerId] = set()
        self.has = {
            peer: set(data.draw(st.lists(st.sampled_from(CIDS[:12]), unique=True), label="has")) for peer in PEERS
        }
        self.told_lacking: dict[PeerId, set[bytes]] = {peer: set() for peer in PEERS}
        self.asked: dict[bytes, dict[PeerId, float]] = {}

    def order(self) -> list[bytes]:
        """What is wanted, in the order in which it was."""
        return list(self.schedule._wanted)

    @rule(cid=st.sampled_from(CIDS[:12]))
    def want(self, cid: bytes) -> None:
        self.schedule.want(cid)
        self.wanted.add(cid)

    @rule(peer=st.sampled_from(PEERS))
    def a_source_comes(self, peer: PeerId) -> None:
        self.schedule.add_source(peer)
        self.sources.add(peer)

    @rule(peer=st.sampled_from(PEERS))
    def a_source_goes(self, peer: PeerId) -> None:
        self.schedule.drop_source(peer)
        self.sources.discard(peer)
        self.told_lacking[peer].clear()
        for asked in self.asked.values():
            asked.pop(peer, None)

    @rule(after_s=st.sampled_from([0.01, ENDGAME_S * 0.9, ENDGAME_S * 1.1]))
    def time_passes(self, after_s: float) -> None:
        self.now += after_s

    @rule(peer=st.sampled_from(PEERS))
    def a_source_is_free(self, peer: PeerId) -> None:
        before = {cid: dict(peers) for cid, peers in self.asked.items() if peers}
        busy = any(peer in peers for peers in before.values())
        waiting = self.wanted - before.keys()
        chosen = self.schedule.assign(peer, self.now)
        assert len(chosen) == len(set(chosen)) <= REQUEST_BLOCKS_MAX
        if peer not in self.sources:
            assert chosen == []
        again = [cid for cid in chosen if cid in before]
        if again and (busy or set(again) != set(chosen)):
            assert len(again) == 1, "one late block at a time"
            assert again[0] in self.order()[:HEAD_BLOCKS], "one of those that are waited for first"
        assert len(again) <= ENDGAME_BLOCKS_MAX
        for cid in chosen:
            assert cid in self.wanted
            assert cid not in self.told_lacking[peer]
            peers = before.get(cid, {})
            assert peer not in peers, "never asked twice of one source"
            assert len(peers) < LATE_ASKED_MAX
            if peers:
                assert self.now - min(peers.values()) > LATE_MIN_S, "asked again before it was late"
            self.asked.setdefault(cid, {})[peer] = self.now
        schedule, sources = self.schedule, self.schedule._sources
        late = peer in self.sources and schedule._is_late(sources[peer], self.now, schedule._late_s())
        if peer in self.sources and waiting - self.told_lacking[peer] and not late:
            assert chosen, "an idle source was left without work that it may have"

    @precondition(lambda self: any(self.asked.values()))
    @rule(data=st.data())
    def a_source_answers(self, data: st.DataObject) -> None:
        open_asks = sorted((peer, cid) for cid, peers in self.asked.items() for peer in peers)
        peer, cid = data.draw(st.sampled_from(open_asks), label="answers")
        if cid in self.has[peer]:
            self.schedule.on_delivered(peer, cid, self.now)
            self.wanted.discard(cid)
            self.asked.pop(cid)
        else:
            self.schedule.on_missing(peer, cid)
            self.told_lacking[peer].add(cid)
            self.asked[cid].pop(peer)

    @rule(cid=st.sampled_from(CIDS[:12]))
    def nobody_wants_it_any_more(self, cid: bytes) -> None:
        self.schedule.forget(cid)
        self.wanted.discard(cid)
        self.asked.pop(cid, None)

    @invariant()
    def hopeless_is_exact(self) -> None:
        waiting = {cid for cid in self.wanted if not self.asked.get(cid)}
        expected = {cid for cid in waiting if all(cid in self.told_lacking[peer] for peer in self.sources)}
        assert set(self.schedule.hopeless()) == expected

    @invariant()
    def sources_are_those_that_came(self) -> None:
        assert set(self.schedule.sources) == self.sources

    def teardown(self) -> None:
        """Whatever happened: what is still wanted gets from whoever has it, or is hopeless."""
        if not hasattr(self, "schedule"):
            return
        for peer in self.sources:
            for cid in [cid for cid, peers in self.asked.items() if peer in peers]:
                self._answer(peer, cid)
        for _ in range(len(PEERS) * len(CIDS)):
            self.now += 1.0
            for peer in sorted(self.sources):
                for cid in self.schedule.assign(peer, self.now):
                    self._answer(peer, cid)
        got = {cid for cid in self.wanted if any(cid in self.has[peer] for peer in self.sources)}
        assert set(self.schedule.hopeless()) == self.wanted - got

    def _answer(self, peer: PeerId, cid: bytes) -> None:
        if cid in self.has[peer]:
            self.schedule.on_delivered(peer, cid, self.now)
        else:
            self.schedule.on_missing(peer, cid)


TestSchedulesHoldTheirRules = SchedulesHoldTheirRules.TestCase
TestSchedulesHoldTheirRules.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def schedule_of(*peers: PeerId, wanted: int = 0, round_trip_s: float = LATE_MIN_S) -> Schedule:
    schedule = Schedule(round_trip_s)
    for peer in peers:
        schedule.add_source(peer)
    for cid in CIDS[:wanted]:
        schedule.want(cid)
    return schedule


def test_blocks_are_handed_out_in_the_order_in_which_they_were_wanted() -> None:
    schedule = schedule_of(ALICE, wanted=20)
    handed = [cid for _ in range(20) for cid in schedule.assign(ALICE, 0.0)]
    assert handed == list(CIDS[:20])


def test_two_sources_get_about_half_each() -> None:
    schedule = schedule_of(ALICE, BOB, wanted=20)
    shares = {ALICE: 0, BOB: 0}
    for _ in range(20):
        for peer in shares:
            shares[peer] += len(schedule.assign(peer, 0.0))
    assert sum(shares.values()) == 20
    assert min(shares.values()) >= 8


def test_one_source_never_gets_all_that_waits_in_one_request() -> None:
    schedule = schedule_of(ALICE, wanted=20)
    assert len(schedule.assign(ALICE, 0.0)) == 11


def test_a_request_is_bounded() -> None:
    schedule = schedule_of(ALICE)
    for number in range(5000):
        schedule.want(number.to_bytes(36, "big"))
    assert len(schedule.assign(ALICE, 0.0)) == REQUEST_BLOCKS_MAX


def test_a_dropped_source_loses_its_share_to_the_front_of_the_queue() -> None:
    schedule = schedule_of(ALICE, BOB, wanted=8)
    lost = schedule.assign(ALICE, 0.0)
    schedule.drop_source(ALICE)
    assert schedule.assign(ALICE, 0.0) == []
    rest = [cid for _ in range(8) for cid in schedule.assign(BOB, 0.0)]
    assert set(rest[: len(lost)]) == set(lost)
    assert set(rest) == set(CIDS[:8])


def test_a_block_is_not_asked_again_before_it_is_late() -> None:
    schedule = schedule_of(ALICE, BOB, wanted=1)
    schedule.assign(ALICE, 0.0)
    assert schedule.assign(BOB, LATE_MIN_S) == []
    assert schedule.assign(BOB, LATE_MIN_S + 0.01) == [CIDS[0]]


def test_a_late_block_is_asked_of_one_more_then_of_two_then_of_four() -> None:
    peers = [PeerId(bytes([number]) * 32) for number in range(9)]
    schedule = schedule_of(*peers, wanted=1)
    assert schedule.assign(peers[0], 0.0) == [CIDS[0]]
    schedule.on_heard(peers[0], 0.001)
    asked = []
    for now in (0.2, 0.31, 0.32, 0.5, 0.62, 0.63, 0.7, 0.94, 0.95, 0.96, 0.97, 0.98, 2.0, 9.0):
        for peer in peers:
            if schedule.assign(peer, now):
                asked.append(now)
                schedule.on_heard(peer, now + 0.001)
    assert asked == [0.31, 0.62, 0.62, 0.94, 0.94, 0.94, 0.94], "and of no ninth"


def test_a_block_of_which_nothing_comes_is_asked_of_three_more_then_of_all() -> None:
    peers = [PeerId(bytes([number]) * 32) for number in range(9)]
    schedule = schedule_of(*peers, wanted=1, round_trip_s=0.06)
    assert schedule.assign(peers[0], 0.0) == [CIDS[0]]
    asked = []
    for now in (0.1, 0.119, 0.121, 0.15, 0.198, 0.2, 0.3, 0.5, 2.0, 9.0):
        asked += [now for peer in peers[1:] if schedule.assign(peer, now)]
    assert asked == [0.121] * 3 + [0.2] * 4, "and of no ninth"


def test_most_of_those_that_are_silent_too_are_enough_to_ask_all() -> None:
    peers = [PeerId(bytes([number]) * 32) for number in range(8)]
    schedule = schedule_of(*peers, wanted=1, round_trip_s=0.06)
    schedule.assign(peers[0], 0.0)
    assert all(schedule.assign(peer, 0.121) for peer in peers[1:3])
    assert schedule.assign(peers[3], 0.19), "one of the three was opened only now"
    assert not any(schedule.assign(peer, 0.198) for peer in peers[4:])
    assert schedule.look_in_s(0.198) == pytest.approx(0.001 + LOOK_MIN_S)
    assert all(schedule.assign(peer, 0.201) for peer in peers[4:])


def test_where_one_of_those_asked_begins_to_send_no_more_are_asked_at_once() -> None:
    peers = [PeerId(bytes([number]) * 32) for number in range(8)]
    schedule = schedule_of(*peers, wanted=1, round_trip_s=0.06)
    schedule.assign(peers[0], 0.0)
    assert all(schedule.assign(peer, 0.121) for peer in peers[1:4])
    schedule.on_heard(peers[2], 0.19)
    assert not any(schedule.assign(peer, 0.3) for peer in peers[4:])


def test_a_near_source_is_waited_for_less_and_a_far_one_no_longer_than_others() -> None:
    for round_trip_s, silent_s in ((0.001, SILENT_MIN_S), (0.06, 0.12), (0.08, 0.16), (5.0, 0.2)):
        schedule = Schedule(0.1)
        schedule.add_source(ALICE, round_trip_s)
        schedule.add_source(BOB)
        schedule.want(CIDS[0])
        schedule.assign(ALICE, 0.0)
        assert schedule.assign(BOB, silent_s - 0.001) == []
        assert schedule.assign(BOB, silent_s + 0.001) == [CIDS[0]]


def test_what_another_delivered_first_is_owed_and_shows_who_is_late() -> None:
    schedule = schedule_of(ALICE, BOB, wanted=1, round_trip_s=0.06)
    schedule.want(CIDS[0], of_all=True)
    assert schedule.assign(ALICE, 0.0) == schedule.assign(BOB, 0.0) == [CIDS[0]]
    schedule.on_delivered(BOB, CIDS[0], 0.05)
    for cid in CIDS[1:3]:
        schedule.want(cid)
    assert schedule.assign(ALICE, 0.13) == [], "it was asked at the same time, and is silent"
    assert schedule.assign(BOB, 0.13) == [CIDS[1]]
    schedule.on_delivered(ALICE, CIDS[0], 0.14)
    assert schedule.assign(ALICE, 0.14) == [CIDS[2]], "what comes late has come"


def test_how_long_nobody_waits_for_the_first_byte_is_bounded_both_ways() -> None:
    for round_trip_s, silent_s in ((0.001, SILENT_MIN_S), (0.06, 0.12), (5.0, LATE_MIN_S)):
        schedule = schedule_of(ALICE, BOB, wanted=1, round_trip_s=round_trip_s)
        schedule.assign(ALICE, 0.0)
        assert schedule.look_in_s(0.0) == pytest.approx(min(LOOK_MAX_S, silent_s + LOOK_MIN_S))
        assert schedule.assign(BOB, silent_s - 0.001) == []
        assert schedule.assign(BOB, silent_s + 0.001) == [CIDS[0]]


def test_where_blocks_take_long_their_first_byte_may_too() -> None:
    schedule = schedule_of(ALICE, BOB, wanted=2, round_trip_s=0.06)
    schedule.assign(ALICE, 0.0)
    schedule.on_delivered(ALICE, CIDS[0], 4.0)
    assert schedule.assign(ALICE, 4.0) == [CIDS[1]]
    late_s = schedule._late_s()
    assert late_s == LATE_FACTOR * 4.0
    assert [schedule._is_late(schedule._sources[ALICE], now, late_s) for now in (5.9, 6.1)] == [False, True]


def test_only_what_is_waited_for_first_is_asked_again_of_who_has_other_work() -> None:
    schedule = schedule_of(ALICE, BOB, wanted=HEAD_BLOCKS + 20)
    first = schedule.assign(ALICE, 0.0)
    assert len(first) > HEAD_BLOCKS
    again = [cid for _ in range(30) for cid in schedule.assign(BOB, 1.0) if cid in first]
    assert again == list(CIDS[:HEAD_BLOCKS])


def test_who_is_late_gets_nothing_that_a_prompt_one_may_have() -> None:
    schedule = schedule_of(ALICE, BOB, wanted=2)
    assert schedule.assign(ALICE, 0.0) == [CIDS[0]]
    assert schedule.assign(ALICE, 1.0) == []
    schedule.on_missing(BOB, CIDS[1])
    assert schedule.assign(ALICE, 1.0) == [CIDS[1]], "what nobody else has it is asked for all the same"


def test_who_delivers_in_its_usual_time_is_not_late_however_much_it_was_asked_for() -> None:
    schedule = schedule_of(ALICE, BOB, wanted=8)
    mine = schedule.assign(ALICE, 0.0)
    now = 0.0
    for cid in mine[:2]:
        now += 1.0
        schedule.on_heard(ALICE, now - 0.1)
        schedule.on_delivered(ALICE, cid, now)
        assert schedule.assign(BOB, now + LATE_FACTOR * 1.0 - 0.1) != [mine[2]]
    schedule.on_heard(BOB, now + LATE_FACTOR * 1.0)
    assert mine[2] in schedule.assign(BOB, now + LATE_FACTOR * 1.0 + 0.1)


def test_who_sends_a_byte_now_and_then_is_late_in_the_end() -> None:
    schedule = schedule_of(ALICE, wanted=1)
    schedule.assign(ALICE, 0.0)
    for tenths in range(13):
        schedule.on_heard(ALICE, tenths / 10)
        assert not schedule._sources[ALICE].is_late(tenths / 10, LATE_MIN_S, LATE_MIN_S)
    schedule.on_heard(ALICE, LATE_MIN_S * DRIPPING_FACTOR + 0.1)
    assert schedule._sources[ALICE].is_late(LATE_MIN_S * DRIPPING_FACTOR + 0.1, LATE_MIN_S, LATE_MIN_S)


def test_who_was_late_is_named_once_another_delivered() -> None:
    schedule = schedule_of(ALICE, BOB, wanted=1)
    schedule.assign(ALICE, 0.0)
    schedule.assign(BOB, 1.0)
    assert schedule.on_delivered(BOB, CIDS[0], 1.1) == [ALICE]
    schedule.want(CIDS[1])
    assert schedule.assign(ALICE, 2.0) == [], "and gets nothing that the other may have"
    assert schedule.assign(BOB, 2.0) == [CIDS[1]]
    assert schedule.assign(ALICE, 2.0 + ENDGAME_S + 0.1) == [CIDS[1]]
    assert schedule.on_delivered(ALICE, CIDS[1], 2.7) == [BOB], "until it was in time again"
    schedule.want(CIDS[2])
    assert schedule.assign(ALICE, 3.0) == [CIDS[2]]


def test_what_one_of_two_delivered_is_wanted_of_neither() -> None:
    schedule = schedule_of(ALICE, BOB, wanted=1)
    schedule.assign(ALICE, 0.0)
    schedule.assign(BOB, 1.0)
    schedule.on_delivered(BOB, CIDS[0], 0.0)
    assert schedule.hopeless() == []
    assert schedule.assign(ALICE, 9.0) == schedule.assign(BOB, 9.0) == []


def test_without_sources_everything_is_hopeless() -> None:
    assert schedule_of(wanted=3).hopeless() == list(CIDS[:3])


def test_a_source_that_came_back_is_asked_again_for_what_it_lacked() -> None:
    schedule = schedule_of(ALICE, wanted=1)
    schedule.assign(ALICE, 0.0)
    schedule.on_missing(ALICE, CIDS[0])
    assert schedule.hopeless() == [CIDS[0]]
    schedule.drop_source(ALICE)
    schedule.add_source(ALICE)
    assert schedule.assign(ALICE, 0.0) == [CIDS[0]]
