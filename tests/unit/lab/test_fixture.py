import subprocess
import sys

_LOADED = """
import sys
import pytest
before = set(sys.modules)
import peerd.lab.fixture
print(*sorted(set(sys.modules) - before))
"""


def test_the_fixture_costs_those_who_do_not_use_it_nothing() -> None:
    """pytest loads it in every run on a machine that has peerd."""
    ran = subprocess.run([sys.executable, "-P", "-c", _LOADED], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == ["peerd", "peerd.lab", "peerd.lab.fixture"]
