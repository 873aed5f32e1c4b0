"""A daemon that answers what a test tells it to, byte for byte, on a Unix socket; and `peer` as a process beside it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

ANSWER_WITHIN_S = 20.0


@dataclass
class Request:
    """What came: `whole` says whether the body came to its end."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = False
    stream: BinaryIO | None = None


Script = Callable[[Request, socket.socket], bytes | None]
"""Gets a request whose body is still unread where it has one to read itself; returns the bytes to answer."""


class Daemon:
    """Answers each request by `script`, which reads the body first unless `early` is set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[Request] = []
        self.script: Script = lambda _request, _socket: problem(500, "failed", "no script")
        self.early = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def api(self) -> str:
        return f"unix:{self.path}"

    def answers(self, *answers: bytes) -> None:
        """Give these answers in turn, the last one again and again."""
        left = list(answers)

        def script(_request: Request, _socket: socket.socket) -> bytes:
            return left.pop(0) if len(left) > 1 else left[0]

        self.script = script

    def close(self) -> None:
        # Closing alone would leave the thread in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(ANSWER_WITHIN_S)

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connected,), daemon=True).start()

    def _answer(self, connected: socket.socket) -> None:
        connected.settimeout(ANSWER_WITHIN_S)
        with suppress(OSError), connected, connected.makefile("rb") as stream:
            method, target, _ = stream.readline().decode("latin-1").split(" ", 2)
            headers: dict[str, str] = {}
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            request = Request(method, target, headers, stream=stream)
            self.requests.append(request)
            if not self.early:
                read_body(request)
            answer = self.script(request, connected)
            if answer is not None:
                connected.sendall(answer)
                connected.shutdown(socket.SHUT_WR)


def read_body(request: Request) -> None:
    """Read the body to its end, or to where it breaks off."""
    assert request.stream is not None
    read, readline = request.stream.read, request.stream.readline
    if "content-length" in request.headers:
        wanted = int(request.headers["content-length"])
        request.body = read(wanted)
        request.whole = len(request.body) == wanted
        return
    if request.headers.get("transfer-encoding") != "chunked":
        request.whole = True
        return
    while line := readline():
        size = int(line, 16)
        if size == 0:
            request.whole = readline() == b"\r\n"
            return
        data = read(size)
        request.body += data
        if readline() != b"\r\n":
            return


def answer(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> bytes:
    """Return a response with a length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def as_json(value: object, status: int = 200) -> bytes:
    return answer(status, json.dumps(value).encode())


def problem(status: int, code: str, detail: str, **more: object) -> bytes:
    body = json.dumps({"status": status, "code": code, "detail": detail, **more}).encode()
    return answer(status, body, "application/problem+json")


GET = {"key": "k", "cid": "bafkreiabc", "kind": "file", "size": 5, "source": "local", "hops": 0, "elapsed_ms": 0.1}
PUT = {
    "key": "k",
    "cid": "bafkreiabc",
    "size": 5,
    "version": "v1",
    "copies": 3,
    "copies_wanted": 3,
    "holders": ["a", "b", "c"],
    "elapsed_ms": 1.0,
}


def value(body: bytes, **headers: str) -> bytes:
    """Return the answer to a get of a file."""
    given = {"X-Peerd-Get": json.dumps(GET), "X-Peerd-Kind": "file", "ETag": '"v1"', **headers}
    return answer(200, body, "application/octet-stream", **given)


def chunked(body: bytes, *, end: bool = True, piece: int = 700) -> bytes:
    parts = [body[i : i + piece] for i in range(0, len(body), piece)]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return coded + (b"0\r\n\r\n" if end else b"")


def directory(tar: bytes, *, end: bool = True) -> bytes:
    """Return the answer to a get of a directory."""
    info = json.dumps({**GET, "kind": "directory"})
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n"
        f'X-Peerd-Get: {info}\r\nX-Peerd-Kind: directory\r\nETag: "v1"\r\n\r\n'
    )
    return head.encode() + chunked(tar, end=end)


@dataclass
class Ended:
    """How a run of `peer` ended."""

    status: int
    out: bytes
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)


@dataclass
class Peer:
    """Runs `peer` as a process, with a home of its own."""

    packages: Path
    home: Path
    api: str | None = None
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        own = {"HOME": str(self.home), "PYTHONPATH": str(self.packages), "PYTHONWARNINGS": "error"}
        return kept | own | ({"PEER_API": self.api} if self.api else {}) | self.more

    def command(self, *arguments: str | bytes, options: tuple[str, ...] = ()) -> list[str | bytes]:
        return [sys.executable, *options, "-m", "peerd_cli", *arguments]

    def __call__(self, *arguments: str | bytes, stdin: bytes = b"", cwd: Path | None = None) -> Ended:
        ran = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            env=self.environment,
            cwd=cwd or self.home,
            timeout=ANSWER_WITHIN_S,
            check=False,
        )
        err = ran.stderr.decode()
        assert "Traceback" not in err, err
        return Ended(ran.returncode, ran.stdout, err)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            cwd=self.home,
            # What runs the tests may have been started with them ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
