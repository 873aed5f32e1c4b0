"""Start time: what a short command imports."""

import re
import subprocess

from tests.unit.cli.scripted import PUT, Daemon, Peer, as_json, value

FORBIDDEN = {
    "argparse", "asyncio", "click", "dataclasses", "email", "http", "http.client", "inspect", "pathlib", "re", "rich",
    "ssl", "subprocess", "tarfile", "tempfile", "threading", "typing", "urllib", "zlib",
}  # fmt: skip


def _imported(peer: Peer, *arguments: str) -> set[str]:
    # -S and -I-like: what an installation's own hooks import is not ours.
    command = peer.command(*arguments, options=("-S", "-X", "importtime"))
    ran = subprocess.run(command, capture_output=True, env=peer.environment, cwd=peer.home, check=True, text=True)
    return set(re.findall(r"\|\s+([\w.]+)$", ran.stderr, re.MULTILINE)) - {"runpy"}


def test_get_of_a_short_value_imports_no_library(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"hello"))
    imported = _imported(peer, "get", "k")
    assert imported & (FORBIDDEN | {"json", "signal", "shutil"}) == set()
    assert "peerd_cli.fetch" in imported


def test_put_cat_ls_and_stat_import_no_library_but_json(daemon: Daemon, peer: Peer) -> None:
    listed = [{"name": "a", "cid": "c", "size": 1, "kind": "file"}]
    # json's decoder is made of regular expressions.
    allowed = {"re"}
    daemon.answers(as_json(PUT, 201))
    assert _imported(peer, "put", "k", "--value", "hello") & FORBIDDEN <= allowed
    daemon.answers(value(b"hello"))
    assert _imported(peer, "cat", "k") & FORBIDDEN == set()
    daemon.answers(as_json(listed))
    assert _imported(peer, "ls") & FORBIDDEN <= allowed
    stat = {**PUT, "kind": "file", "writer": "w", "holders": [], "conflicts": []}
    daemon.answers(as_json(stat))
    assert _imported(peer, "stat", "k") & FORBIDDEN <= allowed


def test_json_of_put_needs_no_json_library(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(as_json(PUT, 201))
    assert "json" not in _imported(peer, "put", "k", "--value", "hello", "--json")


def test_nothing_of_the_daemon_is_imported(daemon: Daemon, peer: Peer) -> None:
    daemon.answers(value(b"hello"))
    assert not {name for name in _imported(peer, "get", "k") if name == "peerd" or name.startswith("peerd.")}
