import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.ids import PeerId
from peerd.kad.contact import Contact
from peerd.kad.lookup import FINISHED, WAITING, Lookup, Outcome
from tests.unit.kad.overlay import HEDGE_S, RTO_S, Overlay, at, contact, drive, nearest

TARGET = bytes(32)


@pytest.fixture(scope="module")
def graph() -> Overlay:
    return Overlay(size=500, seed=7)


@pytest.fixture
def overlay(graph: Overlay) -> Overlay:
    graph.dead, graph.liars = set(), {}
    return graph


def lookup(*seeds: Contact, target: bytes = TARGET, deadline: float = 10.0, **options) -> Lookup:
    return Lookup(target, seeds, deadline=deadline, **options)


def ask_all(search: Lookup, now: float = 0.0) -> list[Contact]:
    asked = []
    while isinstance(step := search.next(now), Contact):
        asked.append(step)
    return asked


def start(overlay: Overlay, seed: int) -> tuple[bytes, Contact, list[Contact]]:
    """A target, who searches, and the closest that it knows."""
    rng = random.Random(seed)
    target = rng.randbytes(32)
    me = rng.choice(overlay.living())
    return target, me, nearest(overlay.known[me.peer], target, 20)


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_a_lookup_among_500_honest_peers_finds_the_true_k_closest(seed):
    overlay = GRAPH
    overlay.dead, overlay.liars = set(), {}
    target, me, seeds = start(overlay, seed)
    search = Lookup(target, seeds[:8], deadline=10.0, own=me.peer)
    run = drive(search, overlay, seed=seed)
    assert search.closest() == nearest([c for c in overlay.contacts if c != me], target, 8)
    assert search.outcome is Outcome.CONVERGED
    assert len(run.asked) <= 20
    assert me not in run.asked
    assert len({c.peer for c in run.asked}) == len(run.asked)


GRAPH = Overlay(size=500, seed=3)


def test_with_a_third_of_the_peers_dead_it_finds_the_k_closest_living(overlay):
    for seed in range(30):
        overlay.dead = {c.peer for c in random.Random(seed).sample(overlay.contacts, 150)}
        target, me, seeds = start(overlay, seed)
        search = Lookup(target, seeds, deadline=10.0, own=me.peer)
        drive(search, overlay, seed=seed)
        assert search.closest() == nearest([c for c in overlay.living() if c != me], target, 8), f"seed {seed}"
        assert search.outcome is Outcome.CONVERGED


def invent(rng: random.Random, count: int = 20):
    """A liar's answer: contacts that do not exist, ever nearer to the target."""

    def answer(target: bytes) -> list[Contact]:
        point = int.from_bytes(target, "big")
        return [at(point ^ rng.getrandbits(200)) for _ in range(count)]

    return answer


def test_liars_that_invent_contacts_cost_requests_and_hide_nobody(overlay):
    for seed in range(20):
        rng = random.Random(seed)
        liars = rng.sample(overlay.contacts, 25)
        overlay.liars = {liar.peer: invent(rng, 8) for liar in liars}
        target, me, seeds = start(overlay, seed)
        search = Lookup(target, seeds, deadline=60.0, own=me.peer)
        drive(search, overlay, seed=seed)
        assert search.closest() == nearest([c for c in overlay.contacts if c != me], target, 8), f"seed {seed}"


def test_a_liar_that_always_names_nearer_peers_of_its_own_ends_at_the_cap(overlay):
    rng = random.Random(1)
    mallory = overlay.contacts[0]
    search = lookup(mallory, target=TARGET, requests_max=40, deadline=1e9)
    place = 2**255
    now = 0.0
    asked = 0
    while (step := search.next(now)) is not FINISHED:
        if step is WAITING:
            now += 1.0
            open_now = search.open()
            for whom in open_now:
                place //= 2
                search.on_success(whom.peer, [at(place + rng.getrandbits(8))], now)
            continue
        asked += 1
    assert asked == 40
    assert search.outcome is Outcome.REQUESTS


def test_alpha_requests_are_in_flight_from_the_first_moment_and_after_each_answer():
    seeds = [contact(number) for number in range(1, 9)]
    search = lookup(*seeds, alpha=3)
    order = nearest(seeds, TARGET, 8)
    assert ask_all(search) == order[:3]
    assert search.next(0.0) is WAITING
    search.on_success(order[1].peer, [], 0.1)
    assert ask_all(search) == [order[3]]
    search.on_failure(order[0].peer, 0.1)
    assert ask_all(search) == [order[4]]


def test_when_alpha_answers_bring_nobody_nearer_the_rest_of_the_k_are_asked_at_once():
    seeds = nearest([contact(number) for number in range(1, 9)], TARGET, 8)
    search = lookup(*seeds, alpha=3)
    ask_all(search)
    for whom in seeds[:3]:
        search.on_success(whom.peer, seeds, 0.1)
    assert ask_all(search) == seeds[3:]


def test_a_nearer_contact_is_asked_before_those_known_already():
    seeds = [at(2**200 + number) for number in range(4)]
    search = lookup(*seeds, alpha=1)
    first = ask_all(search)
    search.on_success(first[0].peer, [at(5), at(3)], 0.1)
    assert ask_all(search) == [at(3)]


