"""`put` and `add`: what is sent, what is refused before, and what breaks off so that nothing is stored."""

import io
import os
import pty
import socket
import subprocess
import tarfile
import threading

import pytest

from cli import extract, tarout
from peerd.content.limits import PATH_DEPTH_MAX
from tests.unit.cli.scripted import PUT, Daemon, Peer, Request, as_json, read_body


@pytest.fixture(autouse=True)
def _stored(daemon: Daemon) -> None:
    daemon.answers(as_json(PUT, 201))


def test_a_value_a_file_and_standard_input_arrive_as_they_are(daemon: Daemon, peer: Peer) -> None:
    data = os.urandom(3_000_000)
    (peer.home / "file").write_bytes(data)
    assert peer("put", "k", "--value", "hé").status == 0
    assert peer("put", "k", "file").status == 0
    assert peer("put", "k", "-", stdin=data).status == 0
    assert [request.body for request in daemon.requests] == ["hé".encode(), data, data]
    assert all(request.whole for request in daemon.requests)
    assert daemon.requests[1].headers["content-length"] == "3000000"
    assert daemon.requests[2].headers["transfer-encoding"] == "chunked"


def test_nothing_at_all_can_be_stored(daemon: Daemon, peer: Peer) -> None:
    (peer.home / "empty").touch()
    for arguments in (("--value", ""), ("empty",), ("-",)):
        assert peer("put", "k", *arguments).status == 0
    assert [(request.body, request.whole) for request in daemon.requests] == [(b"", True)] * 3


def test_a_file_that_does_not_know_its_size_is_read_to_its_end(daemon: Daemon, peer: Peer) -> None:
    assert peer("put", "k", "/proc/self/status").status == 0
    assert daemon.requests[0].body.startswith(b"Name:")


def test_options_are_parameters_of_the_same_names(daemon: Daemon, peer: Peer) -> None:
    options = (
        "--require 2 --consistency one --ttl 60 --own --pin --no-cache --if-version none --timeout 5 --no-progress"
    )
    peer("put", "k", "--value", "x", *options.split())
    path, _, query = daemon.requests[0].target.partition("?")
    assert (daemon.requests[0].method, path) == ("PUT", "/v1/kv/k")
    assert set(query.split("&")) == {
        "require=2", "consistency=one", "ttl=60", "own=1", "pin=1", "no-cache=1", "if-version=none", "timeout=5",
    }  # fmt: skip


def test_put_says_on_how_many_copies_and_prints_no_data(daemon: Daemon, peer: Peer) -> None:
    ended = peer("put", "k", "--value", "hello")
    assert (ended.out, ended.err) == (b"", "stored k (5 B) on 3 of 3 copies\n")
    daemon.answers(as_json({**PUT, "copies": 1, "copies_wanted": 1}, 201))
    assert peer("put", "k", "--value", "hello").err == "stored k (5 B) on 1 copy\n"
    quiet = peer("put", "k", "--value", "hello", "-q")
    assert (quiet.out, quiet.err) == (b"", "")
    assert peer("put", "k", "--value", "hello", "--json").json == {**PUT, "copies": 1, "copies_wanted": 1}


def test_add_prints_the_content_id(daemon: Daemon, peer: Peer) -> None:
    ended = peer("add", "-", stdin=b"hello")
    assert (ended.out, ended.err) == (b"bafkreiabc\n", "stored it (5 B) on 3 of 3 copies\n")
    assert (daemon.requests[0].method, daemon.requests[0].target) == ("POST", "/v1/content")


def _tree(peer: Peer) -> None:
    tree = peer.home / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "b").write_bytes(b"b" * 1000)
    (tree / "a").write_bytes(b"")
    (tree / ("long" * 60)).write_bytes(b"long name")
    (tree / "sub" / "ключ\n").write_bytes(b"script")
    (tree / "sub" / "link").symlink_to("../nowhere")
    (tree / "sub" / "loop").symlink_to(".")


