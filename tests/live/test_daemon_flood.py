"""A daemon with little memory and few descriptors under everything that strangers can throw at it: it goes on.

5,000 junk datagrams a second, 500 streams left half open, 200 slow clients of the API, in 128 MiB of memory and 256
descriptors. `FLOOD_S=60` in the environment is the long form, as `make soak` has it.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons, meet, until
from tests.live.netns import Host, Net, why_not

FLOOD_S = float(os.environ.get("FLOOD_S") or 10)
IDLE_S = 4.0
MEMORY_BYTES = 128 * 2**20
DESCRIPTORS = 256
GROWTH_LIMIT_KB = 32 * 1024
GET_SHARE = 0.99
SLOWER_MAX = 5
# A get that takes less than this is never slow, however fast it was before.
FAST_S = 0.02
NORMAL_AFTER_S = 5.0
PAUSE_S = 0.04
VALUES = 20

MEMORY = Path("/sys/fs/cgroup/memory")
TESTS = Path(__file__).parents[2]


def why_no_cgroup() -> str | None:
    if not (MEMORY / "memory.limit_in_bytes").exists():
        return "no memory cgroup (v1) here"
    return "prlimit is not installed" if shutil.which("prlimit") is None else why_not()


@contextmanager
def little_of_everything() -> Iterator[tuple[Path, list[str]]]:
    """A cgroup of 128 MiB: its folder, and what to put before a command to run it in that, with 256 descriptors."""
    group = MEMORY / f"peerdtest-{os.getpid()}-flood"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(MEMORY_BYTES))
        # `ip netns exec` hides the folder behind a /sys of its own: this process still sees it.
        seen = f"/proc/{os.getpid()}/root{group}/cgroup.procs"
        yield group, ["sh", "-c", 'echo $$ > "$0" && exec prlimit "$@"', seen, f"--nofile={DESCRIPTORS}"]
    finally:
        until(lambda: not (group / "cgroup.procs").read_text().strip(), 10)
        group.rmdir()


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(daemon: Daemon, path: str) -> bytes:
    """Return the body of an answer, over a connection of its own as `peer` has it; raises where it is no 200."""
    connection = Unix(daemon.socket)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise OSError(f"{answer.status} {body[:200]!r}")
    return body


@dataclass
class Gets:
    """How the gets of one time went."""

    took_s: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        return len(self.took_s) / max(1, len(self.took_s) + len(self.failed))

    @property
    def p95_s(self) -> float:
        return sorted(self.took_s)[int(len(self.took_s) * 0.95)] if self.took_s else float("inf")

    def __str__(self) -> str:
        median = sorted(self.took_s)[len(self.took_s) // 2] if self.took_s else float("inf")
        return (
            f"{len(self.took_s)} of {len(self.took_s) + len(self.failed)} gets ({self.share:.2%}), "
            f"median {median * 1e3:.1f} ms, p95 {self.p95_s * 1e3:.1f} ms {self.failed[:3]}"
        )


def ask_for(seconds: float, daemons: list[Daemon]) -> Gets:
    """Get values over and over, at each daemon in turn."""
    gets = Gets()
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        daemon, value = daemons[number % len(daemons)], number // len(daemons) % VALUES
        began = time.monotonic()
        try:
            assert get(daemon, f"/v1/kv/value-{value}") == f"sound {value}".encode()
            gets.took_s.append(time.monotonic() - began)
        except (OSError, http.client.HTTPException) as error:
            gets.failed.append(f"{daemon.name}: {error!r}")
        time.sleep(PAUSE_S)
    return gets


class Flood:
    """The flooders, and what they said in the end."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, host: Host, *words: str) -> None:
        command = [sys.executable, "-m", "tests.hostile.flood", *words, "--seconds", str(FLOOD_S + 60)]
        self.processes.append(host.popen(command, cwd=TESTS, stdout=subprocess.PIPE))

    def begun(self) -> None:
        for process in self.processes:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == {"begun": True}

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


class Memory:
    """The RSS of a daemon, sampled."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.before = daemon.memory_kb()["VmRSS"]
        daemon.forget_peak()

    def growth_kb(self) -> int:
        return self._daemon.memory_kb()["VmHWM"] - self.before


@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(why_no_cgroup()), reason=why_no_cgroup() or "")
def test_a_flood_of_everything_leaves_a_small_daemon_useful() -> None:
    with little_of_everything() as (group, wrapper), Net(5) as net, Daemons() as daemons:
        victim = daemons.prepare(net.hosts[0], "--no-mdns", "--copies", "1").launch(wrapper=wrapper).wait_ready()
        join = ["--no-mdns", "--bootstrap", f"{net.hosts[0].address}:7433"]
        others = [daemons.start(host, *join) for host in net.hosts[1:3]]
        meet([victim, *others])
        for value in range(VALUES):
            victim.ok("put", f"value-{value}", "--value", f"sound {value}")
        victim.ok("put", "only here", "-", stdin=os.urandom(300_000))
        ask_for(1.0, [victim, *others])
        idle = ask_for(IDLE_S, [victim, *others])
        memory = Memory(victim)
        pid, cpu_s = victim.pid, victim.cpu_s()
        flood = Flood()
        try:
            target = f"{net.hosts[0].address}:7433"
            flood.start(net.hosts[4], "junk", target)
            flood.start(net.hosts[4], "streams", target)
            flood.start(net.hosts[0], "api", "127.0.0.1:7434", "--count", "200")
            flood.begun()
            began = time.monotonic()
            flooded = ask_for(FLOOD_S / 2, [victim, *others])
            newcomer = daemons.start(net.hosts[3], *join)
            met_s = until(lambda: victim.id in newcomer.alive(), 10)
            assert len(newcomer.ok("get", "only here")) == 300_000
            rest = ask_for(max(1.0, FLOOD_S - (time.monotonic() - began)), [victim, *others])
            flooded.took_s += rest.took_s
            flooded.failed += rest.failed
            used = (victim.cpu_s() - cpu_s) / (time.monotonic() - began)
            growth_kb, files = memory.growth_kb(), victim.descriptors()
            status = victim.status()
        finally:
            flood.end()
        time.sleep(NORMAL_AFTER_S)  # so long it may take to be as before
        after = ask_for(IDLE_S, [victim, *others])
        print(f"idle:    {idle}\nflooded: {flooded}\nafter:   {after}")
        print(
            f"memory {memory.before / 1024:.1f} MiB, +{growth_kb / 1024:.1f}; {files} descriptors; {used:.0%} of a CPU"
        )
        print(f"a newcomer met it after {met_s:.1f} s; rejected: {status['rejected']}")
        print(f"memory of the group at most {int((group / 'memory.max_usage_in_bytes').read_text()) / 2**20:.0f} MiB")
        assert victim.running and victim.pid == pid, victim.log
        assert "ERROR" not in victim.log and "Traceback" not in victim.log
        assert not status["degraded"], status["degraded"]
        assert growth_kb <= GROWTH_LIMIT_KB
        assert flooded.share >= GET_SHARE, flooded
        assert flooded.p95_s <= max(SLOWER_MAX * idle.p95_s, FAST_S), (idle, flooded)
        assert after.share == 1.0
        assert after.p95_s <= max(2 * idle.p95_s, FAST_S)
