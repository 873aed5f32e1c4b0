"""Answers of the daemon: errors and their exit statuses, odd and broken framing, silence, the names of strangers."""

import json
import os
import socket
import subprocess
import threading
import time
from urllib.parse import unquote

import pytest

from cli.api import TIMEOUT_S
from cli.fetch import SILENT_FROM_S
from tests.unit.cli.scripted import GET, PUT, Daemon, Peer, Request, answer, as_json, chunked, problem, value

HEAD = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nETag: "v1"\r\nX-Peerd-Kind: file\r\nX-Peerd-Get: '
    + json.dumps(GET).encode()
    + b"\r\n"
)


@pytest.mark.parametrize(
    ("http", "code", "status"),
    [
        (400, "usage", 2),
        (404, "usage", 2),
        (404, "not_found", 3),
        (504, "timeout", 5),
        (503, "too_few_copies", 6),
        (401, "not_authorised", 7),
        (403, "not_authorised", 7),
        (502, "integrity", 8),
        (507, "no_room", 9),
        (412, "conflict", 10),
        (503, "unavailable", 1),
        (500, "internal", 1),
        (500, "store", 1),
        (500, "a_code_of_tomorrow", 1),
    ],
)
def test_the_code_of_a_problem_is_the_exit_status(
    daemon: Daemon, peer: Peer, http: int, code: str, status: int
) -> None:
    daemon.answers(problem(http, code, "it went wrong", hint="mend it"))
    ended = peer("get", "k")
    assert (ended.status, ended.out) == (status, b"")
    assert ended.err == "peer: it went wrong\nhint: mend it\n"
    told = peer("--json", "get", "k")
    assert told.status == status
    assert told.json == {"error": {"code": code, "message": "it went wrong", "hint": "mend it"}}


def test_a_write_on_too_few_copies_shows_in_json_how_far_it_came(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(problem(503, "too_few_copies", "stored on 3 copies, 5 asked for", reached=PUT))
    ended = peer("put", "k", "--value", "x", "--require", "5", "--json")
    assert ended.status == 6
    assert ended.json["reached"] == PUT  # type: ignore[index]


def test_a_message_of_the_daemon_cannot_move_the_cursor(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(problem(404, "not_found", "no \x1b[31mred\x1b[0m\nhint: lie", hint="\u202eevil"))
    assert peer("get", "k").err == "peer: no \\x1b[31mred\\x1b[0m\\nhint: lie\nhint: \\u202eevil\n"


@pytest.mark.parametrize(
    "body",
    [
        HEAD + b"Content-Length: 5\r\n\r\nhello",
        HEAD + b"content-length:5\r\n\r\nhello",
        HEAD + b"Content-Length: 5, 5\r\n\r\nhello",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n2;x=y\r\nhe\r\n003\r\nllo\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
        + HEAD
        + b"Content-Length: 5\r\n\r\nhello",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: 5\r\n\r\nhello and more",
    ],
)
def test_every_framing_of_an_answer_is_read(daemon: Daemon, peer: Peer, body: bytes) -> None:
    daemon.answers(body)
    ended = peer("get", "k")
    assert (ended.status, ended.out, ended.err) == (0, b"hello", "")


def test_an_answer_is_read_whatever_pieces_it_comes_in(daemon: Daemon, peer: Peer) -> None:
    whole = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        + HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + chunked(b"hello" * 20, piece=7)
    )

    def script(_request: Request, connected: socket.socket) -> None:
        for i in range(len(whole)):
            connected.sendall(whole[i : i + 1])

    daemon.script = script
    assert peer("get", "k").out == b"hello" * 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        HEAD,
    ],
)
def test_a_daemon_that_closes_before_it_answered_is_gone(daemon: Daemon, peer: Peer, body: bytes) -> None:
    daemon.answers(body)
    ended = peer("get", "k")
    assert (ended.status, ended.out) == (4, b"")
    assert "went away" in ended.err


@pytest.mark.parametrize(
    "body",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\n\r\n",
        b"HTTP/1.1 999 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nfolded: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: y\n\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 200,
        HEAD + b"Content-Length: -5\r\n\r\nhello",
        HEAD + b"Content-Length: 5x\r\n\r\nhello",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\nhello",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 5000,
        HEAD + b"\r\nhello",
        answer(200, b"<html>", "text/html"),
        answer(404, b"<html>", "text/html"),
        answer(302, b"", "text/html", Location="http://elsewhere/"),
        answer(404, b'{"code": not_found}', "application/problem+json"),
        answer(404, b"[]", "application/problem+json"),
    ],
)
def test_what_is_no_answer_of_a_daemon_is_one_line_and_no_data(daemon: Daemon, peer: Peer, body: bytes) -> None:
    daemon.answers(body)
    ended = peer("get", "k")
    assert (ended.status, ended.out) == (1, b"")
    assert len(ended.err.splitlines()) == 1
    assert "is no peerd" in ended.err


