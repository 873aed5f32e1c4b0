import os
import stat
import subprocess
import sys
import tracemalloc
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest

from peerd.errors import StoreError, UsageError
from peerd.io import datadir
from peerd.io.datadir import DataDirectory, KnownStore, load_or_create_secret, write_file


def entropy(count: int) -> bytes:
    return bytes(range(200, 200 + count))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o277])
def umask(request: pytest.FixtureRequest) -> object:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_data_directory_and_its_files_are_the_owners_alone(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "share" / "peerd"

    with DataDirectory.open(path) as data:
        data.token(entropy)

    assert [mode(tmp_path / "share"), mode(path)] == [0o700, 0o700]
    assert {one.name: mode(one) for one in path.iterdir()} == {"lock": 0o600, "token": 0o600}


@pytest.mark.parametrize("wide", [0o755, 0o710, 0o701])
def test_a_directory_open_to_others_is_refused_before_anything_is_written(tmp_path: Path, wide: int) -> None:
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(wide)

    with pytest.raises(UsageError, match=f"open to others .mode {wide:o}.") as caught:
        DataDirectory.open(path)

    assert caught.value.hint is not None
    assert f"chmod 700 {path}" in caught.value.hint
    assert list(path.iterdir()) == []


def test_a_store_that_others_could_read_is_the_owners_alone_from_the_start_on(tmp_path: Path) -> None:
    store = tmp_path / "data" / "store"
    (store / "blocks").mkdir(parents=True)
    outside = tmp_path / "outside"
    files = [store.parent / "store-seen", store / "store.db", store / "store.db-wal", outside]
    for each in files:
        each.touch()
        each.chmod(0o644)
    (store / "link").symlink_to(outside)
    for directory in (store / "blocks", store):
        directory.chmod(0o755)
    store.parent.chmod(0o700)
    DataDirectory.open(store.parent).close()
    assert [stat.S_IMODE(each.stat().st_mode) for each in files] == [0o600, 0o600, 0o600, 0o644]
    assert [stat.S_IMODE(each.stat().st_mode) for each in (store, store / "blocks")] == [0o700, 0o700]


def test_a_directory_in_use_is_refused_with_its_name_and_the_process(tmp_path: Path) -> None:
    with (
        DataDirectory.open(tmp_path / "data"),
        pytest.raises(UsageError, match=f"{tmp_path / 'data'} is in use by another daemon .process {os.getpid()}."),
    ):
        DataDirectory.open(tmp_path / "data")

    DataDirectory.open(tmp_path / "data").close()


@pytest.mark.parametrize("kind", ["pipe", "link", "directory", "device"])
def test_what_stands_in_the_place_of_the_lock_and_is_no_file_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    data.mkdir(0o700)
    other.write_text("somebody's")
    put_in_place(data / "lock", kind, other)

    with pytest.raises(UsageError, match=f"{data / 'lock'} is not a file"):
        DataDirectory.open(data)

    assert other.read_text() == "somebody's"


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_what_stands_in_the_place_of_the_noted_store_and_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, kind: str
) -> None:
    with DataDirectory.open(tmp_path / "data") as data:
        put_in_place(data.path / "store-seen", kind, tmp_path)

        with pytest.raises(UsageError, match=f"{data.path / 'store-seen'} is not a file"):
            data.known_store()


def test_a_huge_note_of_the_store_is_nonsense_and_not_read_whole(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path / "data") as data:
        with (data.path / "store-seen").open("wb") as file:
            file.truncate(16 << 20)
        tracemalloc.start()
        try:
            assert data.known_store() == KnownStore()
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()
        data.note_store(KnownStore(b"i" * 16, 3))
        assert data.known_store() == KnownStore(b"i" * 16, 3)


