"""The rows of the table: from what was noted to lines with a ratio and, for peerd, a goal that is met or not.

Every ratio is against a rival of the same run; a goal that names a rival is held against the same number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from tests.bench.machine import without_paths
from tests.bench.plan import Plan
from tests.bench.stats import Spread, median_spread, percentile, pooled, spread

Noted = Mapping[str, Sequence[Mapping[str, object]]]
"""Measure (`get one`) -> what each run noted of it."""

PEERD = "peerd"
_KADEMLIA = ("kademlia k=8", "kademlia k=20")
_EIGHT_HOLDERS = ("kademlia k=8",)
_COMMAND_GOAL_MS = 60.0
_MEMORY_GOAL_MB = 60.0
_PUT_GOAL_MS = 4.0
_KILL_GOAL_MS = {"one": 10.0, "quorum": 50.0}
_QUORUM_TIMES = 1.5
_DELAY_GET_GOAL = 1.25
_DELAY_PUT_GOAL = 2.5


@dataclass(slots=True)
class Line:
    """One subject in one row. The main number is `main`; `ratio` is it over that of `against`."""

    row: str
    subject: str
    main: Spread
    unit: str
    runs: int
    others: dict[str, float] = field(default_factory=dict)
    ratio: float | None = None
    against: str | None = None
    goals: list["Goal"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Goal:
    """What peerd is to reach: a number at most (or at least) `limit`."""

    what: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def text(self) -> str:
        """The goal in words, with how far it is missed."""
        bound = f"{self.what} {'at least' if self.at_least else 'at most'} {short(self.limit)}"
        if self.met:
            return f"{bound}: met, {short(self.value)}"
        return f"{bound}: MISSED, {short(self.value)}, {short(self.value / self.limit)} times"


@dataclass(slots=True)
class Row:
    """One row of the table: its title, the heading of its main number, its lines, and who is missing and why."""

    name: str
    title: str
    main: str
    lines: list[Line]
    absent: dict[str, str] = field(default_factory=dict)


def network_row(name: str, title: str, noted: Mapping[str, Noted], plan: Plan) -> Row:
    """Return one of the rows of networks; `noted` is by subject."""
    build = {"get": _latency, "put": _latency, "flood": _rate, "kill": _tail, "delay get": _trips, "delay put": _trips}
    heading = {"flood": "gets/s", "kill": "p99 ms", "delay get": "round trips", "delay put": "round trips"}
    row = Row(name, title, heading.get(name, "p50 ms"), [])
    for subject, measures in noted.items():
        for measure, runs in measures.items():
            mode = _mode(measure, name)
            if mode is None:
                continue
            shown = f"{subject} {mode}".strip()
            right = [run for run in runs if run["samples_ms"]]
            if right:
                row.lines.append(build[name](name, shown, right, plan))
            else:
                row.absent[shown] = "no right answer in any run"
    compare(row, _EIGHT_HOLDERS if name in {"put", "kill", "delay get", "delay put"} else _KADEMLIA)
    _GOALS[name](row)
    return row


def command_row(times: Mapping[str, Sequence[float] | str]) -> Row:
    """Return the row of whole commands."""
    row = Row("command", "one short command, whole process", "p50 ms", [])
    for name, samples in times.items():
        if isinstance(samples, str):
            row.absent[name] = without_paths(samples)
            continue
        middle = Spread(percentile(samples, 0.5), min(samples), max(samples))
        row.lines.append(Line("command", name, middle, "ms", len(samples), {"p99 ms": percentile(samples, 0.99)}))
    compare(row, ("python -c pass",))
    for line in row.lines:
        if line.subject == "peer get":
            line.goals.append(Goal("p50 ms", line.main.middle, _COMMAND_GOAL_MS))
    return row


def memory_row(sizes: Mapping[str, Mapping[str, Sequence[float]] | str]) -> Row:
    """Return the row of idle processes."""
    row = Row("memory", "memory of an idle process", "RSS MB", [])
    for name, each in sizes.items():
        if isinstance(each, str):
            row.absent[name] = without_paths(each)
            continue
        rss, pss = spread(each["rss_mb"]), spread(each["pss_mb"])
        row.lines.append(Line("memory", name, rss, "MB", len(each["rss_mb"]), {"PSS MB": pss.middle}))
    compare(row, tuple(line.subject for line in row.lines if line.subject.startswith("python, import")))
    for line in row.lines:
        if line.subject.startswith(PEERD):
            line.goals.append(Goal("RSS MB of the largest", line.main.high, _MEMORY_GOAL_MB))
    return row


def compare(row: Row, rivals: Sequence[str]) -> None:
    """Give every line its ratio to the best of `rivals` that is there: the lowest, or of rates the highest."""
    found = [line for line in row.lines if line.subject in rivals]
    if not found:
        return
    best = (max if row.name == "flood" else min)(found, key=lambda line: line.main.middle)
    for line in row.lines:
        line.against = best.subject
        line.ratio = line.main.middle / best.main.middle


def short(value: float) -> str:
    """Return a number in about three figures."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _mode(measure: str, row: str) -> str | None:
    if measure == row:
        return ""
    return measure[len(row) + 1 :] if measure.startswith(row + " ") else None


