"""`peer get -o` of a large file: the daemon writes it where it is wanted, for its own user and over its socket only."""

import http.client
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons

MIB = 1 << 20
CONTENT = os.urandom(7 * MIB + 4321)

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="there is no SO_PEERCRED")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    with Daemons() as daemons:
        group = daemons.loopback(3)
        content = tmp_path_factory.mktemp("put") / "content"
        content.write_bytes(CONTENT)
        group[0].ok("put", "big", content)
        yield group


class Local(http.client.HTTPConnection):
    """HTTP over a daemon's Unix socket."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__("localhost", timeout=30)
        self._path = daemon.socket

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path.removeprefix("unix:"))


def asked(connection: http.client.HTTPConnection, target: Path, **headers: str) -> tuple[str | None, bytes]:
    """Ask for the file to be written to `target`; return how much was said to land, and the body."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        found = os.fstat(descriptor)
        into = f"fd={descriptor}; dev={found.st_dev}; ino={found.st_ino}"
        connection.request("GET", "/v1/kv/big", headers={"X-Peerd-Into": into, **headers})
        answer = connection.getresponse()
        return answer.getheader("X-Peerd-Into"), answer.read()
    finally:
        os.close(descriptor)
        connection.close()


def test_the_daemon_writes_for_its_own_user_over_its_socket(three: list[Daemon], tmp_path: Path) -> None:
    for daemon in three:
        landed, body = asked(Local(daemon), tmp_path / "got")
        assert landed == str(len(CONTENT))
        assert [int(line) for line in body.split()][-1] == len(CONTENT)
        assert (tmp_path / "got").read_bytes() == CONTENT


def test_everybody_else_gets_the_bytes(three: list[Daemon], tmp_path: Path) -> None:
    host, port = three[0].tcp.removeprefix("http://").rsplit(":", 1)
    over_tcp = http.client.HTTPConnection(host, int(port), timeout=30)
    token = {"Authorization": f"Bearer {three[0].token}"}
    assert asked(over_tcp, tmp_path / "a", **token) == (None, CONTENT)
    assert asked(Local(three[0]), tmp_path / "a", Range="bytes=5-9") == (None, CONTENT[5:10])
    assert asked(Local(three[0]), tmp_path / "a", **{"X-Peerd-Into": "fd=1; dev=2"})[0] is None
    assert (tmp_path / "a").read_bytes() == b""


def test_a_get_leaves_one_whole_file_of_the_usual_mode(three: list[Daemon], tmp_path: Path) -> None:
    target = tmp_path / "here" / "out"
    target.parent.mkdir()
    for _ in range(2):  # the second time it replaces the first
        three[2].ok("get", "big", "-o", target)
        assert target.read_bytes() == CONTENT
        assert [each.name for each in target.parent.iterdir()] == ["out"]
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
