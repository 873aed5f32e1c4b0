"""Faults of every kind on real daemons, for as long as it is let: what was acknowledged stays, what was deleted too.

Hosts in network namespaces with users who put, get and delete; some are killed, stopped, paused, cut off, cut one way,
or lose messages. After each round all is mended, and every name is read on every daemon. Needs root. The same books
judge as in the simulator (peerd.sim.ledger); unlike there, a seed gives the same faults and not the same run.
"""

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from peerd.sim.ledger import Ledger, Name, Write, wrong_absence, wrong_value
from tests.live.daemons import Daemon, Daemons, meet, until
from tests.live.netns import Net

HOSTS = 5
USERS = 3
NAMES = 8
FAULT_S = 1.0, 6.0
FAULTS_AT_ONCE = 1, 3
CONTENT_BYTES = 5000
# A request has its own deadlines, far below this; what takes longer hangs.
HUNG_AFTER_S = 60.0
SETTLE_LIMIT_S = 45.0
PAUSE_S = 0.02

SETTINGS = {
    "PEERD_PROBE_INTERVAL_S": "0.3",
    "PEERD_SUSPECT_TIMEOUT_S": "1.5",
    "PEERD_REPAIR_INTERVAL_S": "3",
    "PEERD_LONELY_INTERVAL_S": "1",
}


@dataclass
class Report:
    """How it went."""

    seed: int
    rounds: int = 0
    checked: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {what}" for what, count in sorted(self.faults.items()))
        requests = ", ".join(f"{count} {what}" for what, count in sorted(self.requests.items()))
        return f"seed {self.seed}: {self.rounds} rounds ({faults}); {requests}; {self.checked} reads checked, all right"


class Broken(AssertionError):
    """A promise was broken."""


def mix(seconds: float, seed: int, *, hosts: int = HOSTS, told: Callable[[str], None] = print) -> Report:
    """Let faults and users work for so long; raises AssertionError where a promise is broken."""
    report = Report(seed)
    with Net(hosts) as net, Daemons() as daemons:
        running = [daemons.prepare(host, env=SETTINGS).launch() for host in net.hosts]
        for daemon in running:
            daemon.wait_ready()
        meet(running, SETTLE_LIMIT_S)
        mixture = _Mixture(net, running, random.Random(seed), report)
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            mixture.round()
            told(f"round {report.rounds}: {dict(report.requests)}")
        for daemon in running:
            daemon.stop()
    return report


class _Mixture:
    """The world of one run."""

    def __init__(self, net: Net, daemons: list[Daemon], rng: random.Random, report: Report) -> None:
        self.net = net
        self.daemons = daemons
        self.rng = rng
        self.report = report
        self.users = Users(daemons, rng.randrange(2**32), report)
        self.ends: list[Callable[[], None]] = []

    def round(self) -> None:
        """Faults while users work; then the end of all faults, and a look at everything."""
        self.users.start()
        try:
            time.sleep(self.rng.uniform(0.2, 1.0))
            for _ in range(self.rng.randint(*FAULTS_AT_ONCE)):
                self._befall()
                time.sleep(self.rng.uniform(*FAULT_S) / 2)
            for end in reversed(self.ends):
                end()
                time.sleep(self.rng.uniform(0.0, 1.0))
        finally:
            self.ends.clear()
            self.users.stop()
        self._mend()
        self.report.checked += self.users.check()
        self.report.rounds += 1

    def _befall(self) -> None:
        faults = [self._kill, self._stop, self._pause, self._part, self._cut, self._lose]
        fault = self.rng.choice(faults)
        self.report.faults[fault.__name__.strip("_")] += 1
        fault()

    def _somebody(self) -> Daemon | None:
        candidates = [daemon for daemon in self.daemons if daemon in self.users.usable]
        return self.rng.choice(candidates) if len(candidates) > 1 else None

    def _kill(self) -> None:
        if (daemon := self._somebody()) is not None:
            self.users.usable.discard(daemon)
            daemon.kill()
            self.ends.append(lambda: self._start(daemon))

    def _stop(self) -> None:
        if (daemon := self._somebody()) is not None:
            self.users.usable.discard(daemon)
            daemon.stop()
            self.ends.append(lambda: self._start(daemon))

    def _start(self, daemon: Daemon) -> None:
        daemon.launch().wait_ready()
        self.users.usable.add(daemon)

    def _pause(self) -> None:
        if (daemon := self._somebody()) is not None:
            self.users.usable.discard(daemon)
            os.killpg(daemon.pid, signal.SIGSTOP)
            self.ends.append(lambda: self._go_on(daemon))

    def _go_on(self, daemon: Daemon) -> None:
        os.killpg(daemon.pid, signal.SIGCONT)
        self.users.usable.add(daemon)

    def _part(self) -> None:
        hosts = self.rng.sample(self.net.hosts, len(self.net.hosts))
        side = self.rng.randint(1, len(hosts) - 1)
        self.net.partition(hosts[:side], hosts[side:])
        self.ends.append(self.net.heal)

    def _cut(self) -> None:
        self.net.cut(*self.rng.sample(self.net.hosts, 2))
        self.ends.append(self.net.heal)

    def _lose(self) -> None:
        self.net.loss(self.rng.choice((50, 200, 500)))
        self.ends.append(lambda: self.net.loss(0))

    def _mend(self) -> None:
        self.net.heal()
        self.net.loss(0)
        meet(self.daemons, SETTLE_LIMIT_S)


