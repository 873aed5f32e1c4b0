"""`peer watch` and a plain client of server-sent events beside real daemons that are killed and started again."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from peerd.io.store.bounds import HISTORY_MAX
from tests.live.daemons import Daemon, Daemons, until
from tests.live.losing import Asker

PUTS = 200
LIMIT_S = 60.0


@pytest.fixture
def four() -> Iterator[list[Daemon]]:
    with Daemons() as daemons:
        yield daemons.loopback(4)


class Lines:
    """What a `peer watch --json` has printed, read as it comes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.entries: list[dict[str, object]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def versions(self) -> list[object]:
        return [entry["version"] for entry in self.entries]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.entries.append(json.loads(line))

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self._thread.join(LIMIT_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return self.process.wait(LIMIT_S)


def _watch(daemon: Daemon, *more: str) -> Lines:
    return Lines(daemon.popen("watch", "k", "--json", *more, stdout=subprocess.PIPE))


def _put(daemon: Daemon, value: bytes) -> str:
    with contextlib.closing(Asker(daemon)) as asker:
        asker._connection.request("PUT", "/v1/kv/k", body=value)
        answer = asker._connection.getresponse()
        stored = json.loads(answer.read())
        assert answer.status == 200, stored
        return str(stored["version"])


def test_two_hundred_puts_of_two_writers_are_told_once_while_daemons_restart(four: list[Daemon]) -> None:
    first = four[0].json("put", "k", "--value", "first")["version"]
    watch = _watch(four[3], "--after", first)
    written: list[str] = []
    for at in range(PUTS):
        # The watching daemon, a holder, and a writer that is killed between two of its puts.
        if at in (50, 100, 150):
            killed = four[{50: 3, 100: 2, 150: 1}[at]]
            until(lambda: written[-1] in watch.versions, LIMIT_S)
            killed.kill()
            killed.launch().wait_ready()
        written.append(_put(four[at % 2], b"%d" % at))
        # What the histories keep is told, whoever was away: who watches is never further behind than that.
        until(lambda: len(watch.entries) > len(written) - HISTORY_MAX, LIMIT_S, lambda: watch.versions[-3:])
    written.append(four[0].json("rm", "k")["version"])
    until(lambda: written[-1] in watch.versions, LIMIT_S, lambda: (len(watch.entries), watch.versions[-3:]))
    assert watch.end() == 130
    assert watch.versions == written
    assert watch.entries[-1]["deleted"] is True


def test_what_is_written_faster_than_it_can_be_told_is_counted(four: list[Daemon]) -> None:
    first = four[0].json("put", "k", "--value", "first")["version"]
    watch = _watch(four[3], "--after", first)
    written = [_put(four[at % 2], b"%d" % at) for at in range(4 * HISTORY_MAX)]
    until(lambda: written[-1] in watch.versions, LIMIT_S, lambda: (len(watch.entries), watch.versions[-3:]))
    assert watch.end() == 130
    told = watch.versions
    assert told == [version for version in written if version in told], "once, in order"
    assert told[-HISTORY_MAX:] == written[-HISTORY_MAX:]
    assert len(told) + sum(int(str(entry.get("missed", 0))) for entry in watch.entries) == len(written)


def _events(daemon: Daemon, target: str, count: int, **headers: str) -> list[dict[str, str]]:
    """Return the first events of a stream, read as the standard says."""
    connection = http.client.HTTPConnection("localhost", timeout=LIMIT_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(LIMIT_S)
    connection.sock.connect(daemon.socket)
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    assert answer.headers["Content-Type"].startswith("text/event-stream"), answer.read()
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    with contextlib.closing(connection):
        while len(found) < count:
            line = answer.readline().decode().rstrip("\n")
            name, _, value = line.partition(":")
            if line:
                fields[name] = value.removeprefix(" ")
            elif "data" in fields:
                found.append(fields)
                fields = {}
            else:
                fields = {}
    return found


def test_a_client_of_server_sent_events_goes_on_after_the_last_id(four: list[Daemon]) -> None:
    versions = [four[0].json("put", "k", "--value", str(at))["version"] for at in range(4)]
    versions.append(four[1].json("rm", "k")["version"])
    first = _events(four[2], "/v1/events?key=k&after=none", 2)
    assert [event["id"] for event in first] == versions[:2]
    rest = _events(four[3], "/v1/events?key=k&after=none", 3, **{"Last-Event-ID": first[-1]["id"]})
    assert [event["id"] for event in rest] == versions[2:]
    assert [json.loads(event["data"])["deleted"] for event in rest] == [False, False, True]
    assert {event["event"] for event in rest} == {"version"}
