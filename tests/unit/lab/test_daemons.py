from pathlib import Path
from typing import Any

import pytest

from peerd.config import load
from peerd.errors import UsageError
from peerd.lab import daemons
from peerd.lab.lab import Lab
from peerd.lab.process import Process
from peerd.lab.state import Place


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
