"""`kill -9` and cut power of a real daemon at any moment: all that was acknowledged is there, and every start succeeds.

`make soak` runs the same for longer.
"""

import pytest

from tests.soak.kill import kill_again_and_again
from tests.soak.power import cut_again_and_again, why_not

KILLS_A_TEST = 10
CUTS = 3


@pytest.mark.parametrize("part", range(5))
def test_what_was_acknowledged_survives_kill_nine_of_the_daemon(part: int, seed: int) -> None:
    report = kill_again_and_again(KILLS_A_TEST, seed + part, all_every=4)
    print(report)
    assert report.rounds == KILLS_A_TEST
    assert report.acknowledged > 0
    assert report.refused == {}


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
def test_what_was_acknowledged_survives_a_power_cut_of_the_daemon(seed: int) -> None:
    report = cut_again_and_again(CUTS, seed)
    print(report)
    assert report.cuts == CUTS
    assert report.checked > 0
