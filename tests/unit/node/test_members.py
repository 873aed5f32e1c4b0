"""Whom a peer knows and in what state, as time passes and messages come (peerd.node.members)."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.config import Settings
from peerd.ids import NetworkId, PeerId, distance, node_id
from peerd.node.members import DEAD_RETRY_S, Members
from peerd.trust.membership import UNCONFIRMED_FACTOR

NETWORK = NetworkId(bytes(32))
GRACE_S = 3600.0
SUSPECT_S = 5.0


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


ALICE, BOB, CAROL = peer(1), peer(2), peer(3)


class HandClock:
    """A clock that a test turns."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Watched(Members):
    """Members with the clock in reach, and a count of the changes told."""

    def __init__(self, own: PeerId) -> None:
        self.clock = HandClock()
        self.changes = 0
        settings = Settings(data=Path("data"), tombstone_grace_s=GRACE_S, suspect_timeout_s=SUSPECT_S)
        super().__init__(NETWORK, own, settings, self.clock, changed=self._count)

    def _count(self) -> None:
        self.changes += 1

    def meet(self, *peers: PeerId) -> None:
        for each in peers:
            self.proven(each, ("10.0.0.1", int.from_bytes(each[-2:], "big")), "overlay")

    def lose(self, each: PeerId) -> None:
        self.unanswered(each)
        self.clock.now += SUSPECT_S * UNCONFIRMED_FACTOR
        self.detector.failed(each, self.clock.now, asked=True)
        self.bury()


@pytest.fixture
def members() -> Watched:
    return Watched(ALICE)


def state(members: Members, each: PeerId) -> str:
    return members.all[each].state


@pytest.mark.parametrize(("group_members_max", "whole"), [(10, False), (40, True)])
def test_a_lab_of_public_addresses_is_known_whole_where_the_settings_say_so(
    group_members_max: int, *, whole: bool
) -> None:
    of_a_lab = Settings(data=Path("data"), group_members_max=group_members_max)
    members = Members(NETWORK, ALICE, of_a_lab, HandClock(), changed=lambda: None)
    for number in range(2, 42):
        members.proven(peer(number), (f"44.1.2.{number}", 7433), "overlay")
    assert members.complete is whole


def test_a_handshake_makes_a_member_and_says_that_it_came(members: Watched) -> None:
    assert members.proven(BOB, ("10.0.0.2", 7433), "mdns")
    assert not members.proven(BOB, ("10.0.0.2", 7433), "mdns")
    assert (state(members, BOB), members.alive_count(), members.changes) == ("alive", 1, 1)


def test_a_remembered_peer_is_nobodys_contact_until_it_answers(members: Watched) -> None:
    members.remember(BOB, ("10.0.0.2", 7433), 10.0)
    assert members.contact(BOB) is None
    assert members.closest(bytes(32), 8) == []
    members.meet(BOB)
    assert members.contact(BOB) is not None


def test_we_are_never_our_own_member(members: Watched) -> None:
    members.remember(ALICE, ("10.0.0.1", 1), 0.0)
    assert ALICE not in members.all


def test_an_unanswered_request_makes_suspect_and_any_word_clears_it(members: Watched) -> None:
    members.meet(BOB)
    members.unanswered(BOB)
    assert (state(members, BOB), members.alive_count()) == ("suspect", 0)
    members.heard(BOB)
    assert (state(members, BOB), members.alive_count()) == ("alive", 1)


def test_a_suspect_is_not_named_to_others_and_not_waited_for(members: Watched) -> None:
    members.meet(BOB, CAROL)
    members.unanswered(BOB)
    assert [contact.peer for contact in members.closest(bytes(32), 8)] == [CAROL]
    assert [contact.peer for contact in members.doubtful(bytes(32), 8)] == [BOB]
    assert [contact.peer for contact in members.page(bytes(32), 8)] == [CAROL]


def test_suspicion_becomes_death_after_its_time_and_not_before(members: Watched) -> None:
    members.meet(BOB)
    members.unanswered(BOB)
    members.clock.now += SUSPECT_S - 0.1
    assert members.bury() == []
    members.clock.now += 0.2
    assert [member.contact.peer for member in members.bury()] == [BOB]
    assert state(members, BOB) == "dead"
    assert members.contact(BOB) is None


def test_more_silence_of_a_suspect_does_not_put_off_its_death(members: Watched) -> None:
    members.meet(BOB)
    members.unanswered(BOB)
    members.clock.now += SUSPECT_S - 1
    members.unanswered(BOB)
    members.clock.now += 1
    assert len(members.bury()) == 1


