"""Each fault of the `kademlia` package that the table mends, shown in the stock class and absent in ours; and what of
the package is right, as the oracle for ours."""

import asyncio
import random

import pytest
from kademlia.node import Node, NodeHeap
from kademlia.protocol import KademliaProtocol
from kademlia.routing import KBucket
from kademlia.routing import RoutingTable as StockTable

from peerd.kad.contact import Contact
from peerd.kad.table import Bucket, Entry, RoutingTable
from tests.unit.kad.overlay import at, contact, nearest

K = 20
OWN = contact(0)


class NoProtocol:
    """Notes pings, as the stock table sends them itself."""

    def __init__(self) -> None:
        self.pinged: list[Node] = []

    async def call_ping(self, node: Node) -> None:
        self.pinged.append(node)


def node(of: Contact) -> Node:
    return Node(of.place, *of.address)


def stock_table() -> StockTable:
    """A stock table widened to our 256 bits (its own 160 are a fault of their own)."""
    stock = StockTable(NoProtocol(), K, node(OWN))
    stock.buckets = [KBucket(0, 2**256 - 1, K)]
    return stock


def both(everyone: list[Contact]) -> tuple[StockTable, RoutingTable]:
    stock, ours = stock_table(), RoutingTable(OWN.place, k=K, members_max=0)

    async def fill() -> None:
        for number, other in enumerate(everyone):
            stock.add_contact(node(other))
            ours.seen(other, float(number))
        await asyncio.sleep(0)

    asyncio.run(fill())
    return stock, ours


def stock_nodes(stock: StockTable) -> list[Node]:
    return [n for bucket in stock.buckets for n in bucket.get_nodes()]


def test_find_neighbors_is_not_the_closest_in_the_stock_table_and_is_in_ours():
    stock, ours = both([contact(number) for number in range(1, 401)])
    rng = random.Random(1)
    wrong = 0
    for _ in range(200):
        target = Node(rng.randbytes(32))
        known = stock_nodes(stock)
        exact = sorted(known, key=target.distance_to)[:8]
        wrong += [n.id for n in stock.find_neighbors(target, k=8)] != [n.id for n in exact]
        best = nearest(ours.contacts(), target.id, 8)
        assert [entry.contact for entry in ours.find_neighbors(target, k=8)] == best
        assert ours.closest(target.id, 8) == best
    assert wrong > 10


def test_find_neighbors_leaves_out_the_target_and_whoever_shares_the_asker_s_address():
    stock, ours = both([contact(number) for number in range(1, K)])
    target, asker = node(contact(3)), node(contact(5))
    expected = [n.id for n in stock.find_neighbors(target, exclude=asker)]
    assert [n.id for n in ours.find_neighbors(target, exclude=asker)] == expected
    assert target.id not in expected
    assert asker.id not in expected


def test_the_last_place_of_a_bucket_is_its_own_and_the_stock_table_gives_it_to_the_next():
    stock, ours = stock_table(), RoutingTable(OWN.place)
    stock.split_bucket(0)
    ours.split_bucket(0)
    last_of_first, last_of_all = node(at(2**255 - 1)), node(at(2**256 - 1))
    assert stock.buckets[0].has_in_range(last_of_first)
    assert stock.get_bucket_for(last_of_first) == 1
    assert stock.get_bucket_for(last_of_all) is None
    assert ours.get_bucket_for(last_of_first) == 0
    assert ours.get_bucket_for(last_of_all) == 1


def test_the_stock_table_fails_on_the_last_place_and_ours_keeps_it():
    stock, ours = stock_table(), RoutingTable(OWN.place)
    last = at(2**256 - 1)
    with pytest.raises(TypeError):
        stock.add_contact(node(last))
    ours.seen(last, 1.0)
    assert ours.contacts() == [last]


def test_flush_makes_160_bits_and_one_place_too_many_in_the_stock_table_and_256_in_ours():
    stock, ours = StockTable(NoProtocol(), K, node(OWN)), RoutingTable(OWN.place)
    stock.flush()
    ours.flush()
    assert stock.buckets[0].range == (0, 2**160)
    assert stock.get_bucket_for(node(at(2**255))) is None
    assert ours.buckets[0].range == (0, 2**256 - 1)
    first, second = ours.buckets[0].split()
    assert (first.range, second.range) == ((0, 2**255 - 1), (2**255, 2**256 - 1))


def stock_protocol() -> KademliaProtocol:
    protocol = KademliaProtocol(node(OWN), {}, K)
    protocol.router.buckets = [KBucket(0, 2**256 - 1, K)]
    return protocol


