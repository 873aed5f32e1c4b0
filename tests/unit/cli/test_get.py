"""`get` and `cat`: where the bytes go, what stands under the final name and when, and hostile directories."""

import io
import os
import signal
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.extract import Extractor
from cli.failure import Failure
from cli.progress import Progress
from tests.unit.cli.scripted import GET, Daemon, Peer, Request, directory, problem, value

Member = tuple[tarfile.TarInfo, bytes]


def _file(name: str, data: bytes = b"data", **fields: object) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, given in fields.items():
        setattr(info, field, given)
    return info, data


def _other(name: str, kind: bytes, link: str = "", **fields: object) -> Member:
    return _file(name, b"", type=kind, linkname=link, **fields)


def _tar(*members: Member) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return into.getvalue()


def _around(peer: Peer) -> set[str]:
    return {str(path.relative_to(peer.home)) for path in peer.home.rglob("*")}


def test_a_value_goes_to_standard_output_byte_for_byte(daemon: Daemon, peer: Peer) -> None:
    data = os.urandom(2_000_000)
    daemon.answers(value(data))
    for arguments in ((), ("-o", "-")):
        ended = peer("get", "k", *arguments)
        assert (ended.status, ended.out, ended.err) == (0, data, "")


def test_options_of_a_read_travel_and_those_of_a_write_are_taken_and_ignored(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"x"))
    options = "--consistency one --own --pin --no-cache --timeout 5 --require 3 --ttl 9 --if-version abc"
    peer("get", "k", *options.split())
    request = daemon.requests[0]
    assert set(request.target.partition("?")[2].split("&")) == {
        "consistency=one",
        "own=1",
        "pin=1",
        "no-cache=1",
        "timeout=5",
    }
    assert request.headers["if-match"] == '"abc"'


def test_if_version_none_on_a_key_that_exists_is_exit_10(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(b'HTTP/1.1 304 Not Modified\r\nETag: "v"\r\n\r\n')
    assert peer("get", "k", "--if-version", "none").status == 10
    assert daemon.requests[0].headers["if-none-match"] == "*"


def test_a_file_is_written_replaces_what_was_there_and_keeps_its_mode(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"hello"))
    old = peer.home / "old"
    old.write_bytes(b"something longer")
    old.chmod(0o600)
    assert peer("get", "k", "-o", "new").err == "wrote new (5 B)\n"
    assert peer("get", "k", "-o", "old").status == 0
    assert (peer.home / "new").read_bytes() == old.read_bytes() == b"hello"
    assert old.stat().st_mode & 0o777 == 0o600
    assert _around(peer) == {"new", "old"}


def test_json_of_get_is_what_the_daemon_found(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"hello"))
    ended = peer("get", "k", "-o", "new", "--json")
    assert (ended.json, ended.err) == (GET, "")


def test_what_a_link_points_to_is_replaced_and_not_the_link(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"hello"))
    (peer.home / "there").mkdir()
    (peer.home / "there" / "file").write_bytes(b"old")
    (peer.home / "link").symlink_to("there/file")
    assert peer("get", "k", "-o", "link").status == 0
    assert (peer.home / "link").is_symlink()
    assert (peer.home / "there" / "file").read_bytes() == b"hello"


def test_a_device_or_pipe_is_written_to_and_never_replaced(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"hello"))
    assert peer("get", "k", "-o", "/dev/null").status == 0
    assert Path("/dev/null").is_char_device()
    assert peer("get", "k", "-o", "/dev/stdout").out == b"hello"
    # Standard output that is a file is written where it is, not replaced under whoever has it open.
    out = peer.home / "out"
    with out.open("wb") as file:
        for path in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
            subprocess.run(peer.command("get", "k", "-o", path), stdout=file, env=peer.environment, check=True)
        file.write(b" and on")
    assert out.read_bytes() == b"hello" * 3 + b" and on"
    assert peer("get", "k", "-o", "/dev/fd/77").status == 2