def test_the_dead_come_back_by_their_own_word(members: Watched) -> None:
    members.meet(BOB)
    members.lose(BOB)
    members.heard(BOB)
    assert state(members, BOB) == "alive"
    assert members.contact(BOB) is not None


def test_who_left_is_back_only_by_a_new_handshake(members: Watched) -> None:
    members.meet(BOB)
    assert members.left(BOB, 5)
    members.heard(BOB)
    assert state(members, BOB) == "left"
    members.meet(BOB)
    assert state(members, BOB) == "alive"


def test_an_old_goodbye_is_no_news(members: Watched) -> None:
    members.meet(BOB)
    members.left(BOB, 5)
    members.meet(BOB)
    assert not members.left(BOB, 5)
    assert not members.left(BOB, 4)
    assert state(members, BOB) == "alive"


def test_who_left_is_never_suspected(members: Watched) -> None:
    members.meet(BOB)
    members.left(BOB, 5)
    members.unanswered(BOB)
    members.clock.now += 2 * SUSPECT_S
    assert members.bury() == []
    assert state(members, BOB) == "left"


def test_a_moved_peer_has_one_contact_with_the_new_address(members: Watched) -> None:
    members.proven(BOB, ("10.0.0.2", 1), "overlay")
    members.proven(BOB, ("10.0.0.9", 2), "overlay")
    assert [contact.address for contact in members.closest(bytes(32), 8)] == [("10.0.0.9", 2)]


def test_the_silent_are_tried_again_at_their_pace(members: Watched) -> None:
    members.meet(BOB)
    members.lose(BOB)
    assert members.to_retry() == []
    members.clock.now += DEAD_RETRY_S / 2 + 0.1
    assert [member.contact.peer for member in members.to_retry()] == [BOB]
    assert members.to_retry() == []
    members.clock.now += DEAD_RETRY_S + 0.1
    assert len(members.to_retry()) == 1


def test_who_left_is_not_tried_again(members: Watched) -> None:
    members.meet(BOB)
    members.left(BOB, 1)
    members.clock.now += 100 * DEAD_RETRY_S
    assert members.to_retry() == []


# Who should hold a key.


def test_expected_holders_are_the_nearest_with_us(members: Watched) -> None:
    everybody = [peer(number) for number in range(1, 30)]
    members.meet(*everybody[1:])
    key = node_id(NETWORK, peer(999))
    nearest = sorted(everybody, key=lambda each: distance(node_id(NETWORK, each), key))
    assert members.expected_holders(key, 8) == nearest[:8]


def test_the_dead_are_expected_within_the_grace_and_not_after(members: Watched) -> None:
    members.meet(BOB, CAROL)
    members.lose(BOB)
    assert set(members.expected_holders(bytes(32), 8)) == {ALICE, BOB, CAROL}
    members.clock.now += GRACE_S + 1
    assert set(members.expected_holders(bytes(32), 8)) == {ALICE, CAROL}


def test_suspects_are_expected(members: Watched) -> None:
    members.meet(BOB)
    members.unanswered(BOB)
    assert set(members.expected_holders(bytes(32), 8)) == {ALICE, BOB}


def test_who_left_is_expected_no_more(members: Watched) -> None:
    members.meet(BOB, CAROL)
    members.left(BOB, 1)
    assert set(members.expected_holders(bytes(32), 8)) == {ALICE, CAROL}
    assert not members.is_expected(BOB)


def test_who_left_after_its_death_is_expected_no_more(members: Watched) -> None:
    members.meet(BOB)
    members.lose(BOB)
    assert members.is_expected(BOB)
    members.left(BOB, 1)
    assert not members.is_expected(BOB)
    assert members.expected_holders(bytes(32), 8) == [ALICE]


def test_the_remembered_are_expected_from_when_they_were_last_seen(members: Watched) -> None:
    members.remember(BOB, ("10.0.0.2", 1), GRACE_S - 10)
    members.remember(CAROL, ("10.0.0.3", 1), GRACE_S + 10)
    assert set(members.expected_holders(bytes(32), 8)) == {ALICE, BOB}


def test_a_dead_peer_nearer_to_the_key_takes_the_place_of_a_living_one(members: Watched) -> None:
    everybody = [peer(number) for number in range(1, 12)]
    members.meet(*everybody[1:])
    key = node_id(NETWORK, BOB)
    assert members.expected_holders(key, 3)[0] == BOB
    members.lose(BOB)
    assert members.expected_holders(key, 3)[0] == BOB
    assert BOB not in [contact.peer for contact in members.closest(key, 3)]


