"""`python -m tests.bench`: measure peerd and its rivals in turns and print the table.

Ends with 0 where everything that is here could be measured, whatever the numbers; with 1 where something failed.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from tests.bench import (
    build_cache,
    flash_crowd,
    hot_key,
    lease,
    machine,
    one_to_one,
    processes,
    report,
    small_files,
    zipf,
)
from tests.bench.plan import FULL, NETWORK_ROWS, QUICK, ROWS, Plan
from tests.bench.registry import ENTRIES, Entry, rows_of
from tests.bench.rows import Row, command_row, memory_row, network_row

_WORKER_LIMIT_S = 150.0

_TITLES = {
    "get": "get, one at a time",
    "put": "put, one at a time",
    "flood": "gets with {in_flight} in flight",
    "kill": "gets from the moment in which {percent} % of the peers are silently killed, {rate} a second",
    "delay get": "get with a round trip of {round_trip} ms",
    "delay put": "put with a round trip of {round_trip} ms",
}

_Noted = dict[str, dict[str, list[dict[str, object]]]]


class Bench:
    """One run of the benchmark: what is asked for, what was noted, who is absent and why, who failed."""

    def __init__(
        self, plan: Plan, rows: Sequence[str], entries: Sequence[Entry], *, quick: bool, profile: Path | None = None
    ) -> None:
        self.plan = plan
        self._profile = profile
        self._rows = rows
        self._quick = quick
        self.absent: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self._noted: _Noted = {}
        self._entries = [known for known in entries if self._wanted(known)]

    def measure_networks(self) -> None:
        """Measure every network that is here, in turns, each in a process of its own."""
        here = []
        for known in self._entries:
            reason = known.absent()
            if reason is None:
                here.append(known)
            else:
                self.absent[known.name] = reason
        for run in range(self.plan.runs):
            # Another one begins each time, so that nobody always meets the machine at its warmest.
            for known in here[run % len(here) :] + here[: run % len(here)] if here else []:
                for rows in self._parts(known, run):
                    self._measure(known, rows, run)

    def report_rows(self) -> Iterator[Row]:
        """Yield the rows of networks."""
        plan = self.plan
        for name, title in _TITLES.items():
            asked = name.split()[0]
            if asked not in self._rows:
                continue
            filled = title.format(
                in_flight=plan.in_flight,
                percent=round(100 * plan.kill_share),
                rate=round(plan.kill_gets_per_s),
                round_trip=round(plan.round_trip_ms),
            )
            row = network_row(name, filled, self._noted, plan)
            gone = self.absent | self.failed
            row.absent |= {
                known.name: machine.without_paths(gone[known.name])
                for known in self._entries
                if known.name in gone and asked in rows_of(known, quick=self._quick)
            }
            yield row

    def _wanted(self, known: Entry) -> list[str]:
        return [row for row in rows_of(known, quick=self._quick) if row in self._rows]

    def _parts(self, known: Entry, run: int) -> Iterator[list[str]]:
        """Yield the rows that one network goes through; a delayed network is another network."""
        wanted = self._wanted(known)
        near = [row for row in NETWORK_ROWS if row in wanted and (row != "kill" or run < self.plan.kill_runs)]
        if near:
            yield near
        if "delay" in wanted and run < self.plan.delay_runs:
            yield ["delay"]

    def _measure(self, known: Entry, rows: list[str], run: int) -> None:
        began = time.monotonic()
        command = [known.interpreter, "-m", "tests.bench.worker", known.name, ",".join(rows)]
        if self._profile is not None:
            command.append(str(self._profile.resolve()))
        try:
            asked = subprocess.run(
                command,
                input=dataclasses.replace(self.plan, seed=self.plan.seed + run).to_json(),
                capture_output=True,
                text=True,
                timeout=_WORKER_LIMIT_S,
                check=False,
                cwd=Path(__file__).parents[2],
            )
        except subprocess.TimeoutExpired:
            self.failed[known.name] = f"not done after {_WORKER_LIMIT_S:.0f} s ({', '.join(rows)})"
            return
        _progress(f"run {run + 1}: {known.name}: {', '.join(rows)}: {time.monotonic() - began:.1f} s")
        if asked.returncode != 0:
            lines = asked.stderr.strip().splitlines()
            self.failed[known.name] = lines[-1] if lines else f"ended with status {asked.returncode}"
            sys.stderr.write(asked.stderr)
            return
        result = cast(dict[str, object], json.loads(asked.stdout))
        self.versions[known.name.partition(" ")[0].rstrip(",")] = str(result["version"])
        measures = cast(dict[str, dict[str, object]], result["measures"])
        for measure, noted in measures.items():
            self._noted.setdefault(known.name, {}).setdefault(measure, []).append(noted)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit status."""
    options = _options(arguments)
    plan = QUICK if options.quick else FULL
    rows = options.only or list(ROWS)
    entries = [known for known in ENTRIES if not options.subject or known.name.startswith(tuple(options.subject))]
    described = machine.describe()
    began = time.monotonic()
    bench = Bench(plan, rows, entries, quick=options.quick, profile=options.profile)
    bench.measure_networks()
    shown = list(bench.report_rows())
    if "command" in rows:
        _progress("whole commands")
        shown.append(command_row(processes.command_times(plan)))
    if "memory" in rows:
        _progress("memory of idle processes")
        shown.append(memory_row(processes.memory(plan)))
    if "zipf" in rows:
        _progress("reads by popularity, simulated")
        shown.append(zipf.row_of(plan.zipf_seeds))
    if "small-files" in rows:
        _progress("many small files")
        shown.append(small_files.row_of())
    if "hot-key" in rows:
        _progress("one key that everybody reads")
        shown.append(hot_key.row_of(plan.hot_key_hosts))
    if "lease" in rows:
        _progress("one key by leases, simulated")
        shown.append(lease.row_of())
    if "crowd" in rows:
        shown += flash_crowd.rows(plan, _progress)
    if "one-to-one" in rows:
        shown += one_to_one.rows(plan, _progress)
    if "build-cache" in rows:
        _progress("a build cache")
        shown.append(build_cache.row_of())
    written = report.text(shown, described, bench.versions, plan)
    print(f"{written}\n\ntook {time.monotonic() - began:.0f} s")
    if options.page is not None:
        options.page.write_text(report.on_page(options.page.read_text(), written))
    if options.profile is not None:
        print("with a profiler running: not to be compared")
    if options.json is not None:
        whole = report.as_json(shown, described, bench.versions, plan)
        options.json.write_text(json.dumps(whole, indent=1) + "\n")
    return 1 if bench.failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure peerd beside its rivals.")
    parser.add_argument("--quick", action="store_true", help="one short run: within a minute, and coarser")
    parser.add_argument("--only", action="append", choices=ROWS, metavar="ROW", help=f"repeatable: {', '.join(ROWS)}")
    parser.add_argument(
        "--subject", action="append", metavar="NAME", help="repeatable: only subjects whose name begins so"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to FILE too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table into FILE (docs/BENCHMARKS.md)")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="write the last network's cProfile to FILE; the numbers are then slow",
    )
    return parser.parse_args(arguments)


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
