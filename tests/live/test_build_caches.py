"""Build caches as build tools use them: the real ccache, and the requests of the others as their sources have them."""

import base64
import contextlib
import hashlib
import http.client
import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons

DATA = random.Random(5).randbytes(3_000_000)
MISS_S = 0.2

needs_ccache = pytest.mark.skipif(
    shutil.which("ccache") is None or shutil.which("gcc") is None, reason="ccache or gcc is not installed"
)


@pytest.fixture(scope="module")
def trio() -> Iterator[list[Daemon]]:
    with Daemons() as daemons:
        yield daemons.loopback(3)


def authorization(daemon: Daemon) -> dict[str, str]:
    """Basic authentication as a tool makes it of a user name and password in its URL."""
    return {"Authorization": "Basic " + base64.b64encode(f"any:{daemon.token}".encode()).decode()}


def ask(
    daemon: Daemon, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    host, _, port = daemon.tcp.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    with contextlib.closing(connection):
        connection.request(method, f"/cache/{path}", body, {**authorization(daemon), **(headers or {})})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def came(daemon: Daemon, path: str, data: bytes) -> None:
    """Wait until another peer can be asked for what was put, its writer dead or not."""
    deadline = time.monotonic() + 10
    while ask(daemon, "GET", path)[2] != data:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def compile_(home: Path, source: Path, daemon: Daemon, layout: str, token: str) -> dict[str, int]:
    """Compile by ccache with an empty local cache; return the counters of remote hits and misses."""
    user, more = (f"any:{daemon.token}@", "") if token == "password" else ("", f"|bearer-token={daemon.token}")
    where = f"http://{user}{daemon.tcp}/cache/{layout}"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CCACHE_DIR": str(home / f"ccache-{random.randrange(2**40)}"),
        "CCACHE_REMOTE_STORAGE": f"{where}|layout={layout}{more}",
    }
    subprocess.run(["ccache", "gcc", "-c", source.name, "-o", "out.o"], cwd=source.parent, env=env, check=True)
    told = subprocess.run(["ccache", "--print-stats"], env=env, check=True, capture_output=True, text=True).stdout
    counted = dict(line.split("\t")[:2] for line in told.splitlines())
    assert counted["remote_storage_error"] == counted["remote_storage_timeout"] == "0", told
    return {name: int(counted[f"remote_storage_{name}"]) for name in ("hit", "miss", "write")}


@needs_ccache
@pytest.mark.parametrize(("layout", "token"), [("flat", "bearer"), ("subdirs", "password"), ("bazel", "password")])
def test_what_one_host_has_compiled_the_others_take_from_ccache_over_the_network(
    trio: list[Daemon], tmp_path: Path, layout: str, token: str
) -> None:
    source = tmp_path / "hello.c"
    source.write_text(f'const char *greeting(void) {{ return "{layout}"; }}\n')
    first = compile_(tmp_path, source, trio[0], layout, token)
    assert (first["hit"], first["miss"]) == (0, 1)
    again = compile_(tmp_path, source, trio[1], layout, token)
    assert (again["hit"], again["miss"]) == (1, 0)


@needs_ccache
def test_the_line_of_the_how_to_is_a_setting_of_ccache(trio: list[Daemon], tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "build-caches.md").read_text()
    (line,) = re.findall(r"^remote_storage = .*$", page, re.MULTILINE)
    (tmp_path / "source.c").write_text("int answer(void) { return 42; }\n")
    hits = []
    for number in range(2):
        config = tmp_path / f"{number}.conf"
        config.write_text(line.replace("127.0.0.1:7434", trio[number].tcp).replace("TOKEN", trio[number].token) + "\n")
        env = {"PATH": os.environ["PATH"], "CCACHE_DIR": str(tmp_path / f"c{number}"), "CCACHE_CONFIGPATH": str(config)}
        subprocess.run(["ccache", "gcc", "-c", "source.c", "-o", "out.o"], cwd=tmp_path, env=env, check=True)
        told = subprocess.run(["ccache", "--print-stats"], env=env, check=True, capture_output=True, text=True).stdout
        hits += re.findall(r"^remote_storage_hit\t(\d+)", told, re.MULTILINE)
    assert hits == ["0", "1"]


