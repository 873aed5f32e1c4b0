"""A flash crowd: one of some hosts has a file, all others get it at the same moment; peerd, libtorrent and plain HTTP.

    python -m tests.bench --only crowd
    python -m tests.bench.flash_crowd --hosts 24 --subject peerd

Hosts are network namespaces whose links are held to a rate each way (tests.live.netns; needs root). What is measured is
the time from the moment all are told to begin until the last has the whole file under its name, against the bound that
no way of distributing can beat: max(F/u, F/d, (N-1)F/(u + sum u_i)) for N hosts that send u and receive d.

Every getter is a command of its own, started before and waiting: it begins when a line comes on its standard input.
All files are in memory: hosts that shared one disk would be measured on that disk, which peerd syncs and the others do
not. libtorrent's getters are told the addresses of all others, so that it need not find them.
"""

import argparse
import hashlib
import importlib.util
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any

from peerd.config.address import HostPort
from peerd.content.build import FileBuilder
from peerd.ids import network_id, node_id, parse_peer_id
from tests.bench.plan import Plan
from tests.bench.rows import PEERD, Goal, Line, Row, compare
from tests.bench.stats import spread
from tests.live import netns
from tests.live.daemons import PEER, Daemon, Daemons, meet

MIB = 1024 * 1024
RATE_MBIT = 100
SIZE_BYTES = 64 * MIB
NAME = "model"
HTTP = "one HTTP server"
HTTP_PORT = 8080
GOALS = {12: 1.25, 24: 1.35}
"""By the number of hosts, the time in bounds."""
SHARED_MEMORY = Path("/dev/shm")
PAYLOAD_SHARE = 1448 / 1514
"""Of the bytes of a full Ethernet frame."""
BT_PORT = 6881
_LIMIT_S = 300.0
_READY_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One crowd: when each had the file, the bound, and what it cost."""

    bound_s: float
    took_s: list[float]
    cpu_s: float = 0.0
    sent_bytes: list[int] = field(default_factory=list)
    """By each host over its link, the origin first."""

    @property
    def last_s(self) -> float:
        """When the last had it."""
        return max(self.took_s)

    @property
    def ratio(self) -> float:
        """The time until the last had it, in bounds."""
        return self.last_s / self.bound_s


def bound_s(hosts: int, size: int, rate_mbit: float) -> float:
    """Return the time below which nobody can distribute `size` bytes from one host to all others."""
    each = rate_mbit * 1e6 / 8
    return max(size / each, (hosts - 1) * size / (hosts * each))


def why_not() -> str | None:
    """Return why hosts with a rate cannot be made here, None where they can."""
    return netns.why_not() or (None if shutil.which("tc") else "not installed: tc")


def peerd_crowd(hosts: int, size: int, rate_mbit: int, *, env: dict[str, str] | None = None) -> Outcome:
    """Measure `peer get -o` of one file by all hosts but the one that has it."""
    # One copy wanted, which the origin is nearest to: nobody has anything of the file before the others ask.
    own = {"PEERD_COPIES": "1", "PEERD_REPAIR_INTERVAL_S": "3600", **(env or {})}
    with netns.Net(hosts) as net, Daemons(SHARED_MEMORY) as group, _folder() as folder:
        daemons = [group.prepare(host, "--no-mdns", env=own) for host in net.hosts]
        daemons[0].launch().wait_ready()
        bootstrap = ["--bootstrap", HostPort(net.hosts[0].address, 7433).text]
        for daemon in daemons[1:]:
            daemon.flags += bootstrap
            daemon.launch()
        for daemon in daemons[1:]:
            daemon.wait_ready()
        meet(daemons, _READY_LIMIT_S)
        path = _nearest_to_first(daemons, Path(folder), size)
        daemons[0].ok("put", NAME, path)
        for daemon in daemons[1:]:
            assert daemon.status()["storage"]["cache_bytes"] + daemon.status()["storage"]["replica_bytes"] == 0
        for host in net.hosts:
            _shape(host, rate_mbit)
        before = [_sent(host) for host in net.hosts]
        cpu = [daemon.cpu_s() for daemon in daemons]
        targets = [daemon.home / "got" for daemon in daemons[1:]]
        commands = [
            _waiting(daemon.env, None, [PEER, "get", NAME, "-o", str(target)])
            for daemon, target in zip(daemons[1:], targets, strict=True)
        ]
        took, commands_cpu_s = _race(commands)
        spent = sum(daemon.cpu_s() - at for daemon, at in zip(daemons, cpu, strict=True)) + commands_cpu_s
        sent = [_sent(host) - at for host, at in zip(net.hosts, before, strict=True)]
        _check(path, targets)
    return Outcome(bound_s(hosts, size, rate_mbit), took, spent, sent)


def libtorrent_crowd(hosts: int, size: int, rate_mbit: int) -> Outcome:
    """Measure libtorrent: sessions that know each other's addresses, one of them a seed."""
    with netns.Net(hosts) as net, _folder() as folder:
        path = _made(Path(folder), size, 0)
        peers = [f"{host.address}:{BT_PORT}" for host in net.hosts]
        seed, targets = _bt(net.hosts[0], "seed", path, path.parent, peers), []
        _await_line(seed.stdout, "seeding")
        commands = []
        for host in net.hosts[1:]:
            into = Path(folder) / host.name
            into.mkdir()
            targets.append(into / path.name)
            commands.append(_bt(host, "get", path.with_suffix(".torrent"), into, peers))
            _await_line(commands[-1].stdout, "ready")
        for host in net.hosts:
            _shape(host, rate_mbit)
        before = [_sent(host) for host in net.hosts]
        took, spent = _race(commands, until="done")
        sent = [_sent(host) - at for host, at in zip(net.hosts, before, strict=True)]
        _check(path, targets)
    return Outcome(bound_s(hosts, size, rate_mbit), took, spent, sent)


