import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.kad.contact import Contact
from peerd.kad.table import STRIKE_SPACING_S, Entry, RoutingTable
from tests.unit.kad.overlay import at, contact, nearest

OWN = contact(0)


def table(**options) -> RoutingTable:
    return RoutingTable(OWN.place, **options)


def filled(count: int, **options) -> RoutingTable:
    routes = table(**options)
    for number in range(1, count + 1):
        routes.seen(contact(number), float(number))
    return routes


places = st.one_of(
    st.integers(0, 2**256 - 1),
    st.builds(lambda low, bit: low | 1 << bit, st.integers(0, 255), st.integers(0, 255)),
    st.integers(0, 300).map(lambda near: int.from_bytes(OWN.place, "big") ^ near),
).map(at)
acts = st.lists(
    st.one_of(
        st.tuples(st.just("seen"), places),
        st.tuples(st.just("seen"), st.integers(0, 80).map(contact)),
        st.tuples(st.sampled_from(["remove", "strike"]), st.integers(0, 80).map(contact)),
    ),
    max_size=150,
)


def check_invariants(routes: RoutingTable) -> None:
    entries = list(routes._entries.values())
    used = [e for e in entries if e.in_use]
    assert {e.contact for e in used} == set(routes.contacts())
    assert len(used) == len(routes)
    low = 0
    seen = 0
    spares = 0
    for bucket in routes.buckets:
        assert bucket.range[0] == low, "the ranges leave no gap"
        low = bucket.range[1] + 1
        assert len(bucket.nodes) <= routes.ksize
        assert len(bucket.nodes) == routes.ksize or not bucket.replacement_nodes, "no spare waits beside a free seat"
        for entry in [*bucket.nodes.values(), *bucket.replacement_nodes.values()]:
            assert bucket.range[0] <= entry.long_id <= bucket.range[1]
            assert routes._entries[entry.contact.peer] is entry
            seen += 1
        assert all(e.in_use for e in bucket.nodes.values())
        mine = [e for e in bucket.replacement_nodes.values() if not e.in_use]
        assert len(mine) <= routes.ksize
        spares += len(mine)
    assert routes._surplus_count == len(used) - sum(len(b.nodes) for b in routes.buckets)
    assert low == 2**256
    assert seen == len(entries)
    bucketed = sum(len(b.nodes) for b in routes.buckets)
    assert len(used) <= max(routes.members_max, bucketed)
    assert not spares or len(used) >= routes.members_max, "nobody is turned away while there is room"
    assert OWN.place not in {c.place for c in routes.contacts()}


@given(acts, st.sampled_from([0, 5, 30, 256]), st.sampled_from([1, 2, 20]))
@settings(max_examples=150, deadline=None)
def test_the_table_stays_sound_and_closest_equals_brute_force_whatever_happens(events, members_max, k):
    routes = table(members_max=members_max, k=k)
    now = 0.0
    for act, whom in events:
        now += 0.6
        if act == "seen":
            routes.seen(whom, now)
        elif act == "remove":
            routes.remove(whom.peer)
        else:
            routes.strike(whom.peer, now)
    check_invariants(routes)
    everyone = routes.contacts()
    for target in (OWN.place, bytes(32), b"\xff" * 32, contact(3).place):
        for count in (0, 1, 8, 1000):
            assert routes.closest(target, count) == nearest(everyone, target, count)


