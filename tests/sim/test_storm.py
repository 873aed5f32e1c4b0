"""A storm of faults among many peers, played twice: one seed is one run, whatever the hash seed."""

from pathlib import Path

from tests.unit.sim.test_play import reports_of_one_seed

STORM = Path(__file__).with_name("storm.toml")


def test_one_storm_is_one_run_whatever_the_hash_seed():
    first, second = reports_of_one_seed("--scenario", str(STORM))
    assert first == second
    assert first["messages"]["delivered"] > 3000