@needs_ccache
def test_what_a_host_has_compiled_outlives_it(tmp_path: Path) -> None:
    source = tmp_path / "hello.c"
    source.write_text('const char *greeting(void) { return "and farewell"; }\n')
    with Daemons() as daemons:
        alice, bob = daemons.loopback(2)
        compile_(tmp_path, source, alice, "flat", "bearer")
        deadline = time.monotonic() + 10
        while bob.status()["storage"]["cache_bytes"] < alice.status()["storage"]["cache_bytes"]:
            assert time.monotonic() < deadline, "bob has no copy"
            time.sleep(0.05)
        alice.kill()
        assert compile_(tmp_path, source, bob, "flat", "bearer")["hit"] == 1


def test_a_miss_is_told_in_200_ms_also_where_another_has_just_died(tmp_path: Path) -> None:
    with Daemons() as daemons:
        alice, bob = daemons.loopback(2)
        ask(alice, "GET", "warm")

        def fastest(method: str) -> float:
            times = []
            for number in range(5):
                began = time.monotonic()
                assert ask(alice, method, f"never/{number}")[0] == 404
                times.append(time.monotonic() - began)
            return min(times)  # this host has others to serve

        assert fastest("GET") < MISS_S and fastest("HEAD") < MISS_S
        bob.kill()
        assert fastest("GET") < MISS_S and fastest("HEAD") < MISS_S


def test_bazel_s_requests(trio: list[Daemon]) -> None:
    """HttpUploadHandler and HttpDownloadHandler of Bazel: PUT and GET of ac/ and cas/, keep-alive."""
    digest, action = hashlib.sha256(DATA).hexdigest(), "ac/" + "0f" * 32
    headers = {"Accept": "*/*", "Connection": "keep-alive"}
    assert ask(trio[0], "GET", f"cas/{digest}", headers=headers)[0] == 404
    assert ask(trio[0], "PUT", f"cas/{digest}", DATA, headers)[0] in (200, 201, 202, 204)
    assert ask(trio[0], "PUT", action, b"action result", headers)[0] in (200, 201, 202, 204)
    came(trio[2], action, b"action result")
    assert ask(trio[1], "GET", f"cas/{digest}", headers=headers)[2] == DATA
    assert ask(trio[1], "GET", f"other/instance/cas/{digest}", headers=headers)[2] == DATA
    status, _, body = ask(trio[0], "PUT", "cas/" + "0f" * 32, DATA, headers)
    assert status == 400 and b"digest" in body
    assert ask(trio[0], "GET", "cas/" + "0f" * 32)[0] == 404


def test_gradle_s_requests(trio: list[Daemon]) -> None:
    """HttpBuildCacheService of Gradle: GET with its media types, PUT with a length and 100-continue; 404 and 413."""
    media = "application/vnd.gradle.build-cache-artifact.v1"
    accept = {"Accept": f"{media}, */*", "X-Gradle-Version": "8.10"}
    key = "c3f1a0f6f1a44a7d9b0f7a5c0e6b7d11"
    assert ask(trio[0], "GET", key, headers=accept)[0] == 404
    put = {"Content-Type": media, "X-Gradle-Version": "8.10", "Expect": "100-continue"}
    assert 200 <= ask(trio[0], "PUT", key, DATA, put)[0] < 300
    assert ask(trio[1], "GET", key, headers=accept)[2] == DATA
    with socket.create_connection(trio[0].tcp.rsplit(":", 1), timeout=30) as connection:  # type: ignore[arg-type]
        lines = [
            f"PUT /cache/{key} HTTP/1.1",
            f"Host: {trio[0].tcp}",
            f"Content-Length: {2**40}",
            f"Content-Type: {media}",
        ]
        lines += ["Expect: 100-continue", f"Authorization: {authorization(trio[0])['Authorization']}", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert ask(trio[0], "GET", key)[2] == DATA


def test_sccache_s_requests(trio: list[Daemon]) -> None:
    """sccache over WebDAV as OpenDAL speaks it: PROPFIND and MKCOL of directories, PUT, PROPFIND and GET of files."""
    token = {"Authorization": f"Bearer {trio[0].token}"}
    depth = {**token, "Depth": "0", "Content-Type": "application/xml"}
    body = b'<?xml version="1.0" encoding="utf-8" ?><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>'
    for path in ("", "sccache/", "sccache/a/b/c/"):
        status, _, answer = ask(trio[0], "PROPFIND", path, body, depth)
        assert status == 207 and b"collection" in answer
    assert ask(trio[0], "PROPFIND", "sccache/.sccache_check", body, depth)[0] == 404
    assert ask(trio[0], "MKCOL", "sccache/a/b/c/", headers=token)[0] == 201
    assert ask(trio[0], "PUT", "sccache/.sccache_check", b"Hello, World!", token)[0] == 201
    assert ask(trio[0], "GET", "sccache/.sccache_check", headers=token)[2] == b"Hello, World!"
    status, _, answer = ask(trio[0], "PROPFIND", "sccache/.sccache_check", body, depth)
    assert status == 207 and b"<D:getcontentlength>13</D:getcontentlength>" in answer
    assert ask(trio[0], "DELETE", "sccache/.sccache_check", headers=token)[0] == 200
    assert ask(trio[0], "GET", "sccache/.sccache_check", headers=token)[0] == 404


def test_head_says_what_get_gives(trio: list[Daemon]) -> None:
    assert ask(trio[0], "PUT", "head/big", DATA)[0] == 201
    came(trio[1], "head/big", DATA)
    for daemon in trio:
        status, headers, body = ask(daemon, "HEAD", "head/big")
        assert (status, headers["content-length"], body) == (200, str(len(DATA)), b"")
        assert ask(daemon, "GET", "head/big")[2] == DATA
    assert ask(trio[0], "HEAD", "head/other")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        *("../v1/status", "a/../../b", "%2e%2e/x", "a/%2E/b", "a%2F..%2Fb", "a%00b", "a%0d%0ab"),
        *("%ff%fe", "%zz", "a//b", "x" * 1025, "%78" * 1025),
    ],
)
def test_a_path_that_is_none_is_refused_and_nothing_is_kept(trio: list[Daemon], path: str) -> None:
    before = trio[0].status()["storage"]["cache_bytes"], trio[0].status()["blobs"]
    for method, body in (("PUT", b"x"), ("GET", None), ("HEAD", None), ("DELETE", None)):
        assert ask(trio[0], method, path, body)[0] == 400, method
    assert (trio[0].status()["storage"]["cache_bytes"], trio[0].status()["blobs"]) == before


