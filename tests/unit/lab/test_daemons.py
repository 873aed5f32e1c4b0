import json
import os
from pathlib import Path
from typing import Any

import pytest

from peerd.config import load
from peerd.errors import UsageError
from peerd.lab import daemons
from peerd.lab.control import Answer
from peerd.lab.errors import LabError
from peerd.lab.lab import Lab
from peerd.lab.process import Process, find
from peerd.lab.state import LabState, PeerState, Place


class _Spawned(Exception):
    """Carries what would have been started."""

    def __init__(self, arguments: list[str], **given: Any) -> None:
        self.flags = arguments[arguments.index("run") + 1 :]
        self.environment: dict[str, str] = given["environment"]


def _first_started(monkeypatch: pytest.MonkeyPatch, directory: Path, **given: Any) -> _Spawned:
    def spawn(arguments: list[str], **options: Any) -> Process:
        raise _Spawned(arguments, **options)

    monkeypatch.setattr(daemons, "spawn", spawn)
    monkeypatch.setattr("peerd.lab.lab.UNNOTED_TIMEOUT_S", 0.0)
    with pytest.raises(_Spawned) as raised:
        Lab(directory).up(2, **given)
    return raised.value


def test_a_daemon_of_a_lab_is_set_by_the_lab_and_its_flags_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PEERD_DATA", "/of/this/users/daemon")
    monkeypatch.setenv("PEERD_BOOTSTRAP", "192.0.2.1:7433")
    monkeypatch.setenv("PEERD_LAB", "/some/lab")
    monkeypatch.setenv("PEERD_QUOTA", "1GB")
    given = {"PEERD_PROBE_INTERVAL_S": "0.5"}
    started = _first_started(monkeypatch, tmp_path / "lab", flags=["--copies", "2"], environment=given)
    place = Place(tmp_path / "lab")
    pairs = dict(zip(started.flags[::2], started.flags[1::2], strict=True))
    settings = {name: value for name, value in started.environment.items() if name.startswith("PEERD_")}
    loaded = load(
        {"copies": pairs["--copies"], "data": pairs["--data"], "listen": pairs["--listen"], "api": (pairs["--api"],)},
        settings | {"PEERD_CONFIG": ""},
    )
    assert loaded.warnings == []
    assert loaded.settings.data == place.data(0)
    assert loaded.settings.listen == ("127.0.0.1", 0)
    assert loaded.settings.bootstrap == ()
    assert loaded.settings.mdns is False
    assert (loaded.settings.copies, loaded.settings.quota_bytes) == (2, 10**9)
    assert loaded.settings.probe_interval_s == 0.5
    assert settings["PEERD_CONFIG"] == str(place.settings)


def test_two_labs_are_two_networks_that_see_only_the_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = _first_started(monkeypatch, tmp_path / "one", mdns=True).environment
    two = _first_started(monkeypatch, tmp_path / "two", mdns=True).environment
    assert one["PEERD_NETWORK"] != two["PEERD_NETWORK"]
    assert (one["PEERD_MDNS"], one["PEERD_INTERFACES"]) == ("1", "127.0.0.1")


def test_an_up_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _first_started(monkeypatch, tmp_path / "lab")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--data", "--data=/x", "--listen", "--no-mdns"])
def test_a_flag_that_must_differ_from_peer_to_peer_is_refused(flag: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="by the lab itself"):
        Lab(tmp_path / "lab").up(2, flags=[flag])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, -1, 101])
def test_the_number_of_peers_is_bounded(count: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 to 100 peers"):
        Lab(tmp_path / "lab").up(count)


def _seen(monkeypatch: pytest.MonkeyPatch, lists: dict[int, list[dict[str, str]]]) -> tuple[Place, LabState]:
    """A lab of three that run, where `lists` says whom each has in its list of peers."""
    peers = [PeerState(index, id=f"id{index}", process=find(os.getpid())) for index in range(3)]
    place = Place(Path("/nowhere"))
    answers = {place.socket(index): json.dumps(listed).encode() for index, listed in lists.items()}
    monkeypatch.setattr(daemons, "ask", lambda path, *rest, **given: Answer(200, {}, answers[path]))
    return place, LabState(peers=peers, mdns=False, flags=[], environment={}, cwd="/")


def test_a_lab_is_up_when_each_lists_all_others_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = [{"id": f"id{index}", "state": "alive"} for index in range(3)]
    place, state = _seen(monkeypatch, {0: alive[1:], 1: [alive[0], alive[2]], 2: alive[:2]})
    daemons.wait_seen(place, state, state.peers, 0.0, exactly=True)
    place, state = _seen(monkeypatch, {0: alive[1:], 1: [alive[0], {"id": "id2", "state": "suspect"}], 2: alive[:2]})
    with pytest.raises(LabError, match="peer 1 does not list as alive in time: 2"):
        daemons.wait_seen(place, state, state.peers, 0.0, exactly=False)


def test_a_cut_is_noticed_when_nobody_lists_as_alive_whom_it_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = [{"id": f"id{index}", "state": "alive"} for index in range(3)]
    place, state = _seen(monkeypatch, {0: alive[1:2], 1: alive[:1], 2: alive[1:2]})
    state.cuts = [[0, 1]]
    daemons.wait_seen(place, state, state.peers, 0.0, exactly=False)
    with pytest.raises(LabError, match="peer 2 lists as alive whom it cannot reach, for too long: 1"):
        daemons.wait_seen(place, state, state.peers, 0.0, exactly=True)
