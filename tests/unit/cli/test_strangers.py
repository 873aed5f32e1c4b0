"""What strangers chose reaches a terminal only in harmless form, and what no disk takes is refused before a byte."""

import json
import os
import pty
import select
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.extract import Extractor
from cli.failure import Failure
from cli.progress import Progress
from cli.text import json_safe
from tests.unit.cli.scripted import GET, Daemon, Peer, answer, as_json, value
from tests.unit.cli.test_get import _around, _file, _other, _tar

NASTY = "a\x1b[2J\x07\x7f\x9b31m\u202egnp\u2028\u00a0\ud7ff\U000e0041\U0001f600\\b"
LISTED = [{"name": NASTY, "cid": "c", "size": 1, "kind": "file"}]
FOUND = {"key": NASTY, "cid": "c", "holders": [], "conflicts": [], "size": 1, "kind": "file", "copies": 1}
FOUND |= {"copies_wanted": 1}


def _on_a_terminal(peer: Peer, *arguments: str) -> bytes:
    """Run `peer` with both outputs on a terminal, and return what appears there."""
    ours, theirs = pty.openpty()
    environment = {**peer.environment, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        peer.command(*arguments), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    # Its end is an error: the other side of a terminal was closed.
    with suppress(OSError):
        while select.select([ours], [], [], 20)[0]:
            piece = os.read(ours, 65536)
            if not piece:
                break
            shown += piece
    os.close(ours)
    process.wait(20)
    return shown.replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    ("told", "arguments"), [(LISTED, ("ls",)), (FOUND, ("stat", "k")), (FOUND, ("stat", "k", "--json"))]
)
def test_a_strangers_name_cannot_act_on_a_terminal(
    daemon: Daemon, peer: Peer, told: object, arguments: tuple[str, ...]
) -> None:
    daemon.answers(as_json(told))
    shown = _on_a_terminal(peer, *arguments).decode()
    assert shown
    assert shown.replace("\n", "").isprintable(), repr(shown)
    if "--json" in arguments:
        assert json.loads(shown) == told


def test_json_of_ls_and_of_an_error_is_printable_on_a_terminal_and_means_the_same(daemon: Daemon, peer: Peer) -> None:
    raw = json.dumps(LISTED, ensure_ascii=False).encode()
    daemon.answers(answer(200, raw, "application/json"))
    shown = _on_a_terminal(peer, "ls", "--json").decode()
    assert shown.replace("\n", "").isprintable()
    assert json.loads(shown) == LISTED
    daemon.answers(answer(200, raw, "application/json"))
    assert peer("ls", "--json").out == raw + b"\n", "elsewhere it is passed on as it came"
    failed = _on_a_terminal(peer, "put", "--json", "k", "\x9bno such file\u202e").decode()
    assert failed.replace("\n", "").isprintable()
    assert "\x9b" in json.loads(failed)["error"]["message"] or "x9b" in failed


@given(st.recursive(st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)))
def test_json_made_safe_means_the_same(told: object) -> None:
    shown = json_safe(json.dumps(told, ensure_ascii=False, indent=1))
    assert shown.isprintable()
    assert json.loads(shown) == told


def test_a_file_larger_than_the_disk_is_refused_before_it_is_begun(daemon: Daemon, peer: Peer) -> None:
    told = value(b"x").replace(b"Content-Length: 1\r\n", b"Content-Length: %d\r\n" % 2**53)
    assert b"%d" % 2**53 in told
    daemon.answers(told)
    ended = peer("get", "k", "-o", "out")
    assert (ended.status, _around(peer)) == (9, set())
    assert "8.0 PiB are to come" in ended.err


def test_a_directory_said_to_be_larger_than_the_disk_is_refused_before_it_is_begun(daemon: Daemon, peer: Peer) -> None:
    info = json.dumps({**GET, "kind": "directory", "size": 2**53})
    daemon.answers(
        answer(200, _tar(_file("a")), "application/x-tar", **{"X-Peerd-Get": info, "X-Peerd-Kind": "directory"})
    )
    ended = peer("get", "k", "-o", "out")
    assert (ended.status, _around(peer)) == (9, set())


def test_an_entry_larger_than_the_disk_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    huge = _tar(_file("a", b""))[:512]
    info = _file("big", b"")[0]
    info.size = 2**53
    tar = huge + info.tobuf(tarfile.PAX_FORMAT) + bytes(512)
    top = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(Failure) as raised:
            Extractor(top, Progress("", shown=False)).extract(iter([memoryview(tar)]))
    finally:
        os.close(top)
    assert raised.value.code == "no_room"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_directory_that_is_returned_to_is_another_one_of_its_name(tmp_path: Path) -> None:
    tar = _tar(_other("d", b"5"), _file("d/a"), _file("e/f/a"), _file("e/g/a"), _file("d/b"))
    top = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(Failure) as raised:
            Extractor(top, Progress("", shown=False)).extract(iter([memoryview(tar)]))
    finally:
        os.close(top)
    assert raised.value.code == "integrity"
    made = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert made == ["d/a", "e/f/a", "e/g/a"]
