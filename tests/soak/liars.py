"""Real daemons of which some lie together, while some are killed and started again: who is honest reads what is right.

All on loopback. Only the honest are asked. A read may fail, which is counted; a wrong byte ends it.
"""

import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tests.live.daemons import Daemon, Daemons, until
from tests.soak.mixed import ask

LIAR = "tests.hostile.mixtures:Colluding"
BOOTSTRAP = 3
STARTED_AT_ONCE = 6
READERS = 4
CONTENT_BYTES = 5000
VALUE_BYTES = 40
PAUSE_S = 0.2
START_LIMIT_S = 120.0
MEET_LIMIT_S = 180.0
PUT_TRIES = 3


class WrongByteError(AssertionError):
    """A read returned what nobody wrote."""


@dataclass
class Told:
    """How it went."""

    honest: int
    liars: int
    puts: Counter[str] = field(default_factory=Counter)
    gets: Counter[str] = field(default_factory=Counter)
    churned: int = 0
    took_s: list[float] = field(default_factory=list)

    @property
    def success(self) -> float:
        """The share of reads that gave the value."""
        return self.gets["right"] / max(1, self.gets.total())

    def __str__(self) -> str:
        took = sorted(self.took_s) or [0.0]
        gets = ", ".join(f"{count} {what}" for what, count in sorted(self.gets.items()))
        puts = ", ".join(f"{count} {what}" for what, count in sorted(self.puts.items()))
        return (
            f"{self.liars} liars among {self.honest + self.liars} daemons, {self.churned} killed and started again: "
            f"gets {gets} ({self.success:.2%}), p50 {took[len(took) // 2] * 1000:.0f} ms, "
            f"p99 {took[int(len(took) * 0.99)] * 1000:.0f} ms; puts {puts}"
        )


def lie(daemons: int, liars: int, gets: int, seed: int, *, env: Mapping[str, str], names: int = 60) -> Told:
    """Start, put, and read while some come and go; raises WrongByteError, and AssertionError where they never meet."""
    rng = random.Random(seed)
    told = Told(daemons - liars, liars)
    with Daemons() as group:
        scene = _Scene(group, rng, told, env)
        scene.start(daemons, liars)
        scene.put(names)
        scene.read(gets)
    return told


class _Scene:
    """The daemons of one run, and what was put."""

    def __init__(self, group: Daemons, rng: random.Random, told: Told, env: Mapping[str, str]) -> None:
        self.group = group
        self.rng = rng
        self.told = told
        self.env = env
        self.honest: list[Daemon] = []
        self.liars: list[Daemon] = []
        self.usable: set[Daemon] = set()
        self.values: dict[str, bytes] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._wrong: list[str] = []

    # Starting.

    def start(self, daemons: int, liars: int) -> None:
        """Start all, the first few honest and configured for the others; return when the honest know each other."""
        first = [_stay(self.group.start(None, env=self.env)) for _ in range(BOOTSTRAP)]
        flags = [word for daemon in first for word in ("--bootstrap", daemon.listen)]
        kinds = [True] * liars + [False] * (daemons - liars - BOOTSTRAP)
        self.rng.shuffle(kinds)
        clan = self.group.root / "clan.json"
        self.honest = first
        waiting = iter(kinds)
        while some := list(islice(waiting, STARTED_AT_ONCE)):
            launched = [self._prepare(is_liar, clan, flags).launch() for is_liar in some]
            for daemon in launched:
                _stay(daemon.wait_ready(START_LIMIT_S))
        until(lambda: all(self._has_met(each) for each in self.honest), MEET_LIMIT_S)
        self.usable = set(self.honest)

    def _prepare(self, is_liar: bool, clan: Path, flags: list[str]) -> Daemon:
        if is_liar:
            daemon = self.group.prepare_liar(LIAR, clan, *flags, env=self.env)
            self.liars.append(daemon)
        else:
            daemon = self.group.prepare(None, *flags, env=self.env)
            self.honest.append(daemon)
        return daemon

    def _has_met(self, daemon: Daemon) -> bool:
        """Whether a daemon knows nearly all honest ones that run."""
        there = {each.id for each in self.honest if each.running and each is not daemon}
        return len(there & daemon.alive()) >= 0.9 * len(there)

    # Users.

    def put(self, names: int) -> None:
        """Put values and content on honest daemons; what was not acknowledged is not read."""
        for number in range(names):
            name = f"name-{number}"
            value = f"{name} ".encode().ljust(CONTENT_BYTES if number % 3 == 0 else VALUE_BYTES, b".")
            for _ in range(PUT_TRIES):
                status, _, _ = ask(self.rng.choice(self.honest), "PUT", name, value)
                self.told.puts["acknowledged" if status in (200, 201) else f"refused with {status}"] += 1
                if status in (200, 201):
                    self.values[name] = value
                    break
        assert self.values, "nothing could be put"

    def read(self, gets: int) -> None:
        """Read while some are killed and started again; raises WrongByteError."""
        churner = threading.Thread(target=self._churn)
        left = iter(range(gets))
        readers = [threading.Thread(target=self._read, args=(left, self.rng.random())) for _ in range(READERS)]
        churner.start()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        self._stopping.set()
        churner.join()
        if self._wrong:
            raise WrongByteError("; ".join(self._wrong[:5]))

    def _read(self, left: "object", seed: float) -> None:
        rng = random.Random(seed)
        while True:
            with self._lock:
                if next(left, None) is None or self._wrong:  # type: ignore[call-overload]
                    return
                daemon = rng.choice(sorted(self.usable, key=lambda each: each.name))
                name = rng.choice(sorted(self.values))
            began = time.monotonic()
            try:
                status, body, _ = ask(daemon, "GET", name)
            except (OSError, http.client.HTTPException):
                outcome = "cut off" if daemon not in self.usable else "no answer"
            else:
                outcome = "right" if status == 200 else f"{status}"
                if status == 200 and body != self.values[name]:
                    self._wrong.append(f"{name} on {daemon.name}: {body[:60]!r}")
            with self._lock:
                if outcome != "cut off":  # its daemon was killed under it
                    self.told.gets[outcome] += 1
                    self.told.took_s.append(time.monotonic() - began)
            time.sleep(PAUSE_S)

    def _churn(self) -> None:
        rng = random.Random(self.rng.random())
        while not self._stopping.is_set():
            time.sleep(rng.uniform(0.5, 1.5))
            daemon = rng.choice([*self.honest[BOOTSTRAP:], *self.liars])
            with self._lock:
                self.usable.discard(daemon)
            daemon.kill()
            self._stopping.wait(rng.uniform(0.2, 1.0))
            daemon.launch().wait_ready(START_LIMIT_S)
            self.told.churned += 1
            if daemon in self.honest:
                with contextlib.suppress(AssertionError):  # it is not asked then
                    until(lambda daemon=daemon: self._has_met(daemon), MEET_LIMIT_S)
                    with self._lock:
                        self.usable.add(daemon)


def _stay(daemon: Daemon) -> Daemon:
    """Let a daemon have the address that it has now when it is started again."""
    daemon.flags[daemon.flags.index("--listen") + 1] = daemon.listen
    return daemon
