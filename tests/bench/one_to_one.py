"""One file from one peer to another over an unlimited link: peerd, libtorrent, and plain downloads by HTTP and TLS.

    python -m tests.bench --only one-to-one
    python -m tests.bench.one_to_one --mib 1024 --subject peerd

Three daemons on loopback keep one copy; the file is put on one and got by `peer get -o` on one that has nothing of it:
found, sent over TLS 1.3, checked block by block, written and synced as a cached copy, and written again under the
name that the user gave. libtorrent does not encrypt and does not sync. The plain downloads are what a wire can do: one
HTTP server (aiohttp, sendfile) whose client hashes all and writes it, and one TLS 1.3 connection of two threads that do
nothing else. CPU seconds are of all processes of both sides, the commands included.

While a subject transfers, the getting daemon is asked for a small value again and again. Of 1 MiB the time is told from
the request on the getting daemon's API to the last byte, without the start of a command.
"""

import argparse
import hashlib
import http.client
import importlib.util
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from peerd.config.address import HostPort, parse_host_port
from peerd.io.tls import client_context, server_context
from tests.bench.plan import Plan
from tests.bench.rows import PEERD, Goal, Line, Row, compare
from tests.bench.stats import percentile, spread
from tests.live.daemons import Daemon, Daemons, meet

MIB = 1024 * 1024
SIZE_MIB = 1024
SMALL_COUNT = 20
NAME = "model"
SMALL = "small"
BT_PORT = 6881
HTTP_PORT = 18180
_LIMIT_S = 300.0
_MEET_LIMIT_S = 20.0
_ASK_PAUSE_S = 0.005


