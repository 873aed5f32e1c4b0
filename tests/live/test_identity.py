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


@pytest.mark.parametrize("words", [("restore", "/dev/zero"), ("restore", "none"), ("protect",), ("unprotect",)])
def test_what_is_refused_leaves_no_directory_behind(daemons: Daemons, words: tuple[str, ...]) -> None:
    daemon = daemons.prepare()
    done = identity(daemon, *words)
    assert done.returncode == 2 and done.stderr.startswith("peerd: "), done
    assert not daemon.data.exists() and not daemon.data.parent.exists()


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


def revocation(daemon: Daemon, *words: str) -> Path:
    path = daemon.home / "revocation"
    done = identity(daemon, "revoke", "-o", path, *words)
    assert done.returncode == 0, done
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path


def test_a_revoked_daemon_stops_and_all_others_refuse_it_for_good(daemons: Daemons) -> None:
    alice, bob, carol, dave, mallory = daemons.loopback(5)
    mallory.ok("put", "shared", "--value", "of mallory")
    mallory.ok("put", "--own", "mine", "--value", "own")
    carol.stop()
    # Made with the key of a backup, handed in elsewhere.
    assert identity(mallory, "backup", mallory.home / "copy").returncode == 0
    made = revocation(bob, "--backup", str(mallory.home / "copy"), "--reason", "stolen")
    told = alice.json("revoke", made)
    assert (told["id"], told["reason"]) == (mallory.id, "stolen")

    assert mallory.process is not None
    assert mallory.process.wait(10) == 7
    assert f"this peer, {mallory.id}, is revoked" in mallory.log and "Traceback" not in mallory.log
    mallory.launch()
    assert mallory.process.wait(20) == 7
    lines = mallory.log.splitlines()
    assert lines[-2].startswith("peerd: this peer, ") and lines[-1].startswith("hint: "), lines
    # Whoever has the key goes on all the same, as if nothing had been heard: nobody answers.
    thief = daemons.prepare(None, "--bootstrap", alice.listen, "--bootstrap", dave.listen)
    assert identity(thief, "restore", mallory.home / "copy").returncode == 0
    thief.launch().wait_ready()
    assert thief.id == mallory.id
    carol.flags += ["--bootstrap", bob.listen]
    carol.launch().wait_ready()
    bob.kill()
    bob.launch().wait_ready()
    honest = [alice, bob, carol, dave]
    meet(honest)
    for daemon in honest:
        assert mallory.id not in daemon.states()
        listed = daemon.curl("/v1/revocations").json()
        assert [each["id"] for each in listed] == [mallory.id]
    assert thief.alive() == set()
    assert thief.peer("get", "shared").code in (3, 5)
    # What was written stays; what the key signs now stays with the thief.
    assert carol.ok("get", "shared") == b"of mallory"
    assert carol.ok("get", f"{mallory.id}/mine") == b"own"
    thief.peer("put", "--own", "mine", "--value", "stolen")
    assert dave.ok("get", f"{mallory.id}/mine") == b"own"
    assert dave.ok("put", "shared", "--value", "of dave") is not None
    assert alice.ok("get", "shared") == b"of dave"


def test_a_revocation_of_another_network_or_of_nobody_is_refused(daemons: Daemons, tmp_path: Path) -> None:
    alice, bob = daemons.loopback(2)
    other = revocation(bob, "--network", "another")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("hello\n")
    for path in (other, tmp_path / "empty", tmp_path / "text", alice.data / "identity.key"):
        done = alice.peer("revoke", path)
        assert "no revocation of this network" in done.require_one_line(2)
    assert alice.alive() == {bob.id}
    assert "not overwritten" in identity(bob, "revoke", "-o", other).stderr
