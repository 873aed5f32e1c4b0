"""How many of one address group a routing table takes, whom it prefers, and that nobody is locked out by it."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.ids import NetworkId, NodeId, PeerId, node_id
from peerd.kad.contact import Contact
from peerd.kad.diversity import BUCKET_MAX, TABLE_MAX
from peerd.kad.groups import group
from peerd.kad.table import RoutingTable

NETWORK = NetworkId(b"n" * 32)
OWN = NodeId(node_id(NETWORK, PeerId(bytes(32))))


def contact(number: int, host: str) -> Contact:
    return Contact.of(NETWORK, PeerId(number.to_bytes(32, "big")), (host, 4000 + number % 1000))


def crowd(routes: RoutingTable, count: int, *, first: int = 1000, host: str = "44.1.2.{}") -> list[Contact]:
    met = [contact(first + number, host.format(number % 250 + 1)) for number in range(count)]
    for number, each in enumerate(met):
        routes.seen(each, float(first + number))
    return met


def diverse(routes: RoutingTable, count: int) -> list[Contact]:
    met = [contact(1 + number, f"62.{number}.0.1") for number in range(count)]
    for number, each in enumerate(met):
        routes.seen(each, float(number))
    return met


def used_of(routes: RoutingTable, of: bytes | None) -> int:
    return sum(1 for each in routes.contacts() if group(each.address) == of)


@pytest.mark.slow
@given(seed=st.integers(0, 2**32))
def test_of_a_group_two_are_in_a_bucket_and_ten_in_use_whatever_happens(seed: int) -> None:
    rng = random.Random(seed)
    routes = RoutingTable(OWN, k=4, members_max=30)
    known: dict[int, Contact] = {}
    for step in range(300):
        number = rng.randrange(1, 120)
        if rng.random() < 0.2:
            routes.remove(PeerId(number.to_bytes(32, "big")))
            continue
        host = rng.choice((f"44.1.2.{rng.randrange(1, 200)}", f"62.{rng.randrange(200)}.0.1", "10.0.0.1", "2a01::1"))
        known[number] = contact(number, host)
        routes.seen(known[number], float(step), sought=rng.random() < 0.3)
        used = Counter(group(each.address) for each in routes.contacts())
        assert all(count <= TABLE_MAX for of, count in used.items() if of is not None)
        for bucket in routes.buckets:
            among = Counter(group(entry.contact.address) for entry in bucket.nodes.values())
            assert all(count <= BUCKET_MAX for of, count in among.items() if of is not None)
            assert not bucket.nodes.keys() & bucket.replacement_nodes.keys()
            assert all(entry.in_use for entry in bucket.nodes.values())
        assert len(routes) == len(routes.contacts()) == sum(used.values())


def test_who_is_too_many_is_a_spare_and_comes_in_when_one_of_its_group_goes() -> None:
    routes = RoutingTable(OWN)
    diverse(routes, 40)
    met = crowd(routes, 12)
    assert [each in routes.contacts() for each in met] == [True] * 10 + [False] * 2  # the old ones stay
    routes.remove(met[3].peer)
    assert used_of(routes, group(met[0].address)) == TABLE_MAX


def test_a_few_too_many_of_a_group_do_not_make_a_network_seem_unknown_and_many_do() -> None:
    routes = RoutingTable(OWN)
    diverse(routes, 40)
    crowd(routes, 20)
    assert routes.complete
    assert len(routes) == 50
    crowd(routes, 20, first=2000, host="44.1.3.{}")
    crowd(routes, 20, first=3000, host="44.1.4.{}")
    assert not routes.complete


def test_local_addresses_do_not_count_and_certified_peers_do_not() -> None:
    routes = RoutingTable(OWN)
    crowd(routes, 100, host="10.1.2.{}")
    assert len(routes) == 100
    trusting = RoutingTable(OWN, certified=lambda peer: True)
    crowd(trusting, 100)
    assert len(trusting) == 100


def test_a_lab_of_public_addresses_is_known_whole_where_so_many_of_a_group_are_allowed() -> None:
    narrow, wide = RoutingTable(OWN), RoutingTable(OWN, group_max=100)
    for routes in (narrow, wide):
        crowd(routes, 100)
    assert (len(narrow), narrow.complete) == (10, False)
    assert (len(wide), wide.complete) == (100, True)


def test_who_moves_counts_where_it_is_behind_those_that_are_there() -> None:
    routes = RoutingTable(OWN)
    crowd(routes, 10)
    moved = contact(1, "62.1.0.1")
    routes.seen(moved, 5000.0)
    assert routes.get(moved.peer) is not None
    routes.seen(contact(1, "44.1.2.77"), 5001.0)
    assert routes.get(moved.peer) is None
    routes.seen(moved, 5002.0)
    assert routes.get(moved.peer) == moved


def test_half_of_a_full_bucket_is_of_those_that_we_found() -> None:
    routes = RoutingTable(OWN, k=4, members_max=0)
    for number in range(400):  # all came to us, first
        routes.seen(contact(number + 1, f"62.{number % 250}.{number // 250}.1"), float(number))
    far = max(routes.buckets, key=lambda bucket: bucket.range[1] - bucket.range[0])
    assert len(far.nodes) == 4
    came = {entry.contact.peer for entry in far.nodes.values()}
    youngest = max(far.nodes.values(), key=lambda entry: entry.since).contact.peer
    found = 0
    for number in range(400, 2000):
        each = contact(number + 1, f"62.{number % 250}.{number // 250}.1")
        if far.has_in_range(_entry(each)):
            routes.seen(each, float(number), sought=True)
            found += 1
            if found == 1:
                assert routes.get(youngest) is None  # the old ones stay longest
    assert found > 10
    left = [entry for entry in far.nodes.values() if entry.contact.peer in came]
    assert len(left) == 2
    assert sum(entry.sought for entry in far.nodes.values()) == 2


def _entry(each: Contact) -> object:
    class At:
        long_id = int.from_bytes(each.place, "big")

    return At()
