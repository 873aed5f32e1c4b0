"""The harness of local daemons, with real ones: what it starts works, and what it ends is gone."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peerd.lab.errors import LabError, NoLabError
from peerd.lab.lab import Lab, sweep
from peerd.lab.process import Process, end, find, is_alive, send
from peerd.lab.state import Place

MakeLab = Callable[..., Lab]
BIG = bytes(range(256)) * 8192  # 2 MiB: content, in several blocks
CONVERGE_TIMEOUT_S = 15.0

_LAB = [sys.executable, "-P", "-m", "peerd.lab"]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where a lab of the command line is; whatever the test leaves there is ended."""
    path = tmp_path / "lab"
    yield path
    Lab(path).down()


def _run(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*_LAB, "--dir", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds that follows from a change which the peers have yet to tell each other."""
    deadline = time.monotonic() + CONVERGE_TIMEOUT_S
    while True:
        try:
            if holds():
                return
        except LabError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _processes(lab: Lab) -> list[Process]:
    found = [find(peer.pid) for peer in lab.status() if peer.pid is not None]
    return [process for process in found if process is not None]


def test_peers_of_a_lab_see_each_other_and_share_what_is_put(peer_lab: MakeLab, tmp_path: Path) -> None:
    lab = peer_lab(3)
    for peer in lab.peers:
        listed = peer.api("GET", "/v1/peers").json()
        assert {each["id"] for each in listed} == {other.id for other in lab.peers if other.index != peer.index}
        assert {each["state"] for each in listed} == {"alive"}
    source = tmp_path / "file"
    source.write_bytes(BIG)
    assert lab.peer(0).put("file", source)["copies"] == 3
    assert lab.peer(2).get("file") == BIG
    assert lab.peer(1).cli(["get", "nonsense"]).returncode == 3
    with pytest.raises(LabError, match="exit 3"):
        lab.peer(1).get("nonsense")


def test_by_mdns_they_meet_on_the_loopback_without_being_told(peer_lab: MakeLab) -> None:
    lab = peer_lab(2, mdns=True)
    listed = [peer.api("GET", "/v1/peers").json()[0] for peer in lab.peers]
    assert all(each["address"].startswith("127.0.0.1:") for each in listed)
    assert "mdns" in {each["source"] for each in listed}


def test_a_killed_peer_comes_back_as_the_same_at_the_same_address(peer_lab: MakeLab) -> None:
    lab = peer_lab(3)
    lab.peer(0).put("file", BIG)
    before = lab.status()[0]
    lab.kill(0)
    assert lab.status()[0].pid is None
    assert lab.peer(1).get("file") == BIG
    with pytest.raises(LabError, match="does not run"):
        lab.kill(0)
    lab.start(0)
    with pytest.raises(LabError, match="runs already"):
        lab.start(0)
    after = lab.status()[0]
    assert (after.id, after.listen) == (before.id, before.listen)
    assert after.pid not in {before.pid, None}
    assert lab.peer(0).get("file") == BIG


def test_both_sides_of_a_partition_work_and_agree_when_it_is_healed(peer_lab: MakeLab) -> None:
    lab = peer_lab(3)
    lab.partition([2])
    lab.settle()
    assert [peer.cut_from for peer in lab.status()] == [[2], [2], [0, 1]]
    assert lab.peer(0).put("here", b"of two")["copies"] == 2
    assert lab.peer(2).put("there", BIG)["copies"] == 1
    lab.peer(0).put("both", b"a")
    lab.peer(2).put("both", b"b")
    assert lab.peer(1).get("here") == b"of two"
    assert lab.peer(1).cli(["get", "there"]).returncode in (3, 5)
    lab.heal()
    _eventually(lambda: lab.peer(2).get("here") == b"of two")
    _eventually(lambda: lab.peer(0).get("there") == BIG)
    _eventually(lambda: len({peer.get("both") for peer in lab.peers}) == 1)


def test_a_cut_holds_for_a_peer_that_is_started_while_it_lasts(peer_lab: MakeLab) -> None:
    lab = peer_lab(3)
    lab.partition([0])
    lab.partition([1])
    lab.kill(1)
    lab.start(1)
    lab.settle()
    assert [peer.cut_from for peer in lab.status()] == [[1, 2], [0, 2], [0, 1]]
    assert lab.peer(1).put("alone", b"x")["copies"] == 1
    lab.heal()
    _eventually(lambda: lab.peer(0).get("alone") == b"x")


def test_down_leaves_no_process_and_no_file(directory: Path) -> None:
    lab = Lab(directory)
    lab.up(3)
    lab.kill(1)
    processes = _processes(lab)
    assert len(processes) == 2
    assert lab.down() is True
    assert not any(is_alive(process) for process in processes)
    assert not directory.exists()
    assert lab.down() is False


def test_the_commands_act_on_daemons_that_outlive_them(directory: Path) -> None:
    up = _run(directory, "up", "2", "--json", "--", "--copies", "2")
    listed = json.loads(up.stdout)
    assert [peer["index"] for peer in listed] == [0, 1]
    assert all(peer["alive"] and os.getsid(peer["pid"]) == peer["pid"] for peer in listed)
    assert json.loads(_run(directory, "status", "--json").stdout) == listed
    again = _run(directory, "up", "2")
    assert (again.returncode, "up already" in again.stderr) == (1, True)
    assert _run(directory, "exec", "0", "--", "peer", "put", "key", "--value", "word").returncode == 0
    assert _run(directory, "exec", "1", "--", "peer", "get", "key").stdout == "word"
    assert _run(directory, "kill", "0", "--wait").returncode == 0
    assert _run(directory, "exec", "0", "--", "peer", "id").returncode == 4
    assert _run(directory, "exec", "1", "--", "peer", "get", "key").stdout == "word"
    assert _run(directory, "start", "0").returncode == 0
    assert _run(directory, "partition", "0", "--wait").returncode == 0
    assert _run(directory, "heal", "--wait").returncode == 0
    assert _run(directory, "partition", "5").returncode == 3
    assert _run(directory, "down").returncode == 0
    assert not directory.exists()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], -signal.SIGKILL),
        (["peer", "get", "nonsense"], 3),
        (["peer", "get", "a", "b"], 2),
        (["no-such-command"], 2),
    ],
)
def test_exec_ends_as_its_command_does(one_peer: Path, command: list[str], status: int) -> None:
    assert _run(one_peer, "exec", "0", "--", *command).returncode == status


@pytest.fixture(scope="module")
def one_peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a lab with one peer, for tests that change nothing in it."""
    with Lab(tmp_path_factory.mktemp("one") / "lab") as lab:
        lab.up(1)
        yield lab.directory


def test_a_setting_that_is_wrong_is_told_as_the_daemon_told_it(directory: Path) -> None:
    ended = _run(directory, "up", "2", "--", "--copies", "some")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[0].startswith("peer: peer 0 ended: --copies: not a number")
    assert not directory.exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_up_that_is_interrupted_leaves_nothing(directory: Path, signum: signal.Signals) -> None:
    up = subprocess.Popen([*_LAB, "--dir", str(directory), "up", "4"], stderr=subprocess.PIPE)
    processes = _some_started(Place(directory))
    up.send_signal(signum)
    up.communicate(timeout=30)
    assert up.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[signum]
    assert not any(is_alive(process) for process in processes)
    assert not directory.exists()


def test_down_ends_what_an_up_started_that_was_killed(directory: Path) -> None:
    up = subprocess.Popen([*_LAB, "--dir", str(directory), "up", "4"], stderr=subprocess.PIPE)
    processes = _some_started(Place(directory))
    up.kill()
    up.communicate(timeout=30)
    assert Lab(directory).down() is True
    assert not any(is_alive(process) for process in processes)
    assert not directory.exists()


def test_down_finds_daemons_that_the_state_does_not_name(directory: Path) -> None:
    lab = Lab(directory)
    lab.up(2)
    processes = _processes(lab)
    (directory / "lab.json").write_text("not what it was")
    try:
        assert lab.down() is True
        assert not any(is_alive(process) for process in processes)
    finally:
        end(processes, timeout_s=5)


def test_down_ends_a_daemon_that_heeds_no_signal(directory: Path) -> None:
    lab = Lab(directory)
    lab.up(2)
    processes = _processes(lab)
    send(processes[1], signal.SIGSTOP)
    try:
        assert lab.down() is True
        assert not any(is_alive(process) for process in processes)
    finally:
        end(processes, timeout_s=5)


def _some_started(place: Place) -> list[Process]:
    """Wait until a lab that is coming up has started a daemon, and return all it has."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(NoLabError):
            found = [peer.process for peer in place.load().peers if peer.process is not None]
            if found:
                return found
        time.sleep(0.01)
    raise AssertionError("no daemon was started")


_FAILING = """
def test_that_fails(peer_lab):
    lab = peer_lab(2)
    print("LAB", lab.directory)
    assert lab.peer(0).get("nonsense") == b""
"""


def test_a_failing_test_of_a_user_shows_the_logs_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(_FAILING)
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert ran.returncode == 1
    assert "not found: nonsense" in ran.stdout
    assert ran.stdout.count("peerd ready id=") == 2
    where = next(line for line in ran.stdout.splitlines() if line.startswith("LAB "))
    assert not Path(where.removeprefix("LAB ")).exists()


def test_labs_of_test_runs_that_were_killed_are_swept(peer_lab: MakeLab) -> None:
    lab = peer_lab(1)
    processes = _processes(lab)
    place = Place(lab.directory)
    sweep()
    assert all(is_alive(process) for process in processes)
    state = place.load()
    state.owner = Process(os.getpid(), "another life of this id")
    place.save(state)
    sweep()
    assert not any(is_alive(process) for process in processes)
    assert not lab.directory.exists()
