import json
from pathlib import Path

import pytest

from peerd.lab.__main__ import main


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERD_LAB", str(tmp_path / "lab"))


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 2),
        (["nonsense"], 2),
        (["up"], 2),
        (["up", "many"], 2),
        (["up", "0"], 2),
        (["up", "3", "--copies", "2"], 2),
        (["up", "3", "--", "--listen", "127.0.0.1:7433"], 2),
        (["status"], 4),
        (["exec", "0", "--", "true"], 4),
        (["exec", "0", "--"], 2),
        (["exec", "0"], 2),
        (["kill", "0"], 4),
        (["start", "0"], 4),
        (["partition", "0,1"], 4),
        (["partition", "a"], 2),
        (["partition", ""], 2),
        (["partition", "0,,1"], 2),
        (["heal"], 4),
    ],
)
def test_every_error_is_one_line_and_perhaps_a_hint_with_its_exit_status(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert shown.out == ""
    assert [line.split(":")[0] for line in lines] in (["peer"], ["peer", "hint"])


@pytest.mark.parametrize("arguments", [["--json", "status"], ["status", "--json"]])
def test_with_json_the_error_is_json_on_standard_output(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(arguments) == 4
    shown = capsys.readouterr()
    told = json.loads(shown.out)["error"]
    assert (told["code"], told["hint"]) == ("no_daemon", "start one: peer lab up 3")
    assert str(tmp_path / "lab") in told["message"]
    assert shown.err == ""


def test_json_among_the_arguments_of_what_exec_runs_is_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["exec", "0", "--", "peer", "--json"], ["exec", "0", "peer", "--json"]):
        assert main(arguments) == 4
        assert capsys.readouterr().out == ""


def test_down_without_a_lab_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"down": False}


def test_dir_wins_over_the_environment(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments in (["--dir", str(tmp_path / "other"), "status"], ["status", "--dir", str(tmp_path / "other")]):
        assert main(arguments) == 4
        assert str(tmp_path / "other") in capsys.readouterr().err


def test_what_drives_a_terminal_is_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", "/\x1b[2J\nhint: lies", "status"]) == 4
    shown = capsys.readouterr().err
    assert "\\x1b[2J\\nhint: lies" in shown
    assert len(shown.splitlines()) == 2