@pytest.mark.parametrize("target", ["", "no/such/file", "full", ".", "/", "..", "file/x"])
def test_a_target_that_cannot_be_one_is_exit_2_before_anything_is_asked(
    daemon: Daemon, peer: Peer, target: str
) -> None:
    (peer.home / "full").mkdir()
    (peer.home / "full" / "entry").touch()
    (peer.home / "file").touch()
    assert peer("get", "k", "-o", target).status == 2
    assert daemon.requests == []


def test_the_current_directory_is_no_target(daemon: Daemon, peer: Peer) -> None:
    assert "is the current directory" in peer("get", "k", "-o", ".").err


@pytest.mark.parametrize("target", ["empty", "empty/", "new/"])
def test_a_file_does_not_take_a_directorys_place(daemon: Daemon, peer: Peer, target: str) -> None:
    (peer.home / "empty").mkdir()
    daemon.answers(value(b"hello"))
    ended = peer("get", "k", "-o", target)
    assert ended.status == 2
    assert "is a directory" in ended.err
    assert _around(peer) == {"empty"}


def test_a_directory_does_not_take_a_files_place(daemon: Daemon, peer: Peer) -> None:
    (peer.home / "file").write_bytes(b"kept")
    daemon.answers(directory(_tar(_file("a"))))
    assert peer("get", "k", "-o", "file").status == 2
    assert (peer.home / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("command", ["get", "cat"])
def test_a_directory_does_not_go_to_standard_output(daemon: Daemon, peer: Peer, command: str) -> None:
    daemon.answers(directory(_tar(_file("a"))))
    ended = peer(command, "k")
    assert (ended.status, ended.out) == (2, b"")
    assert "-o PATH" in ended.err


@pytest.mark.parametrize("exists", [False, True])
def test_a_directory_is_written_with_its_links(daemon: Daemon, peer: Peer, exists: bool) -> None:
    if exists:
        (peer.home / "out").mkdir()
    long = "long" * 60
    tar = _tar(
        _file("a", b"", mode=0o4777),
        _other("d", tarfile.DIRTYPE, mode=0o0),
        _file(f"d/{long}", b"x" * 2000),
        _other("d/link", tarfile.SYMTYPE, "../../outside"),
        _other("empty", tarfile.DIRTYPE),
        _file("implied/directory/ключ \\ \n", b"script"),
        _file("implied/second", b"2"),
    )
    daemon.answers(directory(tar))
    ended = peer("get", "k", "-o", "out")
    assert (ended.status, ended.err) == (0, "wrote out (2.0 KiB)\n")
    out = peer.home / "out"
    assert (out / "a").read_bytes() == b""
    assert not (out / "a").stat().st_mode & 0o6111
    assert (out / "d" / long).read_bytes() == b"x" * 2000
    assert os.readlink(out / "d" / "link") == "../../outside"  # noqa: PTH115
    assert list((out / "empty").iterdir()) == []
    assert (out / "implied" / "directory" / "ключ \\ \n").read_bytes() == b"script"
    assert {path.name for path in peer.home.iterdir()} == {"out"}


def test_an_empty_directory_is_written(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(directory(_tar()))
    assert peer("get", "k", "-o", "out").status == 0
    assert list((peer.home / "out").iterdir()) == []


def _with(change: Callable[[bytearray], None], *members: Member) -> bytes:
    tar = bytearray(_tar(*members))
    change(tar)
    return bytes(tar)


def _size(header: bytearray, text: bytes) -> None:
    header[124:136] = text.ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])


