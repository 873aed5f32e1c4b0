"""What people see of the other commands, --help, completion; and the small pure parts."""

import importlib
import json
import os
import pty
import select
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import keys
from cli.table import COMMANDS, NOT_IN_THIS_VERSION
from cli.text import columns, exact_size, one_line, safe, seconds, size
from peerd.content.cid import Cid, looks_like_cid
from tests.unit.cli.scripted import PUT, Daemon, Peer, Request, as_json, problem, value

STATUS = {
    "id": "me", "network": "default", "version": "0.1.0", "uptime_s": 65.0, "listen": "0.0.0.0:7433", "contacts": 2,
    "records": 5, "blobs": 1,
    "storage": {"used_bytes": 10, "quota_bytes": 2048, "pinned_bytes": 1, "replica_bytes": 2, "cache_bytes": 3},
    "cache": {"hits": 1, "misses": 2}, "repair": {"missing_copies": 1, "lag_s": 3.0}, "rejected": {"stale": 4},
    "degraded": ["the disk is full"], "health": "Two peers, all copies there.",
    "coordinators": [{"url": "https://c:7435", "connected": True, "registered": False}],
}  # fmt: skip
VERSION = {"version": "v1", "writer": "w", "cid": "c", "size": 5, "deleted": False}


def test_status(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json(STATUS))
    out = peer("status").out.decode()
    for part in ("Two peers", "0.1.0, up 1 min", "10 B of 2.0 KiB", "4 stale", "the disk is full", "connected"):
        assert part in out
    assert peer("status", "--json").json == STATUS
    daemon.answers(as_json({**STATUS, "trust": {"shunned": 2, "convicted": 0, "revoked": 1}}))
    out = peer("status").out.decode()
    assert "2 shunned" in out
    assert "1 revoked" in out
    assert "convicted" not in out


def test_stat_with_holders_and_conflicts(daemon: Daemon, peer: Peer) -> None:
    told = {
        "key": "k", "cid": "c", "kind": "file", "size": 5, "version": "v1", "writer": "w", "copies": 1,
        "copies_wanted": 3, "holders": [{"id": "h", "address": "1.2.3.4:5", "kind": "replica", "version": None}],
        "missing": ["m"], "silent": ["s"], "agreed": {"epoch": 2, "holders": ["a", "b", "c"]},
        "record_holders": [{"id": "r", "address": "1.2.3.4:6", "kind": "replica", "version": "v0"}],
        "conflicts": [VERSION],
    }  # fmt: skip
    daemon.answers(as_json(told))
    out = peer("stat", "k").out.decode()
    assert "\nagreed   by a majority of 3 holders, list 2\n" in out
    assert "\nmissing\nm\n\nsilent\ns\n\nholders of its record\nID  " in out
    for part in ("size     5 B\n", "1 of 3 wanted", "1.2.3.4:5", "lost a tie"):
        assert part in out
    assert daemon.requests[0].target == "/v1/kv/k/stat"


def test_a_size_is_told_exactly_where_its_unit_says_less() -> None:
    assert [exact_size(count) for count in (1, 1023, 1024, 1572864)] == [
        "1 B", "1023 B", "1.0 KiB (1024 bytes)", "1.5 MiB (1572864 bytes)",
    ]  # fmt: skip


def test_stat_of_content_has_no_key_or_version(daemon: Daemon, peer: Peer) -> None:
    told = {"cid": "c", "kind": "file", "size": 5, "copies": 1, "copies_wanted": 1, "holders": [], "conflicts": []}
    daemon.answers(as_json(told))
    assert peer("stat", "k").status == 0