def put_in_place(path: Path, kind: str, other: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "directory":
        path.mkdir(0o700)
    else:
        path.symlink_to(other if kind == "link" else "/dev/null")


def test_a_process_that_is_killed_lets_the_directory_go(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from peerd.io.datadir import DataDirectory;"
        "held = DataDirectory.open(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path / "data")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=f"process {holder.pid}"):
            DataDirectory.open(tmp_path / "data")
    finally:
        holder.kill()
        holder.communicate()

    DataDirectory.open(tmp_path / "data").close()


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")

    with pytest.raises(UsageError, match="is not a directory"):
        DataDirectory.open(tmp_path / "data")
    with pytest.raises(UsageError):
        DataDirectory.open(tmp_path / "data" / "below")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a directory nobody can write in: /proc")
def test_a_directory_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot write in /proc/peerd"):
        DataDirectory.open(Path("/proc/peerd"))


def test_the_token_is_made_once(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path / "data") as data:
        token = data.token(entropy)
        again = data.token(bytes)

    assert token == again
    assert urlsafe_b64decode(token + "=") == entropy(datadir.TOKEN_BYTES)


def test_a_new_token_takes_the_place_of_the_old_one(tmp_path: Path, umask: int) -> None:
    with DataDirectory.open(tmp_path / "data") as data:
        old = data.token(entropy)
        new = data.new_token(bytes)

        assert old != new == data.token(entropy)
        assert mode(data.path / "token") == 0o600


def test_what_a_crash_left_of_a_secret_is_gone_with_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data"
    with DataDirectory.open(path), monkeypatch.context() as broken:
        broken.setattr(Path, "replace", lambda *_: os._exit(7))
        child = os.fork()
        if child == 0:
            try:
                write_file(path / "identity.key", b"secret")
            finally:
                os._exit(8)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert [one.read_bytes() for one in path.glob(".identity.key.*")] == [b"secret"]

    with DataDirectory.open(path):
        assert {one.name for one in path.iterdir()} == {"lock"}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"two words", b"\n"])
def test_a_token_file_that_holds_none_is_refused(tmp_path: Path, content: bytes) -> None:
    with DataDirectory.open(tmp_path / "data") as data:
        write_file(data.path / "token", content)

        with pytest.raises(UsageError, match="does not hold a token"):
            data.token(entropy)


def test_a_secret_is_made_once_and_kept_byte_for_byte(tmp_path: Path) -> None:
    secret = bytes(range(256))

    assert load_or_create_secret(tmp_path / "identity", lambda: secret) == secret
    assert load_or_create_secret(tmp_path / "identity", lambda: b"another") == secret
    assert mode(tmp_path / "identity") == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["identity"]


@pytest.mark.parametrize("wide", [0o604, 0o640, 0o644])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, wide: int) -> None:
    load_or_create_secret(tmp_path / "identity", lambda: b"secret")
    (tmp_path / "identity").chmod(wide)

    with pytest.raises(UsageError, match="open to others"):
        load_or_create_secret(tmp_path / "identity", lambda: b"another")

    assert (tmp_path / "identity").read_bytes() == b"secret"


def test_a_secret_that_is_empty_huge_or_no_file_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "empty", b"")
    write_file(tmp_path / "huge", bytes(datadir.SECRET_MAX_BYTES + 1))
    (tmp_path / "directory").mkdir(0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)

    for name in ("empty", "huge", "directory", "pipe"):
        with pytest.raises(UsageError):
            load_or_create_secret(tmp_path / name, lambda: b"secret")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "peers", b"old")

    def failing(descriptor: int) -> None:
        raise OSError(5, "injected")

    monkeypatch.setattr(datadir, "sync_file", failing)
    with pytest.raises(StoreError):
        write_file(tmp_path / "peers", b"new")

    assert (tmp_path / "peers").read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["peers"]


def test_a_write_replaces_the_file_unless_told_not_to(tmp_path: Path) -> None:
    write_file(tmp_path / "peers", b"old")

    write_file(tmp_path / "peers", b"new")
    write_file(tmp_path / "peers", b"newest", replace=False)

    assert (tmp_path / "peers").read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["peers"]
