"""`peer watch`: what it prints, and how it goes on where the daemon goes away."""

import json
import socket
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.cli.scripted import Daemon, Peer, Request, chunked, problem

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _entry(version: str, **more: object) -> dict[str, object]:
    return {"version": version, "writer": "w", "cid": "bafk", "size": 5, "deleted": False, "conflict": False, **more}


def _events(*entries: dict[str, object], first: str = "v0") -> bytes:
    lines = f"retry: 1000\nid: {first}\n\n:\n\n" + "".join(
        f"id: {entry['version']}\nevent: version\ndata: {json.dumps(entry)}\n\n" for entry in entries
    )
    return HEAD + chunked(lines.encode(), end=False, piece=11)


class Parts:
    """Gives these streams one after the other, each broken off at its end, and then an answer that ends it."""

    def __init__(self, daemon: Daemon, *parts: bytes) -> None:
        self._parts = list(parts)
        daemon.script = self._answer

    def _answer(self, _request: Request, _connected: socket.socket) -> bytes:
        return self._parts.pop(0) if self._parts else problem(400, "usage", "enough")


def _asked(daemon: Daemon) -> list[str | None]:
    """Return after which version was asked, each time."""
    queries = [parse_qs(urlsplit(request.target).query) for request in daemon.requests]
    return [query["after"][0] if "after" in query else None for query in queries]


def test_each_version_is_a_line_of_json(daemon: Daemon, peer: Peer) -> None:
    entries = [_entry("v1"), _entry("v2", deleted=True, cid=None, missed=3)]
    Parts(daemon, _events(*entries))
    ended = peer("watch", "k", "--json")
    lines = ended.out.splitlines()
    assert [json.loads(line) for line in lines[:2]] == entries


def test_it_goes_on_after_the_last_version_also_where_none_was_told(daemon: Daemon, peer: Peer) -> None:
    Parts(daemon, _events(), _events(_entry("v1"), first="v0"), b"", _events(_entry("v2"), first="v1"))
    ended = peer("watch", "k")
    assert [line.split()[0] for line in ended.out.decode().splitlines()] == ["v1", "v2"]
    assert _asked(daemon) == [None, "v0", "v1", "v1", "v2"]
    assert (ended.status, ended.err) == (2, "peer: enough\n")


def test_words_say_what_was_deleted_lost_and_missed(daemon: Daemon, peer: Peer) -> None:
    Parts(daemon, _events(_entry("v1", deleted=True, cid=None), _entry("v2", conflict=True, missed=4)))
    lines = peer("watch", "k", "--after", "none").out.decode().splitlines()
    assert lines[0].split() == ["v1", "deleted", "w", "-"]
    assert lines[1].endswith("bafk  lost a tie  4 before it missed")
    assert _asked(daemon)[0] == "none"


def test_a_daemon_that_does_not_come_back_is_exit_4(daemon: Daemon, peer: Peer) -> None:
    def script(_request: Request, _connected: socket.socket) -> bytes:
        daemon.path.unlink()
        return _events(_entry("v1"))

    daemon.script = script
    ended = peer("watch", "k", "--timeout", "1")
    assert ended.status == 4
    assert ended.out.startswith(b"v1 ")


def test_without_a_daemon_it_is_exit_4_at_once(lonely: Peer) -> None:
    assert lonely("watch", "k", "--timeout", "30").status == 4


@pytest.mark.parametrize("after", ["\u00e4", "x" * 2000])
def test_what_cannot_be_a_version_is_wrong_usage(daemon: Daemon, peer: Peer, after: str) -> None:
    assert peer("watch", "k", "--after", after).status == 2
    assert daemon.requests == []
