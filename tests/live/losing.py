"""Holders die for good: what was on them is counted and restored, and is read meanwhile as if nothing had happened.

Used by a test with few keys and by the soak with a thousand.
"""

import os
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from socket import AF_UNIX, SOCK_STREAM, socket

from tests.live.daemons import Daemon, until

QUICK = {
    "PEERD_PROBE_INTERVAL_S": "0.2",
    "PEERD_SUSPECT_TIMEOUT_S": "1.5",
    "PEERD_REPAIR_INTERVAL_S": "3",
}
"""Intervals short enough to see a repair in seconds."""

WRITERS = 8


class Asker:
    """Asks a daemon's API over one connection kept open."""

    def __init__(self, daemon: Daemon) -> None:
        self._connection = HTTPConnection("localhost", timeout=30)
        plug = socket(AF_UNIX, SOCK_STREAM)
        plug.settimeout(30)
        plug.connect(daemon.socket)
        self._connection.sock = plug

    def put(self, name: str, data: bytes) -> int:
        """Put and return the status."""
        self._connection.request("PUT", f"/v1/kv/{name}", body=data)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def get(self, name: str) -> tuple[int, bytes]:
        """Get and return the status and the bytes."""
        self._connection.request("GET", f"/v1/kv/{name}")
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()


@dataclass
class Reads:
    """Gets that ran meanwhile: how long each took, and those that failed."""

    took_s: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def p99_s(self) -> float:
        """The time that 99 of 100 stayed below."""
        ordered = sorted(self.took_s)
        return ordered[int(0.99 * (len(ordered) - 1))]


class Reading:
    """Gets random names of one daemon, one after the other, in a thread of its own."""

    def __init__(self, daemon: Daemon, contents: dict[str, bytes], *, pause_s: float = 0.002) -> None:
        self._daemon = daemon
        self._contents = contents
        self._names = list(contents)
        self._pause_s = pause_s
        self._ended = threading.Event()
        self.reads = Reads()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Reading":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def take(self) -> Reads:
        """Return what was read until now and begin anew."""
        reads, self.reads = self.reads, Reads()
        return reads

    def _run(self) -> None:
        asker = Asker(self._daemon)
        number = 0
        while not self._ended.wait(self._pause_s):
            name = self._names[number * 7919 % len(self._names)]
            number += 1
            began = time.monotonic()
            try:
                status, data = asker.get(name)
            except OSError as error:
                self.reads.failed.append(f"{name}: {error}")
                asker = Asker(self._daemon)
                continue
            self.reads.took_s.append(time.monotonic() - began)
            if status != 200 or data != self._contents[name]:
                self.reads.failed.append(f"{name}: {status}, {len(data)} bytes")
        asker.close()


def fill(daemons: Sequence[Daemon], count: int, size: int) -> dict[str, bytes]:
    """Put so many names of that size, spread over the daemons; return what is under each."""
    contents = {f"key-{number}": os.urandom(size) for number in range(count)}
    names = list(contents)
    failed: list[str] = []

    def put_share(share: int) -> None:
        asker = Asker(daemons[share % len(daemons)])
        for name in names[share::WRITERS]:
            status = asker.put(name, contents[name])
            if status not in (200, 201):
                failed.append(f"{name}: {status}")
        asker.close()

    threads = [threading.Thread(target=put_share, args=(share,)) for share in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[:5]
    return contents


def short_of_copies(daemon: Daemon, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return (copies, copies wanted) of each name that has too few."""
    short = {}
    for name in names:
        found = daemon.json("stat", name)
        if found["copies"] < found["copies_wanted"]:
            short[name] = (found["copies"], found["copies_wanted"])
    return short


def restored_s(left: Sequence[Daemon], names: Sequence[str], limit_s: float) -> float:
    """Wait until nobody misses copies and each name has its number; return the seconds it took."""
    began = time.monotonic()
    until(lambda: not any(daemon.status()["repair"]["missing_copies"] for daemon in left), limit_s)
    unsure = list(names)

    def whole() -> bool:
        nonlocal unsure
        unsure = list(short_of_copies(left[0], unsure))
        return not unsure

    until(whole, max(1.0, limit_s - (time.monotonic() - began)), lambda: short_of_copies(left[0], unsure[:3]))
    return time.monotonic() - began


def told(idle: Reads, during: Reads, took_s: float, keys: int) -> str:
    """Return a line of what was measured."""
    return (
        f"{keys} keys whole again after {took_s:.1f} s; gets meanwhile {len(during.took_s)}, failed"
        f" {len(during.failed)}, p99 {during.p99_s() * 1000:.1f} ms (idle {idle.p99_s() * 1000:.1f} ms),"
        f" median {statistics.median(during.took_s) * 1000:.2f} ms"
    )
