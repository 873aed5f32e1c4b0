"""Who should hold a key where peers crowd it: held to the rule's words, and to what crowds do to it."""

import hashlib
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.ids import ID_BITS, Key, NodeId, PeerId, distance
from peerd.kad.contact import Contact
from peerd.kad.crowd import RECORD_HOLDERS, REGION_MAX, WAVE, divide, responsible, rule_of
from peerd.kad.regions import crowded_parts, regions
from peerd.kad.size import Samples, Stepped, trimmed

SPACE = 2**ID_BITS
KEY = Key(hashlib.sha256(b"a key").digest())


def contact(place: int, *, lies: bool = False) -> Contact:
    raw = place.to_bytes(32, "big")
    return Contact(PeerId((b"!" if lies else b".") + raw[1:]), NodeId(raw), ("10.0.0.1", 1))


def lies(one: Contact) -> bool:
    return one.peer.startswith(b"!")


def honest(count: int, rng: Random) -> list[Contact]:
    return [contact(rng.getrandbits(ID_BITS)) for _ in range(count)]


def crowd(count: int, reach: float, rng: Random, key: bytes = KEY) -> list[Contact]:
    """Identities ground to stand nearer to a key than that share of the space, as if by chance."""
    return [contact(int.from_bytes(key, "big") ^ int(rng.random() * reach * SPACE), lies=True) for _ in range(count)]


def nearest(peers: list[Contact], key: bytes = KEY) -> list[Contact]:
    return sorted(peers, key=lambda each: distance(each.place, key))


def size_of(peers: list[Contact]) -> float:
    return Stepped().take(trimmed([int.from_bytes(each.place, "big") for each in peers]))


def region_in_words(peers: list[Contact], size: float) -> list[Contact] | None:
    """The rule as docs/PROTOCOL.md has it."""
    ranked = nearest(peers)
    expected = [size * distance(each.place, KEY) / SPACE for each in ranked]
    crowded = len(expected) >= 14 and expected[13] < 8
    for i, y in enumerate(expected[:24], start=1):
        crowded = crowded or i > y + 2.5 * math.sqrt(y) + 2.5
    if not crowded:
        return None
    within = sum(1 for y in expected[:64] if y < 8)
    return ranked[: max(8, within)]


@given(seed=st.integers(0, 2**32), count=st.integers(17, 120), lying=st.integers(0, 90), reach=st.integers(2, 16))
def test_the_region_is_what_the_rule_says_wherever_we_stand(seed: int, count: int, lying: int, reach: int) -> None:
    rng = Random(seed)
    peers = honest(count, rng) + crowd(lying, 2.0**-reach, rng)
    size = size_of(peers)
    expected = region_in_words(peers, size)
    own = peers[rng.randrange(len(peers))]
    others = nearest([each for each in peers if each is not own])
    found = responsible(others, own.place, KEY, rule_of(size))
    assert found.crowded == (expected is not None)
    should = expected or nearest(peers)[:8]
    assert found.ours == (own in should)
    assert found.contacts == [each for each in should if each is not own]


def test_without_a_rule_the_eight_nearest_hold_a_key_however_crowded(rng: Random) -> None:
    peers = nearest(honest(20, rng) + crowd(20, 2**-12, rng))
    found = responsible(peers[1:], peers[0].place, KEY, None)
    assert (found.contacts, found.ours, found.crowded) == (peers[1:8], True, False)


@pytest.mark.parametrize("count", [17, 24, 40, 100, 256])
def test_of_honest_peers_few_keys_are_crowded_and_those_not_much(count: int) -> None:
    crowded, holders = 0, 0
    for seed in range(1000):
        peers = honest(count, Random(seed))
        found = responsible(nearest(peers[1:]), peers[0].place, KEY, rule_of(size_of(peers)))
        crowded += found.crowded
        holders += len(found.contacts) + found.ours
    assert crowded <= 140
    assert holders <= 9000


@pytest.mark.parametrize(
    ("count", "lying", "beyond", "missed_max"),
    [(40, 24, 0, 0.01), (200, 24, 0, 0.01), (40, 24, 1, 0.02), (40, 24, 8, 0.02), (20, 12, 0, 0.01), (40, 8, 1, 0.06)],
)
def test_of_those_read_first_some_are_honest_however_a_crowd_stands(
    count: int, lying: int, beyond: int, missed_max: float
) -> None:
    """A crowd at the key itself, or spread as by chance up to the `beyond`-th honest peer."""
    missed = 0
    for seed in range(1000):
        rng = Random(seed)
        peers = nearest(honest(count, rng))
        reach = distance(peers[beyond - 1].place, KEY) / SPACE if beyond else 2**-12
        peers += crowd(lying, reach, rng)
        own = contact(KEY_FAR)
        found = responsible(nearest(peers), own.place, KEY, rule_of(size_of([*peers, own])))
        missed += all(lies(each) for each in found.waves()[0])
    assert missed / 1000 <= missed_max


KEY_FAR = int.from_bytes(KEY, "big") ^ (SPACE - 1)


