"""Writers that put and remove without end through a daemon's API, and know what it has acknowledged.

Each lane is a thread with keys of its own. Of every key is known what was acknowledged last and what may have been
done besides, because its acknowledgement was cut off. `check` asks the daemon and holds it to that.
"""

import hashlib
import http.client
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

LANES = 4
KEYS_A_LANE = 24
REMOVED_PART = 0.2
# In the record, as small blocks in the database, and as blocks with files of their own.
SIZES = (60, 3_000, 60_000, 300_000)
WEIGHTS = (10, 4, 3, 1)
REQUEST_LIMIT_S = 20.0
ASK_AGAIN_S = 0.1
POLL_S = 0.002


@dataclass
class Known:
    """What can be the value of a key: `sure` was acknowledged, None is that there is none."""

    sure: bytes | None = None
    maybe: list[bytes | None] = field(default_factory=list)


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=REQUEST_LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(REQUEST_LIMIT_S)
        self.sock.connect(self._path)


class Writers:
    """All lanes, over the daemon's socket `path`."""

    def __init__(self, path: str, seed: int, *, keys_a_lane: int = KEYS_A_LANE) -> None:
        self.known: dict[str, Known] = {}
        self.acknowledged = 0
        self.refused: Counter[int] = Counter()
        self._path = path
        self._seed = seed
        self._keys = keys_a_lane
        self._rounds = 0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Let all lanes put and remove until `stop`, or until the daemon is gone."""
        self._rounds += 1
        self._stopping.clear()
        self._threads = [threading.Thread(target=self._lane, args=(lane, self._rounds)) for lane in range(LANES)]
        for thread in self._threads:
            thread.start()

    def work(self, count: int, limit_s: float) -> None:
        """Wait until `count` changes more are acknowledged, at most `limit_s`."""
        target, until = self.acknowledged + count, time.monotonic() + limit_s
        while self.acknowledged < target and time.monotonic() < until:
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End the lanes; what was under way may be done or not."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _lane(self, lane: int, round_number: int) -> None:
        chance = random.Random(f"{self._seed} {round_number} {lane}")
        connection = Connection(self._path)
        try:
            while not self._stopping.is_set():
                key = f"lane{lane}-{chance.randrange(self._keys)}"
                value = None if chance.random() < REMOVED_PART else _value(key, chance)
                self._change(connection, key, value)
        except (OSError, http.client.HTTPException):
            return  # the daemon is gone
        finally:
            connection.close()

    def _change(self, connection: Connection, key: str, value: bytes | None) -> None:
        known = self.known.setdefault(key, Known())
        known.maybe.append(value)
        method = "DELETE" if value is None else "PUT"
        connection.request(method, f"/v1/kv/{key}", body=value)
        answer = connection.getresponse()
        answer.read()
        if answer.status in (200, 201) or (answer.status == 404 and value is None):
            known.sure, known.maybe = value, []
            self.acknowledged += 1
        else:
            self.refused[answer.status] += 1

    def forgive(self) -> "dict[str, Known]":
        """Return a copy of what is known now, for a daemon that is brought back to this moment."""
        return {key: Known(known.sure, list(known.maybe)) for key, known in list(self.known.items())}


def check(path: str, known: "dict[str, Known]", *, limit_s: float = 30.0) -> int:
    """Ask for every key and hold the answer to what is known, which is then sure; returns how many were asked for."""
    connection = Connection(path)
    until = time.monotonic() + limit_s
    try:
        for key, each in sorted(known.items()):
            found = _get(connection, key, until)
            allowed = [each.sure, *each.maybe]
            assert found in allowed, (
                f"{key} is {_shown(found)}; acknowledged was {_shown(each.sure)},"
                f" perhaps done {[_shown(one) for one in each.maybe]}"
            )
            each.sure, each.maybe = found, []
    finally:
        connection.close()
    return len(known)


def _get(connection: Connection, key: str, until: float) -> bytes | None:
    while True:
        connection.request("GET", f"/v1/kv/{key}")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 200:
            return body
        if answer.status == 404:
            return None
        # Just started, a peer may not answer for what it has yet.
        assert answer.status in (503, 504) and time.monotonic() < until, (key, answer.status, body[:500])
        time.sleep(ASK_AGAIN_S)


def _value(key: str, chance: random.Random) -> bytes:
    size = chance.choices(SIZES, WEIGHTS)[0]
    seed = f"{key} {chance.getrandbits(64):x} "
    return (seed.encode() + hashlib.shake_256(seed.encode()).digest(size))[:size]


def _shown(value: bytes | None) -> str:
    return "nothing" if value is None else f"{value[:30]!r}… of {len(value)} bytes"
