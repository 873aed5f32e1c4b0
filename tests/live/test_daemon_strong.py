"""Strong writes and locks on real daemons, through the command line: conditions, exit codes, a lock that is lost."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons, until

WRITERS = 6
INCREMENTS = 5


@pytest.fixture(scope="module")
def trio() -> Iterator[list[Daemon]]:
    with Daemons() as daemons:
        yield daemons.loopback(3)


def test_a_condition_that_does_not_hold_is_exit_10_and_says_so_in_json(trio: list[Daemon]) -> None:
    alice, bob, carol = trio
    first = alice.json("put", "c/a", "--value", "one", "--if-version", "none")
    for daemon in trio:
        done = daemon.peer("--json", "put", "c/a", "--value", "other", "--if-version", "none")
        assert done.code == 10
        assert json.loads(done.out)["error"]["code"] == "conflict"
    second = bob.json("put", "c/a", "--value", "two", "--if-version", first["version"])
    carol.peer("rm", "c/a", "--if-version", first["version"]).require_one_line(10)
    assert carol.ok("get", "c/a", "--consistency", "strong") == b"two"
    tag = f'If-Match: "{first["version"]}"'
    assert alice.curl("/v1/kv/c%2Fa", "-X", "PUT", "-H", tag, "-d", "x", "-w", "%{http_code}").out.endswith(b"412")
    carol.ok("rm", "c/a", "--if-version", second["version"])
    alice.peer("get", "c/a", "--consistency", "strong").require_one_line(3)


def test_writers_on_all_daemons_lose_and_double_no_increment(trio: list[Daemon]) -> None:
    trio[0].ok("put", "c/n", "--value", "0", "--if-version", "none")
    faults: list[object] = []

    def increment(daemon: Daemon) -> None:
        done = 0
        while done < INCREMENTS:
            found = daemon.curl("/v1/kv/c%2Fn?consistency=strong", "-D", "-")
            head, _, body = found.out.rpartition(b"\r\n\r\n")
            tag = next(line for line in head.splitlines() if line.lower().startswith(b"etag:"))
            version = tag.split(b'"')[1].decode()
            put = daemon.peer("put", "c/n", "--value", str(int(body) + 1), "--if-version", version)
            if put.code == 0:
                done += 1
            elif put.code != 10:
                faults.append(put)
                return

    threads = [threading.Thread(target=increment, args=(trio[n % 3],)) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert trio[1].ok("get", "c/n", "--consistency", "strong") == str(WRITERS * INCREMENTS).encode()


def test_a_command_under_a_lock_has_its_fence_and_its_own_status(trio: list[Daemon]) -> None:
    alice, bob, _ = trio
    show = ["sh", "-c", "echo $PEER_LOCK_FENCE"]
    first, second = int(alice.ok("lock", "l/a", "--", *show)), int(bob.ok("lock", "l/a", "--", *show))
    assert second > first
    assert alice.peer("lock", "l/a", "--", "sh", "-c", "exit 7").code == 7
    assert alice.peer("lock", "l/a", "--", "sh", "-c", "kill -9 $$").code == 137
    assert alice.peer("lock", "l/a", "--", "no-such-command").code == 127
    holder = alice.popen("lock", "l/a", "--", "sleep", "60", stderr=subprocess.DEVNULL)
    try:
        until(lambda: bob.peer("--timeout", "0.2", "lock", "l/a", "--", "true").code == 5, 10)
        holder.send_signal(signal.SIGTERM)  # it goes to the command
        assert holder.wait(20) == 128 + signal.SIGTERM
    finally:
        holder.kill()
        holder.wait()
    assert bob.ok("lock", "l/a", "--", *show)


def test_an_interrupt_of_peer_alone_ends_the_command_too(trio: list[Daemon]) -> None:
    alice, bob, _ = trio
    holder = alice.popen("lock", "l/b", "--", "sleep", "60", stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: bob.peer("--timeout", "0.2", "lock", "l/b", "--", "true").code == 5, 10)
        holder.send_signal(signal.SIGINT)
        assert holder.wait(20) == 128 + signal.SIGINT
    finally:
        holder.kill()
        holder.wait()
    bob.ok("--timeout", "5", "lock", "l/b", "--", "true")


def test_a_command_ends_with_the_peer_that_is_killed(trio: list[Daemon], tmp_path: Path) -> None:
    alice, bob, _ = trio
    started, ended = tmp_path / "started", tmp_path / "ended"
    script = f"trap 'echo told > {ended}; exit' TERM; echo $$ > {started}; while :; do sleep 0.1; done"
    holder = alice.popen("lock", "l/c", "--", "sh", "-c", script, stderr=subprocess.DEVNULL)
    until(lambda: started.exists() and started.read_text(), 10)
    holder.kill()
    holder.wait()
    try:
        until(ended.exists, 5)
    except AssertionError:
        os.kill(int(started.read_text()), signal.SIGKILL)
        raise
    assert bob.peer("--timeout", "60", "lock", "l/c", "--", "true", limit_s=90).code == 0


def test_a_lock_that_is_lost_ends_its_command_with_exit_10() -> None:
    with Daemons() as daemons:
        alice, bob, carol = daemons.loopback(3)
        holder = alice.popen("lock", "l", "--", "sleep", "120", stderr=subprocess.DEVNULL)
        until(lambda: bob.peer("--timeout", "0.2", "lock", "l", "--", "true").code == 5, 10)
        for daemon in (bob, carol):
            os.kill(daemon.pid, signal.SIGSTOP)
        try:
            assert holder.wait(60) == 10
            alice.peer("put", "k", "--value", "v", "--if-version", "none").require_one_line(5)
        finally:
            for daemon in (bob, carol):
                os.kill(daemon.pid, signal.SIGCONT)
        assert bob.peer("--timeout", "60", "lock", "l", "--", "true", limit_s=90).code == 0
