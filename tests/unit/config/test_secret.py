import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from peerd.config import read_network_key
from peerd.errors import UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"word", b"word"),
        (b"word\n", b"word"),
        (b"word\n\n", b"word\n"),
        (b"\x00\xff", b"\x00\xff"),
        (b"a" * 4096 + b"\n", b"a" * 4096),
    ],
)
def test_the_secret_is_the_file_without_one_newline(path: Path, content: bytes, secret: bytes) -> None:
    path.write_bytes(content)
    assert read_network_key(path) == secret


@pytest.mark.parametrize("content", [b"", b"\n", b"a" * 4097])
def test_a_secret_of_no_or_too_many_bytes_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_network_key(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("mode", [0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o644, 0o666])
def test_a_secret_that_others_can_get_at_is_refused(path: Path, mode: int) -> None:
    path.write_bytes(b"word")
    path.chmod(mode)
    with pytest.raises(UsageError, match="open to others") as caught:
        read_network_key(path)
    assert caught.value.hint is not None
    assert "chmod 600" in caught.value.hint
    assert "word" not in caught.value.message


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_secret_of_its_user_alone_is_taken(path: Path, mode: int) -> None:
    path.write_bytes(b"word")
    path.chmod(mode)
    assert read_network_key(path) == b"word"


@pytest.mark.parametrize(("mode", "taken"), [(0o440, True), (0o640, True), (0o660, False), (0o644, False)])
def test_a_group_may_read_the_secret_that_another_user_owns_and_hands_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, taken: bool
) -> None:
    path.write_bytes(b"word")
    path.chmod(mode)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with nullcontext() if taken else pytest.raises(UsageError, match="open to others"):
        assert read_network_key(path) == b"word"


def test_a_missing_secret_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no network key") as caught:
        read_network_key(tmp_path / "none")
    assert "peer keygen" in (caught.value.hint or "")


def test_a_directory_or_pipe_in_its_place_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError):
            read_network_key(path)