@dataclass(slots=True)
class Outcome:
    """One transfer: its time, what it cost both sides, and how long small requests took meanwhile."""

    mib: int
    took_s: float
    cpu_s: float
    asked_s: list[float] = field(default_factory=list)
    small_s: list[float] = field(default_factory=list)
    """Of gets of 1 MiB, one after the other."""

    @property
    def rate(self) -> float:
        """Megabytes a second."""
        return self.mib * MIB / 1e6 / self.took_s

    @property
    def cpu_s_per_gib(self) -> float:
        """CPU seconds a GiB, both sides together."""
        return self.cpu_s * 1024 / self.mib


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a daemon's Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_LIMIT_S)
        self._path = path

    def connect(self) -> None:
        """See http.client."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def peerd(mib: int) -> Outcome:
    """Measure `peer get -o` by a peer that has nothing, and gets of 1 MiB over its API."""
    own = {"PEERD_COPIES": "1", "PEERD_REPAIR_INTERVAL_S": "3600", "PEERD_QUOTA": "20GB"}
    with Daemons() as group:
        daemons = [group.prepare(env=own) for _ in range(3)]
        daemons[0].launch().wait_ready()
        for daemon in daemons[1:]:
            daemon.flags += ["--bootstrap", HostPort(*_address(daemons[0])).text]
            daemon.launch().wait_ready()
        meet(daemons, _MEET_LIMIT_S)
        path = _made(group.root / "file", mib)
        daemons[0].ok("put", NAME, path, limit_s=_LIMIT_S)
        daemons[0].ok("put", SMALL, "--value", "some words")
        getter = _without(daemons, NAME)
        os.sync()
        cpu = [daemon.cpu_s() for daemon in daemons]
        target = group.root / "got"
        with _asking(getter) as asked, _children() as spent:
            began = time.monotonic()
            getter.ok("get", NAME, "-o", target, limit_s=_LIMIT_S)
            took_s = time.monotonic() - began
        cpu_s = sum(daemon.cpu_s() - at for daemon, at in zip(daemons, cpu, strict=True)) + spent[0]
        _check(path, target)
        return Outcome(mib, took_s, cpu_s, asked, list(_small_gets(daemons, group.root)))


def libtorrent(mib: int) -> Outcome:
    """Measure a seed and a getter that is told its address; of 1 MiB too, in sessions that run already."""
    with _folder() as folder:
        took, spent = [], 0.0
        for size in (mib, 1):
            path = _made(Path(folder) / f"{size}" / "file", size)
            took_s, cpu_s = _torrent(path, Path(folder) / f"{size}-got")
            took.append(took_s)
            spent = spent or cpu_s
        return Outcome(mib, took[0], spent, small_s=took[1:])


def http_download(mib: int) -> Outcome:
    """Measure one HTTP server (aiohttp, sendfile) and a client (aiohttp) that hashes what comes and writes it."""
    with _folder() as folder, _children() as spent:
        took = []
        for size in (mib, 1):
            path = _made(Path(folder) / f"{size}", size)
            server = _start("http_file", path, "127.0.0.1", HTTP_PORT)
            try:
                assert server.stdout is not None and server.stdout.readline() == "serving\n"
                url = f"http://127.0.0.1:{HTTP_PORT}/"
                client = _start("http_get", url, Path(folder) / f"{size}-got")
                assert client.stdout is not None
                took.append(float(client.stdout.readline()))
                client.wait(_LIMIT_S)
                _check(path, Path(folder) / f"{size}-got")
            finally:
                server.terminate()
                server.wait(_LIMIT_S)
    return Outcome(mib, took[0], spent[0], small_s=took[1:])


def tls_download(mib: int) -> Outcome:
    """Measure one TLS 1.3 connection between two threads; nothing is hashed or written."""
    block = os.urandom(MIB)
    before = time.process_time()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sending = threading.Thread(target=_send_tls, args=(listening, block, mib))
        sending.start()
        began = time.monotonic()
        with client_context().wrap_socket(
            socket.create_connection(listening.getsockname()), server_hostname="x"
        ) as got:
            buffer = memoryview(bytearray(MIB))
            left = mib * MIB
            while left:
                left -= got.recv_into(buffer)
        took_s = time.monotonic() - began
        sending.join()
    return Outcome(mib, took_s, time.process_time() - before)


HTTP, LIBTORRENT = "plain HTTP with SHA-256", "libtorrent"
SUBJECTS: dict[str, Callable[[int], Outcome]] = {
    PEERD: peerd,
    LIBTORRENT: libtorrent,
    HTTP: http_download,
    "plain TLS 1.3": tls_download,
}


def rows(plan: Plan, tell: Callable[[str], None]) -> list[Row]:
    """Measure all subjects in turns, so often as the plan says."""
    outcomes: dict[str, list[Outcome]] = {}
    absent = {}
    if importlib.util.find_spec("libtorrent") is None:
        absent[LIBTORRENT] = "no module libtorrent"
    for _ in range(plan.one_to_one_runs):
        for name, measure in SUBJECTS.items():
            if name not in absent:
                outcomes.setdefault(name, []).append(measure(plan.one_to_one_mib))
                tell(f"one to one: {told(name, outcomes[name][-1])}")
    return [large_row(outcomes, absent), small_row(outcomes, absent)]


def large_row(outcomes: Mapping[str, Sequence[Outcome]], absent: Mapping[str, str]) -> Row:
    """Return the row of the large file."""
    mib = outcomes[PEERD][0].mib
    row = Row("one-to-one", f"{mib} MiB from one to one over loopback", "MB/s", [], dict(absent))
    for name, each in outcomes.items():
        others = {"CPU s/GiB": median(one.cpu_s_per_gib for one in each)}
        if each[0].asked_s:
            asked = [one for outcome in each for one in outcome.asked_s]
            others["small requests p99 ms"] = percentile(asked, 0.99) * 1e3
        row.lines.append(Line("one-to-one", name, spread([one.rate for one in each]), "MB/s", len(each), others))
    compare(row, (LIBTORRENT,))
    middle = {line.subject: line.main.middle for line in row.lines}
    own = next(line for line in row.lines if line.subject == PEERD)
    if LIBTORRENT in middle:
        own.goals.append(Goal("times libtorrent's rate", middle[PEERD] / middle[LIBTORRENT], 1.5, at_least=True))
    own.goals.append(Goal("of the plain download's rate", middle[PEERD] / middle[HTTP], 0.6, at_least=True))
    own.goals.append(Goal("CPU s/GiB", own.others["CPU s/GiB"], 4.0))
    own.goals.append(Goal("ms p99 of small requests meanwhile", own.others["small requests p99 ms"], 10.0))
    return row


def small_row(outcomes: Mapping[str, Sequence[Outcome]], absent: Mapping[str, str]) -> Row:
    """Return the row of 1 MiB."""
    row = Row("one-to-one", "1 MiB from one to one over loopback", "ms", [], dict(absent))
    for name, each in outcomes.items():
        if took_ms := [one * 1e3 for outcome in each for one in outcome.small_s]:
            row.lines.append(Line("one-to-one", name, spread(took_ms), "ms", len(took_ms)))
    compare(row, (LIBTORRENT,))
    own = next(line for line in row.lines if line.subject == PEERD)
    own.goals.append(Goal("ms", own.main.middle, 15.0))
    return row


def _send_tls(listening: socket.socket, block: bytes, count: int) -> None:
    context = server_context(os.urandom(32), os.urandom)
    accepted, _ = listening.accept()
    with context.wrap_socket(accepted, server_side=True) as stream:
        for _ in range(count):
            stream.sendall(block)


def _address(daemon: Daemon) -> tuple[str, int]:
    found = parse_host_port(daemon.listen)
    return found.host, found.port


def _without(daemons: list[Daemon], name: str) -> Daemon:
    """Return a daemon that has nothing of some content."""
    holders = {each["id"] for each in daemons[0].json("stat", name)["holders"]}
    return next(daemon for daemon in daemons[1:] if daemon.id not in holders)


@contextmanager
def _asking(daemon: Daemon) -> Iterator[list[float]]:
    """Ask a daemon for a small value again and again; the list is of the seconds each took."""
    asked: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        connection = UnixConnection(daemon.socket)
        while not ended.wait(_ASK_PAUSE_S):
            began = time.perf_counter()
            connection.request("GET", f"/v1/kv/{SMALL}?consistency=one")
            connection.getresponse().read()
            asked.append(time.perf_counter() - began)
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield asked
    finally:
        ended.set()
        thread.join()


def _small_gets(daemons: list[Daemon], folder: Path) -> Iterator[float]:
    """Yield the seconds of gets of 1 MiB over the API of a daemon that has nothing of it."""
    for number in range(SMALL_COUNT):
        name = f"small{number}"
        daemons[0].ok("put", name, _made(folder / name, 1))
        connection = UnixConnection(_without(daemons, name).socket)
        began = time.perf_counter()
        connection.request("GET", f"/v1/kv/{name}")
        data = connection.getresponse().read()
        yield time.perf_counter() - began
        connection.close()
        assert hashlib.sha256(data).digest() == hashlib.sha256((folder / name).read_bytes()).digest()


def _torrent(path: Path, into: Path) -> tuple[float, float]:
    """Return the seconds of one transfer by libtorrent, and the CPU seconds of both its processes."""
    into.mkdir()
    peer = f"127.0.0.1:{BT_PORT}"
    seed = _start("libtorrent_swarm", "seed", path, path.parent)
    getter = None
    try:
        assert seed.stdout is not None and seed.stdout.readline() == "seeding\n"
        getter = _start("libtorrent_swarm", "get", path.with_suffix(".torrent"), into, peer)
        assert getter.stdin is not None and getter.stdout is not None
        assert getter.stdout.readline() == "ready\n"
        before = _cpu_s(seed.pid) + _cpu_s(getter.pid)
        began = time.monotonic()
        getter.stdin.write("go\n")
        getter.stdin.flush()
        assert getter.stdout.readline() == "done\n"
        took_s = time.monotonic() - began
        cpu_s = _cpu_s(seed.pid) + _cpu_s(getter.pid) - before
        _until_written(path, into / path.name)
        _check(path, into / path.name)
        return took_s, cpu_s
    finally:
        for process in (seed, getter):
            if process is not None:
                process.kill()
                process.wait()


def _until_written(path: Path, target: Path) -> None:
    """Wait for what libtorrent has checked and not written yet: it counts as done before."""
    deadline = time.monotonic() + _LIMIT_S
    with path.open("rb") as wanted:
        wanted.seek(-MIB, os.SEEK_END)
        last = wanted.read()
    while time.monotonic() < deadline:
        if target.stat().st_size == path.stat().st_size:
            with target.open("rb") as got:
                got.seek(-MIB, os.SEEK_END)
                if got.read() == last:
                    time.sleep(1.0)
                    return
        time.sleep(0.1)


def _start(module: str, *words: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", f"tests.bench.rivals.{module}", *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def _children() -> Iterator[list[float]]:
    """Count the CPU seconds of the processes that end within."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent: list[float] = []
    yield spent
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _cpu_s(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="peerd-one-")


