"""The identity of a real daemon: under a passphrase, asked for on a terminal, copied away and put back."""

import os
import pty
import random
import select
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import PEERD, Daemon, Daemons, meet, until

PASSPHRASE = "five random words of mine"


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    with Daemons() as group:
        yield group


@pytest.fixture
def secret(daemons: Daemons) -> Path:
    path = daemons.root / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    path.chmod(0o600)
    return path


def identity(daemon: Daemon, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [PEERD, "identity", *(str(word) for word in words)]
    return subprocess.run(command, env=daemon.env, capture_output=True, text=True, timeout=30, check=False)


def test_a_peer_that_begins_with_a_passphrase_needs_it_ever_after(daemons: Daemons, secret: Path) -> None:
    daemon = daemons.start(None, "--passphrase-file", str(secret), "--log-level", "debug")
    daemon.ok("put", "k", "--value", "v")
    first = daemon.id
    daemon.stop()
    flags = daemon.flags
    daemon.flags = [flag for flag in flags if flag not in ("--passphrase-file", str(secret))]
    line, hint = daemon.refuse()
    assert "is protected by a passphrase" in line and "--passphrase-file" in hint
    daemon.flags = flags
    secret.write_text("another one")
    assert "does not open" in daemon.refuse()[0]
    secret.write_text(PASSPHRASE)
    secret.chmod(0o644)
    assert "open to others" in daemon.refuse()[0]
    secret.chmod(0o600)
    daemon.launch().wait_ready()
    assert daemon.id == first
    assert daemon.ok("get", "k") == b"v"
    shown = identity(daemon, "show")
    assert shown.stdout.split() == ["id", first, "file", str(daemon.data / "identity.key"), "protected", "yes"]
    everything = b"".join(path.read_bytes() for path in daemon.home.rglob("*") if path.is_file())
    arguments = Path(f"/proc/{daemon.pid}/cmdline").read_bytes() + Path(f"/proc/{daemon.pid}/environ").read_bytes()
    assert PASSPHRASE.encode() not in everything + arguments + shown.stdout.encode()
    limits = Path(f"/proc/{daemon.pid}/limits").read_text()
    assert next(line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size")) == "0"


def typed(daemon: Daemon, command: list[str], *lines: str) -> tuple[int, str]:
    """Run a command on a terminal of its own and type `lines`, each when it is asked for something."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(command[0], command, daemon.env)
    left, shown, status = list(lines), "", None
    deadline = time.monotonic() + 30
    while status is None and time.monotonic() < deadline:
        ended, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if ended else None
        while select.select([terminal], [], [], 0.05)[0]:
            try:
                piece = os.read(terminal, 4096).decode()
            except OSError:  # the other end is closed
                break
            shown += piece
            if left and piece.rstrip(" ").endswith(":"):
                os.write(terminal, left.pop(0).encode() + b"\n")
            if "peerd ready" in shown and status is None:
                os.kill(child, 15)
    os.close(terminal)
    assert status is not None, shown
    return status, shown


def test_a_person_is_asked_for_the_passphrase_and_what_is_typed_does_not_show(daemons: Daemons) -> None:
    daemon = daemons.start()
    first = daemon.id
    daemon.stop()
    command = [PEERD, "identity", "protect"]
    assert typed(daemon, command, PASSPHRASE, PASSPHRASE + "!")[0] == 2
    assert not (daemon.data / "identity.key").read_bytes().startswith(b"peerd-identity/1")
    status, shown = typed(daemon, command, PASSPHRASE, PASSPHRASE)
    assert status == 0 and PASSPHRASE not in shown, shown
    assert (daemon.data / "identity.key").read_bytes().startswith(b"peerd-identity/1")
    assert "is protected by a passphrase" in daemon.refuse()[0]

    status, shown = typed(daemon, [PEERD, *daemon.flags], PASSPHRASE)
    assert status == 0 and f"id={first}" in shown and PASSPHRASE not in shown, shown
    status, shown = typed(daemon, [PEERD, *daemon.flags], "wrong")
    assert status == 2 and "does not open" in shown
    status, shown = typed(daemon, command, PASSPHRASE, "another", "another")
    assert status == 0
    status, shown = typed(daemon, [PEERD, "identity", "unprotect"], "another")
    assert status == 0
    daemon.launch().wait_ready()
    assert daemon.id == first


def test_what_changes_the_identity_waits_for_the_daemon_to_stop(daemons: Daemons, secret: Path) -> None:
    daemon = daemons.start()
    before = (daemon.data / "identity.key").read_bytes()
    for words in (["protect", "--new", secret], ["unprotect"], ["restore", daemon.data / "identity.key"]):
        done = identity(daemon, *words)
        assert done.returncode == 2 and "in use by another daemon" in done.stderr, done
    assert (daemon.data / "identity.key").read_bytes() == before
    assert identity(daemon, "backup", daemon.home / "copy").returncode == 0
    assert identity(daemon, "show").stdout.split()[1] == daemon.id


def test_a_peer_whose_disk_is_gone_is_itself_again_and_answers_only_for_what_it_has_learned(
    daemons: Daemons, tmp_path: Path
) -> None:
    alice, bob, carol = daemons.loopback(3)
    big = tmp_path / "big"
    big.write_bytes(random.Random(3).randbytes(200_000))
    alice.ok("put", "big", big)
    alice.ok("put", "--own", "mine", "--value", "first")
    alice.ok("put", "gone", "--value", "x")
    assert identity(alice, "backup", alice.home / "copy").returncode == 0
    first = alice.id
    alice.stop()
    bob.ok("rm", "gone")
    shutil.rmtree(alice.data)

    done = identity(alice, "restore", alice.home / "copy")
    assert (done.returncode, done.stdout) == (0, "") and first in done.stderr, done
    assert stat.S_IMODE((alice.data / "identity.key").stat().st_mode) == 0o600
    alice.flags += ["--bootstrap", bob.listen]
    alice.launch().wait_ready()
    assert alice.id == first
    meet([alice, bob, carol])
    assert alice.ok("get", "big") == big.read_bytes()
    assert alice.ok("get", f"{first}/mine") == b"first"
    alice.ok("put", "--own", "mine", "--value", "second")
    assert carol.ok("get", f"{first}/mine") == b"second"
    assert alice.peer("get", "gone").code == 3
    until(lambda: alice.status()["records"] >= 2, 20)
