import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerd.io.systemd import notify_ready, notify_stopping


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind(str(tmp_path / "notify"))
        yield manager


def test_the_manager_hears_that_we_are_ready_and_that_we_stop(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname()}
    assert notify_ready(environ)
    assert notify_stopping(environ)
    assert (manager.recv(100), manager.recv(100)) == (b"READY=1", b"STOPPING=1")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "relative"},
        {"NOTIFY_SOCKET": "/none"},
        {"NOTIFY_SOCKET": "/" + "a" * 200},
    ],
)
def test_no_manager_is_no_error(environ: dict[str, str]) -> None:
    assert not notify_ready(environ)
