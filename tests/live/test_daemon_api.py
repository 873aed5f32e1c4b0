"""What scripts rely on: the fields of --json, the exit codes, and the HTTP API as curl sees it."""

import json
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons, Done, meet

MIB = 2**20


@pytest.fixture(scope="module")
def trio() -> Iterator[list[Daemon]]:
    with Daemons() as daemons:
        yield daemons.loopback(3)


@pytest.fixture(scope="module")
def content(trio: list[Daemon], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    data = random.Random(9).randbytes(3 * MIB + 5)
    path = tmp_path_factory.mktemp("api") / "source"
    path.write_bytes(data)
    trio[0].ok("put", "http/file", path)
    return data


def fields(answer: object, text: str) -> None:
    assert isinstance(answer, dict)
    missing = set(text.split()) - set(answer)
    assert not missing, (missing, answer)


def test_every_json_answer_has_the_fields_it_promises(trio: list[Daemon], tmp_path: Path) -> None:
    alice, bob, carol = trio
    (tmp_path / "file").write_bytes(b"x" * 200_000)
    put = alice.json("put", "fields", tmp_path / "file")
    fields(put, "key cid size version copies copies_wanted holders elapsed_ms")
    assert put["key"] == "fields" and set(put["holders"]) == {alice.id, bob.id, carol.id}
    added = alice.json("add", tmp_path / "file")
    fields(added, "cid size copies copies_wanted holders elapsed_ms")
    assert added["cid"] == put["cid"] and not {"key", "version"} & set(added)
    got = bob.json("get", "fields", "-o", tmp_path / "out")
    fields(got, "key cid size version writer source hops elapsed_ms")
    assert (
        got["writer"] == alice.id and got["version"] == put["version"] and got["source"] in ("local", "cache", "peer")
    )
    by_cid = bob.json("get", put["cid"], "-o", tmp_path / "out")
    fields(by_cid, "cid size source hops elapsed_ms")
    stat = carol.json("stat", "fields")
    fields(stat, "key cid kind size version writer copies copies_wanted holders conflicts")
    for holder in stat["holders"]:
        fields(holder, "id address kind version")
        assert holder["kind"] in ("replica", "cache")
    assert {holder["address"] for holder in stat["holders"]} == {daemon.listen for daemon in trio}
    assert (stat["kind"], stat["size"], stat["copies"], stat["conflicts"]) == ("file", 200_000, 3, [])

    alice.ok("put", "fields", "--value", "second")
    alice.ok("rm", "fields")
    history = bob.json("history", "fields")
    for version in history:
        fields(version, "version writer cid size deleted")
    assert [version["deleted"] for version in history] == [True, False, False]
    assert history[2]["version"] == put["version"]

    status = bob.json("status")
    fields(
        status,
        "id network version uptime_s listen contacts records blobs storage cache repair rejected degraded health "
        "coordinators",
    )
    fields(status["storage"], "used_bytes quota_bytes pinned_bytes replica_bytes cache_bytes")
    fields(status["cache"], "hits misses")
    fields(status["repair"], "missing_copies lag_s")
    assert status["id"] == bob.id and status["contacts"] == 2 and status["coordinators"] == []
    for peer in bob.json("peers"):
        fields(peer, "id address rtt_ms source last_seen_s verified state")
        assert peer["source"] in ("mdns", "bootstrap", "coordinator", "overlay", "remembered")
    for hop in bob.json("find", "http/never")["hops"]:
        fields(hop, "id asked_ms answered_ms result")
    for entry in bob.json("ls"):
        fields(entry, "name cid size kind")
    ping = bob.json("ping", alice.id)
    fields(ping, "id address rtt_ms")
    assert ping["id"] == alice.id and 0 < ping["rtt_ms"] < 1000
    fields(bob.json("paths"), "data token config api listen")
    assert bob.json("id")["id"] == bob.id
    fields(bob.json("version"), "peer peerd")
    pinned = bob.json("pin", put["cid"])
    fields(pinned, "cid size pinned")
    assert pinned["pinned"] and bob.status()["storage"]["pinned_bytes"] >= 200_000
    assert not bob.json("unpin", put["cid"])["pinned"]


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        (2, "usage", ["put", "", "--value", "x"]),
        (2, "usage", ["put", "k"]),
        (2, "usage", ["no-such-command"]),
        (3, "not_found", ["get", "never"]),
        (3, "not_found", ["stat", "never"]),
        (3, "not_found", ["ls", "never"]),
        (3, "not_found", ["rm", "never"]),
        (3, "not_found", ["history", "never"]),
        (3, "not_found", ["get", "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"]),
        (6, "too_few_copies", ["put", "k", "--value", "x", "--require", "8"]),
        (6, "too_few_copies", ["put", "k", "--value", "x", "--require", "99"]),
    ],
)
def test_a_failure_has_its_exit_code_as_text_and_as_json(
    trio: list[Daemon], code: int, name: str, words: list[str]
) -> None:
    assert trio[1].peer(*words).require_one_line(code)
    said = trio[1].peer("--json", *words)
    error = json.loads(said.out)["error"]
    assert (said.code, error["code"]) == (code, name), said
    assert error["message"] and "\n" not in error["message"]


