"""Runs of mixed faults with auditors that ask ten times as often: nobody who is honest is convicted."""

from loguru import logger
from msgspec.structs import replace

from peerd.sim.mixed import mixed
from peerd.sim.play import play
from peerd.sim.scenario import Scenario

# Copies are counted every 4 s in mixed faults, and by default a sixteenth is audited.
AUDITS = {"audit_interval_s": 0.4, "audit_share": 0.25}


def audited(seed: int) -> Scenario:
    """Return the scenario of a seed with such auditors."""
    made = mixed(seed)
    return replace(made, settings={**made.settings, **AUDITS})


def convictions(seed: int) -> list[str]:
    """Return whom a run convicted, though all are honest."""
    return [each for each in play(audited(seed), seed).violations if "has evidence" in each]


def audit(first: int, seeds: int) -> str:
    """Play seeds in a row; raises AssertionError with what was wrong."""
    logger.remove()
    for seed in range(first, first + seeds):
        found = convictions(seed)
        assert not found, f"seed {seed}: {found}"
        if (seed - first + 1) % 100 == 0:
            print(f"{seed - first + 1} runs", flush=True)
    return f"{seeds} runs from seed {first}: nobody was convicted"
