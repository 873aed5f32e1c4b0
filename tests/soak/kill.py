"""`kill -9` of a daemon at any moment, again and again: nothing acknowledged is lost, and every start succeeds."""

import random
import statistics
import time
from dataclasses import dataclass, field

from tests.live.daemons import Daemon, Daemons
from tests.soak.writers import Writers, check

CHANGES_MAX = 40
WORK_LIMIT_S = 5.0
# Not just after an acknowledgement, but at any moment.
LATER_MAX_S = 0.02
# Of so many starts one is killed before the daemon is ready.
KILLED_EARLY_PART = 0.15
EARLY_MAX_S = 0.8


@dataclass
class Report:
    """How it went."""

    rounds: int = 0
    acknowledged: int = 0
    checked: int = 0
    starts_s: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        starts = sorted(self.starts_s)
        return (
            f"{self.rounds} kills, {self.acknowledged} changes acknowledged, {self.checked} keys checked,"
            f" starts of {statistics.median(starts):.2f} s, at most {starts[-1]:.2f} s; refused {self.refused}"
        )


def kill_again_and_again(rounds: int, seed: int, *, all_every: int = 10) -> Report:
    """Kill a daemon `rounds` times while it is written to; every key is read after `all_every` rounds and at the end.

    Raises AssertionError where something acknowledged is not there, or a start fails.
    """
    chance, report = random.Random(seed), Report()
    with Daemons() as daemons:
        daemon = daemons.prepare()
        writers = Writers(f"{daemon.home}/run/peerd/api.sock", seed)
        for round_number in range(rounds):
            _start(daemon, chance, report)
            if round_number % all_every == 0:
                report.checked += check(daemon.socket, writers.known)
            writers.start()
            writers.work(chance.randrange(CHANGES_MAX), WORK_LIMIT_S)
            time.sleep(chance.uniform(0.0, LATER_MAX_S))
            daemon.kill()
            writers.stop()
            report.rounds += 1
        _start(daemon, random.Random(), report, early=0.0)
        report.checked += check(daemon.socket, writers.known)
        assert daemon.status()["degraded"] == []
        daemon.stop()
    report.acknowledged = writers.acknowledged
    report.refused = dict(writers.refused)
    return report


def _start(daemon: Daemon, chance: random.Random, report: Report, early: float = KILLED_EARLY_PART) -> None:
    if chance.random() < early:
        daemon.launch()
        time.sleep(chance.uniform(0.0, EARLY_MAX_S))
        assert daemon.running, daemon.log
        daemon.kill()
    began = time.monotonic()
    daemon.launch().wait_ready()
    report.starts_s.append(time.monotonic() - began)