HOSTILE = {
    "parent": _tar(_file("../escaped")),
    "parent inside": _tar(_other("d", tarfile.DIRTYPE), _file("d/../../escaped")),
    "absolute": _tar(_file("/tmp/escaped")),
    "dot": _tar(_file("./a")),
    "itself": _tar(_other(".", tarfile.DIRTYPE)),
    "nothing": _tar(_file("")),
    "two slashes": _tar(_file("a//b")),
    "file with slash": _tar(_file("a/b/")),
    "too long": _tar(_file("x" * 256)),
    "too long in bytes": _tar(_file("é" * 128)),
    "nul": _tar(_file("a", pax_headers={"path": "a\0b"})),
    "too deep": _tar(_file("d/" * 300 + "x")),
    "twice": _tar(_file("a"), _file("a")),
    "file over directory": _tar(_other("a", tarfile.DIRTYPE), _file("a")),
    "directory over file": _tar(_file("a"), _other("a", tarfile.DIRTYPE)),
    "below a file": _tar(_file("a"), _file("a/b")),
    "through a link": _tar(_other("a", tarfile.SYMTYPE, ".."), _file("a/escaped")),
    "through an absolute link": _tar(_other("a", tarfile.SYMTYPE, "/tmp"), _file("a/escaped")),
    "over a link": _tar(_other("a", tarfile.SYMTYPE, "../escaped"), _file("a")),
    "directory over a link": _tar(_other("a", tarfile.SYMTYPE, ".."), _other("a", tarfile.DIRTYPE), _file("a/escaped")),
    "hard link": _tar(_file("a"), _other("b", tarfile.LNKTYPE, "a")),
    "hard link outside": _tar(_other("b", tarfile.LNKTYPE, "../../escaped")),
    "pipe": _tar(_other("a", tarfile.FIFOTYPE)),
    "device": _tar(_other("a", tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "sparse": _tar(_other("a", tarfile.GNUTYPE_SPARSE)),
    "link to nothing": _tar(_other("a", tarfile.SYMTYPE, "")),
    "link too long": _tar(_other("a", tarfile.SYMTYPE, "x" * 5000)),
    "no tar": b"x" * 2048,
    "no bytes": b"",
    "no end": _tar(_file("a"))[:1024],
    "half an end": _tar(_file("a"))[:1536],
    "cut in data": _tar(_file("a", b"x" * 5000))[:2000],
    "cut in header": _tar(_file("a"), _file("b"))[:1200],
    "damaged header": _with(lambda tar: tar.__setitem__(1024, 66), _file("a"), _file("b")),
    "damaged second header": _with(lambda tar: tar.__setitem__(slice(1024, 1026), b"BB"), _file("a"), _file("b")),
    "bytes after the end": _tar(_file("a")) + b"more",
    "negative size": _tar(_file("a", b"", pax_headers={"size": "-512"})),
    "size that is no number": _tar(_file("a", b"", pax_headers={"size": "0x10"})),
    "size of a directory": _with(lambda tar: _size(tar, b"00000001000"), _other("a", tarfile.DIRTYPE), _file("b")),
    "size in base 256": _with(lambda tar: _size(tar, b"\x80" + bytes(10) + b"\x05"), _file("a")),
    "huge extended header": _tar(_file("a", pax_headers={"comment": "x" * 600_000})),
    "an error of the daemon's": _tar(_file("a"), _file("b", pax_headers={"PEERD.error": "nested too deep"})),
    "not utf8": _with(lambda tar: _size(tar, b"\xff\xff"), _file("a")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_directory_is_an_integrity_failure_and_nothing_gets_out(tmp_path: Path, name: str) -> None:
    target = tmp_path / "in" / "target"
    target.mkdir(parents=True)
    tar = HOSTILE[name]
    top = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(Failure) as raised:
            Extractor(top, Progress("", shown=False)).extract(
                memoryview(tar[i : i + 700]) for i in range(0, len(tar), 700)
            )
    finally:
        os.close(top)
    assert raised.value.code == "integrity"
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if target not in path.parents] == [
        "in",
        "in/target",
    ]
    assert not Path("/tmp/escaped").exists()


@pytest.mark.parametrize(
    "name", ["parent", "through a link", "twice", "pipe", "no tar", "no end", "an error of the daemon's"]
)
def test_a_hostile_directory_is_exit_8_with_nothing_outside_and_nothing_under_the_final_name(
    daemon: Daemon, peer: Peer, name: str
) -> None:
    home = peer.home / "in" / "here"
    home.mkdir(parents=True)
    daemon.answers(directory(HOSTILE[name]))
    ended = peer("get", "k", "-o", "out", cwd=home)
    assert ended.status == 8, ended
    assert _around(peer) == {"in", "in/here"}
    assert not Path("/tmp/escaped").exists()


def test_a_directory_that_breaks_off_leaves_nothing(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(directory(_tar(_file("a"), _file("b", b"x" * 9000)), end=False))
    ended = peer("get", "k", "-o", "out")
    assert ended.status == 1
    assert "broke off" in ended.err
    assert _around(peer) == set()


@pytest.mark.parametrize(
    ("code", "status"), [("integrity", 8), ("timeout", 5), ("no_room", 9), ("not_found", 1), ("\x1b[2J", 1)]
)
def test_a_directory_that_the_daemon_breaks_off_within_a_file_ends_as_a_file_does(
    daemon: Daemon, peer: Peer, code: str, status: int
) -> None:
    tar = _tar(_file("a"), _file("b", b"x" * 9000))[:4000]
    daemon.answers(directory(tar, end=False) + f"1;peerd-error={code}\r\n".encode())
    ended = peer("get", "k", "-o", "out")
    assert ended.status == status
    assert "broke off" in ended.err
    assert "\x1b" not in ended.err
    assert _around(peer) == set()


def test_a_name_of_255_bytes_is_written(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"hello"))
    name = "é" * 127 + "x"
    assert peer("get", "k", "-o", name).status == 0
    assert (peer.home / name).read_bytes() == b"hello"


def test_not_found_leaves_nothing(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(problem(404, "not_found", "nothing under k"))
    assert peer("get", "k", "-o", "out").status == 3
    assert _around(peer) == set()


def _stalled(daemon: Daemon, start: bytes) -> threading.Event:
    begun = threading.Event()

    def script(_request: Request, connected: socket.socket) -> None:
        connected.sendall(start)
        begun.set()
        connected.recv(1)

    daemon.script = script
    return begun


def _ended_by(peer: Peer, signum: int, begun: threading.Event) -> tuple[int, bytes]:
    process = peer.start("get", "k", "-o", "out")
    deadline = time.monotonic() + 20
    while not ((seen := _around(peer)) and begun.is_set()):
        assert process.poll() is None
        assert time.monotonic() < deadline
    assert all(name.startswith(".out.peer-") for name in seen)
    process.send_signal(signum)
    _, err = process.communicate(timeout=20)
    return process.returncode, err


@pytest.mark.parametrize(
    "start", [value(b"x" * 1000)[:-1], directory(_tar(_file("a"), _file("b")), end=False)], ids=["file", "directory"]
)
@pytest.mark.parametrize(
    ("signum", "ended"),
    [(signal.SIGINT, (130, b"peer: interrupted\n")), (signal.SIGTERM, (143, b"peer: ended by a signal\n"))],
)
def test_a_signal_takes_away_what_was_begun(
    daemon: Daemon, peer: Peer, start: bytes, signum: int, ended: tuple[int, bytes]
) -> None:
    begun = _stalled(daemon, start)
    assert _ended_by(peer, signum, begun) == ended
    assert _around(peer) == set()


def test_a_stale_answer_is_said_to_be_one(daemon: Daemon, peer: Peer) -> None:
    import json

    daemon.answers(value(b"x", **{"X-Peerd-Get": json.dumps({**GET, "stale_since_s": 12.5})}))
    ended = peer("get", "k")
    assert (ended.status, ended.out) == (0, b"x")
    assert "may be old" in ended.err
