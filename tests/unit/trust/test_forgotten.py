"""How many must say that a peer will not come back before it does not count."""

from peerd.ids import PeerId
from peerd.trust.forgotten import FORGOTTEN_MAX, PER_SIGNER_MAX, SIGNERS_MAX, Forgotten

ALICE, BOB, CAROL, MALLORY, GONE = (PeerId(bytes([n]) * 32) for n in range(1, 6))
STRANGER = PeerId(b"s" * 32)


def words(members: int = 10) -> Forgotten:
    return Forgotten(ALICE, is_member=lambda peer: peer != STRANGER, member_count=lambda: members)


def test_our_own_operators_word_is_enough() -> None:
    said = words()
    assert said.add(GONE, ALICE, b"a")
    assert GONE in said
    assert GONE in said.among([ALICE, BOB, GONE])


def test_the_word_of_one_member_is_not_enough_and_that_of_two_is() -> None:
    said = words()
    said.add(GONE, MALLORY, b"m")
    assert GONE not in said
    assert not said.add(GONE, MALLORY, b"again"), "one that says it twice is one"
    said.add(GONE, BOB, b"b")
    assert GONE in said


def test_strangers_do_not_count() -> None:
    said = words()
    said.add(GONE, STRANGER, b"s")
    said.add(GONE, MALLORY, b"m")
    assert GONE not in said


def test_where_three_are_one_other_is_enough() -> None:
    said = words(members=3)
    said.add(GONE, BOB, b"b")
    assert GONE in said


def test_in_the_list_of_a_register_a_majority_of_it_must_say_so() -> None:
    said = words()
    holders = [ALICE, BOB, CAROL, MALLORY, GONE]
    for number, signer in enumerate([BOB, MALLORY]):
        said.add(GONE, signer, bytes([number]))
    assert GONE in said
    assert GONE not in said.among(holders), "two of five made themselves a majority of four"
    said.add(GONE, CAROL, b"c")
    assert GONE in said.among(holders)


def test_who_is_back_needs_new_words() -> None:
    said = words()
    said.add(GONE, ALICE, b"a")
    assert said.drop(GONE)
    assert not said.drop(GONE)
    assert GONE not in said
    assert said.notices() == []
    assert said.add(GONE, ALICE, b"a")


def test_one_that_speaks_of_everybody_crowds_out_nobodys_word() -> None:
    said = words()
    said.add(GONE, ALICE, b"a")
    for number in range(2 * FORGOTTEN_MAX):
        peer = PeerId(number.to_bytes(32, "big"))
        said.add(peer, PeerId(bytes([200 + number // PER_SIGNER_MAX % 50]) * 32), b"%d" % number)
    assert len(said.notices()) <= FORGOTTEN_MAX + 1
    assert GONE in said
    for number in range(2 * SIGNERS_MAX):
        said.add(BOB, PeerId(bytes([100 + number]) * 32), b"n%d" % number)
    assert said.add(BOB, ALICE, b"mine")