@pytest.mark.parametrize("others", [0, 1, 7, 8, 20])
def test_we_are_responsible_where_we_are_near(others: int) -> None:
    for own in range(100, 110):
        members = Watched(peer(own))
        everybody = [peer(number) for number in range(1, others + 1)]
        members.meet(*everybody)
        key = node_id(NETWORK, peer(4711))
        nearest = sorted([*everybody, peer(own)], key=lambda each: distance(node_id(NETWORK, each), key))[:8]
        found = members.responsible(key)
        contacts, ours = found.contacts, found.ours
        assert ours == (peer(own) in nearest)
        assert [contact.peer for contact in contacts] == [each for each in nearest if each != peer(own)]


# What they tell each other.


def test_a_page_is_in_order_of_place_and_begins_after_its_mark(members: Watched) -> None:
    everybody = [peer(number) for number in range(2, 50)]
    members.meet(*everybody)
    pages: list[PeerId] = []
    after = bytes(32)
    while page := members.page(after, 7):
        places = [contact.place for contact in page]
        assert places == sorted(places)
        assert places[0] > after
        pages += [contact.peer for contact in page]
        after = places[-1]
    assert sorted(pages) == everybody


Step = Callable[[Watched, PeerId], object]
STEPS: dict[str, Step] = {
    "meet": lambda members, each: members.meet(each),
    "heard": lambda members, each: members.heard(each),
    "unanswered": lambda members, each: members.unanswered(each),
    "lose": lambda members, each: members.lose(each),
    "left": lambda members, each: members.left(each, int(members.clock.now * 1000)),
    "remember": lambda members, each: members.remember(each, ("10.0.0.1", 1), 5.0),
    "wait": lambda members, each: setattr(members.clock, "now", members.clock.now + 1),
}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(2, 6)), max_size=40))
def test_digests_are_equal_exactly_where_the_members_are(steps: list[tuple[str, int]]) -> None:
    members = Watched(ALICE)
    for step, number in steps:
        STEPS[step](members, peer(number))
        living = {each for each, member in members.all.items() if member.state in ("alive", "suspect")}
        assert {contact.peer for contact in members.alive()} == living
        assert set(members.doubted) == {each for each in living if state(members, each) == "suspect"}
        assert set(members.silent) == {each for each, member in members.all.items() if member.state == "dead"}
        other = Watched(peer(7))
        other.meet(*living, ALICE)
        members_with_other = Watched(ALICE)
        members_with_other.meet(*living, peer(7))
        assert members_with_other.digest() == other.digest()
        fresh = Watched(ALICE)
        fresh.meet(*living)
        assert members.digest() == fresh.digest()


def test_digests_differ_where_one_knows_more(members: Watched) -> None:
    members.meet(BOB)
    before = members.digest()
    members.meet(CAROL)
    assert members.digest() != before


def test_what_is_remembered_is_proven_half_the_longest_known_half_the_last_seen(members: Watched, rng: Random) -> None:
    order = [peer(number) for number in range(2, 12)]
    rng.shuffle(order)
    for each in order:
        members.clock.now += 1
        members.meet(each)
    members.clock.now += 100
    for each in order:
        members.heard(each)
        members.clock.now += 1
    members.remember(peer(50), ("10.0.0.50", 1), 0.0, 10_000.0)
    members.left(order[-1], 1)
    kept = [member.contact.peer for member in members.to_remember(4)]
    assert kept[:2] == sorted(order[:-1], key=lambda each: -members.all[each].lived_s)[:2]
    assert kept[2:] == order[-2:-4:-1]


def test_a_flood_of_newcomers_takes_no_anchor_s_place_and_no_more_than_two_anchors_are_of_a_group(
    members: Watched,
) -> None:
    old = [peer(number) for number in range(2, 6)]
    for number, each in enumerate(old):
        members.proven(each, ("44.1.2.9" if number else "62.1.1.1", 4000 + number), "overlay")
    members.clock.now += 3600
    for each in old:
        members.heard(each)
    for number in range(6, 60):
        members.clock.now += 0.01
        members.proven(peer(number), (f"45.{number}.0.1", 4000), "overlay")
    kept = [member.contact.peer for member in members.to_remember(16)]
    assert [each for each in kept if each in old] == old[:3]
    assert len(kept) == 16


def test_how_long_a_peer_lived_is_counted_over_restarts(members: Watched) -> None:
    members.remember(peer(2), ("10.0.0.2", 1), 50.0, 1000.0)
    assert members.all[peer(2)].lived_s == 1000.0
    members.meet(peer(2))
    members.clock.now += 7
    members.heard(peer(2))
    assert members.all[peer(2)].lived_s == pytest.approx(1007.0)
