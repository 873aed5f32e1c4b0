import random
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.kad.contact import Contact
from peerd.kad.disjoint import DisjointLookup, paths_for
from peerd.kad.lookup import FINISHED, WAITING, Lookup, Outcome
from tests.unit.kad.overlay import Overlay, at, contact, drive, nearest

TARGET = bytes(32)


@pytest.fixture(scope="module")
def graph() -> Overlay:
    return Overlay(size=500, seed=11)


@pytest.fixture
def overlay(graph: Overlay) -> Overlay:
    graph.dead, graph.liars = set(), {}
    return graph


def start(overlay: Overlay, seed: int) -> tuple[bytes, Contact, list[Contact]]:
    rng = random.Random(seed)
    target = rng.randbytes(32)
    me = rng.choice(overlay.living())
    return target, me, nearest(overlay.known[me.peer], target, 24)


def ask_all(search: DisjointLookup, now: float = 0.0) -> list[Contact]:
    asked = []
    while isinstance(step := search.next(now), Contact):
        asked.append(step)
    return asked


@pytest.mark.parametrize("dead_share", [0.0, 0.3])
def test_three_paths_find_the_k_closest_living_and_ask_nobody_twice(overlay, dead_share):
    for seed in range(25):
        rng = random.Random(seed)
        overlay.dead = {c.peer for c in rng.sample(overlay.contacts, int(dead_share * overlay.size))}
        target, me, seeds = start(overlay, seed)
        search = DisjointLookup(target, seeds, deadline=10.0, own=me.peer, paths=3)
        run = drive(search, overlay, seed=seed)
        assert search.path_count == 3
        assert search.closest() == nearest([c for c in overlay.living() if c != me], target, 8), f"seed {seed}"
        assert len({c.peer for c in run.asked}) == len(run.asked)
        assert [hop.contact for hop in search.trace] == run.asked
        assert search.outcome is Outcome.CONVERGED


def test_a_contact_s_names_reach_its_own_path_only():
    seeds = [at(2**255 + number) for number in range(16)]
    search = DisjointLookup(TARGET, seeds, deadline=1.0, paths=2, alpha=2)
    first, second = ask_all(search)
    search.on_success(first.peer, [at(1), at(2)], 0.1)
    search.on_success(second.peer, [at(3), at(4)], 0.1)
    one, two = search._paths
    known = [{c for c in range(1, 5) if path.hop(at(c).peer)} for path in (one, two)]
    assert known == [{1, 2}, {3, 4}]


def test_a_liar_on_one_path_does_not_hide_the_closest_from_the_others(overlay):
    """Mallory's group answers with its own members only; a single path that begins in it never gets out."""
    found = {1: 0, 3: 0}
    for seed in range(30):
        rng = random.Random(seed)
        target = rng.randbytes(32)
        group = rng.sample(overlay.contacts, 100)
        members = {c.peer for c in group}
        overlay.liars = {peer: partial(nearest, group, count=20) for peer in members}
        honest = [c for c in overlay.contacts if c.peer not in members]
        best = nearest(honest, target, 3)
        me = honest[0]
        seeds = nearest(overlay.known[me.peer], target, 24)
        for paths in found:
            search = DisjointLookup(target, seeds, deadline=60.0, own=me.peer, paths=paths, referrer_max=8)
            drive(search, overlay, seed=seed)
            answered = {hop.contact for hop in search.trace if hop.answered_at is not None}
            found[paths] += sum(c in answered or c == me for c in best)
    assert found[3] >= found[1]
    assert found[3] >= 0.95 * 90


def test_a_small_network_is_one_path():
    assert [paths_for(count, 8) for count in (0, 1, 15, 16, 100)] == [1, 1, 1, 3, 3]
    search = DisjointLookup(TARGET, [contact(number) for number in range(5)], deadline=1.0)
    assert search.path_count == 1


def test_one_path_asks_what_a_plain_lookup_asks(overlay):
    for seed in range(10):
        target, me, seeds = start(overlay, seed)
        plain = Lookup(target, seeds[:15], deadline=10.0, own=me.peer)
        single = DisjointLookup(target, seeds[:15], deadline=10.0, own=me.peer)
        assert drive(plain, overlay, seed=seed) == drive(single, overlay, seed=seed)
        assert plain.closest() == single.closest()
        assert plain.trace == single.trace


def two_paths() -> tuple[DisjointLookup, Contact, Contact]:
    """Two paths that have each asked their first seed."""
    seeds = [at(2**255 + number) for number in range(16)]
    search = DisjointLookup(TARGET, seeds, deadline=9.0, paths=2, alpha=2)
    first, second = ask_all(search)
    return search, first, second


