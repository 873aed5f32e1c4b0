"""Block files: written past the page cache where that goes, and hashed once before they are sent many times."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from peerd.content.cid import RAW, Cid
from peerd.io.store import direct
from peerd.io.store.blockfiles import BlockFiles
from peerd.io.store.checked import CHECKED_S, Checked
from peerd.io.store.health import StoreHealth
from peerd.io.system import SystemClock

SIZES = (
    1,
    direct.DIRECT_MIN_BYTES - 1,
    direct.DIRECT_MIN_BYTES,
    direct.DIRECT_MIN_BYTES + 1,
    1 << 20,
    (1 << 21) + 4097,
)


def raw_of(data: bytes) -> bytes:
    return Cid(RAW, hashlib.sha256(data).digest()).to_bytes()


@pytest.fixture
def files(tmp_path: Path) -> BlockFiles:
    made = BlockFiles(tmp_path, StoreHealth(SystemClock()))
    made.prepare()
    return made


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(files: BlockFiles, size: int) -> None:
    data = os.urandom(size)
    files.place(files.stage(raw_of(data), data))
    assert files.read(raw_of(data)) == data
    for _ in range(3):  # past the cache, into it, and from it
        assert files.read_whole(raw_of(data)) == data


@pytest.mark.parametrize("at", ["open", "write"])
def test_a_file_system_that_refuses_is_written_through_the_cache(
    files: BlockFiles, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    data = os.urandom(1 << 20)
    real_write, real_fcntl, refused = os.pwrite, __import__("fcntl").fcntl, []

    def fcntl(descriptor: int, command: int, argument: int = 0) -> int:
        if at == "open" and argument & os.O_DIRECT:
            refused.append(command)
            raise OSError(errno.EINVAL, "no")
        return int(real_fcntl(descriptor, command, argument))

    def write(descriptor: int, piece: memoryview, offset: int) -> int:
        if at == "write" and real_fcntl(descriptor, 3) & os.O_DIRECT:
            refused.append(0)
            raise OSError(errno.EINVAL, "no")
        return real_write(descriptor, piece, offset)

    monkeypatch.setattr("fcntl.fcntl", fcntl)
    monkeypatch.setattr(os, "pwrite", write)
    for _ in range(2):
        files.place(files.stage(raw_of(data), data))
    assert files.read(raw_of(data)) == data
    assert len(refused) == 1, "it is not tried again"


def test_a_full_disk_is_told(files: BlockFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(descriptor: int, piece: memoryview, offset: int) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", write)
    with pytest.raises(OSError, match="full"):
        files.stage(raw_of(b"x"), b"x" * (1 << 20))
    assert files.leftovers() == []


def test_a_file_is_hashed_once_until_it_is_written_to(files: BlockFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(1 << 19)
    raw = raw_of(data)
    path = files.place(files.stage(raw, data))
    monkeypatch.setattr(hashlib, "sha256", lambda _: pytest.fail("hashed again"))
    assert files.read_whole(raw) == data
    monkeypatch.undo()
    (file,) = path.iterdir()
    file.write_bytes(b"?" + data[1:])
    assert files.read_whole(raw) is None
    assert files.read(raw) is not None


def test_a_look_is_good_for_a_while_only(tmp_path: Path) -> None:
    now = 0.0
    checked = Checked(lambda: now)
    file = tmp_path / "file"
    file.write_bytes(b"x")
    checked.note(b"raw", file.stat())
    assert checked.was(b"raw", file.stat())
    assert not checked.was(b"other", file.stat())
    now = CHECKED_S + 1
    assert not checked.was(b"raw", file.stat())
