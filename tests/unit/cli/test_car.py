"""`export` and `import`: what is asked for, what stands under the final name and when, what is told of a failure."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.scripted import GET, PUT, Daemon, Peer, answer, as_json, problem

CAR = b"car" * 100_000
CAR_TYPE = "application/vnd.ipld.car"
IMPORTED = {"roots": [PUT, {**PUT, "cid": "bafkreidef"}], "blocks": 7, "size": 5, "elapsed_ms": 1.0}


def sent(body: bytes) -> bytes:
    return answer(200, body, CAR_TYPE, X_Peerd_Get=json.dumps(GET), X_Peerd_Kind="file")


def test_an_export_is_written_whole_or_to_standard_output(daemon: Daemon, peer: Peer, tmp_path: Path) -> None:
    daemon.answers(sent(CAR))
    ended = peer("export", "k/ä", str(tmp_path / "a.car"), "--consistency", "one", "--json")
    assert (tmp_path / "a.car").read_bytes() == CAR
    assert ended.json == {**GET, "file_bytes": len(CAR)}
    assert daemon.requests[0].target == "/v1/car/k%2F%C3%A4?consistency=one"
    assert peer("export", "k", "-").out == CAR


@pytest.mark.parametrize(("code", "status"), [("integrity", 8), ("timeout", 5), ("other", 4)])
def test_an_export_that_breaks_off_leaves_nothing(
    daemon: Daemon, peer: Peer, tmp_path: Path, code: str, status: int
) -> None:
    head = f"HTTP/1.1 200 OK\r\nX-Peerd-Get: {json.dumps(GET)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    daemon.answers(head.encode() + b"3\r\ncar\r\n1;peerd-error=" + code.encode() + b"\r\n")
    for target in (str(tmp_path / "a.car"), "-"):
        assert peer("export", "k", target).status == status
    assert not list(tmp_path.glob("*.car*"))


def test_an_export_of_nothing_leaves_nothing(daemon: Daemon, peer: Peer, tmp_path: Path) -> None:
    daemon.answers(problem(404, "not_found", "not found: k"))
    assert peer("export", "k", str(tmp_path / "a.car")).status == 3
    assert not list(tmp_path.glob("*.car*"))


def test_an_import_sends_the_file_and_prints_its_roots(daemon: Daemon, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "a.car").write_bytes(CAR)
    daemon.answers(as_json(IMPORTED, 201))
    ended = peer("import", str(tmp_path / "a.car"), "--require", "2")
    assert (ended.status, ended.out) == (0, b"bafkreiabc\nbafkreidef\n")
    request = daemon.requests[0]
    assert (request.method, request.target, request.body) == ("POST", "/v1/car?require=2", CAR)
    assert request.headers["content-type"] == CAR_TYPE
    assert peer("import", str(tmp_path / "a.car"), "--json").json == IMPORTED


def test_a_malformed_car_is_exit_8_and_a_directory_wrong_usage(daemon: Daemon, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "a.car").write_bytes(b"no car")
    daemon.answers(problem(502, "integrity", "not a CAR file that can be taken"))
    ended = peer("import", str(tmp_path / "a.car"))
    assert (ended.status, ended.err) == (8, "peer: not a CAR file that can be taken\n")
    (tmp_path / "d").mkdir()
    assert peer("import", str(tmp_path / "d")).status == 2