def test_it_stops_when_the_k_closest_have_answered_and_asks_nobody_farther():
    near, far = [at(number) for number in range(1, 4)], [at(2**250 + number) for number in range(5)]
    search = lookup(*near, *far, k=3, alpha=3)
    asked = ask_all(search)
    for whom in asked:
        search.on_success(whom.peer, far, 0.1)
    assert search.next(0.1) is FINISHED
    assert (asked, search.closest(), search.outcome) == (near, near, Outcome.CONVERGED)


def test_one_that_failed_is_replaced_by_the_next_nearest():
    peers = [at(number) for number in range(1, 5)]
    search = lookup(*peers, k=3, alpha=3)
    ask_all(search)
    search.on_failure(peers[1].peer, 0.1)
    assert ask_all(search) == [peers[3]]
    for whom in (peers[0], peers[2], peers[3]):
        search.on_success(whom.peer, [], 0.2)
    assert search.next(0.2) is FINISHED
    assert search.closest() == [peers[0], peers[2], peers[3]]


def test_a_slow_peer_makes_room_and_its_late_answer_counts():
    peers = [at(number) for number in range(1, 5)]
    search = lookup(*peers, k=2, alpha=2)
    assert ask_all(search) == peers[:2]
    assert search.on_slow(peers[0].peer)
    assert ask_all(search) == [peers[2]]
    search.on_success(peers[1].peer, [], 0.1)
    search.on_success(peers[2].peer, [], 0.1)
    assert search.next(0.1) is WAITING
    assert search.only_slow_left
    search.on_success(peers[0].peer, [], 0.2)
    assert search.next(0.2) is FINISHED
    assert search.closest() == peers[:2]


def test_a_slow_peer_that_fails_ends_the_wait():
    peers = [at(number) for number in range(1, 4)]
    search = lookup(*peers, k=2, alpha=2)
    ask_all(search)
    search.on_slow(peers[0].peer)
    ask_all(search)
    search.on_success(peers[1].peer, [], 0.1)
    search.on_success(peers[2].peer, [], 0.1)
    search.on_failure(peers[0].peer, 0.2)
    assert search.next(0.2) is FINISHED
    assert search.closest() == peers[1:]


def test_an_answer_after_the_failure_was_told_counts_still():
    peers = [at(number) for number in range(1, 3)]
    search = lookup(*peers, k=2, alpha=1)
    ask_all(search)
    search.on_failure(peers[0].peer, 0.1)
    ask_all(search)
    assert search.on_success(peers[0].peer, [], 0.2)
    search.on_success(peers[1].peer, [], 0.3)
    assert search.next(0.3) is FINISHED
    assert search.closest() == peers


def test_answers_of_those_not_asked_and_second_answers_are_not_taken():
    alice, bob, mallory = at(1), at(2), at(3)
    search = lookup(alice, bob, alpha=1)
    ask_all(search)
    assert not search.on_success(mallory.peer, [at(9)], 0.1)
    assert not search.on_success(bob.peer, [at(9)], 0.1)
    assert search.on_success(alice.peer, [], 0.1)
    assert not search.on_success(alice.peer, [at(9)], 0.1)
    assert not search.on_failure(alice.peer, 0.1)
    assert not search.on_slow(alice.peer)
    assert search.hop(at(9).peer) is None


def test_no_more_than_the_referrer_s_share_of_new_contacts_is_taken_and_the_nearest_of_them():
    alice = at(2**255)
    search = lookup(alice, referrer_max=2, alpha=8)
    ask_all(search)
    search.on_success(alice.peer, [at(9), alice, at(4), at(7)], 0.1)
    assert ask_all(search) == [at(4), at(7)]


def test_contacts_of_a_peer_whose_contacts_failed_are_asked_last():
    alice, mallory = at(2**255), at(2**254)
    search = lookup(alice, mallory, alpha=2, k=8)
    ask_all(search)
    search.on_success(mallory.peer, [at(number) for number in range(1, 5)], 0.1)
    assert ask_all(search) == [at(1)]
    search.on_success(alice.peer, [at(2**100)], 0.1)
    search.on_failure(at(1).peer, 0.2)
    assert ask_all(search)[0] == at(2**100)


def test_a_peer_that_failed_at_a_wrong_address_is_asked_at_the_one_that_another_gave():
    bob = at(5)
    wrong = Contact(bob.peer, bob.place, ("203.0.113.9", 1))
    for late in (False, True):
        alice, mallory = at(2**255), at(2**254)
        search = lookup(alice, mallory, alpha=3)
        ask_all(search)
        search.on_success(mallory.peer, [wrong], 0.1)
        assert ask_all(search) == [wrong]
        if late:
            search.on_failure(bob.peer, 0.2)
        search.on_success(alice.peer, [bob], 0.2)
        if not late:
            search.on_failure(bob.peer, 0.2)
        assert ask_all(search) == [bob]
        search.on_success(bob.peer, [], 0.3)
        assert search.closest()[0] == bob