class Users:
    """Some users at work on a few names, on whatever daemon serves; they write down what they were told."""

    def __init__(self, daemons: list[Daemon], seed: int, report: Report) -> None:
        self.ledger = Ledger()
        self.usable = set(daemons)
        self._daemons = daemons
        self._rng = random.Random(seed)
        self._report = report
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._broken: list[str] = []
        self._count = 0

    def start(self) -> None:
        """Let them begin."""
        self._stopping.clear()
        self._threads = [threading.Thread(target=self._work, args=(self._rng.random(),)) for _ in range(USERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let them finish what they asked for; raises Broken where somebody was told something wrong, or nothing."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(HUNG_AFTER_S + 10)
            if thread.is_alive():
                self._broken.append("a request hangs")
        if self._broken:
            raise Broken("; ".join(self._broken[:5]))

    def _work(self, seed: float) -> None:
        rng = random.Random(seed)
        while not self._stopping.is_set():
            daemon = rng.choice(sorted(self.usable, key=lambda daemon: daemon.name) or self._daemons)
            name, draw = f"key-{rng.randrange(NAMES)}", rng.random()
            try:
                if draw < 0.45:
                    self._put(daemon, name, rng.choice((10, 10, CONTENT_BYTES)))
                elif draw < 0.6:
                    self._remove(daemon, name)
                else:
                    self._get(daemon, name)
            except TimeoutError:
                self._broken.append(f"a request on {daemon.name} for {name} took more than {HUNG_AFTER_S} s")
            except (OSError, http.client.HTTPException):
                self._note("cut off")
            time.sleep(PAUSE_S)

    def _note(self, what: str) -> None:
        with self._lock:
            self._report.requests[what] += 1

    def _put(self, daemon: Daemon, text: str, size: int) -> None:
        with self._lock:
            self._count += 1
            value = f"{text} {self._count} ".encode().ljust(size, b".")
            name = self.ledger.name(text)
            name.tried[value] = None
        status, body, _ = ask(daemon, "PUT", text, value)
        self._acknowledge(name, value, status, body)

    def _remove(self, daemon: Daemon, text: str) -> None:
        with self._lock:
            name = self.ledger.name(text)
            name.unsure_deletes += 1
        status, body, _ = ask(daemon, "DELETE", text)
        if status in (200, 404):
            with self._lock:
                name.unsure_deletes -= 1
        self._acknowledge(name, None, status, body)

    def _acknowledge(self, name: Name, value: bytes | None, status: int, body: bytes) -> None:
        kind = "deletes" if value is None else "puts"
        self._note(kind if status in (200, 201) else f"{kind} refused with {status}")
        if status in (200, 201):
            told = json.loads(body)
            sequence = int(told["version"].partition("-")[0])
            write = Write(sequence, value, time.monotonic(), tuple(told["holders"]), told["version"])
            with self._lock:
                name.acknowledged.append(write)

    def _get(self, daemon: Daemon, text: str) -> None:
        name = self.ledger.name(text)
        status, body, version = ask(daemon, "GET", text)
        self._note("gets" if status in (200, 404) else f"gets refused with {status}")
        if status == 200 and (wrong := wrong_value(name, body, _sequence(version), known=None)):
            self._broken.append(f"{wrong} (on {daemon.name})")

    def check(self) -> int:
        """Read every name on every daemon, now that nothing is wrong any more; return how many reads there were."""
        names = list(self.ledger.names.values())
        for name in names:
            for daemon in self._daemons:
                until(partial(self._reads, name, daemon), SETTLE_LIMIT_S, partial(str, f"{name.name} on {daemon.name}"))
        return len(names) * len(self._daemons)

    def _reads(self, name: Name, daemon: Daemon) -> bool:
        """Return whether the read gave an answer; raises Broken where that is wrong."""
        known = name.newest
        status, body, version = ask(daemon, "GET", name.name)
        if status == 200:
            wrong = wrong_value(name, body, _sequence(version), known=known)
        elif status == 404:
            wrong = wrong_absence(name, known=known)
        else:
            return False
        if wrong:
            shown = {each.name: ask(each, "GET", name.name)[::2] for each in self._daemons}
            raise Broken(f"{wrong} (on {daemon.name}; the daemons say {shown})")
        return True


class _Local(http.client.HTTPConnection):
    """HTTP over a daemon's Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=HUNG_AFTER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(daemon: Daemon, method: str, name: str, body: bytes | None = None) -> tuple[int, bytes, str]:
    """Do one request; return its status, its body and the version that it names."""
    with contextlib.closing(_Local(daemon.socket)) as connection:
        connection.request(method, f"/v1/kv/{name}", body)
        answer = connection.getresponse()
        return answer.status, answer.read(), (answer.getheader("ETag") or "").strip('"')


def _sequence(version: str) -> int:
    return int(version.partition("-")[0])