def _samples(runs: Sequence[Mapping[str, object]]) -> list[list[float]]:
    return [cast(list[float], run["samples_ms"]) for run in runs]


def _numbers(runs: Sequence[Mapping[str, object]], name: str) -> list[float]:
    return [float(cast(float, run[name])) for run in runs]


def _found(runs: Sequence[Mapping[str, object]]) -> float:
    return 100 * sum(_numbers(runs, "correct")) / sum(_numbers(runs, "count"))


def _latency(row: str, subject: str, runs: Sequence[Mapping[str, object]], _plan: Plan) -> Line:
    others = {
        "p99 ms": pooled(_samples(runs), 0.99),
        "CPU ms": spread(_numbers(runs, "cpu_ms_each")).middle,
        "right %": _found(runs),
    }
    return Line(row, subject, median_spread(_samples(runs)), "ms", len(runs), others)


def _rate(row: str, subject: str, runs: Sequence[Mapping[str, object]], _plan: Plan) -> Line:
    others = {"p99 ms": pooled(_samples(runs), 0.99), "right %": _found(runs)}
    return Line(row, subject, spread(_numbers(runs, "gets_per_s")), "gets/s", len(runs), others)


def _tail(row: str, subject: str, runs: Sequence[Mapping[str, object]], _plan: Plan) -> Line:
    samples = _samples(runs)
    each = [percentile(run, 0.99) for run in samples]
    main = Spread(pooled(samples, 0.99), min(each), max(each))
    others = {"p50 ms": pooled(samples, 0.5), "max ms": pooled(samples, 1.0), "right %": _found(runs)}
    return Line(row, subject, main, "ms", len(runs), others)


def _trips(row: str, subject: str, runs: Sequence[Mapping[str, object]], plan: Plan) -> Line:
    trips = [[sample / plan.round_trip_ms for sample in run] for run in _samples(runs)]
    others = {"p50 ms": pooled(_samples(runs), 0.5), "p99 ms": pooled(_samples(runs), 0.99), "right %": _found(runs)}
    return Line(row, subject, median_spread(trips), "round trips", len(runs), others)


def _line(row: Row, subject: str) -> Line | None:
    return next((line for line in row.lines if line.subject == subject), None)


def _get_goals(row: Row) -> None:
    best = _line(row, next((line.against for line in row.lines if line.against), ""))
    if best is None:
        return
    for mode, times in (("one", 1.0), ("quorum", _QUORUM_TIMES)):
        if line := _line(row, f"{PEERD} {mode}"):
            line.goals.append(Goal("p50 ms", line.main.middle, times * best.main.middle))
            if mode == "one":
                cpu = min(other.others["CPU ms"] for other in row.lines if other.subject in _KADEMLIA)
                line.goals.append(Goal("CPU ms", line.others["CPU ms"], cpu))


def _put_goals(row: Row) -> None:
    if line := _line(row, PEERD):
        line.goals.append(Goal("p50 ms", line.main.middle, _PUT_GOAL_MS))


def _flood_goals(row: Row) -> None:
    best = _line(row, next((line.against for line in row.lines if line.against), ""))
    line = _line(row, f"{PEERD} one")
    if line and best:
        line.goals.append(Goal("gets/s", line.main.middle, best.main.middle, at_least=True))


def _kill_goals(row: Row) -> None:
    for mode, limit in _KILL_GOAL_MS.items():
        if line := _line(row, f"{PEERD} {mode}"):
            line.goals.append(Goal("p99 ms", line.main.middle, limit))
            line.goals.append(Goal("right %", line.others["right %"], 100, at_least=True))


def _delay_get_goals(row: Row) -> None:
    for mode in ("one", "quorum"):
        if line := _line(row, f"{PEERD} {mode}"):
            line.goals.append(Goal("round trips", line.main.middle, _DELAY_GET_GOAL))


def _delay_put_goals(row: Row) -> None:
    if line := _line(row, PEERD):
        line.goals.append(Goal("round trips", line.main.middle, _DELAY_PUT_GOAL))


_GOALS: dict[str, Callable[[Row], None]] = {
    "get": _get_goals,
    "put": _put_goals,
    "flood": _flood_goals,
    "kill": _kill_goals,
    "delay get": _delay_get_goals,
    "delay put": _delay_put_goals,
}