def _made(path: Path, mib: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        for _ in range(mib):
            out.write(os.urandom(MIB))
        os.fsync(out.fileno())
    return path


def _check(path: Path, target: Path) -> None:
    with path.open("rb") as wanted, target.open("rb") as got:
        while piece := wanted.read(MIB):
            assert got.read(MIB) == piece, f"{target} is not the file"
        assert not got.read(1)


def told(name: str, found: Outcome) -> str:
    """Return one line of what came of a subject."""
    parts = [f"{name}: {found.took_s:.2f} s, {found.rate:.0f} MB/s, {found.cpu_s_per_gib:.2f} CPU s/GiB"]
    if found.small_s:
        parts.append(f"1 MiB {median(found.small_s) * 1e3:.1f} ms")
    if found.asked_s:
        p99, p50 = percentile(found.asked_s, 0.99), median(found.asked_s)
        parts.append(f"{len(found.asked_s)} small requests meanwhile p50 {p50 * 1e3:.1f} p99 {p99 * 1e3:.1f} ms")
    return ", ".join(parts)


def main() -> None:
    """Measure and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.one_to_one")
    parser.add_argument("--mib", type=int, default=SIZE_MIB)
    parser.add_argument("--subject", action="append", choices=tuple(SUBJECTS))
    parser.add_argument("--runs", type=int, default=1)
    options: Any = parser.parse_args()
    for _ in range(options.runs):
        for name in options.subject or SUBJECTS:
            print(told(name, SUBJECTS[name](options.mib)), flush=True)


if __name__ == "__main__":
    main()
