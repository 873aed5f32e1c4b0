"""A daemon that cannot start says so in one line and a hint, ends with 2, and has written nothing."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import PEERD, Daemons, small_disk

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    with Daemons() as group:
        yield group


@contextlib.contextmanager
def taken(kind: int) -> Iterator[int]:
    """Bind a port of 127.0.0.1 as another program would."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield sock.getsockname()[1]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_taken_overlay_port_is_told_before_anything_is_written(daemons: Daemons, kind: int) -> None:
    with taken(kind) as port:
        daemon = daemons.prepare(None, "--listen", f"127.0.0.1:{port}")
        line, hint = daemon.refuse()
        assert str(port) in line
        assert "--listen" in hint
        assert not daemon.data.exists()
        assert list(daemon.home.glob("**/*.sock")) == []


def test_a_taken_api_port_is_told_before_anything_is_written(daemons: Daemons) -> None:
    with taken(socket.SOCK_STREAM) as port:
        daemon = daemons.prepare(None, "--api", f"127.0.0.1:{port}")
        daemon.flags = ["--listen", "127.0.0.1:0", "--no-mdns", "--api", f"127.0.0.1:{port}"]
        line, hint = daemon.refuse()
        assert str(port) in line
        assert "--api" in hint
        assert not daemon.data.exists()


def test_a_data_directory_in_use_is_told_and_its_owner_goes_on(daemons: Daemons) -> None:
    owner = daemons.start()
    owner.ok("put", "mine", "--value", "still")
    second = daemons.prepare(None, "--data", str(owner.data))
    before = sorted((path, path.stat().st_size) for path in owner.data.rglob("*") if "wal" not in path.name)
    line, hint = second.refuse()
    assert str(owner.data) in line
    assert "--data" in hint
    assert sorted((path, path.stat().st_size) for path in owner.data.rglob("*") if "wal" not in path.name) == before
    assert owner.ok("get", "mine") == b"still"


def test_an_api_socket_in_use_is_told_and_one_left_by_a_crash_is_not(daemons: Daemons) -> None:
    owner = daemons.start()
    second = daemons.prepare()
    second.flags = ["--listen", "127.0.0.1:0", "--no-mdns", "--api", f"unix:{owner.socket}"]
    lines = second.refuse()
    assert owner.socket in lines[0]
    assert owner.ok("id").decode().strip() == owner.id
    owner.kill()
    assert Path(owner.socket).exists()
    owner.launch().wait_ready()
    assert owner.ok("id").decode().strip() == owner.id


@ROOT_ONLY
def test_an_unwritable_data_directory_is_told(daemons: Daemons) -> None:
    daemon = daemons.prepare()
    daemon.data.mkdir(parents=True)
    lines = daemon.refuse(wrapper=small_disk(daemon.data, "1m", "ro"))
    assert str(daemon.data) in lines[0]
    assert "Read-only" in lines[0] or "writ" in lines[0]


@ROOT_ONLY
def test_a_disk_with_no_room_for_the_store_is_told(daemons: Daemons) -> None:
    daemon = daemons.prepare()
    daemon.data.mkdir(parents=True)
    daemon.launch(wrapper=small_disk(daemon.data, "8k"))
    assert daemon.process is not None
    assert daemon.process.wait(20) in (2, 9)
    assert daemon.log.startswith("peerd: ") and "Traceback" not in daemon.log and len(daemon.log.splitlines()) <= 2


def test_a_data_path_that_is_a_file_is_told(daemons: Daemons) -> None:
    daemon = daemons.prepare()
    daemon.data.parent.mkdir(parents=True)
    daemon.data.write_text("a file\n")
    assert str(daemon.data) in daemon.refuse()[0]
    assert daemon.data.read_text() == "a file\n"


@pytest.mark.parametrize("name", ["identity.key", "token"])
def test_a_secret_that_others_can_read_is_told(daemons: Daemons, name: str) -> None:
    daemon = daemons.start()
    daemon.stop()
    secret = daemon.data / name
    assert secret.stat().st_mode & 0o077 == 0
    secret.chmod(0o644)
    line, hint = daemon.refuse()
    assert str(secret) in line
    assert "chmod" in hint
    secret.chmod(0o600)
    daemon.launch().wait_ready()