def test_history_find_peers_and_pins(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json([VERSION, {**VERSION, "deleted": True, "cid": None}]))
    assert "deleted" in peer("history", "k").out.decode()
    daemon.answers(as_json({"hops": [{"id": "a", "asked_ms": 0.1, "answered_ms": None, "result": "timed out"}]}))
    assert "no answer" in peer("find", "k").out.decode()
    daemon.answers(as_json({"hops": [{"id": "a", "asked_ms": 0.1, "answered_ms": None, "result": "not awaited"}]}))
    assert peer("find", "k").out.decode().split()[-3:] == ["-", "not", "awaited"]
    known = {"id": "a", "address": "1.2.3.4:5", "rtt_ms": None, "source": "mdns", "last_seen_s": 3.0, "verified": False}
    daemon.answers(as_json([{**known, "state": "alive"}]))
    assert peer("peers").out.decode() == "a  1.2.3.4:5  alive  -  3.0 s ago  mdns, not verified\n"
    daemon.answers(as_json([{**known, "state": "dead", "forgotten": True}]))
    assert "  dead, forgotten  " in peer("peers").out.decode()
    caught = {"trust": "shunned", "faults": {"wrong_block": 2, "dripped": 1}}
    daemon.answers(as_json([{**known, "state": "alive", **caught}]))
    assert (
        peer("peers")
        .out.decode()
        .endswith("  alive, shunned  -  3.0 s ago  mdns, not verified (1 dripped, 2 wrong_block)\n")
    )
    daemon.answers(as_json({"cid": "c", "size": 5, "pinned": True}, 201))
    assert peer("pin", "k").err == "pinned k (5 B)\n"
    assert peer("unpin", "k").err == "unpinned k (5 B)\n"
    assert [(r.method, r.target) for r in daemon.requests[-2:]] == [("POST", "/v1/pins/k"), ("DELETE", "/v1/pins/k")]


def test_token_rotate_says_the_file_and_never_the_token(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json({"token": "/data/token"}))
    ended = peer("token", "rotate")
    assert (ended.status, ended.out, ended.err) == (0, b"", "the new token is in /data/token\n")
    assert peer("token", "rotate", "--json").json == {"token": "/data/token"}
    assert [(r.method, r.target) for r in daemon.requests] == [("POST", "/v1/token")] * 2


def test_revoke_sends_the_file_and_says_whom(daemon: Daemon, peer: Peer, tmp_path: Path) -> None:
    daemon.answers(as_json({"id": "me", "reason": "stolen", "at_s": 1.5, "revocation": "9501"}))
    (tmp_path / "r").write_bytes(b"9501\n")
    ended = peer("revoke", str(tmp_path / "r"))
    assert (ended.status, ended.out, ended.err) == (0, b"", "revoked me (stolen): it is out for good\n")
    request = daemon.requests[0]
    assert (request.method, request.target, request.body) == ("POST", "/v1/revocations", b"9501\n")
    assert peer("revoke", str(tmp_path / "none")).status == 2
    assert len(daemon.requests) == 1