def test_a_request_line_without_end_is_refused(trio: list[Daemon]) -> None:
    assert ask(trio[0], "GET", "x" * 10_000)[0] in (400, 431)


@pytest.mark.parametrize("ending", [b"", b"5\r\nabc", b"zz\r\n", b"-1\r\n\r\n"])
def test_chunks_that_break_off_leave_no_entry(trio: list[Daemon], ending: bytes) -> None:
    token = authorization(trio[0])["Authorization"]
    head = f"PUT /cache/broken HTTP/1.1\r\nHost: {trio[0].tcp}\r\nAuthorization: {token}\r\n"
    for framing in (
        f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        f"{head}Content-Length: 1000\r\n\r\nhello",
    ):
        with socket.create_connection(trio[0].tcp.rsplit(":", 1), timeout=30) as connection:  # type: ignore[arg-type]
            connection.sendall(framing.encode() + ending)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
        assert not answer.startswith(b"HTTP/1.1 2")
    assert ask(trio[0], "GET", "broken")[0] == 404


def test_a_length_that_is_no_length_is_refused(trio: list[Daemon]) -> None:
    for length in ("-1", "1e3", "5, 6", "99999999999999999999999999"):
        with socket.create_connection(trio[0].tcp.rsplit(":", 1), timeout=30) as connection:  # type: ignore[arg-type]
            head = f"PUT /cache/length HTTP/1.1\r\nHost: {trio[0].tcp}\r\nContent-Length: {length}\r\n"
            connection.sendall(f"{head}Authorization: {authorization(trio[0])['Authorization']}\r\n\r\n".encode())
            assert re.match(rb"HTTP/1.[01] 4\d\d ", connection.recv(100)), length


def test_a_thousand_requests_at_once_are_all_answered(trio: list[Daemon]) -> None:
    assert ask(trio[0], "PUT", "many", b"x" * 2000)[0] == 201
    host, _, port = trio[0].tcp.rpartition(":")

    def ten(number: int) -> list[int]:
        answers = []
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
            for at in range(10):
                path = "/cache/many" if at % 2 else f"/cache/none/{number}/{at}"
                connection.request("GET", path, headers=authorization(trio[0]))
                answer = connection.getresponse()
                answer.read()
                answers.append(answer.status)
        return answers

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(ten, range(100))) == [[404, 200] * 5] * 100


def test_none_of_it_shows_as_a_key(trio: list[Daemon]) -> None:
    before = trio[0].json("ls")
    assert ask(trio[0], "PUT", "shown", b"x")[0] in (200, 201)
    assert ask(trio[0], "PUT", "shown/too", DATA[7:])[0] in (200, 201)
    assert trio[0].json("ls") == before
    assert trio[0].peer("get", "@cache/shown").code == 2
    assert trio[0].peer("put", "@cache/shown", "--value", "x").code == 2
