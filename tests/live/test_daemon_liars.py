"""Real daemons of which a third lies together, and some are killed and started again; `tests/soak liars` has sixty."""

import pytest

from tests.live.losing import QUICK
from tests.soak.liars import lie

pytestmark = pytest.mark.slow


@pytest.mark.timeout(300)
def test_four_of_twelve_daemons_lie_and_the_honest_read_what_is_right(seed: int) -> None:
    told = lie(12, 4, 200, seed, env=QUICK, names=30)
    assert told.success >= 0.99, str(told)
    assert told.churned