def test_a_known_contact_is_not_refreshed_by_the_stock_protocol_and_is_by_ours():
    moved = contact(1, port=9999)
    protocol, ours = stock_protocol(), RoutingTable(OWN.place)
    for other in (contact(1), contact(2), moved):
        protocol.welcome_if_new(node(other))
        ours.seen(other, 1.0)
    in_stock = protocol.router.buckets[0].get_nodes()
    assert [(n.id, n.port) for n in in_stock] == [(contact(1).place, 7433), (contact(2).place, 7433)]
    in_ours = [entry.contact for entry in ours.buckets[0].get_nodes()]
    assert in_ours == [contact(2), moved]
    assert ours.get(moved.peer) == moved


def test_one_lost_packet_evicts_in_the_stock_protocol_and_not_in_ours():
    protocol, ours = stock_protocol(), RoutingTable(OWN.place)
    protocol.welcome_if_new(node(contact(1)))
    ours.seen(contact(1), 1.0)
    protocol.handle_call_response((False, None), node(contact(1)))
    ours.strike(contact(1).peer, 2.0)
    assert protocol.router.is_new_node(node(contact(1)))
    assert ours.get(contact(1).peer) == contact(1)


def test_the_stock_table_starts_a_task_of_its_own_and_ours_answers_whom_to_probe():
    crowd = [contact(number) for number in range(1, 1500)]
    stock, ours = stock_table(), RoutingTable(OWN.place, k=K, members_max=0)

    async def fill() -> int:
        before = len(asyncio.all_tasks())
        for other in crowd:
            stock.add_contact(node(other))
        return len(asyncio.all_tasks()) - before

    assert asyncio.run(fill()) > 0
    probes = [ours.seen(other, float(number)) for number, other in enumerate(crowd)]
    assert any(probes)
    assert set(probes) <= {None, *ours.contacts()}


def test_depth_follows_the_contents_in_the_stock_bucket_and_the_range_in_ours():
    stock, ours = KBucket(0, 2**256 - 1, K), Bucket(0, 2**256 - 1, K, 100)
    for number in range(8):
        stock.add_node(node(at(number)))
        ours.add_node(Entry(at(number), 0.0))
    assert stock.depth() == 253
    assert ours.depth() == 0
    assert [half.depth() for half in ours.split()] == [1, 1]


def test_the_stock_table_reads_the_clock_and_ours_is_told_the_time(monkeypatch):
    def no_clock() -> float:
        raise AssertionError("the core reads no clock")

    monkeypatch.setattr("time.monotonic", no_clock)
    with pytest.raises(AssertionError):
        StockTable(NoProtocol(), K, node(OWN))
    ours = RoutingTable(OWN.place, members_max=5)
    for number in range(1, 300):
        ours.seen(contact(number), float(number))
        ours.strike(contact(number // 2).peer, float(number))
    ours.touch(bytes(32), 1.0)
    ours.closest(bytes(32), 8)
    assert ours.stale_buckets(400.0, 10.0)


def test_contents_and_order_of_buckets_equal_the_stock_table_s_where_it_is_right():
    """Random places, few enough that neither depth rule nor our neighbours' rule makes a difference."""
    everyone = [contact(number) for number in range(1, 101)]
    stock, ours = both(everyone)
    assert [b.range for b in ours.buckets] == [b.range for b in stock.buckets]
    for mine, theirs in zip(ours.buckets, stock.buckets, strict=True):
        assert list(mine.nodes) == list(theirs.nodes)
        assert list(mine.replacement_nodes) == list(theirs.replacement_nodes)


def test_a_removal_lets_the_newest_replacement_in_as_in_the_stock_bucket():
    stock, ours = KBucket(0, 2**256 - 1, 2), Bucket(0, 2**256 - 1, 2, 100)
    entries = [Entry(contact(number), 0.0) for number in range(1, 6)]
    for entry in entries:
        assert stock.add_node(entry) == ours.add_node(entry)
    for bucket in (stock, ours):
        bucket.remove_node(entries[0])
    assert list(ours.nodes) == list(stock.nodes) == [entries[1].id, entries[4].id]


def test_closest_agrees_with_the_package_s_heap():
    _, ours = both([contact(number) for number in range(1, 201)])
    target = Node(contact(777).place)
    heap = NodeHeap(target, 8)
    heap.push([node(c) for c in ours.contacts()])
    assert [c.place for c in ours.closest(target.id, 8)] == heap.get_ids()