def test_ping_of_who_is_not_there_is_told(trio: list[Daemon]) -> None:
    assert trio[0].peer("ping", "nobody").require_one_line(2)
    absent = "a" * 51 + "a"
    assert trio[0].peer("ping", absent).code in (1, 2, 3, 5)


def test_cat_gives_the_range_asked_for(trio: list[Daemon], content: bytes) -> None:
    bob = trio[1]
    for offset, length in ((0, 10), (MIB - 3, 7), (MIB, MIB), (len(content) - 4, 100), (len(content) + 5, 5), (5, 0)):
        assert (
            bob.ok("cat", "http/file", "--offset", str(offset), "--length", str(length))
            == (content[offset : offset + length])
        )
    assert bob.ok("cat", "http/file", "--offset", str(2 * MIB)) == content[2 * MIB :]


def bearer(daemon: Daemon, token: str | None = None) -> list[str]:
    return ["-H", f"Authorization: Bearer {token or daemon.token}"]


def answered(done: Done) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of what `curl -i` printed."""
    assert done.code == 0, done
    head, _, body = done.out.partition(b"\r\n\r\n")
    while body.startswith(b"HTTP/1.1 ") or head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)}, body


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], 401),
        (["-H", "Authorization: Bearer wrong"], 401),
        (["-H", "Authorization: Bearer "], 401),
        (["-u", "x:wrong"], 401),
        (["TOKEN", "-H", "Host: evil.example"], 403),
        (["TOKEN", "-H", "Host: localhost.evil.example:7434"], 403),
        (["TOKEN", "-H", "Host: 127.0.0.1:1"], 403),
        (["TOKEN", "-H", "Host:"], 400),
        (["TOKEN", "-H", "Origin: http://evil.example"], 403),
        (["TOKEN", "-H", "Origin: null"], 403),
        (["TOKEN"], 200),
        (["BASIC"], 200),
    ],
)
def test_the_api_on_tcp_wants_its_token_and_its_own_host_and_origin(
    trio: list[Daemon], options: list[str], status: int
) -> None:
    alice = trio[0]
    words: list[str] = []
    for option in options:
        match option:
            case "TOKEN":
                words += bearer(alice)
            case "BASIC":
                words += ["-u", f"anyone:{alice.token}"]
            case _:
                words.append(option)
    got, headers, body = answered(alice.curl("/v1/status", "-i", *words, tcp=True))
    assert got == status, (got, body)
    if status != 200:
        assert headers["content-type"].startswith("application/problem+json")
        assert json.loads(body)["code"] == ("usage" if status == 400 else "not_authorised")
        assert "access-control-allow-origin" not in headers
    put = alice.curl("/v1/kv/refused", "-i", *words, "-X", "PUT", "-d", "x", tcp=True)
    assert (answered(put)[0] < 300) == (status == 200)


def test_the_socket_is_for_its_user_alone_and_health_for_all(trio: list[Daemon]) -> None:
    alice = trio[0]
    assert Path(alice.socket).stat().st_mode & 0o777 == 0o600
    assert (alice.data / "token").stat().st_mode & 0o077 == 0
    assert (alice.data / "identity.key").stat().st_mode & 0o077 == 0
    for path in ("/v1/health/live", "/v1/health/ready"):
        assert answered(alice.curl(path, "-i", tcp=True))[0] == 200
    assert answered(alice.curl("/v1/openapi.json", "-i"))[0] == 200
    assert b"peerd_" in answered(alice.curl("/metrics", "-i", *bearer(alice), tcp=True))[2]


def test_ranges_and_conditions_of_a_value(trio: list[Daemon], content: bytes) -> None:
    bob = trio[1]
    path = "/v1/kv/http/file".replace("http/file", "http%2Ffile")
    token = bearer(bob)
    status, headers, body = answered(bob.curl(path, "-i", *token, tcp=True))
    assert (status, body, int(headers["content-length"])) == (200, content, len(content))
    etag = headers["etag"]
    assert etag.startswith('"') and headers["accept-ranges"] == "bytes"
    for span, expected in (
        ("0-0", content[:1]),
        (f"{MIB - 2}-{MIB + 1}", content[MIB - 2 : MIB + 2]),
        ("-7", content[-7:]),
        (f"{3 * MIB}-", content[3 * MIB :]),
    ):
        status, headers, body = answered(bob.curl(path, "-i", *token, "-r", span, tcp=True))
        assert (status, body) == (206, expected), span
        assert headers["content-range"].endswith(f"/{len(content)}")
    assert answered(bob.curl(path, "-i", *token, "-r", f"{len(content)}-", tcp=True))[0] == 416
    status, headers, body = answered(bob.curl(path, "-i", *token, "-H", f"If-None-Match: {etag}", tcp=True))
    assert (status, body, headers["etag"]) == (304, b"", etag)
    assert answered(bob.curl(path, "-i", *token, "-H", 'If-None-Match: "other"', tcp=True))[0] == 200
    assert answered(bob.curl(path, "-i", *token, "-H", 'If-Match: "other"', tcp=True))[0] == 412
    status, headers, body = answered(bob.curl(path, "-I", *token, tcp=True))
    assert (status, int(headers["content-length"]), headers["etag"], body) == (200, len(content), etag, b"")


def test_put_post_and_delete_have_their_statuses(trio: list[Daemon]) -> None:
    alice, bob, _ = trio
    assert answered(alice.curl("/v1/kv/statuses", "-i", "-X", "PUT", "-d", "one"))[0] == 201
    status, headers, body = answered(alice.curl("/v1/kv/statuses", "-i", "-X", "PUT", "-d", "two"))
    assert status == 200 and headers["etag"].strip('"') == json.loads(body)["version"]
    status, _, body = answered(alice.curl("/v1/content", "-i", "-d", "content"))
    assert status == 201
    assert bob.curl(f"/v1/content/{json.loads(body)['cid']}").out == b"content"
    assert answered(bob.curl("/v1/kv/statuses", "-i", "-X", "DELETE"))[0] == 200
    status, headers, body = answered(alice.curl("/v1/kv/statuses", "-i"))
    assert (status, json.loads(body)["code"]) == (404, "not_found")
    assert answered(bob.curl("/v1/kv/statuses", "-i", "-X", "DELETE"))[0] == 404
    assert answered(bob.curl("/v1/nothing", "-i"))[0] == 404
    assert answered(bob.curl("/v1/kv/x?consistency=weak", "-i"))[0] == 400
    assert answered(bob.curl("/v1/kv/x?surprise=1", "-i"))[0] == 400


def test_curl_streams_both_ways(trio: list[Daemon], tmp_path: Path) -> None:
    alice, _, carol = trio
    data = random.Random(10).randbytes(20 * MIB)
    (tmp_path / "source").write_bytes(data)
    # `-T -` sends with no length: chunked, as it comes.
    with (tmp_path / "source").open("rb") as file:
        put = subprocess.run(
            ["curl", "-sS", "-T", "-", *bearer(alice), f"http://{alice.tcp}/v1/kv/streamed"],
            stdin=file,
            capture_output=True,
            timeout=60,
            check=True,
        )
    assert json.loads(put.stdout)["size"] == len(data)
    target = tmp_path / "target"
    carol.curl("/v1/kv/streamed", "-o", str(target), *bearer(carol), tcp=True)
    assert target.read_bytes() == data
    # An interrupted download goes on where it stopped.
    target.write_bytes(data[:7_000_000])
    assert carol.curl("/v1/kv/streamed", "-C", "-", "-o", str(target), *bearer(carol), tcp=True).code == 0
    assert target.read_bytes() == data


def test_events_tell_of_a_peer_that_leaves(trio: list[Daemon]) -> None:
    alice = trio[0]
    with Daemons() as daemons, socket.socket(socket.AF_UNIX) as sock:
        guest = daemons.start(None, "--bootstrap", alice.listen)
        meet([guest, *trio])
        sock.settimeout(10)
        sock.connect(alice.socket)
        sock.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heard = sock.recv(65536)
        assert heard.startswith(b"HTTP/1.1 200 ") and b"text/event-stream" in heard
        guest.stop()
        left = {"kind": "peer", "fields": {"id": guest.id, "state": "left"}}
        while b"event: peer\n" not in heard or left not in _data(heard):
            heard += sock.recv(65536)


def _data(heard: bytes) -> list[object]:
    return [
        json.loads(line.removeprefix(b"data: "))
        for line in heard.splitlines()
        if line.startswith(b"data: {") and line.endswith(b"}")
    ]
