"""Which block is given to whom: each once before any twice, never what somebody has, whoever says what."""

import random

import pytest

from peerd.ids import PeerId
from peerd.swarm.sharing import APART_MAX, CREDITS_MAX, LOOKED_AT_MAX, Sharing

ALICE, BOB, CAROL = (PeerId(bytes([number]) * 32) for number in range(3))
BLOCKS = [bytes([number]) * 36 for number in range(100, 110)]
FOREIGN = bytes(36)


def sharing(*, whole: bool = True, peers: tuple[PeerId, ...] = (ALICE, BOB, CAROL), seed: int = 1) -> Sharing:
    shared = Sharing(BLOCKS, random.Random(seed))
    if whole:
        shared.arrived(BLOCKS)
    for peer in peers:
        shared.add(peer)
    return shared


def given(shared: Sharing, peer: PeerId) -> bytes | None:
    shared.credit(peer, asked_first=False)
    cid = shared.choose(peer)
    if cid is not None:
        shared.gives(peer, cid)
    return cid


def test_one_that_has_all_gives_each_block_once_before_any_twice() -> None:
    shared = sharing()
    first = [given(shared, peer) for _ in range(3) for peer in (ALICE, BOB, CAROL)] + [given(shared, ALICE)]
    assert sorted(cid for cid in first if cid) == BLOCKS
    assert given(shared, BOB) in BLOCKS


def test_one_alone_is_given_large_content_in_order() -> None:
    blocks = [number.to_bytes(36, "big") for number in range(4 * LOOKED_AT_MAX)]
    shared = Sharing(blocks, random.Random(1))
    shared.arrived(blocks)
    shared.add(ALICE)
    assert [given(shared, ALICE) for _ in blocks] == blocks
    shared.add(BOB)
    shared.credit(BOB, asked_first=True)
    assert shared.choose(BOB) in blocks[:APART_MAX], "not far from where it reads"


def test_nobody_is_given_what_it_has_or_without_leave() -> None:
    shared = sharing(peers=(ALICE,))
    assert shared.choose(ALICE) is None, "no leave"
    shared.heard(ALICE, BLOCKS[1:])
    assert given(shared, ALICE) == BLOCKS[0]
    assert given(shared, ALICE) is None


def test_of_what_is_here_the_rarest_is_given() -> None:
    shared = sharing(whole=False)
    shared.arrived(BLOCKS[:3])
    shared.heard(BOB, [BLOCKS[0], BLOCKS[2]])
    shared.heard(CAROL, [BLOCKS[0]])
    assert given(shared, ALICE) == BLOCKS[1]
    assert given(shared, ALICE) == BLOCKS[2]
    assert given(shared, ALICE) == BLOCKS[0]
    assert given(shared, ALICE) is None


def test_who_is_gone_counts_no_more_and_who_needs_nothing_gets_nothing() -> None:
    shared = sharing(whole=False)
    shared.arrived(BLOCKS[:2])
    shared.heard(BOB, [BLOCKS[0]])
    shared.heard(CAROL, [BLOCKS[1]])
    shared.drop(BOB)
    assert given(shared, ALICE) == BLOCKS[0]
    shared.needs_nothing(ALICE)
    assert given(shared, ALICE) is None


def test_a_block_that_was_not_taken_is_given_again() -> None:
    shared = sharing(whole=False, peers=(ALICE,))
    shared.arrived(BLOCKS[:1])
    assert given(shared, ALICE) == BLOCKS[0]
    shared.lacks(ALICE, BLOCKS[0])
    assert given(shared, ALICE) == BLOCKS[0]


def test_what_is_no_block_of_the_root_is_ignored_and_credits_are_bounded() -> None:
    shared = sharing(peers=(ALICE,))
    shared.heard(ALICE, [FOREIGN])
    assert shared.sharers[ALICE].has == set()
    for _ in range(CREDITS_MAX * 2):
        shared.credit(ALICE, asked_first=True)
    assert shared.sharers[ALICE].credits == CREDITS_MAX
    shared.heard(BOB, BLOCKS)
    shared.credit(BOB, asked_first=True)
    assert not shared.may_give(BOB), "a stranger"


@pytest.mark.parametrize("seed", range(3))
def test_of_very_many_blocks_some_are_looked_at_and_none_is_left_out(seed: int) -> None:
    many = [number.to_bytes(2, "big") * 18 for number in range(4 * LOOKED_AT_MAX)]
    shared = Sharing(many, random.Random(seed))
    shared.arrived(many)
    shared.add(ALICE)
    assert {given(shared, ALICE) for _ in many} == set(many)
    assert given(shared, ALICE) is None
