"""A short piece of the hour of mixed faults on real daemons; `make soak` has the rest."""

import pytest

from tests.live.netns import why_not
from tests.soak.mixed import mix

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]


@pytest.mark.timeout(300)
def test_what_was_acknowledged_stays_while_everything_goes_wrong(seed: int) -> None:
    report = mix(20.0, seed, hosts=4)
    assert report.requests["puts"] > 10
    assert report.faults.total() > 0
    assert report.checked > 0