def test_revoke_of_what_is_no_file_is_wrong_usage_and_waits_for_nothing(
    daemon: Daemon, peer: Peer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        ended = peer("revoke", str(path))
        assert (ended.status, ended.err.splitlines()[0]) == (2, f"peer: {path} is not a regular file")
    assert not daemon.requests


AUDITED = {
    "key": "k", "version": "v2", "deleted": False, "holders": ["a", "b"], "missing": ["c"], "differing": ["d"],
    "silent": ["e"], "versions": {"d": "v1"},
}  # fmt: skip


def test_audit_of_a_key_names_who_has_it_lacks_it_differs_and_says_nothing(daemon: Daemon, peer: Peer) -> None:
    told = {"keys": [AUDITED], "divergent": 1}
    daemon.answers(as_json(told))
    ended = peer("audit", "k/1", "--own")
    assert ended.out.decode().splitlines() == [
        "k  version v2", "  has it    a", "  has it    b", "  lacks it  c", "  differs   d has v1",
        "  silent    e",
    ]  # fmt: skip
    assert (ended.status, ended.err) == (0, "its holders differ\n")
    assert daemon.requests[0].target == "/v1/audit?own=1&key=k%2F1"
    assert peer("audit", "k", "--json").json == told
    assert peer("audit", "k", "-q").err == ""


def test_audit_of_all_keys_shows_those_that_diverge(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json({"keys": [AUDITED], "divergent": 1}))
    ended = peer("audit")
    assert "  have it   2\n" in ended.out.decode()
    assert (ended.status, ended.err) == (0, "1 key whose holders differ\n")
    assert daemon.requests[0].target == "/v1/audit?divergent=1"
    daemon.answers(as_json({"keys": [], "divergent": 0}))
    ended = peer("audit")
    assert (ended.status, ended.out, ended.err) == (0, b"", "all holders that answered have the same\n")
    assert peer("audit", "--json").json == {"keys": [], "divergent": 0}
    assert daemon.requests[-1].target == "/v1/audit"


def test_forget(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json({"id": "abcd", "forgotten": True}))
    ended = peer("forget", "abcd")
    assert (ended.status, ended.out, ended.err) == (0, b"", "forgot abcd: it is counted no more\n")
    assert (daemon.requests[0].method, daemon.requests[0].target) == ("POST", "/v1/forget/abcd")
    assert peer("forget", "abcd", "--json").json == {"id": "abcd", "forgotten": True}


def test_gc_tells_what_was_freed(daemon: Daemon, peer: Peer) -> None:
    told = {"freed_bytes": 2048, "roots": 1, "blocks": 2, "records": 3}
    daemon.answers(as_json(told))
    ended = peer("gc")
    assert (ended.out, ended.err) == (b"", "freed 2.0 KiB: 1 piece of content, 2 blocks, 3 records\n")
    assert (daemon.requests[0].method, daemon.requests[0].target) == ("POST", "/v1/gc")
    assert peer("gc", "--json").json == told


def test_verify_is_exit_8_where_something_could_not_be_mended(daemon: Daemon, peer: Peer) -> None:
    found = {"blocks": 9, "records": 3, "damaged": 2, "mended": 2, "lost": 0}
    daemon.answers(as_json(found))
    ended = peer("verify")
    assert (ended.status, ended.err) == (0, "checked 9 blocks and 3 records: 2 damaged, all mended\n")
    assert daemon.requests[0].target == "/v1/verify"
    assert peer("verify", "--json").json == found
    daemon.answers(as_json({**found, "mended": 1, "lost": 1}))
    assert peer("verify").status == 8
    ended = peer("verify", "--json")
    assert isinstance(ended.json, dict)
    assert (ended.status, ended.json["error"]["code"], ended.json["lost"]) == (8, "integrity", 1)


@pytest.mark.slow
def test_verify_is_waited_for_as_long_as_the_daemon_lives(daemon: Daemon, peer: Peer) -> None:
    asked = threading.Event()

    def script(request: Request, _connected: socket.socket) -> bytes:
        if request.target == "/v1/health/live":
            asked.set()
            return as_json({"status": "live"})
        assert asked.wait(20)
        return as_json({"blocks": 9, "records": 3, "damaged": 0, "mended": 0, "lost": 0})

    daemon.script = script
    assert peer("verify", "--timeout", "0.1").status == 0


def test_rm(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json(PUT))
    ended = peer("rm", "k", "--if-version", "v1", "--own")
    assert (ended.out, ended.err) == (b"", "removed k on 3 of 3 copies\n")
    assert daemon.requests[0].method == "DELETE"
    assert daemon.requests[0].target == "/v1/kv/k?own=1&if-version=v1"
    daemon.answers(problem(404, "not_found", "nothing under k"))
    assert peer("rm", "k").status == 3


@pytest.mark.slow
def test_ping_once_and_several_times(daemon: Daemon, peer: Peer) -> None:
    trip = {"id": "p", "address": "1.2.3.4:5", "rtt_ms": 0.5}
    daemon.answers(as_json(trip, 201), as_json({**trip, "rtt_ms": 0.7}, 201))
    assert peer("ping", "p").out == b"p at 1.2.3.4:5: 0.50 ms\n"
    assert peer("ping", "p", "-c", "2", "--json").json == {**trip, "rtt_ms": 0.7, "rtts_ms": [0.7, 0.7]}
    assert len(daemon.requests) == 3


def test_paths_with_and_without_a_daemon(daemon: Daemon, peer: Peer) -> None:
    told = {"data": "/d", "token": "/d/token", "config": None, "api": ["unix:/d/api.sock"], "listen": "0.0.0.0:7433"}
    daemon.answers(as_json(told))
    assert peer("paths", "--json").json == {**told, "running": True}
    assert b"/d/token" in peer("paths").out
    peer.api = None
    peer.more = {"PEERD_DATA": "/elsewhere", "XDG_CONFIG_HOME": "/settings"}
    without = peer("paths", "--json")
    assert without.status == 0
    assert without.json == {
        "data": "/elsewhere", "token": "/elsewhere/token", "config": "/settings/peerd/config.toml",
        "api": ["unix:/elsewhere/api.sock"], "listen": None, "running": False,
    }  # fmt: skip


def test_version_with_and_without_a_daemon(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json({"version": "9.9"}))
    assert peer("version").out.decode().splitlines()[1] == "peerd 9.9"
    assert peer("version", "--json").json["peerd"] == "9.9"  # type: ignore[index]
    peer.api = None
    ended = peer("version", "--json")
    assert ended.status == 0
    assert ended.json["peerd"] is None  # type: ignore[index]


def test_lab_becomes_the_harness_with_its_arguments_and_status(lonely: Peer, packages: object) -> None:
    package = lonely.home / "fake" / "peerd" / "lab"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import sys\nprint(sys.argv[1:], sys.stdin.read())\nprint('words', file=sys.stderr)\nsys.exit(37)\n"
    )
    lonely.more = {"PYTHONPATH": f"{lonely.home / 'fake'}{os.pathsep}{packages}"}
    ended = lonely("--json", "lab", "exec", "0", "--", "-q", "--help", stdin=b"typed")
    assert (ended.status, ended.err) == (37, "words\n")
    assert ended.out.decode() == "['--json', 'exec', '0', '--', '-q', '--help'] typed\n"


