"""The bytes of requests that wait: bounded for each peer and all, with a share for each."""

from peerd.ids import PeerId
from peerd.node.inflow import ALL_MAX_BYTES, PEER_MAX_BYTES, Inflow


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


def test_one_peer_has_its_bound_and_what_was_served_is_free_again() -> None:
    inflow = Inflow()

    assert inflow.add(peer(1), PEER_MAX_BYTES)
    assert not inflow.add(peer(1), 1)
    inflow.remove(peer(1), 1)
    assert inflow.add(peer(1), 1)
    assert inflow.total == PEER_MAX_BYTES


def test_where_many_fill_it_who_has_less_than_a_share_goes_on() -> None:
    inflow = Inflow()
    liars = ALL_MAX_BYTES // PEER_MAX_BYTES
    assert all(inflow.add(peer(number), PEER_MAX_BYTES) for number in range(liars))

    assert not inflow.add(peer(99), PEER_MAX_BYTES)
    assert inflow.add(peer(99), PEER_MAX_BYTES // 2)


def test_no_number_of_peers_fills_more_than_twice_as_much() -> None:
    inflow = Inflow()
    for number in range(100_000):
        inflow.add(peer(number), 4096)

    assert inflow.total <= 2 * ALL_MAX_BYTES
