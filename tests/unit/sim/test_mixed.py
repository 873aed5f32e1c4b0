import json

import pytest

from peerd.errors import UsageError
from peerd.sim.__main__ import main
from peerd.sim.mixed import BUSY_S, JOINED_S, PEERS, mixed


def test_a_scenario_follows_from_its_seed():
    assert mixed(7) == mixed(7) != mixed(8)


def test_every_kind_of_fault_comes_up_and_all_of_it_ends():
    scenarios = [mixed(seed) for seed in range(200)]
    happened = {type(step).__name__ for scenario in scenarios for step in scenario.step}
    faults = {"Crash", "Leave", "Pause", "Partition", "Cut", "Change", "Sick", "Clock", "Backup", "Restore"}
    assert happened == {"Join", "Work", "Strong", "Count", "Restart", "Heal", *faults}
    for scenario in scenarios:
        assert PEERS[0] <= scenario.peers <= PEERS[1]
        assert max(step.at_s for step in scenario.step) < JOINED_S + BUSY_S[1] + 5
    assert len({scenario.faults.loss for scenario in scenarios}) > 1


@pytest.mark.slow
def test_seeds_in_a_row_until_one_fails(capsys):
    assert main(["--peers", "2", "--seeds", "2", "--json"]) == 0
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [report["seed"] for report in reports] == [1, 2]
    assert main(["--peers", "2", "--seeds", "2"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["seed 1", "seed 2"]


def test_mixed_faults_leave_nothing_to_choose():
    with pytest.raises(UsageError, match="own scenario"):
        main(["--mixed", "--peers", "3"])
