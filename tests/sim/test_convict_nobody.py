"""Whatever goes wrong, who is honest is convicted by nobody: mixed faults, and auditors that ask ten times as often.

Crashes, lost power, stores put back to copies, hand-overs, deletes, sick disks, wrong clocks. The simulator's checks
look for evidence against honest peers after each step (peerd.sim.checks); ten thousand seeds are part of `make soak`.
"""

import pytest
from loguru import logger

from peerd.node import promising
from peerd.records.attestation import HAS_NOT
from tests.soak.audits import convictions

SEEDS = 20
PART = 10
FIRST = 50_000
"""Apart from the seeds of test_mixed_faults."""


@pytest.fixture(autouse=True)
def quiet():
    """No logs: the simulator sees to errors itself."""
    logger.remove()


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, PART))
def test_no_honest_peer_is_convicted_under_mixed_faults(first):
    broken = [(seed, each) for seed in range(first, first + PART) for each in convictions(seed)]
    assert not broken, broken


def test_a_peer_that_denied_what_it_had_promised_would_be_seen(monkeypatch):
    """The rule that keeps who is honest safe, taken away: then crashes and lost disks do convict."""
    monkeypatch.setattr(promising, "UNKNOWN", HAS_NOT)
    monkeypatch.setattr(promising.Promises, "run", bytes(16), raising=False)
    monkeypatch.setattr(promising.Promises, "__setattr__", _but_the_run)
    assert any(convictions(seed) for seed in range(FIRST, FIRST + 12))


def _but_the_run(self, name, value):
    if name != "run":
        object.__setattr__(self, name, value)
