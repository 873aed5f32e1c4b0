"""What most say is believed, and no longer than they say it."""

from peerd.ids import PeerId
from peerd.trust.hearsay import HEARD_MAX, Hearsay


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


def test_nothing_is_believed_that_nobody_says() -> None:
    assert not Hearsay().believed


def test_one_of_two_is_believed_and_one_of_three_is_not() -> None:
    words = Hearsay()
    words.say(peer(1), yes=True)
    words.say(peer(2), yes=False)
    assert words.believed
    words.say(peer(3), yes=False)
    assert not words.believed


def test_one_that_says_it_again_and_again_is_one() -> None:
    words = Hearsay()
    for number in (2, 3):
        words.say(peer(number), yes=False)
    for _ in range(50):
        words.say(peer(1), yes=True)
    assert not words.believed
    assert words.count == 3


def test_the_last_word_counts_and_who_is_gone_says_nothing() -> None:
    words = Hearsay()
    words.say(peer(1), yes=True)
    words.say(peer(1), yes=False)
    assert not words.believed
    words.say(peer(2), yes=True)
    words.drop(peer(1))
    assert words.believed
    assert peer(1) not in words


def test_only_so_many_are_remembered() -> None:
    words = Hearsay()
    for number in range(5 * HEARD_MAX):
        words.say(peer(number), yes=True)
    assert words.count == HEARD_MAX
