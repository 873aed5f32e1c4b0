"""One key that everybody reads: 30 hosts at 80 ms, 20 reads of each, the first all at the same moment.

    python -m tests.bench --only hot-key
    python -m tests.bench.hot_key --hosts 30

Real daemons on a LAN whose frames take 40 ms each way (delayed_lan; needs root). Each host reads by its daemon's API,
at first all at once, then every half a second or so, so that what is measured is not the wait for two cores. Copies
that a host uploads are the bytes that it sends, over the size. What a peer serves are the reads that its copy answers:
its own, and those of others by what it sends.
"""

import argparse
import http.client
import random
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.delayed_lan import DelayedLan, delayed_lan
from tests.bench.machine import without_paths
from tests.bench.rows import Goal, Line, Row
from tests.bench.stats import percentile, spread
from tests.live import netns
from tests.live.daemons import Daemon, Daemons, meet

HOSTS = 31
READS = 20
ONE_WAY_S = 0.04
SIZE_BYTES = 256 * 1024
PAUSE_S = 0.5
SETTLE_S = 5.0
MET_LIMIT_S = 90.0
READ_LIMIT_S = 30.0

GOAL_REPEATED_MS, GOAL_ORIGIN_COPIES, GOAL_BUSIEST_TIMES = 5.0, 8.0, 3.0


@dataclass(slots=True)
class Outcome:
    """What one key came to."""

    first_ms: list[float] = field(default_factory=list)
    repeated_ms: list[float] = field(default_factory=list)
    wrong: int = 0
    copies: list[float] = field(default_factory=list)
    """That each host has sent, the origin's first."""

    @property
    def busiest(self) -> float:
        """The reads that the busiest served, its own among them, over the mean."""
        served = [READS * (at > 0) + copies for at, copies in enumerate(self.copies)]
        return max(served) * len(served) / sum(served)


class _Unix(http.client.HTTPConnection):
    """A connection to the API of a daemon."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=READ_LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(READ_LIMIT_S)
        self.sock.connect(self._path)


def _read(connection: _Unix, key: str, consistency: str, right: bytes) -> tuple[float, bool]:
    began = time.perf_counter()
    try:
        connection.request("GET", f"/v1/kv/{key}?consistency={consistency}")
        answer = connection.getresponse()
        is_right = answer.read() == right and answer.status == 200
    except OSError:  # it took too long
        connection.close()
        is_right = False
    return (time.perf_counter() - began) * 1000, is_right


def _reader(daemon: Daemon, key: str, consistency: str, right: bytes, begin: threading.Barrier, into: Outcome) -> None:
    connection = _Unix(daemon.socket)
    chance = random.Random(daemon.id)
    begin.wait()
    for number in range(READS):
        took_ms, is_right = _read(connection, key, consistency, right)
        (into.repeated_ms if number else into.first_ms).append(took_ms)
        into.wrong += not is_right
        time.sleep(PAUSE_S * chance.uniform(0.5, 1.5))
    connection.close()


def _measure(lan: DelayedLan, running: Sequence[Daemon], key: str, consistency: str) -> Outcome:
    data = random.Random(key).randbytes(SIZE_BYTES)
    origin, *readers = running
    origin.ok("put", key, "-", stdin=data)
    time.sleep(SETTLE_S)
    outcome = Outcome()
    begin = threading.Barrier(len(readers) + 1)
    threads = [
        threading.Thread(target=_reader, args=(each, key, consistency, data, begin, outcome)) for each in readers
    ]
    for thread in threads:
        thread.start()
    before = lan.sent_bytes()
    begin.wait()
    for thread in threads:
        thread.join()
    outcome.copies = [(now - then) // SIZE_BYTES for now, then in zip(lan.sent_bytes(), before, strict=True)]
    return outcome


def row_of(hosts: int = HOSTS) -> Row:
    """Measure, and return the row."""
    row = Row("hot-key", f"one key read {READS} times by each of {hosts - 1} hosts at 80 ms", "repeated p50 ms", [])
    if (reason := netns.why_not()) is not None:
        row.absent["peerd"] = without_paths(reason)
        return row
    with delayed_lan(hosts, ONE_WAY_S) as lan, Daemons() as daemons:
        first = daemons.start(lan.hosts[0], "--no-mdns")
        flags = ("--no-mdns", "--bootstrap", f"{lan.hosts[0].address}:7433")
        others = [daemons.prepare(host, *flags).launch() for host in lan.hosts[1:]]
        running = [first, *(each.wait_ready(MET_LIMIT_S) for each in others)]
        meet(running[:3], MET_LIMIT_S)
        time.sleep(SETTLE_S)
        for consistency in ("one", "quorum"):
            row.lines.append(
                _line(consistency, _measure(lan, running, f"hot {consistency}".replace(" ", "-"), consistency))
            )
    return row


def _line(consistency: str, found: Outcome) -> Line:
    repeated = percentile(found.repeated_ms, 0.5)
    others = {
        "p99 ms": percentile(found.repeated_ms, 0.99),
        "first p50 ms": percentile(found.first_ms, 0.5),
        "first max ms": max(found.first_ms),
        "origin's copies": found.copies[0],
        "most copies": max(found.copies),
        "copies, most / mean": max(found.copies) * len(found.copies) / max(1, sum(found.copies)),
        "reads served, most / mean": found.busiest,
        "right %": 100 * (1 - found.wrong / (len(found.first_ms) + len(found.repeated_ms))),
    }
    line = Line("hot-key", f"peerd {consistency}", spread([repeated]), "ms", 1, others)
    line.goals.append(Goal("right %", others["right %"], 100, at_least=True))
    line.goals.append(Goal("repeated p50 ms", repeated, GOAL_REPEATED_MS))
    line.goals.append(Goal("the origin's copies", found.copies[0], GOAL_ORIGIN_COPIES))
    line.goals.append(Goal("reads served, most / mean", found.busiest, GOAL_BUSIEST_TIMES))
    return line


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hot_key")
    parser.add_argument("--hosts", type=int, default=HOSTS - 1)
    arguments = parser.parse_args()
    row = row_of(arguments.hosts + 1)
    for name, reason in row.absent.items():
        sys.exit(f"{name}: {reason}")
    for line in row.lines:
        shown = ", ".join(f"{name} {value:.3g}" for name, value in line.others.items())
        print(f"{line.subject}: repeated p50 {line.main.middle:.2f} ms; {shown}")
        for goal in line.goals:
            print(f"  {goal.text}")


if __name__ == "__main__":
    main()
