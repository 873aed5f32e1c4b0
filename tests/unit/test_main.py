import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import peerd
from peerd import __main__ as program
from peerd import start
from peerd.config import HostPort, Loaded, Settings
from peerd.errors import UsageError

ROOT = Path(__file__).parents[2]

HEAVY = ("aiohttp", "asyncio", "cryptography", "loguru", "peerd.daemon", "peerd.node", "uvloop", "zeroconf")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Settings]:
    """The settings of every daemon that would have been started, in an environment without settings."""
    for name in [name for name in os.environ if name.startswith(("PEERD_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings: list[Settings] = []

    def begin(loaded: Loaded) -> int:
        settings.append(loaded.settings)
        return len(loaded.warnings)

    monkeypatch.setattr(start, "start", begin)
    return settings


@pytest.mark.parametrize("command", [[], ["run"]])
def test_run_may_be_left_out(command: list[str], started: list[Settings]) -> None:
    assert (
        program.status([*command, "--listen", "127.0.0.1:0", "--no-mdns", "--bootstrap", "a:1", "--bootstrap", "b:2"])
        == 0
    )
    (settings,) = started
    assert settings.listen == HostPort("127.0.0.1", 0)
    assert settings.mdns is False
    assert settings.bootstrap == (("a", 1), ("b", 2))


def test_no_argument_at_all_runs_a_peer(started: list[Settings]) -> None:
    assert program.status([]) == 0
    assert started[0].mdns is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--copies", "0"], "peerd: --copies: out of bounds: '0'\nhint: 1 to 255\n"),
        (["--no-such"], "peerd: No such option '--no-such'"),
        (["nosuch"], "peerd: No such command 'nosuch'"),
        (["run", "extra"], "peerd: Got unexpected extra argument"),
        (["--listen"], "peerd: Option '--listen' requires an argument."),
        (["coordinator", "--open", "x"], "peerd: coordinator: not in this version\nhint: "),
        (["--coordinator", "https://a"], "peerd: --coordinator: not in this version\nhint: "),
        (["--gateway", "a"], "peerd: --gateway: "),
    ],
)
def test_wrong_usage_is_a_line_and_a_hint_and_exit_2(
    arguments: list[str], message: str, started: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.status(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith(message)
    assert [line.split(":")[0] for line in err.splitlines()] == ["peerd", "hint"]
    assert (out, started) == ("", [])


def test_an_error_shows_no_control_character(started: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.status(["--config", "/no\x1b[2J\nsuch"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "peerd: no settings file /no\\x1b[2J\\nsuch"


def test_the_exit_code_is_the_errors_own(monkeypatch: pytest.MonkeyPatch, started: list[Settings]) -> None:
    class OtherError(UsageError):
        exit_code = 9

    def fail(loaded: Loaded) -> int:
        raise OtherError("no")

    monkeypatch.setattr(start, "start", fail)
    assert program.status([]) == 9


def test_an_interrupt_before_the_daemon_listens_to_signals_is_130(
    monkeypatch: pytest.MonkeyPatch, started: list[Settings]
) -> None:
    def interrupt(loaded: Loaded) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "start", interrupt)
    assert program.status([]) == 130


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_goes_to_standard_output(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.status(arguments) == 0
    assert capsys.readouterr().out == f"peerd {peerd.__version__}\n"


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.status(["run", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(flag in out for flag in ("--config FILE", "--data DIR", "--no-mdns", "--log-format", "PEERD_QUOTA"))
    assert "--coordinator" not in out


def test_help_imports_nothing_of_the_daemon() -> None:
    script = "import sys; from peerd.__main__ import status; status(['--help']); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    imported = ast.literal_eval(done.stdout.splitlines()[-1])
    assert set(imported) & set(HEAVY) == set()


_FAKE = """
import sys, types
import peerd
from peerd.errors import UsageError

async def run(settings, file, passphrase):
    print(settings.copies)
    {body}

peerd.daemon = sys.modules["peerd.daemon"] = types.ModuleType("peerd.daemon")
peerd.daemon.run = run
from peerd.__main__ import main
main(["--copies", "5"])
"""


def _started(body: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Start the program in a process of its own, with a daemon that does `body`."""
    environ = {"HOME": str(home), "PEERD_COPYS": "1", "PATH": os.environ["PATH"]}
    script = [sys.executable, "-c", _FAKE.format(body=body)]
    return subprocess.run(script, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_no_core_is_written_of_a_daemon(tmp_path: Path) -> None:
    script = (
        "import resource; from peerd.start import leave_no_core;"
        "most = resource.getrlimit(resource.RLIMIT_CORE)[1];"
        "resource.setrlimit(resource.RLIMIT_CORE, (4096 if most < 0 else most, most));"
        "leave_no_core(); print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "0\n"


def test_the_daemon_gets_the_settings_and_gives_the_status(tmp_path: Path) -> None:
    done = _started("return 3", tmp_path)
    assert (done.returncode, done.stdout) == (3, "5\n")
    assert "unknown variable PEERD_COPYS: the nearest known one is PEERD_COPIES" in done.stderr
    assert "WARNING" in done.stderr


def test_an_error_of_the_daemon_is_a_line_and_a_hint(tmp_path: Path) -> None:
    done = _started("raise UsageError('port 7433 is taken', hint='give another with --listen')", tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("peerd: port 7433 is taken\nhint: give another with --listen\n")
    assert "Traceback" not in done.stderr


def test_a_fault_of_the_daemon_is_logged_with_its_trace(tmp_path: Path) -> None:
    done = _started("raise ZeroDivisionError('ours')", tmp_path)
    assert done.returncode == 1
    assert "ERROR stopped by a fault of peerd" in done.stderr
    assert "ZeroDivisionError: ours" in done.stderr