def _members(body: bytes) -> list[tuple[str, bytes, object]]:
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return [
            (member.name, member.type, read.read() if (read := tar.extractfile(member)) else member.linkname)
            if member.isreg()
            else (member.name, member.type, member.linkname)
            for member in tar
        ]


def test_a_directory_arrives_as_its_entries_in_order(daemon: Daemon, peer: Peer) -> None:
    _tree(peer)
    assert peer("put", "k", "tree").status == 0
    assert daemon.requests[0].headers["content-type"] == "application/x-tar"
    assert _members(daemon.requests[0].body) == [
        ("a", tarfile.REGTYPE, b""),
        ("b", tarfile.REGTYPE, b"b" * 1000),
        ("long" * 60, tarfile.REGTYPE, b"long name"),
        ("sub", tarfile.DIRTYPE, ""),
        ("sub/empty", tarfile.DIRTYPE, ""),
        ("sub/link", tarfile.SYMTYPE, "../nowhere"),
        ("sub/loop", tarfile.SYMTYPE, "."),
        ("sub/ключ\n", tarfile.REGTYPE, b"script"),
    ]


def test_the_same_tree_is_the_same_stream_whenever_and_by_whomever_it_was_made(daemon: Daemon, peer: Peer) -> None:
    _tree(peer)
    peer("put", "k", "tree")
    os.utime(peer.home / "tree" / "b", (1, 1))
    (peer.home / "tree" / "b").chmod(0o755)
    peer("put", "k", "tree/")
    assert daemon.requests[0].body == daemon.requests[1].body


def test_an_empty_directory_is_stored(daemon: Daemon, peer: Peer) -> None:
    (peer.home / "tree").mkdir()
    assert peer("put", "k", "tree").status == 0
    assert _members(daemon.requests[0].body) == []
    assert daemon.requests[0].whole


def test_a_special_file_in_a_directory_is_refused_by_name_before_anything_is_sent(daemon: Daemon, peer: Peer) -> None:
    _tree(peer)
    os.mkfifo(peer.home / "tree" / "sub" / "pipe\x1b")
    ended = peer("put", "k", "tree")
    assert ended.status == 2
    assert "tree/sub/pipe\\x1b is a pipe" in ended.err
    assert daemon.requests == []


def test_a_name_that_is_not_utf8_in_a_directory_is_refused_before_anything_is_sent(daemon: Daemon, peer: Peer) -> None:
    _tree(peer)
    try:
        (peer.home / "tree" / os.fsdecode(b"\xff")).touch()
    except OSError:
        pytest.skip("this file system takes no such name")
    assert peer("put", "k", "tree").status == 2
    assert daemon.requests == []


def test_what_is_piped_in_is_stored_where_no_path_is_named(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json(PUT, 201))
    assert peer("put", "k", stdin=b"piped").status == 0
    assert (daemon.requests[0].body, daemon.requests[0].whole) == (b"piped", True)
    assert peer("put", "k", "--value", "text", stdin=b"piped").status == 0
    assert daemon.requests[1].body == b"text"
    (peer.home / "file").write_bytes(b"from a file")
    with (peer.home / "file").open("rb") as file:
        subprocess.run(peer.command("put", "k"), stdin=file, env=peer.environment, check=True, capture_output=True)
    assert daemon.requests[2].body == b"from a file"


def test_without_a_path_and_with_nothing_piped_in_put_is_wrong_usage(daemon: Daemon, peer: Peer) -> None:
    command = peer.command("put", "k")
    for stdin in (subprocess.DEVNULL, None):
        ours, theirs = pty.openpty()
        ran = subprocess.run(command, stdin=stdin or theirs, env=peer.environment, capture_output=True, check=False)
        os.close(ours)
        os.close(theirs)
        assert (ran.returncode, ran.stderr.splitlines()[0]) == (2, b"peer: put needs a PATH or --value TEXT")
    assert daemon.requests == []


def test_a_pipe_with_a_name_is_read_to_its_end(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json(PUT, 201))
    os.mkfifo(peer.home / "pipe")
    running = peer.start("put", "k", "pipe")
    with (peer.home / "pipe").open("wb") as pipe:
        pipe.write(b"through a pipe")
    assert running.wait(20) == 0
    running.communicate()
    assert (daemon.requests[0].body, daemon.requests[0].whole) == (b"through a pipe", True)