def test_a_crowd_at_one_place_has_the_weight_of_one_however_many_they_are(rng: Random) -> None:
    for lying in (24, 60):
        peers = nearest(honest(60, rng) + crowd(lying, 2**-20, rng))
        found = responsible(peers, contact(KEY_FAR).place, KEY, rule_of(60.0))
        assert found.crowded
        assert sum(weight for peer, weight in found.weights.items() if peer.startswith(b"!")) < 1.1
        assert len(found.contacts) <= REGION_MAX
        assert [len(wave) for wave in found.waves()] == [WAVE, len(found.contacts) - WAVE]


def test_of_a_region_the_heaviest_are_chosen_ourselves_among_them(rng: Random) -> None:
    peers = nearest(honest(60, rng) + crowd(24, 2**-20, rng))
    own = next(each for each in peers if not lies(each))
    found = responsible([each for each in peers if each is not own], own.place, KEY, rule_of(60.0))
    chosen = found.heaviest(6)
    assert found.crowded
    assert chosen.ours == (found.own_weight >= sorted(found.weights.values())[-6])
    assert len(chosen.contacts) + chosen.ours == 6
    assert all(
        found.weights[each.peer] >= found.weights[other.peer]
        for each in chosen.contacts
        for other in found.contacts
        if other not in chosen.contacts
    )


def test_one_more_or_less_changes_few_holders() -> None:
    """Two peers whose views differ by one member agree on nearly all who hold a key."""
    for seed in range(300):
        rng = Random(seed)
        peers = honest(60, rng) + crowd(24, 2**-10, rng)
        size = size_of(peers)
        own = contact(KEY_FAR)
        one = responsible(nearest(peers), own.place, KEY, rule_of(size)).contacts
        other = responsible(nearest(peers[:10] + peers[11:]), own.place, KEY, rule_of(size)).contacts
        assert len(set(one) ^ set(other)) <= 2


# How large the network is.


@pytest.mark.parametrize("lying", [0, 24, 200])
def test_a_crowd_hardly_changes_how_large_the_network_seems(lying: int) -> None:
    sizes = []
    for seed in range(200):
        rng = Random(seed)
        peers = honest(100, rng) + crowd(lying, 2**-10, rng)
        sizes.append(trimmed([int.from_bytes(each.place, "big") for each in peers]))
    assert 80 < sum(sizes) / len(sizes) < 105


def test_a_size_changes_by_steps_and_not_back_and_forth() -> None:
    stepped = Stepped()
    first = stepped.take(50.0)
    assert {stepped.take(size) for size in (49.0, 60.0, 48.0, 61.0)} == {first}
    assert stepped.take(100.0) == pytest.approx(100.0, rel=0.1)
    assert stepped.take(50.0) == pytest.approx(50.0, rel=0.1)


def test_the_size_of_what_is_not_known_whole_is_the_median_of_look_ups(rng: Random) -> None:
    samples = Samples()
    places = [rng.getrandbits(ID_BITS) for _ in range(3000)]
    for number in range(16):
        assert (samples.size is None) == (number < 3)
        target = rng.getrandbits(ID_BITS)
        samples.note(sorted(place ^ target for place in places)[:8])
    size = samples.size
    assert size is not None
    assert 1500 < size < 6000
    for _ in range(5):
        samples.note([1, 2, 3, 4, 5, 6, 7, 8])  # crowded
    assert samples.size is not None
    assert samples.size < 9000
    samples.note([])
    samples.note([0, 0, 0, 0])


# What two peers should both hold.


@pytest.mark.parametrize(
    ("count", "lying", "reach"), [(40, 24, 2**-10), (40, 12, 2**-5), (100, 40, 2**-7), (60, 0, 1.0)]
)
def test_shared_parts_are_what_both_should_hold_and_little_more(
    count: int, lying: int, reach: float, rng: Random
) -> None:
    for seed in range(6):
        fixed = Random(seed)
        peers = honest(count, fixed) + crowd(lying, reach, fixed)
        rule = rule_of(size_of(peers))
        around = nearest(peers)
        own, other = around[lying + 2], around[3]
        places = [int.from_bytes(each.place, "big") for each in peers]
        ours, theirs = int.from_bytes(own.place, "big"), int.from_bytes(other.place, "big")
        parts = crowded_parts(ours, places, rule)
        found = regions(ours, theirs, places, RECORD_HOLDERS, parts)
        assert found == sorted(found)
        extra = 0
        for _ in range(300):
            near = rng.random() * 16 / rule_size(rule)
            key = (int.from_bytes(KEY, "big") ^ int(min(near, 0.999) * SPACE)).to_bytes(32, "big")
            holders = responsible(nearest([p for p in peers if p is not own], key), own.place, key, rule)
            both = holders.ours and other in holders.contacts
            inside = any(low <= key and (high == b"" or key < high) for low, high in found)
            assert inside or not both
            extra += inside and not both
        assert extra <= 150


def rule_size(rule: object) -> float:
    return SPACE / rule.unit  # type: ignore[attr-defined, no-any-return]


def test_fewer_than_asked_for_all_hold_a_key(rng: Random) -> None:
    peers = nearest(honest(5, rng))
    assert divide(peers, contact(KEY_FAR).place, KEY, 8).contacts == peers
