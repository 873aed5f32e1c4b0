"""Arguments: what is refused before any connection, and in which words and form."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.failure import Failure
from cli.parse import Invocation, parse
from tests.unit.cli.scripted import PUT, Daemon, Ended, Peer, as_json

Inside = Callable[..., Ended]

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
PEER = "a" * 52


def _parsed(*arguments: str) -> Invocation:
    invocation = Invocation()
    parse(list(arguments), invocation)
    return invocation


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "-q", "--timeout", "2.5", "--api", "unix:/x", "get", "k"),
        ("get", "--json", "-q", "--timeout=2.5", "--api=unix:/x", "k"),
        ("get", "k", "--api", "unix:/x", "--quiet", "--json", "--timeout", "2.5"),
        ("--json", "get", "-q", "k", "--timeout", "2.5", "--api", "unix:/x"),
    ],
)
def test_global_options_stand_before_and_after_the_command(arguments: tuple[str, ...]) -> None:
    got = _parsed(*arguments)
    assert (got.flag("json"), got.flag("quiet"), got.seconds("timeout"), got.text("api")) == (
        True,
        True,
        2.5,
        "unix:/x",
    )
    assert got.operands == ["k"]


def test_short_options_take_their_value_apart_or_attached_and_flags_bundle() -> None:
    assert _parsed("get", "k", "-oout").text("out") == "out"
    assert _parsed("get", "k", "-o", "out").text("out") == "out"
    bundled = _parsed("get", "k", "-qo", "out")
    assert bundled.flag("quiet")
    assert bundled.text("out") == "out"


def test_two_dashes_end_the_options() -> None:
    assert _parsed("get", "--", "--json").operands == ["--json"]
    assert not _parsed("get", "--", "--json").flag("json")


def test_a_value_may_look_like_an_option() -> None:
    assert _parsed("put", "k", "--value", "--json").text("value") == "--json"


def test_the_last_of_an_option_and_its_opposite_counts() -> None:
    assert _parsed("put", "k", "-", "--progress", "--no-progress").switched_off("progress")
    assert _parsed("put", "k", "-", "--no-progress", "--progress").flag("progress")


def test_lab_takes_all_that_follows_unread() -> None:
    assert _parsed("lab", "exec", "1", "--", "--json", "-q").operands == ["exec", "1", "--", "--json", "-q"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("get",),
        ("get", "a", "b"),
        ("get", "k", "--nonsense"),
        ("get", "k", "-z"),
        ("get", "k", "-o"),
        ("get", "k", "--json=1"),
        ("get", "k", "--timeout", "0"),
        ("get", "k", "--timeout", "-1"),
        ("get", "k", "--timeout", "nan"),
        ("get", "k", "--timeout", "inf"),
        ("get", "k", "--timeout", "soon"),
        ("get", "k", "--consistency", "weak"),
        ("get", "k", "--if-version", 'a"b'),
        ("get", "k", "--api", "nowhere"),
        ("get", "k", "--api", "host:99999"),
        ("get", "k", "--api", "unix:" + "x" * 200),
        ("cat", "k", "--offset", "-1"),
        ("cat", "k", "--length", "1e3"),
        ("cat", "k", "--offset", "٣"),
        ("put", "k"),
        ("put", "k", "-", "--value", "x"),
        ("put", "k", "", "--json"),
        ("put", "k", "/does/not/exist"),
        ("put", "k", "-", "--require", "0"),
        ("put", "k", "-", "--ttl", "0"),
        ("put", CID, "--value", "x"),
        ("put", CID, "--value", "x", "--own"),
        ("put", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "--value", "x"),
        ("put", "sha256:abc", "--value", "x"),
        ("put", "@anna/motd", "--value", "x"),
        ("put", f"{PEER}/motd", "--value", "x"),
        ("completion", "tcsh"),
        ("ping", ""),
        ("token",),
        ("token", "show"),
        ("doctor",),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2_without_a_connection(
    daemon: Daemon, inside: Inside, arguments: tuple[str, ...]
) -> None:
    ended = inside(*arguments)
    assert ended.status == 2
    if "--json" in arguments:
        assert ended.json["error"]["code"] == "usage"  # type: ignore[index]
        assert ended.err == ""
    else:
        lines = ended.err.splitlines()
        assert lines[0].startswith("peer: ")
        assert all(line.startswith("hint: ") for line in lines[1:])
        assert len(lines) <= 2
        assert ended.out == b""
    assert daemon.requests == []


@pytest.mark.parametrize("command", [("put", "--value", "x"), ("get",), ("stat",), ("rm",), ("ls",), ("history",)])
@pytest.mark.parametrize(
    "key", [b"", b"x" * 256, "é".encode() * 128, b"\xff\xfe"], ids=["empty", "256", "two-byte", "latin"]
)
def test_a_key_that_cannot_be_one_is_exit_2_without_a_connection(
    daemon: Daemon, inside: Inside, command: tuple[str, ...], key: bytes
) -> None:
    name, *rest = command
    assert inside(name, *rest, "--", os.fsdecode(key)).status == 2
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("motd", "motd"),
        ("a/b c", "a%2Fb%20c"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("../x", "%2E%2E%2Fx"),
        ("k\n", "k%0A"),
        ("%41?#&", "%2541%3F%23%26"),
        ("ключ", "%D0%BA%D0%BB%D1%8E%D1%87"),
        ("x" * 255, "x" * 255),
        (PEER, PEER),
        ("sha256", "sha256"),
    ],
)
def test_a_key_travels_encoded_as_it_is(daemon: Daemon, peer: Peer, key: str, target: str) -> None:
    daemon.answers(as_json(PUT, 201))
    assert peer("put", key, "--value", "x").status == 0
    assert daemon.requests[0].target == f"/v1/kv/{target}"


@pytest.mark.parametrize("name", ["@anna/motd", "sha256:abc", f"{PEER}/motd", CID])
def test_reserved_forms_are_left_to_the_daemon_where_nothing_is_named_anew(
    daemon: Daemon, peer: Peer, name: str
) -> None:
    daemon.answers(as_json([]))
    peer("history", name)
    assert len(daemon.requests) == 1


def test_a_mistyped_command_or_option_is_told_its_nearest(lonely: Peer) -> None:
    assert "did you mean `peer stat`?" in lonely("sttat", "k").err
    assert "--consistency" in lonely("get", "k", "--consistancy", "one").err


def test_commands_of_other_versions_are_told_apart_from_mistyped_ones(lonely: Peer) -> None:
    assert lonely("doctor").err == "peer: doctor is not in this version\n"


def test_an_error_before_the_arguments_were_read_to_their_end_still_comes_as_json(lonely: Peer) -> None:
    ended = lonely("get", "--nonsense", "k", "--json")
    assert ended.json["error"]["code"] == "usage"  # type: ignore[index]


def test_no_daemon_is_exit_4_and_says_how_to_start_one(lonely: Peer) -> None:
    ended = lonely("get", "k")
    assert ended.status == 4
    assert ended.err.startswith("peer: no daemon answers at ")
    assert "hint: start one with `peerd`" in ended.err


def test_no_daemon_as_json(lonely: Peer) -> None:
    ended = lonely("--json", "status")
    assert ended.status == 4
    assert set(ended.json["error"]) == {"code", "message", "hint"}  # type: ignore[index]
    assert ended.err == ""


def test_a_socket_nobody_listens_at_is_passed_over_for_the_next_place(packages: Path, tmp_path: Path) -> None:
    runtime, data = tmp_path / "run", tmp_path / "data"
    (runtime / "peerd").mkdir(parents=True)
    data.mkdir()
    left = Daemon(runtime / "peerd" / "api.sock")
    left.close()
    living = Daemon(data / "api.sock")
    try:
        living.answers(as_json({"id": "me"}))
        peer = Peer(packages, tmp_path, more={"XDG_RUNTIME_DIR": str(runtime), "PEERD_DATA": str(data)})
        assert peer("id").out == b"me\n"
    finally:
        living.close()


def test_keygen_writes_32_bytes_that_only_the_owner_reads_and_never_overwrites(lonely: Peer) -> None:
    path = lonely.home / "key"
    old = os.umask(0)
    try:
        assert lonely("keygen", "key").status == 0
    finally:
        os.umask(old)
    first = path.read_bytes()
    assert len(first) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert lonely("keygen", "key").status == 2
    assert path.read_bytes() == first


def test_parse_keeps_what_was_understood_before_an_error() -> None:
    invocation = Invocation()
    with pytest.raises(Failure):
        parse(["--json", "get", "k", "--nonsense"], invocation)
    assert invocation.flag("json")
    assert not invocation.parsed