def test_help_of_every_command_names_its_options(lonely: Peer) -> None:
    top = lonely("--help").out.decode()
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in top
        if not command.raw:
            shown = lonely(name, "--help")
            assert shown.status == 0
            for option in command.options:
                assert option.names[-1] in shown.out.decode()
    assert not [name for name in NOT_IN_THIS_VERSION if f"\n  {name} " in top]


def test_every_command_has_its_function() -> None:
    for command in COMMANDS.values():
        module, _, function = command.run.partition(":")
        assert callable(getattr(importlib.import_module(f"cli.{module}"), function))


def test_no_name_is_of_two_kinds() -> None:
    assert not NOT_IN_THIS_VERSION & COMMANDS.keys()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(lonely: Peer, shell: str) -> None:
    ended = lonely("completion", shell)
    assert ended.status == 0
    assert b"_PEER_COMPLETE" in ended.out


def _completed(peer: Peer, *words: str) -> list[str]:
    peer.more = {
        "_PEER_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(["peer", *words]), "COMP_CWORD": str(len(words)),
    }  # fmt: skip
    return peer().out.decode().split()


def test_completion_offers_commands_options_choices_paths_and_keys(daemon: Daemon, peer: Peer) -> None:
    entries = [{"name": name, "cid": "c", "size": 1, "kind": "file"} for name in ("motd", "model", "bad\nname", "x")]
    daemon.answers(as_json(entries))
    assert set(_completed(peer, "p")) == {f"plain,{n}" for n in COMMANDS if n.startswith("p")}
    assert "plain,--consistency" in _completed(peer, "get", "--con")
    assert set(_completed(peer, "get", "k", "--consistency", "")) == {"plain,one", "plain,quorum", "plain,strong"}
    assert _completed(peer, "get", "mo") == ["plain,motd", "plain,model"]
    assert _completed(peer, "get", "ba") == []
    assert _completed(peer, "put", "k", "f") == ["file,f"]
    assert _completed(peer, "completion", "z") == ["plain,zsh"]


def test_completion_without_a_daemon_is_quiet(lonely: Peer) -> None:
    assert _completed(lonely, "get", "mo") == []