@pytest.mark.parametrize(
    "command", [("ls",), ("stat", "k"), ("status",), ("peers",), ("id",), ("find", "k"), ("history", "k")]
)
def test_an_answer_that_is_no_json_is_one_line(daemon: Daemon, peer: Peer, command: tuple[str, ...]) -> None:
    daemon.answers(answer(200, b"[" * 100_000), answer(200, b'{"half": '))
    assert peer(*command).status == 1
    assert peer(*command).status == 1


def test_a_chunk_that_is_longer_than_it_says_is_an_error(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n")
    assert peer("get", "k").status == 1


def test_a_broken_transfer_goes_on_where_it_stopped(daemon: Daemon, peer: Peer) -> None:
    rest = answer(206, b"lo", "application/octet-stream", Content_Range="bytes 3-4/5")
    daemon.answers(HEAD + b"Content-Length: 5\r\n\r\nhel", rest)
    ended = peer("get", "k", "--own")
    assert (ended.status, ended.out) == (0, b"hello")
    again = daemon.requests[1]
    assert (again.headers["range"], again.headers["if-range"]) == ("bytes=3-4", '"v1"')
    assert again.target == "/v1/kv/k?own=1"


@pytest.mark.slow
def test_what_was_waited_in_vain_is_not_waited_again(daemon: Daemon, peer: Peer) -> None:
    def script(_request: Request, connected: socket.socket) -> bytes:
        if len(daemon.requests) == 1:
            connected.sendall(HEAD + b"Content-Length: 5\r\n\r\nhel")
            time.sleep(SILENT_FROM_S + 0.5)
            return b""
        return problem(504, "timeout", "nobody has the rest")

    daemon.script = script
    assert peer("--timeout", "60", "get", "k").status == 5
    told = [unquote(request.target.rpartition("timeout=")[2]) for request in daemon.requests]
    assert told[0] == "60"
    assert SILENT_FROM_S <= float(told[1]) < 60 - SILENT_FROM_S


def test_a_broken_byte_range_goes_on_at_the_right_byte(daemon: Daemon, peer: Peer) -> None:
    rest = answer(206, b"lo", "application/octet-stream", Content_Range="bytes 103-104/900")
    daemon.answers(HEAD + b"Content-Length: 5\r\n\r\nhel", rest)
    assert peer("cat", "k", "--offset", "100", "--length", "5").out == b"hello"
    assert [request.target for request in daemon.requests] == ["/v1/kv/k?offset=100&length=5", "/v1/kv/k"]
    assert daemon.requests[1].headers["range"] == "bytes=103-104"


@pytest.mark.parametrize(
    ("second", "status"),
    [
        (problem(504, "timeout", "no holder answers"), 5),
        (problem(404, "not_found", "gone"), 3),
        (problem(502, "integrity", "a lie"), 8),
        (value(b"other"), 1),
        (b"", 4),
        (answer(206, b"xx", "application/octet-stream", Content_Range="bytes 0-1/5"), 1),
        (answer(206, b"lo!", "application/octet-stream", Content_Range="bytes 3-5/6"), 1),
    ],
)
def test_a_transfer_that_cannot_go_on_fails_for_the_reason_told(
    daemon: Daemon, peer: Peer, second: bytes, status: int
) -> None:
    daemon.answers(HEAD + b"Content-Length: 5\r\n\r\nhel", second)
    ended = peer("--json", "get", "k", "-o", "file")
    assert ended.status == status
    assert list(peer.home.iterdir()) == []
    assert set(json.loads(ended.out)) == {"error"}


def test_a_transfer_that_never_gets_on_ends(daemon: Daemon, peer: Peer) -> None:
    stuck = HEAD.replace(b"200", b"206") + b"Content-Range: bytes 3-4/5\r\nContent-Length: 2\r\n\r\n"
    daemon.answers(HEAD + b"Content-Length: 5\r\n\r\nhel", stuck)
    assert peer("get", "k").status == 1
    assert len(daemon.requests) == 4


def test_half_a_value_on_standard_output_is_not_followed_by_json(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(HEAD + b"Content-Length: 5\r\n\r\nhel", problem(504, "timeout", "no holder answers"))
    ended = peer("--json", "get", "k")
    assert (ended.status, ended.out) == (5, b"hel")
    assert ended.err == "peer: no holder answers\n"


def test_silence_ends_after_the_timeout_with_exit_5(daemon: Daemon, peer: Peer) -> None:
    def script(_request: Request, connected: socket.socket) -> None:
        connected.recv(1)  # until the other side gives up

    daemon.script = script
    began = time.monotonic()
    assert peer("get", "k", "--timeout", "0.2").status == 5
    assert time.monotonic() - began < TIMEOUT_S
    assert daemon.requests[0].target == "/v1/kv/k?timeout=0%2E2"


@pytest.mark.slow
def test_silence_in_the_middle_of_a_value_ends_too(daemon: Daemon, peer: Peer) -> None:
    def script(_request: Request, connected: socket.socket) -> None:
        connected.sendall(HEAD + b"Content-Length: 5\r\n\r\nhel")
        connected.recv(1)

    daemon.script = script
    assert peer("get", "k", "--timeout", "0.2", "-o", "file").status == 5
    assert list(peer.home.iterdir()) == []


@pytest.mark.slow
def test_copies_that_take_longer_than_the_timeout_are_waited_for_while_the_daemon_lives(
    daemon: Daemon, peer: Peer
) -> None:
    asked = threading.Event()

    def script(request: Request, _connected: socket.socket) -> bytes:
        if request.method == "PUT":
            asked.wait(10)
            return as_json(PUT, 201)
        asked.set()
        return as_json({"status": "live"})

    daemon.script = script
    assert peer("put", "k", "--value", "x", "--timeout", "0.1").status == 0
    assert [request.target for request in daemon.requests][1:] == ["/v1/health/live"]


@pytest.mark.slow
def test_a_daemon_that_hangs_while_it_makes_copies_is_given_up(daemon: Daemon, peer: Peer) -> None:
    def script(_request: Request, connected: socket.socket) -> None:
        connected.recv(1)

    daemon.script = script
    assert peer("put", "k", "--value", "x", "--timeout", "0.1").status == 5


def test_a_refusal_is_read_although_the_body_was_not_taken(daemon: Daemon, peer: Peer) -> None:
    big = peer.home / "big"
    with big.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    daemon.early = True
    daemon.answers(problem(507, "no_room", "the quota is full"))
    for arguments in (("put", "k", "big"), ("put", "k", "/dev/zero")):
        ended = peer(*arguments)
        assert (ended.status, ended.err) == (9, "peer: the quota is full\n")


def test_names_of_strangers_are_shown_escaped_and_in_json_as_they_are(daemon: Daemon, peer: Peer) -> None:
    name = "a\x1b]0;owned\x07\nb\u202e\\n\u043a\u043b"
    daemon.answers(as_json([{"name": name, "cid": "bafk", "size": 2048, "kind": "file"}]))
    shown = "a\\x1b]0;owned\\x07\\nb\\u202e\\\\n\u043a\u043b"
    assert peer("ls").out.decode() == f"file  2.0 KiB  bafk  {shown}\n"
    assert peer("ls", "-q").out.decode() == f"{shown}\n"
    assert peer("ls", "--json").json == [{"name": name, "cid": "bafk", "size": 2048, "kind": "file"}]


def test_a_reader_that_goes_away_ends_the_command_quietly(daemon: Daemon, peer: Peer) -> None:
    listed = [{"name": f"key {i}", "cid": "bafk", "size": 1, "kind": "file"} for i in range(20_000)]
    daemon.answers(as_json(listed))
    process = peer.start("ls")
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    process.stdin.close()  # type: ignore[union-attr]
    assert process.wait(20) == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")  # noqa: PTH110
def test_a_full_disk_behind_standard_output_is_exit_9(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"hello"))
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        ran = subprocess.run(
            peer.command("get", "k"), stdout=full, stderr=subprocess.PIPE, env=peer.environment, check=False
        )
    assert ran.returncode == 9
    assert ran.stderr.startswith(b"peer: writing to standard output: No space left")


def test_a_closed_standard_output_is_an_error_and_not_the_daemons_socket(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"hello"))
    command = " ".join(map(str, peer.command("get", "k")))
    ran = subprocess.run(["sh", "-c", f"{command} >&-"], env=peer.environment, capture_output=True, check=False)
    assert ran.returncode == 1
    assert b"writing to standard output" in ran.stderr


def test_a_tcp_address_is_given_the_token_and_its_own_name(packages: object, lonely: Peer) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    process = None
    try:
        (lonely.home / "token").write_text("s3cret\n")
        lonely.more = {"PEERD_DATA": str(lonely.home)}
        process = lonely.start("--api", f"127.0.0.1:{port}", "id")
        listener.settimeout(20)
        connected, _ = listener.accept()
        with connected:
            head = connected.recv(65536).decode()
            connected.sendall(as_json({"id": "me"}))
        out, _ = process.communicate(timeout=20)
    finally:
        listener.close()
    assert out == b"me\n"
    assert f"\r\nHost: 127.0.0.1:{port}\r\n" in head
    assert "\r\nAuthorization: Bearer s3cret\r\n" in head
