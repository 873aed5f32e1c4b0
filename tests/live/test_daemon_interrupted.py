"""A fetch over a slow link whose ends are killed: it goes on, and what had arrived does not come again.

What comes is counted at the getter's interface; TCP, TLS and what the rest of the LAN says are OVERHEAD of it.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons, until
from tests.live.netns import Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]

BLOCK = 1 << 20
SIZE = 16 * BLOCK
RATE = "60mbit"
OVERHEAD = 1.10
QUEUED_BYTES = 2 * BLOCK
"""What the link's queue and the kernel may hold of a source when its connection is cut, one block and some."""

UNDER_WAY_BYTES = 8 * BLOCK
"""What may be on its way when a cable goes, is asked for again meanwhile, and comes twice when it is back."""

LIMIT_S = 40.0
AWAY_S = 6.0


@dataclass
class Slow:
    """`getter` has nothing of what `source` alone keeps under `big`, and hears it at RATE."""

    getter: Daemon
    source: Daemon
    data: bytes

    def came_bytes(self) -> int:
        """What has arrived at the getter's interface."""
        assert self.getter.host is not None
        shown = self.getter.host.run(["ip", "-s", "-j", "link", "show", "eth0"]).stdout
        return int(json.loads(shown)[0]["stats64"]["rx"]["bytes"])

    def blocks_here(self) -> int:
        """How many whole blocks the getter's disk has, noted or not."""
        store = self.getter.data / "store"
        files = [path for folder in ("blocks", "tmp") for path in (store / folder).rglob("*") if path.is_file()]
        return sum(path.stat().st_size == BLOCK for path in files)

    def get(self, out: Path) -> "subprocess.Popen[bytes]":
        return self.getter.popen("get", "big", "-o", str(out))


@pytest.fixture
def slow() -> Iterator[Slow]:
    with Net(3) as net, Daemons() as daemons:
        started = [daemons.start(host, env={"PEERD_COPIES": "1"}) for host in net.hosts]
        until(lambda: all(len(each.alive()) >= 2 for each in started), LIMIT_S)
        data = os.urandom(SIZE)
        (started[0].home / "big").write_bytes(data)
        started[0].ok("put", "big", str(started[0].home / "big"))
        kept = {each["id"] for each in started[0].json("stat", "big")["holders"]}
        source = next(each for each in started if each.id in kept)
        getter = next(each for each in reversed(started) if each.id not in kept)
        assert getter.host is not None
        getter.host.limit(RATE)
        yield Slow(getter, source, data)


def _half_way(slow: Slow, before: int, command: "subprocess.Popen[bytes]") -> None:
    until(lambda: slow.came_bytes() - before > SIZE // 2 or command.poll() is not None, LIMIT_S)
    assert command.poll() is None


def test_a_killed_daemon_and_a_killed_source_cost_nothing_that_had_arrived(slow: Slow, tmp_path: Path) -> None:
    before, out = slow.came_bytes(), tmp_path / "out"
    command = slow.get(out)
    _half_way(slow, before, command)
    came = slow.came_bytes() - before
    slow.getter.kill()
    assert slow.blocks_here() >= came / OVERHEAD // BLOCK - 1, "all blocks that had arrived, but one"
    assert not out.exists()
    slow.getter.launch().wait_ready()
    until(lambda: slow.came_bytes() - before > came + SIZE // 4 or command.poll() is not None, LIMIT_S)
    slow.source.kill()
    slow.source.launch().wait_ready()
    _, err = command.communicate(timeout=LIMIT_S)
    assert command.returncode == 0, err
    assert out.read_bytes() == slow.data
    assert slow.came_bytes() - before < SIZE * OVERHEAD + 2 * QUEUED_BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_was_ended_is_run_again_and_costs_the_rest(slow: Slow, tmp_path: Path, signum: int) -> None:
    before, out = slow.came_bytes(), tmp_path / "out"
    command = slow.get(out)
    _half_way(slow, before, command)
    command.send_signal(signum)
    command.communicate(timeout=LIMIT_S)
    assert not out.exists()
    again = slow.get(out)
    _, err = again.communicate(timeout=LIMIT_S)
    assert again.returncode == 0, err
    assert out.read_bytes() == slow.data
    assert slow.came_bytes() - before < SIZE * OVERHEAD + 2 * QUEUED_BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_cable_that_is_out_for_a_while_costs_what_was_under_way(slow: Slow, tmp_path: Path) -> None:
    before, out = slow.came_bytes(), tmp_path / "out"
    command = slow.get(out)
    _half_way(slow, before, command)
    assert slow.getter.host is not None
    slow.getter.host.unplug()
    back_at = time.monotonic() + AWAY_S
    until(lambda: time.monotonic() > back_at, LIMIT_S)
    slow.getter.host.plug()
    _, err = command.communicate(timeout=LIMIT_S)
    assert command.returncode == 0, err
    assert out.read_bytes() == slow.data
    assert slow.came_bytes() - before < SIZE * OVERHEAD + UNDER_WAY_BYTES