def _on_a_terminal(peer: Peer, *arguments: str, **environment: str) -> bytes:
    """Run `peer` with standard error on a terminal, and return what appears there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        peer.command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**peer.environment, "TERM": "xterm", "COLUMNS": "100", **environment},
    )
    os.close(theirs)
    shown = b""
    # Its end is an error: the other side of a terminal was closed.
    with suppress(OSError):
        while select.select([ours], [], [], 20)[0]:
            shown += os.read(ours, 65536)
    os.close(ours)
    process.wait(20)
    return shown


@pytest.mark.slow
def test_progress_is_shown_on_a_terminal_for_long_work_only(daemon: Daemon, peer: Peer) -> None:
    whole = value(b"x" * 4_000_000)

    def slowly(_request: Request, connected: socket.socket) -> None:
        for i in range(0, len(whole), 500_000):
            connected.sendall(whole[i : i + 500_000])
            time.sleep(0.12)

    daemon.script = slowly
    with ThreadPoolExecutor() as pool:
        shown = pool.submit(_on_a_terminal, peer, "get", "k")
        plain = pool.submit(_on_a_terminal, peer, "get", "k", NO_COLOR="1")
        off = pool.submit(_on_a_terminal, peer, "get", "k", "--no-progress")
        quiet = pool.submit(_on_a_terminal, peer, "get", "k", "-q")
        asked_for = pool.submit(_on_a_terminal, peer, "get", "k", "-q", "--progress")
        no_terminal = pool.submit(peer, "get", "k", "--progress")
    assert b"MiB/s" in shown.result()
    assert b"\x1b[3" in shown.result()
    assert b"\x1b[3" not in plain.result()
    assert off.result() == quiet.result() == b""
    assert b"MiB/s" in asked_for.result()
    assert no_terminal.result().err == ""
    daemon.answers(value(b"x"))
    assert _on_a_terminal(peer, "get", "k") == b""


@given(st.text())
def test_safe_text_is_printable_and_reads_back_as_one_text_only(text: str) -> None:
    shown = safe(text)
    assert shown.isprintable() or shown == ""
    encoded = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert safe(encoded) == shown
    assert one_line(text).isprintable() or one_line(text) == ""


@given(st.text(max_size=8), st.text(max_size=8))
def test_two_names_are_never_shown_alike(one: str, other: str) -> None:
    assert (safe(one) == safe(other)) == (one == other)


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_quoting_leaves_letters_and_reads_back(text: str) -> None:
    quoted = keys.quote(text)
    assert unquote(quoted) == text
    assert not set(quoted) & set("/?#&. ")


def test_the_cids_known_here_are_those_the_daemon_knows() -> None:
    raw = Cid(0x55, bytes(range(32)))
    texts = [raw.text, Cid(0x70, bytes(32)).text, raw.text.upper(), raw.text[:-1], raw.text + "a", raw.text[:-1] + "b"]
    texts += [
        "f" + raw.to_bytes().hex(),
        "F" + raw.to_bytes().hex().upper(),
        "F" + raw.to_bytes().hex(),
        "B" + raw.text[1:],
    ]
    texts += [
        "",
        "b",
        "k",
        "z",
        "f",
        "B",
        "Qm",
        "Qm" + "1" * 44,
        "z" + "1" * 47,
        "k0" + raw.text,
        "bafyreigh2akiscaildc",
    ]
    number = int.from_bytes(raw.to_bytes(), "big")
    for alphabet, prefix in (("0123456789abcdefghijklmnopqrstuvwxyz", "k"), (_BASE58, "z")):
        digits, left = "", number
        while left:
            left, digit = divmod(left, len(alphabet))
            digits = alphabet[digit] + digits
        texts += [prefix + digits, prefix + alphabet[0] + digits, prefix + digits[:-1]]
    texts += ["QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbd0"]
    assert [keys.is_cid(text) for text in texts] == [looks_like_cid(text) for text in texts]
    assert any(keys.is_cid(text) for text in texts)


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def test_sizes_durations_and_columns() -> None:
    assert [size(n) for n in (0, 1023, 1536, 5 * 2**30, None)] == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB", "-"]
    assert [seconds(n) for n in (0.5, 300, 7800, 100_000)] == ["0.5 s", "5 min", "2 h 10 min", "1 d 3 h"]
    assert columns([["a", "bb"], ["ccc", "d"]], ["X", "Y"]) == "X    Y\na    bb\nccc  d\n"
    assert columns([]) == ""


def test_json_of_lists_is_one_line(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json([]))
    ended = peer("peers", "--json")
    assert json.loads(ended.out) == []
    assert ended.out.endswith(b"\n")


def test_who_was_caught_is_told(daemon: Daemon, peer: Peer) -> None:
    told = {"id": "a", "address": "1.2.3.4:5", "rtt_ms": None, "source": "mdns", "last_seen_s": 3.0, "verified": True,
            "state": "alive", "forgotten": False, "trust": "shunned", "faults": {"denied_held": 3}}  # fmt: skip
    daemon.answers(as_json([told]))
    assert "  alive, shunned  " in peer("peers").out.decode()
    convicted = [{"id": "abcd", "kind": "false_proof", "evidence": "00"}, {"id": "b", "kind": "x", "evidence": "00"}]
    daemon.answers(as_json(convicted))
    assert peer("evidence", "abc").out.decode() == "abcd  made up a proof of what it has\n"
    daemon.answers(as_json(convicted))
    assert peer("evidence", "--quiet").out.decode() == "abcd\nb\n"
    daemon.answers(as_json(convicted))
    assert json.loads(peer("evidence", "b", "--json").out) == convicted[1:]
    daemon.answers(as_json([]), as_json([]))
    for operands in ((), ("a" * 52,)):
        ended = peer("evidence", *operands)
        assert (ended.status, "nobody is convicted" in ended.err) == (0, True)


@pytest.mark.parametrize(("given", "status"), [("zzzz", 2), ("a b", 2), ("a" * 51 + "b", 2), ("abc", 0), ("ABC", 0)])
def test_evidence_against_nobody_is_told_only_of_a_peer_id_or_of_a_peer_that_is_known(
    daemon: Daemon, peer: Peer, given: str, status: int
) -> None:
    daemon.answers(as_json([]), as_json([{"id": "abcd"}]))
    ended = peer("evidence", given)
    assert (ended.status, "nobody is convicted" in ended.err) == (status, status == 0)
