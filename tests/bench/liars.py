"""What liars cost: each scenario of tests/sim/scenarios/liars_*.toml with its liars, and with the same peers honest.

    python -m tests.bench.liars                       all of them, as a table for docs/BENCHMARKS.md
    python -m tests.bench.liars --peers 200 liars_30

Of honest peers only: the share of their gets and puts that succeeded, how long gets took, their messages, and what
repair moved (Store and what goes over connections: the values ride in their records). The same seed in both runs; the
ratio is what the liars cost. Exit status 1 where a goal is missed or a wrong byte was read.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
from loguru import logger
from msgspec.structs import replace

from peerd.sim.play import play
from peerd.sim.report import Report
from peerd.sim.scenario import Scenario, read_scenario

SCENARIOS = Path(__file__).parents[1] / "sim" / "scenarios"
MESSAGES_RATIO_MAX = 3.0
REPAIR_RATIO_MAX = 2.0
# What a Store costs on the wire, so that it can be added to what goes over connections.
STORE_BYTES = 500


@dataclass(frozen=True)
class Cost:
    """One scenario: what its liars cost the honest."""

    scenario: Scenario
    honest: Report
    among_liars: Report

    @property
    def messages_ratio(self) -> float:
        """How many messages honest peers sent for each that they send where nobody lies."""
        return sum(self.among_liars.honest_messages.values()) / sum(self.honest.honest_messages.values())

    @property
    def repair_ratio(self) -> float:
        """The same of bytes of repair."""
        return _repair_bytes(self.among_liars) / _repair_bytes(self.honest)

    @property
    def success(self) -> float:
        """The share of gets that succeeded."""
        get = self.among_liars.get
        return get.ok / (get.ok + sum(get.failed.values()))

    @property
    def missed(self) -> list[str]:
        """The goals that were missed."""
        found = list(self.among_liars.violations)
        if self.messages_ratio > MESSAGES_RATIO_MAX:
            found.append(f"{self.messages_ratio:.2f} times the messages")
        if self.repair_ratio > REPAIR_RATIO_MAX:
            found.append(f"{self.repair_ratio:.2f} times the repair")
        return found

    def row(self) -> str:
        """Return the row of the table."""
        get, put = self.among_liars.get, self.among_liars.put
        puts = put.ok / max(1, put.ok + sum(put.failed.values()))
        share = self.among_liars.liars / self.among_liars.peers
        return (
            f"| {share:.0%} | {self.success:.2%} | {self.scenario.expect.gets_ok:.1%} | {puts:.1%} "
            f"| {get.p50_ms} / {self.honest.get.p50_ms} | {get.p99_ms} / {self.honest.get.p99_ms} "
            f"| {self.messages_ratio:.2f} | {self.repair_ratio:.2f} |"
        )


HEAD = (
    "| liars | gets right | goal | puts acknowledged | p50, ms (honest) | p99, ms (honest) | messages | repair |\n"
    "|---|---|---|---|---|---|---|---|"
)


def _repair_bytes(report: Report) -> int:
    return max(1, report.honest_streamed_bytes + STORE_BYTES * report.honest_messages.get("Store", 0))


def _played(scenario: Scenario, seed: int, *, honest: bool) -> Report:
    """Play in a process of its own: so two cores play two runs."""
    liars = [replace(entry, plugin="") for entry in scenario.liars] if honest else scenario.liars
    told = msgspec.json.encode((replace(scenario, liars=liars), seed))
    command = [sys.executable, "-m", "tests.bench.liars", "--play"]
    done = subprocess.run(command, input=told, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parents[2])
    return msgspec.json.decode(done.stdout, type=Report)


def main(argv: Sequence[str]) -> int:
    """Play them; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.liars", description=__doc__)
    parser.add_argument("scenarios", nargs="*", default=["liars_10", "liars_20", "liars_30"])
    parser.add_argument("--peers", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--play", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args(argv)
    logger.remove()
    if told.play:
        scenario, seed = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[Scenario, int])
        sys.stdout.buffer.write(msgspec.json.encode(play(scenario, seed)))
        return 0
    scenarios = [read_scenario(SCENARIOS / f"{name}.toml") for name in told.scenarios]
    if told.peers is not None:
        scenarios = [replace(scenario, peers=told.peers) for scenario in scenarios]
    with ThreadPoolExecutor(told.workers) as pool:
        runs = [
            (scenario, *(pool.submit(_played, scenario, told.seed, honest=honest) for honest in (True, False)))
            for scenario in scenarios
        ]
        costs = []
        print(HEAD, flush=True)
        for scenario, honest, among_liars in runs:
            costs.append(Cost(scenario, honest.result(), among_liars.result()))
            print(costs[-1].row(), flush=True)
    missed = [f"{cost.scenario.name}: {what}" for cost in costs for what in cost.missed]
    for cost in costs:
        print(f"\n{cost.among_liars.text()}", file=sys.stderr)
        print(cost.honest.honest_messages, cost.among_liars.honest_messages, sep="\n", file=sys.stderr)
    print("\n".join(missed) or "all goals reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
