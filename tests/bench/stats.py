"""From samples to the few numbers that are shown.

The middle of the runs' medians is the number, their least and greatest the spread: a busy neighbour disturbs a run,
not all. Tails need samples more than runs, so percentiles above the median are of all runs together.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over several runs: the middle, the least and the greatest."""

    middle: float
    low: float
    high: float


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the least sample that at least `share` of all samples do not exceed (nearest rank)."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> Spread:
    """Return the middle of `values` and how far they reach."""
    return Spread(statistics.median(values), min(values), max(values))


def median_spread(runs: Sequence[Sequence[float]]) -> Spread:
    """Return the spread of the medians of several runs."""
    return spread([percentile(run, 0.5) for run in runs])


def pooled(runs: Sequence[Sequence[float]], share: float) -> float:
    """Return the percentile of all runs together."""
    return percentile([sample for run in runs for sample in run], share)
