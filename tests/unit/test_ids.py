"""Ids are derived as PROTOCOL.md says, differ where anything differs, and have one text."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import UsageError
from peerd.ids import (
    ID_BYTES,
    PEER_ID_TEXT_LENGTH,
    PeerId,
    distance,
    find_peer_id,
    name_key,
    network_digest,
    network_id,
    node_id,
    parse_peer_id,
    peer_id_text,
)
from tests.vectors.cast import OPEN, PRIVATE, identity

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ids.json").read_text())
IDS = st.binary(min_size=ID_BYTES, max_size=ID_BYTES)

ALICE, BOB = identity("alice").peer, identity("bob").peer


def test_a_peer_is_shown_as_the_vectors_have_it() -> None:
    for case in VECTORS["peers"]:
        peer = PeerId(bytes.fromhex(case["peer"]))
        assert peer_id_text(peer) == case["text"]
        assert parse_peer_id(case["text"]) == peer


@given(IDS.map(PeerId))
def test_every_peer_has_one_text_of_52_letters(peer: PeerId) -> None:
    text = peer_id_text(peer)
    assert len(text) == PEER_ID_TEXT_LENGTH and text == text.lower()
    assert find_peer_id(text) == peer
    assert find_peer_id(text.upper()) is None


@given(
    IDS.map(PeerId), st.integers(0, PEER_ID_TEXT_LENGTH - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567=018 ſ")
)
def test_two_texts_never_name_one_peer(peer: PeerId, at: int, letter: str) -> None:
    text = peer_id_text(peer)
    other = text[:at] + letter + text[at + 1 :]
    if other != text:
        assert find_peer_id(other) != peer


@pytest.mark.parametrize(
    "text", ["", "a", "a" * 51, "a" * 53, "0" * 52, "a" * 51 + "=", "a" * 51 + "b", "ü" * 52, "a" * 51 + "\n"]
)
def test_what_is_no_peer_id_is_told_so(text: str) -> None:
    with pytest.raises(UsageError):
        parse_peer_id(text)


def test_another_name_or_secret_is_another_network() -> None:
    networks = [network_id(name, secret) for name in ("lab", "lab2", "") for secret in (None, b"", b"s", b"t")]
    assert len(set(networks)) == len(networks)
    assert len({network_digest(network) for network in networks}) == len(networks)


def test_a_digest_shows_that_a_network_is_shared_and_does_not_show_its_id() -> None:
    assert network_digest(PRIVATE) == network_digest(PRIVATE)
    assert network_digest(PRIVATE) not in PRIVATE.hex()


def test_a_peer_stands_elsewhere_in_every_network() -> None:
    places = {node_id(network, peer) for network in (OPEN, PRIVATE) for peer in (ALICE, BOB)}
    assert len(places) == 4


def test_a_name_has_another_key_for_each_network_and_owner() -> None:
    keys = {
        name_key(network, name, owner)
        for network in (OPEN, PRIVATE)
        for name in ("a", "b")
        for owner in (None, ALICE, BOB)
    }
    assert len(keys) == 12


def test_no_text_makes_the_key_of_a_shared_name_that_of_an_own_one() -> None:
    """An owner's key that is text, such as mallory can grind, in front of its name."""
    owner = PeerId(b"\x00" + b"k" * 31)
    own = name_key(OPEN, "n", owner)
    for name in ("k" * 31 + "\x00n", owner.decode() + "\x00n", owner.decode() + "n", "n"):
        assert name_key(OPEN, name) != own


@given(IDS, IDS, IDS)
def test_distance_is_a_metric(a: bytes, b: bytes, c: bytes) -> None:
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    assert distance(a, c) == distance(a, b) ^ distance(b, c)


def test_only_one_point_is_at_each_distance() -> None:
    points = [node_id(OPEN, PeerId(bytes([n]) * 32)) for n in range(20)]
    for a, b in combinations(points, 2):
        assert distance(a, b) > 0
        assert len({distance(a, point) for point in points}) == len(points)