def test_a_path_that_comes_to_another_s_contact_waits_for_its_answer():
    search, first, second = two_paths()
    bob = at(1)
    search.on_success(first.peer, [bob], 0.1)
    search.on_success(second.peer, [bob], 0.1)
    asked = ask_all(search)
    assert asked.count(bob) == 1
    assert [c for c in search.open() if c == bob] == [bob]
    assert search.on_success(bob.peer, [at(2)], 0.2)
    assert not search.on_success(bob.peer, [at(3)], 0.2)
    assert search.closest()[0] == bob
    assert sum(path.hop(at(2).peer) is not None for path in search._paths) == 1
    assert search.hop(bob.peer) == 2


def test_a_slow_contact_makes_room_on_every_path_that_waits_for_it():
    search, first, second = two_paths()
    bob = at(1)
    search.on_success(first.peer, [bob], 0.1)
    search.on_success(second.peer, [bob], 0.1)
    assert ask_all(search, 0.1) == [bob]
    assert search.on_slow(bob.peer)
    assert not search.on_slow(bob.peer)
    assert len(ask_all(search, 0.2)) == 2


def test_a_follower_takes_over_where_it_has_another_address():
    search, first, second = two_paths()
    bob = at(1)
    wrong = Contact(bob.peer, bob.place, ("203.0.113.9", 1))
    search.on_success(first.peer, [wrong], 0.1)
    asked = ask_all(search)
    assert wrong in asked
    search.on_success(second.peer, [bob], 0.1)
    assert bob not in ask_all(search)
    assert search.on_failure(bob.peer, 0.3)
    assert bob in ask_all(search, 0.3)
    assert search.on_success(bob.peer, [], 0.4)
    assert search.closest()[0] == bob
    assert [(h.contact, h.asked_at, h.result) for h in search.trace if h.contact.peer == bob.peer] == [
        (wrong, 0.0, "failed"),
        (bob, 0.3, "answered"),
    ]


def test_a_path_that_comes_late_to_a_failed_contact_does_not_ask_it_again():
    search, first, second = two_paths()
    bob = at(1)
    search.on_success(first.peer, [bob], 0.1)
    ask_all(search)
    search.on_slow(bob.peer)
    search.on_failure(bob.peer, 0.2)
    search.on_success(second.peer, [bob], 0.2)
    assert bob not in ask_all(search, 0.2)


def test_finish_and_the_deadline_end_all_paths():
    for end in (lambda s: s.finish(), lambda s: s.next(9.0)):
        search, first, _ = two_paths()
        end(search)
        assert search.next(9.0) is FINISHED
        assert search.outcome in (Outcome.STOPPED, Outcome.DEADLINE)
        assert not search.on_success(first.peer, [], 9.0)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=120, deadline=None)
def test_whatever_happens_it_ends_asks_no_address_twice_and_keeps_to_its_cap(data):
    numbers = st.integers(1, 80)
    ports = st.sampled_from([7433, 7433, 7433, 9999])
    named = st.lists(st.builds(lambda n, port: contact(n, port=port), numbers, ports), max_size=12)
    k, cap = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 40))
    seeds = [contact(n) for n in data.draw(st.lists(numbers, min_size=2 * k, max_size=12, unique=True))]
    search = DisjointLookup(TARGET, seeds, deadline=9.0, paths=3, k=k, requests_max=cap, own=contact(80).peer)
    asked: list[Contact] = []
    for _ in range(600):
        step = search.next(0.0)
        if step is FINISHED:
            break
        if step is not WAITING:
            asked.append(step)
            continue
        waiting = search.open()
        assert waiting, "waits for nothing"
        whom = data.draw(st.sampled_from(waiting))
        act = data.draw(st.sampled_from(["answer", "fail", "slow"]))
        if act == "answer":
            search.on_success(whom.peer, data.draw(named), 0.0)
        elif act == "fail":
            search.on_failure(whom.peer, 0.0)
        else:
            search.on_slow(whom.peer)
    assert search.next(0.0) is FINISHED
    assert len(asked) == len(set(asked)) <= cap
    assert contact(80).peer not in {c.peer for c in asked}
    assert [hop.contact for hop in search.trace] == asked
    answered = {hop.contact.peer for hop in search.trace if hop.answered_at is not None}
    assert {c.peer for c in search.closest()} <= answered


def test_an_answer_to_a_path_that_is_over_stands_in_the_trace_where_another_path_awaits_it():
    seeds = [at(2**255 + number) for number in range(4)]
    search = DisjointLookup(TARGET, seeds, deadline=9.0, paths=2, alpha=2, k=1)
    first, second = ask_all(search)
    nearer, bob, carol = at(1), at(8), at(9)
    search.on_success(first.peer, [bob, carol], 0.1)
    assert bob in ask_all(search, 0.1)
    search.on_slow(bob.peer)
    search.on_success(second.peer, [bob], 0.2)
    assert carol in ask_all(search, 0.2)
    search.on_success(carol.peer, [nearer], 0.3)
    assert nearer in ask_all(search, 0.3)
    search.on_success(nearer.peer, [], 0.4)
    ask_all(search, 0.4)
    assert search.on_success(bob.peer, [], 0.5)
    assert [hop.answered_at for hop in search.trace if hop.contact == bob] == [0.5]