def test_a_tree_that_is_deeper_than_a_daemon_takes_and_gives_is_refused(daemon: Daemon, peer: Peer) -> None:
    assert tarout.DEPTH_MAX == extract.DEPTH_MAX == PATH_DEPTH_MAX
    deepest = (peer.home / "tree").joinpath(*"d" * (PATH_DEPTH_MAX - 1))
    deepest.mkdir(parents=True)
    (deepest / "f").write_bytes(b"x")
    assert peer("put", "k", "tree").status == 0
    (deepest / "d").mkdir()
    assert peer("put", "k", "tree").status == 2
    assert len(daemon.requests) == 1


def test_an_unreadable_file_breaks_the_put_off(daemon: Daemon, peer: Peer) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    _tree(peer)
    (peer.home / "tree" / "b").chmod(0)
    assert peer("put", "k", "tree").status == 1
    assert not any(request.whole for request in daemon.requests)


# Far more than the buffers of a socket hold: it is still being read when the first bytes of it have arrived.
BIG_BYTES = 16 * 1024 * 1024


def _while_it_is_read(daemon: Daemon, peer: Peer, path: str, do: object) -> tuple[int, str]:
    """Put `path`, call `do` once the first bytes of it have arrived and no more fits, and read on."""
    daemon.early = True
    seen = threading.Event()

    def script(request: Request, _connected: socket.socket) -> bytes:
        seen.wait(10)
        read_body(request)
        return as_json(PUT, 201)

    daemon.script = script
    process = peer.start("put", "k", path)
    while not daemon.requests:
        assert process.poll() is None
    do()  # type: ignore[operator]
    seen.set()
    _, err = process.communicate(timeout=20)
    return process.returncode, err.decode()


def test_a_file_that_shrinks_while_it_is_read_is_not_stored(daemon: Daemon, peer: Peer) -> None:
    big = peer.home / "big"
    with big.open("wb") as file:
        file.truncate(BIG_BYTES)
    status, err = _while_it_is_read(daemon, peer, "big", lambda: os.truncate(big, 100))
    assert status == 1
    assert err == "peer: big became shorter while it was read; nothing was stored\n"
    assert not daemon.requests[0].whole


def test_a_file_that_vanishes_from_a_directory_while_it_is_read_breaks_the_put_off(daemon: Daemon, peer: Peer) -> None:
    tree = peer.home / "tree"
    tree.mkdir()
    with (tree / "a").open("wb") as file:
        file.truncate(BIG_BYTES)
    (tree / "z").write_bytes(b"last")
    status, err = _while_it_is_read(daemon, peer, "tree", (tree / "z").unlink)
    assert status == 1
    assert err.startswith("peer: reading tree/z: ")
    assert not daemon.requests[0].whole


def test_a_link_that_takes_a_files_place_is_not_followed(daemon: Daemon, peer: Peer) -> None:
    tree = peer.home / "tree"
    tree.mkdir()
    (peer.home / "secret").write_bytes(b"secret")
    with (tree / "a").open("wb") as file:
        file.truncate(BIG_BYTES)
    (tree / "z").write_bytes(b"last")

    def swap() -> None:
        (tree / "z").unlink()
        (tree / "z").symlink_to("../secret")

    status, _ = _while_it_is_read(daemon, peer, "tree", swap)
    assert status == 1
    assert b"secret" not in daemon.requests[0].body


def test_an_interrupt_stores_nothing_and_is_exit_130(daemon: Daemon, peer: Peer) -> None:
    process = peer.start("put", "k", "-")
    assert process.stdin is not None
    process.stdin.write(b"x" * 100_000)
    process.stdin.flush()
    while not daemon.requests:
        assert process.poll() is None
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, b"peer: interrupted\n")
    daemon.close()
    assert not daemon.requests[0].whole
    daemon.close = lambda: None  # type: ignore[method-assign]
