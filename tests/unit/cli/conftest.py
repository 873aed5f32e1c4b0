"""`peer` as users run it, and the daemon it talks to, played from a script."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.main import main
from tests.unit.cli.scripted import Daemon, Ended, Peer

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which this checkout's `cli` is the package `peerd_cli`, as when it is installed."""
    directory = tmp_path_factory.mktemp("packages")
    (directory / "peerd_cli").symlink_to(ROOT / "cli")
    return directory


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path / "api.sock")
    yield one
    one.close()


@pytest.fixture
def peer(packages: Path, tmp_path: Path, daemon: Daemon) -> Peer:
    """The command, pointed at `daemon`."""
    home = tmp_path / "home"
    home.mkdir()
    return Peer(packages, home, daemon.api)


@pytest.fixture
def lonely(packages: Path, tmp_path: Path) -> Peer:
    """The command where no daemon is."""
    home = tmp_path / "home"
    home.mkdir()
    return Peer(packages, home)


@pytest.fixture
def inside(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Ended]:
    """The command within this process, for what ends before it changes anything of a process."""
    monkeypatch.setenv("PEER_API", daemon.api)

    def run(*arguments: str) -> Ended:
        status = main(list(arguments))
        out, err = capfdbinary.readouterr()
        return Ended(status, out, err.decode())

    return run
