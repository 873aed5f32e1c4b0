"""A thousand short runs in which everything goes wrong together, and the scenarios that have a name.

A seed that fails says how it is played again; once mended it stays, with what it showed, in MENDED.
"""

from pathlib import Path

import pytest
from loguru import logger

from peerd.sim.mixed import mixed
from peerd.sim.play import play

SEEDS = 1000
# In parts, so that workers share them.
PART = 25

SCENARIOS = Path(__file__).parent / "scenarios"

MENDED: dict[int, str] = {
    1282: "a claim came back with a copy of a store that was put back, and only floors told of the deletion",
}
"""Seeds beyond the first thousand that failed once, and what was wrong.

Of the first thousand there were: 288 and 394, content kept for a put that had failed though its name was deleted; 331
and 507, configured peers that nobody had met were not tried in company; 452, who came while copies of content were
placed was taken for one that had been there; 165, two peers that had shaken hands four times in a minute refused each
other's connections for content; 574 and 735, a claim that came after the deletion of its name was kept; 721, the
tombstone of two holders without room denied what the third had acknowledged; 790, a read on one that was back was held
to what the only one that signed for it brought back after it (a fault of the checks); 501, a store that was put back
from before its first record was taken for a new one, and promised a register what it had promised another before.
"""


@pytest.fixture(autouse=True)
def quiet():
    """No logs: the simulator sees to errors itself."""
    logger.remove()


def _broken(seed):
    """Return what a seed broke, and how to see it again."""
    scenario = mixed(seed)
    report = play(scenario, seed)
    return [f"peerd sim --mixed --seed {seed}: {violation}" for violation in report.violations]


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_every_promise_is_kept_under_mixed_faults(first):
    broken = [violation for seed in range(first, first + PART) for violation in _broken(seed)]
    assert not broken, "\n".join(["promises were broken:", *broken])


@pytest.mark.parametrize("seed", MENDED, ids=MENDED.values())
def test_what_was_mended_stays_so(seed):
    assert _broken(seed) == []


def test_a_run_is_short():
    """A thousand of them have six minutes on two cores."""
    reports = [play(mixed(seed), seed) for seed in range(6)]
    assert sum(report.turns for report in reports) < 6 * 40_000
    assert all(report.put.ok > 3 for report in reports)


def test_in_some_disks_fill():
    tight = [seed for seed in range(100) if "quota_bytes" in mixed(seed).settings]
    assert 10 < len(tight) < 30
    reports = [play(mixed(seed), seed) for seed in tight[:4]]
    assert sum(report.put.failed.get("no_room", 0) for report in reports) > 10
    assert [violation for report in reports for violation in report.violations] == []