@pytest.mark.parametrize("name", ["store-seen", "lock"])
def test_a_pipe_in_the_place_of_a_file_is_told_and_not_waited_for(daemons: Daemons, name: str) -> None:
    daemon = daemons.start()
    daemon.stop()
    (daemon.data / name).unlink()
    os.mkfifo(daemon.data / name, 0o600)
    assert str(daemon.data / name) in daemon.refuse()[0]


def test_a_data_directory_whose_name_is_no_utf_8_is_as_good_as_any(daemons: Daemons) -> None:
    daemon = daemons.prepare()
    data = daemon.home / os.fsdecode(b"\xff")
    daemon.flags += ["--data", str(data)]
    daemon.launch().wait_ready()
    daemon.ok("put", "k", "--value", "x")
    assert daemon.ok("get", "k") == b"x"
    assert daemon.peer("paths", "--json").json()["data"].endswith("\\udcff")
    assert daemon.peer("token", "rotate", "--json").json()["token"].endswith("\\udcff/token")
    done = subprocess.run(
        [PEERD, "identity", "show", "--json", "--data", data],
        env=daemon.env,
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout)["file"].endswith("\\udcff/identity.key")
    daemon.stop()
    daemon.launch().wait_ready()
    assert daemon.ok("get", "k") == b"x"


def test_an_identity_that_is_none_is_told_and_not_replaced(daemons: Daemons) -> None:
    daemon = daemons.start()
    daemon.stop()
    (daemon.data / "identity.key").write_bytes(b"short")
    assert "identity" in daemon.refuse()[0]
    assert (daemon.data / "identity.key").read_bytes() == b"short"


def test_a_store_that_is_none_is_told(daemons: Daemons) -> None:
    daemon = daemons.start()
    daemon.stop()
    databases = [path for path in (daemon.data / "store").rglob("*") if path.suffix in (".db", ".sqlite", ".sqlite3")]
    assert databases, list((daemon.data / "store").rglob("*"))
    databases[0].write_bytes(b"this is no database at all, it is text\n" * 1000)
    daemon.launch()
    assert daemon.process is not None
    assert daemon.process.wait(20) in (1, 2)
    lines = daemon.log.splitlines()
    assert lines[0].startswith("peerd: ") and len(lines) <= 2, lines


@pytest.mark.parametrize(
    ("flags", "env", "file", "word"),
    [
        (["--listen", "nonsense"], {}, "", "nonsense"),
        (["--listen", "127.0.0.1:99999"], {}, "", "99999"),
        (["--listen", "203.0.113.7:0"], {}, "", "203.0.113.7"),
        (["--quota", "lots"], {}, "", "lots"),
        (["--copies", "0"], {}, "", "copies"),
        (["--bootstrap", "::::"], {}, "", "::::"),
        (["--no-such-flag"], {}, "", "no-such-flag"),
        ([], {"PEERD_PROBE_INTERVAL_S": "-3"}, "", "PEERD_PROBE_INTERVAL_S"),
        ([], {}, "qouta = '1GB'\n", "quota"),
        ([], {}, "this is not toml", "config.toml"),
        (["--config", "/nowhere/at/all.toml"], {}, "", "/nowhere/at/all.toml"),
        (["--network", ""], {}, "", "network"),
        (["--network", "n" * 300], {}, "", "network"),
    ],
)
def test_a_wrong_setting_is_told_by_its_name(
    daemons: Daemons, flags: list[str], env: dict[str, str], file: str, word: str
) -> None:
    daemon = daemons.prepare(None, *flags, env=env)
    if file:
        config = daemon.home / "config" / "peerd" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(file)
    assert word in " ".join(daemon.refuse())
    assert not daemon.data.exists()


def test_an_unknown_variable_is_a_warning_only(daemons: Daemons) -> None:
    daemon = daemons.start(None, env={"PEERD_COLOUR": "red"})
    assert "PEERD_COLOUR" in daemon.log
    assert "WARNING" in daemon.log