def http_crowd(hosts: int, size: int, rate_mbit: int) -> Outcome:
    """Measure one HTTP server (aiohttp, sendfile) from which all fetch by curl."""
    with netns.Net(hosts) as net, _folder() as folder:
        path = _made(Path(folder), size, 0)
        server = net.hosts[0].popen(
            [sys.executable, "-m", "tests.bench.rivals.http_file", path, net.hosts[0].address, str(HTTP_PORT)],
            stdout=subprocess.PIPE,
            text=True,
        )
        _await_line(server.stdout, "serving")
        for host in net.hosts:
            _shape(host, rate_mbit)
        url = f"http://{net.hosts[0].address}:{HTTP_PORT}/"
        targets = [Path(folder) / host.name for host in net.hosts[1:]]
        commands = [
            _waiting(None, host, ["curl", "-sS", "--max-time", str(_LIMIT_S), "-o", str(target), url])
            for host, target in zip(net.hosts[1:], targets, strict=True)
        ]
        took, spent = _race(commands)
        _check(path, targets)
    return Outcome(bound_s(hosts, size, rate_mbit), took, spent)


SUBJECTS: dict[str, Callable[[int, int, int], Outcome]] = {
    "peerd": peerd_crowd,
    "libtorrent": libtorrent_crowd,
    HTTP: http_crowd,
}


def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="peerd-crowd-", dir=SHARED_MEMORY)


def rows(plan: Plan, tell: Callable[[str], None]) -> list[Row]:
    """Measure crowds of all sizes of a plan; all subjects of a size in one run after the other."""
    reason = why_not()
    found = []
    for hosts in plan.crowd_hosts:
        outcomes: dict[str, list[Outcome]] = {}
        absent = dict.fromkeys(SUBJECTS, reason) if reason is not None else {}
        if reason is None and importlib.util.find_spec("libtorrent") is None:
            absent["libtorrent"] = "no module libtorrent"
        for run in range(plan.crowd_runs):
            for name, measure in SUBJECTS.items():
                # The server alone takes as long as its link does: once is enough.
                if name not in absent and (run == 0 or name != HTTP):
                    outcomes.setdefault(name, []).append(measure(hosts, plan.crowd_mib * MIB, RATE_MBIT))
                    tell(f"crowd of {hosts}: {name}: {outcomes[name][-1].last_s:.1f} s")
        found.append(crowd_row(hosts, plan.crowd_mib, outcomes, absent))
    return found


def crowd_row(hosts: int, mib: int, outcomes: Mapping[str, Sequence[Outcome]], absent: Mapping[str, str]) -> Row:
    """Return the row of one size of crowd."""
    title = f"{mib} MiB from one of {hosts} hosts to all others at once, {RATE_MBIT} Mbit/s each way"
    row = Row("crowd", title, "of the bound", [], dict(absent))
    for name, each in outcomes.items():
        others = {"s": median(one.last_s for one in each), "CPU s": median(one.cpu_s for one in each)}
        if each[0].sent_bytes:
            others["origin sent"] = median(one.sent_bytes[0] / mib / MIB for one in each)
        row.lines.append(Line("crowd", name, spread([one.ratio for one in each]), "bounds", len(each), others))
    compare(row, ("libtorrent",))
    middle = {line.subject: line.main.middle for line in row.lines}
    for line in row.lines:
        if line.subject == PEERD:
            line.goals.append(Goal("of the bound", line.main.middle, GOALS[hosts]))
            if "libtorrent" in middle:
                line.goals.append(Goal("of libtorrent's time", line.main.middle / middle["libtorrent"], 1.0))
            if HTTP in middle:
                line.goals.append(Goal("times as fast as HTTP", middle[HTTP] / line.main.middle, 5.0, at_least=True))
    return row


def _shape(host: netns.Host, rate_mbit: int) -> None:
    """Give a host the rate that such a link carries of TCP's payload: whole bursts pass, whose headers do not count."""
    host.limit(f"{rate_mbit * 1000 * PAYLOAD_SHARE:.0f}kbit", burst="80kb")


