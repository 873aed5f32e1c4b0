"""A hostile holder serves everything in tests/hostile/dags.py to a real daemon, and `peer` writes none of it.

What is refused is refused with exit 8; nothing is written outside, nothing temporary stays, nothing that a terminal
might act on is printed, and neither the daemon nor `peer` takes much memory for it.
"""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hostile.dags import DAGS, NASTY
from tests.live.daemons import PEER, Daemon, Daemons, meet

pytestmark = pytest.mark.slow

DAEMON_LIMIT_KB = 64 * 1024
PEER_LIMIT_KB = 64 * 1024
# Ten seconds of a machine that does nothing else.
TAKES_LIMIT_S = 45.0
# The most that a process took, by one that is small itself: it begins with what its parent had.
MEASURED = """
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
TIMEOUT = ("--timeout", "8")
# What is strange and not wrong, and what is there of it then.
WRITTEN = {"casefold": ["in/here/out", "in/here/out/A", "in/here/out/a"]}
# A file that says to have no byte, whatever it links.
WRITTEN["empty_parts"] = ["in/here/out"]
WRITTEN["nasty"] = ["in/here/out", f"in/here/out/{NASTY}"]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has met one that publishes all of it."""
    with Daemons() as daemons:
        clan = tmp_path_factory.mktemp("clan") / "clan.json"
        alice = daemons.start()
        flags = ("--bootstrap", alice.listen)
        mallory = daemons.prepare_liar("tests.hostile.dags:Publishes", clan, *flags).launch().wait_ready()
        meet([alice, mallory])
        alice.ok("put", "warm", "--value", "up")
        alice.ok("get", "warm")
        yield alice


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def measured(daemon: Daemon, folder: Path, *words: str) -> tuple[int, str, int]:
    """Run `peer` in a folder; return its exit status, what it said, and the most memory it had, in KiB."""
    command = ["timeout", "90", sys.executable, "-c", MEASURED, PEER, *words]
    done = subprocess.run(command, capture_output=True, env=daemon.env, cwd=folder, check=False)
    *said, peak = done.stderr.decode().splitlines() or ["0"]
    return done.returncode, "\n".join(said), int(peak)


def on_a_terminal(daemon: Daemon, *words: str) -> bytes:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PEER, *words], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=daemon.env | {"TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # its end is an error
        while select.select([ours], [], [], 30)[0] and (piece := os.read(ours, 65536)):
            shown += piece
    os.close(ours)
    process.wait(30)
    return shown.replace(b"\r\n", b"\n")


def test_nothing_hostile_is_written_and_memory_stays(victim: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    idle = measured(victim, folder, "id")[2]
    victim.forget_peak()
    before = victim.memory_kb()["VmRSS"]
    wrong = []
    for name, made in DAGS.items():
        if name == "repeats":  # tens of thousands of directories are made and removed, which a disk may take long for
            continue
        dag = made()
        started = time.monotonic()
        code, said, peak = measured(victim, folder, "get", dag.root.text, "-o", "out", *TIMEOUT)
        took_s = time.monotonic() - started
        expected = 0 if name in WRITTEN else 9 if dag.valid else 8
        left = tree(tmp_path)
        if (
            code != expected
            or took_s > TAKES_LIMIT_S
            or peak > idle + PEER_LIMIT_KB
            or left != ["in", "in/here", *WRITTEN.get(name, [])]
        ):
            wrong.append((name, code, expected, said, took_s, peak - idle, left[:5]))
        for path in WRITTEN.get(name, []):
            if (tmp_path / path).is_file():
                (tmp_path / path).unlink()
        with suppress(OSError):
            (folder / "out").rmdir()
    assert wrong == [], "\n".join(map(str, wrong))
    assert not Path("/tmp/escaped").exists()
    assert victim.memory_kb()["VmHWM"] - before < DAEMON_LIMIT_KB


def test_listings_of_it_end_and_are_printable(victim: Daemon) -> None:
    victim.forget_peak()
    before = victim.memory_kb()["VmRSS"]
    for name, made in DAGS.items():
        root = made().root.text
        for words in (("ls", root), ("ls", root, "--json"), ("stat", root), ("stat", root, "--json")):
            shown = on_a_terminal(victim, *words, *TIMEOUT).decode()
            assert shown, (name, words)
            assert shown.replace("\n", "").isprintable(), (name, words, shown[:300])
    assert victim.memory_kb()["VmHWM"] - before < DAEMON_LIMIT_KB
    assert victim.status()["contacts"] == 1