@given(st.integers(0, 2**256 - 1), st.integers(1, 30), st.sets(st.integers(1, 300), max_size=40), st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_closest_without_some_equals_brute_force(target, count, without, size):
    routes = filled(size)
    exclude = {contact(number).peer for number in without}
    point = target.to_bytes(32, "big")
    expected = nearest([c for c in routes.contacts() if c.peer not in exclude], point, count)
    assert routes.closest(point, count, exclude) == expected


def test_closest_without_all_of_the_nearest_gives_the_next():
    routes = filled(300)
    everyone = nearest(routes.contacts(), bytes(32), 300)
    for skipped in (1, 8, 30, 295):
        exclude = {c.peer for c in everyone[:skipped]}
        assert routes.closest(bytes(32), 8, exclude) == everyone[skipped : skipped + 8]


def test_a_small_network_is_known_whole_whatever_the_buckets():
    own = int.from_bytes(OWN.place, "big")
    crowd = [at(own ^ (1 << 255) ^ number) for number in range(1, 201)]
    routes = table()
    for number, member in enumerate(crowd):
        assert routes.seen(member, float(number)) is None
    assert len(routes) == 200
    assert routes.complete
    assert routes.closest(crowd[7].place, 200) == nearest(crowd, crowd[7].place, 200)
    check_invariants(routes)


def crowded(members_max: int) -> tuple[RoutingTable, list[Contact], list[Contact | None]]:
    """Twenty neighbours, and forty contacts in a far bucket that does not split; and what `seen` answered for these."""
    own = int.from_bytes(OWN.place, "big")
    routes = table(members_max=members_max)
    for number in range(1, 21):
        routes.seen(at(own ^ number), 0.0)
    crowd = [at(own ^ (1 << 255) ^ number) for number in range(1, 41)]
    return routes, crowd, [routes.seen(member, float(number)) for number, member in enumerate(crowd)]


def test_beyond_the_most_members_a_full_bucket_turns_away_and_says_whom_to_probe():
    routes, crowd, answers = crowded(members_max=50)
    assert answers[:30] == [None] * 30
    assert answers[30:] == [crowd[0]] * 10
    assert not routes.complete
    assert len(routes) == 50
    assert crowd[35].peer not in routes
    routes.remove(crowd[0].peer)
    assert crowd[39].peer in routes, "the most recently seen spare moves up"
    assert len(routes) == 50
    check_invariants(routes)


def test_a_spare_becomes_a_member_and_the_members_of_before_stay():
    routes, crowd, _ = crowded(members_max=50)
    members = set(routes.contacts())
    routes.remove(crowd[25].peer)
    assert set(routes.contacts()) == (members - {crowd[25]}) | {crowd[39]}


def test_a_large_table_keeps_all_of_its_k_nearest_neighbours():  # Kademlia 2.4
    own = int.from_bytes(OWN.place, "big")
    near = [at(own ^ (1 << 200) ^ number) for number in range(5)]
    beside = [at(own ^ (1 << 251) ^ (number << 240)) for number in range(40)]
    routes = table(members_max=0)
    for number, other in enumerate([*reversed(beside), *near]):
        routes.seen(other, float(number))
    for number, other in enumerate([*near, *reversed(beside)]):
        routes.seen(other, 100.0 + number)
    assert routes.closest(OWN.place, 20) == nearest([*near, *beside], OWN.place, 20)


def test_we_are_never_in_our_own_table():
    routes = table()
    assert routes.seen(OWN, 1.0) is None
    assert len(routes) == 0


def test_a_known_contact_seen_again_moves_to_the_end_and_has_its_new_address():
    routes = filled(5)
    moved = contact(1, port=9999)
    routes.seen(moved, 100.0)
    assert routes.get(moved.peer) == moved
    assert routes.closest(moved.place, 1) == [moved]
    assert list(routes.buckets[0].nodes.values())[-1].contact == moved
    assert [c.peer for c in routes.idle(100.0)] == [contact(n).peer for n in (2, 3, 4, 5, 1)]
    assert len(routes) == 5


def test_three_strikes_and_the_contact_is_gone():
    routes = filled(3)
    peer = contact(2).peer
    assert [routes.strike(peer, 10.0 + number) for number in range(3)] == [False, False, True]
    assert peer not in routes


def test_strikes_of_one_moment_count_once():
    routes = filled(3)
    peer = contact(2).peer
    assert [routes.strike(peer, 10.0 + number * STRIKE_SPACING_S / 10) for number in range(9)] == [False] * 9
    assert peer in routes


def test_a_sight_forgives_strikes():
    routes = filled(3)
    two = contact(2)
    routes.strike(two.peer, 10.0)
    routes.strike(two.peer, 12.0)
    routes.seen(two, 13.0)
    assert not routes.strike(two.peer, 14.0)
    assert two.peer in routes


def test_a_struck_contact_is_passed_over_where_responsive_ones_are_asked_for():
    routes = filled(30)
    target = contact(2).place
    routes.strike(contact(2).peer, 50.0)
    assert routes.closest(target, 1)[0] == contact(2)
    others = [c for c in routes.contacts() if c.peer != contact(2).peer]
    assert routes.closest(target, 8, responsive=True) == nearest(others, target, 8)
    routes.seen(contact(2), 51.0)
    assert routes.closest(target, 1, responsive=True) == [contact(2)]


def test_strikes_for_strangers_do_nothing():
    routes = filled(3)
    assert not routes.strike(contact(77).peer, 1.0)
    assert not routes.remove(contact(77).peer)


def test_a_spare_takes_the_place_of_the_dead_one():
    routes, crowd, _ = crowded(members_max=0)
    assert len(routes) == 40
    for number in range(3):
        routes.strike(crowd[5].peer, 100.0 + 2 * number)
    assert crowd[5].peer not in routes
    assert crowd[39].peer in routes
    assert len(routes) == 40
    check_invariants(routes)


def test_spares_are_bounded():
    own = int.from_bytes(OWN.place, "big")
    routes, _, _ = crowded(members_max=0)
    for number in range(41, 400):
        routes.seen(at(own ^ (1 << 255) ^ number), float(number))
        check_invariants(routes)
    assert len(routes._entries) <= 2 * routes.ksize * len(routes.buckets)


def test_buckets_are_stale_until_a_lookup_touches_them():
    routes = filled(300)
    everything = routes.stale_buckets(1000.0, 3600.0)
    assert len(everything) == len(routes.buckets)
    for span in everything[1:]:
        routes.touch(span.random_target(random.Random(1).randbytes), 1000.0)
    assert routes.stale_buckets(1001.0, 3600.0) == [everything[0]]
    assert len(routes.stale_buckets(1000.0 + 3600.0, 3600.0)) == len(everything)


def test_our_own_bucket_is_refreshed_last():
    routes = filled(300)
    last = routes.stale_buckets(0.0, 1.0)[-1]
    assert last.low <= int.from_bytes(OWN.place, "big") <= last.high


def test_a_split_keeps_how_fresh_the_bucket_was():
    routes = filled(20)
    routes.touch(OWN.place, 5.0)
    for number in range(21, 200):
        routes.seen(contact(number), float(number))
    assert len(routes.buckets) > 1
    assert routes.stale_buckets(6.0, 3.0) == []


@given(st.binary(min_size=32, max_size=32))
def test_a_random_target_lies_in_its_bucket(entropy):
    for span in filled(100).stale_buckets(0.0, 1.0):
        assert span.low <= int.from_bytes(span.random_target(lambda _: entropy), "big") <= span.high


def test_is_near_says_whether_we_are_among_the_closest():
    routes = filled(50)
    everyone = [*routes.contacts(), OWN]
    for number in range(100, 160):
        target = contact(number).place
        assert routes.is_near(target, 8) == (OWN in nearest(everyone, target, 8))
    assert table().is_near(bytes(32), 1)


def test_a_removed_contact_is_found_no_more():
    routes = filled(10)
    assert routes.remove(contact(4).peer)
    assert not routes.remove(contact(4).peer)
    assert contact(4) not in routes.closest(contact(4).place, 10)


def test_a_place_does_not_change():
    routes = filled(1)
    with pytest.raises(AssertionError):
        routes.seen(Contact(contact(1).peer, contact(2).place, ("1.2.3.4", 1)), 2.0)


def test_an_entry_is_a_node_of_the_package():
    entry = Entry(contact(1), 1.0)
    assert tuple(entry) == (contact(1).place, *contact(1).address)