def _waiting(env: dict[str, str] | None, host: netns.Host | None, command: Sequence[str]) -> "subprocess.Popen[Any]":
    """Start a command that begins when a line comes on its standard input."""
    words = ["sh", "-c", 'read -r line && exec "$@" < /dev/null', "sh", *command]
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    if host is not None:
        return host.popen(words, text=True, **options)
    return subprocess.Popen(words, env=env, text=True, **options)


def _bt(host: netns.Host, role: str, path: Path, into: Path, peers: list[str]) -> "subprocess.Popen[Any]":
    command = [sys.executable, "-m", "tests.bench.rivals.libtorrent_swarm", role, str(path), str(into), *peers]
    return host.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _race(commands: "Sequence[subprocess.Popen[Any]]", *, until: str | None = None) -> tuple[list[float], float]:
    """Let all begin, and return when each had ended or said `until`, and the CPU seconds of those that ended."""
    spent_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    time.sleep(0.5)  # all of them wait by now
    began = time.monotonic()
    for command in commands:
        assert command.stdin is not None
        command.stdin.write("go\n")
        command.stdin.flush()
    took: dict[int, float] = {}
    while len(took) < len(commands):
        assert time.monotonic() - began < _LIMIT_S, "a getter is not done"
        for at, command in enumerate(commands):
            if at in took:
                continue
            if until is None and command.poll() is not None:
                took[at] = time.monotonic() - began
                assert command.returncode == 0, command.stdout.read() if command.stdout else ""
            elif until is not None and _said(command.stdout):
                took[at] = time.monotonic() - began
                _await_line(command.stdout, until)
        time.sleep(0.002)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = spent.ru_utime + spent.ru_stime - spent_before.ru_utime - spent_before.ru_stime
    if until is not None:
        cpu_s = sum(_cpu_s(command.pid) for command in commands)
    return [took[at] for at in range(len(commands))], cpu_s


def _said(stream: IO[str] | None) -> bool:
    assert stream is not None
    return bool(select.select([stream], [], [], 0)[0])


def _await_line(stream: IO[str] | None, word: str) -> None:
    assert stream is not None
    line = stream.readline()
    assert line.strip() == word, line


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _sent(host: netns.Host) -> int:
    """Return the bytes that a host has sent over its link."""
    port = host.ports[0]
    read = ["ip", "netns", "exec", host.net.switch, "cat", f"/sys/class/net/{port}/statistics/rx_bytes"]
    return int(subprocess.run(read, capture_output=True, text=True, check=True).stdout)


def _made(folder: Path, size: int, number: int) -> Path:
    """Write a file that has not its like."""
    path = folder / f"file{number}"
    chunk = hashlib.shake_256(b"crowd %d" % number).digest(MIB)
    with path.open("wb") as out:
        for at in range(0, size, MIB):
            out.write((at.to_bytes(8, "big") + chunk[8:])[: size - at])
    return path


def _nearest_to_first(daemons: Sequence[Daemon], folder: Path, size: int) -> Path:
    """Write a file whose only copy belongs to the first of the daemons."""
    network = network_id("default")
    places = [int.from_bytes(node_id(network, parse_peer_id(daemon.id)), "big") for daemon in daemons]
    for number in range(100 * len(daemons)):
        path = _made(folder, size, number)
        root = int.from_bytes(_root_digest(path), "big")
        if min(places, key=lambda place: place ^ root) == places[0]:
            return path
        path.unlink()
    raise AssertionError("no file belongs to the first")


def _root_digest(path: Path) -> bytes:
    builder = FileBuilder()
    with path.open("rb") as file:
        while piece := file.read(MIB):
            builder.feed(piece)
    return builder.finish()[1].cid.digest


def _check(path: Path, targets: Sequence[Path]) -> None:
    wanted = hashlib.sha256(path.read_bytes()).digest()
    for target in targets:
        assert hashlib.sha256(target.read_bytes()).digest() == wanted, f"{target} is not the file"


def main() -> None:
    """Measure one crowd and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.flash_crowd")
    parser.add_argument("--hosts", type=int, default=12)
    parser.add_argument("--mib", type=int, default=SIZE_BYTES // MIB)
    parser.add_argument("--rate-mbit", type=int, default=RATE_MBIT)
    parser.add_argument("--subject", action="append", choices=tuple(SUBJECTS))
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    if (reason := why_not()) is not None:
        sys.exit(reason)
    for _ in range(options.runs):
        for name in options.subject or SUBJECTS:
            found = SUBJECTS[name](options.hosts, options.mib * MIB, options.rate_mbit)
            sent = " ".join(f"{each / options.mib / MIB:.2f}" for each in found.sent_bytes)
            print(
                f"{name}: {found.last_s:.2f} s, {found.ratio:.2f} of the bound, first {min(found.took_s):.2f} s, "
                f"{found.cpu_s:.1f} CPU s, sent {sent} files",
                flush=True,
            )


if __name__ == "__main__":
    main()
