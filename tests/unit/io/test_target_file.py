"""Files that a caller has open: written at any place, and opened for nobody but the daemon's own user."""

import errno
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from peerd.io import target_file
from peerd.io.target_file import TargetFile, open_of_caller

MIB = 1 << 20
needs_credentials = pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="there is no SO_PEERCRED")


class Caller:
    """A socket's other end, as SO_PEERCRED tells it."""

    def __init__(self, pid: int | None = None, uid: int | None = None) -> None:
        self.told = struct.pack("3i", os.getpid() if pid is None else pid, os.geteuid() if uid is None else uid, 0)

    def getsockopt(self, *_: Any) -> bytes:
        return self.told


def opened(path: Path, caller: Caller, flags: int = os.O_WRONLY | os.O_CREAT, **other: int) -> TargetFile | None:
    descriptor = os.open(path, flags)
    try:
        found = os.fstat(descriptor)
        return open_of_caller(
            caller, other.get("fd", descriptor), other.get("dev", found.st_dev), other.get("ino", found.st_ino)
        )
    finally:
        os.close(descriptor)


@needs_credentials
@pytest.mark.parametrize("sick", [False, True])
def test_pieces_go_to_their_places_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sick: bool) -> None:
    """Also where the file system opens past its cache and then takes nothing there."""
    if sick:

        def refuse(*_: Any) -> int:
            raise OSError(errno.EINVAL, "no")

        monkeypatch.setattr(target_file, "write_aligned", refuse)
    data = os.urandom(3 * MIB + 12_345)
    made = opened(tmp_path / "f", Caller())
    assert made is not None
    with made as target:
        for at in (2 * MIB, 0, 3 * MIB, MIB):
            target.write(data[at : at + MIB], at)
    assert (tmp_path / "f").read_bytes() == data


@needs_credentials
def test_only_a_file_of_the_own_user_and_just_that_one_is_opened(tmp_path: Path) -> None:
    one = tmp_path / "f"
    assert opened(one, Caller(uid=os.geteuid() + 1)) is None
    assert opened(one, Caller(pid=0)) is None
    assert opened(one, Caller(), ino=1) is None
    assert opened(one, Caller(), dev=1) is None
    assert opened(one, Caller(), fd=1_000_000) is None
    assert opened(Path("/dev/null"), Caller(), os.O_WRONLY) is None
    os.mkfifo(tmp_path / "pipe")
    assert opened(tmp_path / "pipe", Caller(), os.O_RDONLY | os.O_NONBLOCK) is None
    assert open_of_caller(object(), 1, 1, 1) is None, "no socket that knows who is there"


@needs_credentials
def test_who_is_writing_when_it_is_closed_writes_to_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opened(tmp_path / "f", Caller())
    assert made is not None
    begun, closed, write = threading.Event(), threading.Event(), os.pwrite

    def slow(descriptor: int, data: memoryview, at: int) -> int:
        begun.set()
        assert closed.wait(10)
        return write(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", slow)
    thread = threading.Thread(target=made.write, args=(b"mine", 0))
    thread.start()
    assert begun.wait(10)
    made.close()
    others = [os.open(tmp_path / f"other-{at}", os.O_WRONLY | os.O_CREAT) for at in range(3)]
    closed.set()
    thread.join(10)
    for other in others:
        os.close(other)
    assert (tmp_path / "f").read_bytes() == b"mine"
    assert all((tmp_path / f"other-{at}").read_bytes() == b"" for at in range(3))
    with pytest.raises(OSError, match="Bad file descriptor"):
        made.write(b"more", 4)


@needs_credentials
def test_a_full_disk_is_told_and_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    made = opened(tmp_path / "f", Caller())
    assert made is not None
    monkeypatch.setattr(os, "pwrite", full)
    with made as target, pytest.raises(OSError, match="full"):
        target.write(bytes(MIB), 0)