def test_many_addresses_of_one_peer_are_not_all_tried():
    bob = at(5)
    referrers = [at(2**255 + number) for number in range(20)]
    search = lookup(*referrers, alpha=20, k=20)
    ask_all(search)
    tried = 0
    for number, referrer in enumerate(referrers):
        search.on_success(referrer.peer, [Contact(bob.peer, bob.place, (f"203.0.113.{number}", 1))], 0.1)
        tried += len(ask_all(search))
        search.on_failure(bob.peer, 0.1)
    assert tried == 3


def test_the_deadline_ends_it_with_what_has_answered():
    peers = [at(number) for number in range(1, 5)]
    search = lookup(*peers, deadline=1.0)
    ask_all(search)
    search.on_success(peers[0].peer, [], 0.5)
    assert search.next(1.0) is FINISHED
    assert (search.outcome, search.closest()) == (Outcome.DEADLINE, peers[:1])
    assert not search.on_success(peers[1].peer, [], 1.1)


def test_finish_ends_a_search_for_a_value():
    peers = [at(number) for number in range(1, 5)]
    search = lookup(*peers)
    ask_all(search)
    search.on_success(peers[0].peer, [], 0.5, "value")
    search.finish()
    assert search.next(0.5) is FINISHED
    assert search.outcome is Outcome.STOPPED
    assert search.trace[0].result == "value"


def test_without_seeds_it_is_over_at_once():
    search = lookup()
    assert search.next(0.0) is FINISHED
    assert (search.outcome, search.closest(), search.trace) == (Outcome.CONVERGED, [], [])


def test_hops_count_from_the_seeds_and_the_trace_tells_the_story():
    alice, bob, carol = at(2**255), at(2**254), at(2**253)
    search = lookup(alice, alpha=1)
    ask_all(search, 0.0)
    search.on_success(alice.peer, [bob], 0.1)
    ask_all(search, 0.1)
    search.on_success(bob.peer, [carol, alice], 0.2)
    ask_all(search, 0.2)
    search.on_slow(carol.peer)
    assert search.trace[2].result == "slow"
    search.on_failure(carol.peer, 0.4)
    story = [(hop.contact, hop.hop, hop.asked_at, hop.answered_at, hop.result) for hop in search.trace]
    assert story == [
        (alice, 1, 0.0, 0.1, "answered"),
        (bob, 2, 0.1, 0.2, "answered"),
        (carol, 3, 0.2, None, "failed"),
    ]
    assert [search.hop(whom.peer) for whom in (alice, bob, carol)] == [1, 2, 3]
    assert search.hop(PeerId(b"x" * 32)) is None


def test_where_everybody_is_known_it_is_one_hop_and_one_round_trip():
    everyone = [contact(number) for number in range(1, 6)]
    overlay = Overlay(size=5, seed=1)
    search = lookup(*everyone, alpha=8)
    run = drive(search, overlay, rtt_s=(0.01, 0.01))
    assert run.ended_at == 0.01
    assert {hop.hop for hop in search.trace} == {1}
    assert search.closest() == nearest(everyone, TARGET, 5)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_happens_it_ends_asks_nobody_twice_and_keeps_to_its_bounds(data):
    numbers = st.integers(1, 60)
    alpha, k = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    cap = data.draw(st.integers(1, 25))
    seeds = data.draw(st.lists(numbers, max_size=10))
    search = lookup(*map(contact, seeds), alpha=alpha, k=k, requests_max=cap, own=contact(60).peer)
    asked: list[Contact] = []
    quick: set[PeerId] = set()
    for _ in range(400):
        step = search.next(0.0)
        if step is FINISHED:
            break
        if isinstance(step, Contact):
            asked.append(step)
            quick.add(step.peer)
            assert len(quick) <= max(alpha, k)
            continue
        waiting = search.open()
        assert waiting, "waits for nothing"
        whom = data.draw(st.sampled_from(waiting))
        act = data.draw(st.sampled_from(["answer", "fail", "slow"]))
        if act == "answer":
            search.on_success(whom.peer, map(contact, data.draw(st.lists(numbers, max_size=12))), 0.0)
        elif act == "fail":
            search.on_failure(whom.peer, 0.0)
        else:
            search.on_slow(whom.peer)
        quick.discard(whom.peer)
    assert search.next(0.0) is FINISHED
    assert len(asked) == len({c.peer for c in asked}) <= cap
    assert contact(60) not in asked
    assert [hop.contact for hop in search.trace] == asked
    assert search.closest() == nearest([h.contact for h in search.trace if h.answered_at is not None], TARGET, k)


def test_slow_requests_are_hedged_so_that_the_dead_cost_no_timeout_in_series(overlay):
    overlay.dead = {c.peer for c in random.Random(5).sample(overlay.contacts, 150)}
    for seed in range(10):
        target, me, seeds = start(overlay, seed)
        run = drive(Lookup(target, seeds, deadline=10.0, own=me.peer), overlay, seed=seed)
        assert run.ended_at < 2 * RTO_S + 5 * HEDGE_S
