"""`peer get` that is broken off: what it leaves, what the next one does with it, and a daemon that starts again."""

import fcntl
import io
import os
import socket
import tarfile
import threading
import time
from pathlib import Path

import pytest

from cli.failure import Failure
from cli.place import Place
from tests.unit.cli.scripted import Daemon, Peer, Request, answer, directory, value

WAIT_S = 20.0


def _tar() -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for at in range(6):
            info = tarfile.TarInfo(f"f{at}")
            info.size = 50_000
            tar.addfile(info, io.BytesIO(os.urandom(50_000)))
    return into.getvalue()


def _parts(peer: Peer) -> list[Path]:
    return [path for path in peer.home.iterdir() if path.name.endswith(".part")]


def _left(peer: Peer, target: str, *, directory: bool = False) -> Path:
    """Make what a `peer get -o TARGET` that was killed leaves."""
    left = peer.home / f".{target}.peer-0123abcd.part"
    if directory:
        (left / "sub").mkdir(parents=True)
        (left / "sub" / "f").write_bytes(b"half")
    else:
        left.write_bytes(b"half")
    return left


@pytest.mark.parametrize("directory", [False, True])
def test_what_a_killed_get_left_is_removed_by_the_next(daemon: Daemon, peer: Peer, directory: bool) -> None:
    daemon.answers(value(b"x"))
    left, other = _left(peer, "out", directory=directory), _left(peer, "outer")
    assert peer("get", "k", "-o", "out").status == 0
    assert not left.exists()
    assert other.exists(), "another target's"


def test_what_another_get_writes_just_now_is_left_alone(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"x"))
    other = _left(peer, "out")
    with other.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert peer("get", "k", "-o", "out").status == 0
    assert other.read_bytes() == b"half"
    assert (peer.home / "out").read_bytes() == b"x"


def test_two_gets_of_one_target_each_write_their_own(daemon: Daemon, peer: Peer) -> None:
    go_on = threading.Event()

    def script(_request: Request, connected: socket.socket) -> bytes | None:
        if len(daemon.requests) > 1:
            return value(b"second")
        connected.sendall(value(b"first")[:-5])
        assert go_on.wait(WAIT_S)
        return b"first"

    daemon.script = script
    first = peer.start("get", "k", "-o", "out")
    deadline = time.monotonic() + WAIT_S
    while not _parts(peer):
        assert time.monotonic() < deadline
    assert not (peer.home / "out").exists()
    assert peer("get", "k", "-o", "out").status == 0
    assert (peer.home / "out").read_bytes() == b"second"
    go_on.set()
    _, err = first.communicate(timeout=WAIT_S)
    assert (first.returncode, err) == (0, b"wrote out (5 B)\n")
    assert (peer.home / "out").read_bytes() == b"first"
    assert _parts(peer) == []


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_somebody_took_away_meanwhile_is_no_success(daemon: Daemon, peer: Peer, replaced: bool) -> None:
    def script(_request: Request, _connected: socket.socket) -> bytes | None:
        (part,) = _parts(peer)
        part.unlink()
        if replaced:
            part.write_bytes(b"other")
        return value(b"first")

    daemon.script = script
    (peer.home / "out").write_bytes(b"before")
    done = peer("get", "k", "-o", "out")
    assert (done.status, done.err.splitlines()[0]) == (
        1,
        "peer: writing out: somebody else changed the file while it was written",
    )
    assert (peer.home / "out").read_bytes() == b"before"


def test_a_file_that_was_cut_short_meanwhile_is_no_success(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "out"))
    fd = place.open_file()
    try:
        os.write(fd, b"first")
        os.ftruncate(fd, 3)
        with pytest.raises(Failure, match="somebody else changed"):
            place.commit(fd, 5)
    finally:
        os.close(fd)
    assert not (tmp_path / "out").exists()


class Restarting:
    """Breaks off after so many bytes, is away for a moment, and serves ranges afterwards."""

    def __init__(self, daemon: Daemon, whole: bytes, broken: bytes, *, away: int = 1) -> None:
        self._daemon = daemon
        self._whole, self._broken = whole, broken
        self._left = 1 + away
        daemon.script = self._answer

    def _answer(self, request: Request, _connected: socket.socket) -> bytes:
        if request.method == "POST":
            return answer(201, b"{}")
        self._left -= 1
        if self._left > 0:
            return self._broken if "range" not in request.headers and len(self._daemon.requests) == 1 else b""
        if "range" not in request.headers:
            return self._whole
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        body = self._whole.partition(b"\r\n\r\n")[2]
        told = {"Content-Range": f"bytes {first}-{last}/{len(body)}", "X-Peerd-Get": "{}", "X-Peerd-Kind": "file"}
        return answer(206, body[first : last + 1], "application/octet-stream", **told)


def test_a_file_goes_on_where_it_was_when_the_daemon_is_back(daemon: Daemon, peer: Peer) -> None:
    data = os.urandom(300_000)
    Restarting(daemon, value(data), value(data)[:-100_000])
    assert peer("get", "k", "-o", "out").status == 0
    assert (peer.home / "out").read_bytes() == data
    assert daemon.requests[-1].headers["range"] == "bytes=200000-299999"


def test_a_directory_goes_on_when_the_daemon_is_back(daemon: Daemon, peer: Peer) -> None:
    whole = directory(_tar())
    Restarting(daemon, whole, whole[: len(whole) // 2])
    assert peer("get", "k", "-o", "out").status == 0
    assert sorted(path.name for path in (peer.home / "out").iterdir()) == [f"f{at}" for at in range(6)]


def test_a_directory_that_changed_meanwhile_is_not_mixed(daemon: Daemon, peer: Peer) -> None:
    whole = directory(_tar())
    Restarting(daemon, directory(_tar()), whole[: len(whole) // 2])
    ended = peer("get", "k", "-o", "out")
    assert (ended.status, "changed while it was fetched" in ended.err) == (1, True)
    assert _parts(peer) == []
    assert not (peer.home / "out").exists()


def test_what_was_fetched_in_parts_is_pinned_at_the_end(daemon: Daemon, peer: Peer) -> None:
    data = os.urandom(300_000)
    Restarting(daemon, value(data), value(data)[:-100_000])
    peer("get", "k", "--pin", "-o", "out")
    assert daemon.requests[-1].method == "POST"
    assert daemon.requests[-1].target.startswith("/v1/pins/")


def test_a_daemon_that_does_not_come_back_is_waited_for_no_longer_than_for_a_byte(daemon: Daemon, peer: Peer) -> None:
    data = os.urandom(300_000)

    def script(_request: Request, _connected: socket.socket) -> bytes:
        daemon.path.unlink()
        return value(data)[:-100_000]

    daemon.script = script
    began = time.monotonic()
    ended = peer("get", "k", "-o", "out", "--timeout", "1")
    assert ended.status == 4
    assert 0.5 < time.monotonic() - began < 10
    assert _parts(peer) == []
    assert not (peer.home / "out").exists()
