"""Keys and tokens stay where they belong: in no argument, log, error or core; files for their owner alone; rotation."""

import contextlib
import hashlib
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons, until
from tests.unit.api.foreign import Attempt, attempts, paths

UMASKS = {"open": 0o000, "shut": 0o277}


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    with Daemons() as group:
        yield group


@pytest.fixture(scope="module")
def alone() -> Iterator[Daemon]:
    with Daemons() as group:
        yield group.start()


def forms(secret: bytes) -> list[bytes]:
    """Return a secret as bytes and as the texts it might be printed in."""
    import base64

    texts = [secret.hex(), base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()]
    texts += [base64.b32encode(secret).decode().lower(), repr(secret)[2:-1]]
    return [secret, *(text.rstrip("=").encode() for text in texts), *(text.upper().encode() for text in texts[:1])]


def seen_of(daemon: Daemon) -> bytes:
    """Return all that others could see of the process: arguments of it and its children, and what it has logged."""
    seen = daemon.log_path.read_bytes()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                seen += (process / "cmdline").read_bytes() + (process / "comm").read_bytes()
    return seen


def ask(tcp: str, attempt: Attempt) -> tuple[int, bytes]:
    """Send an attempt as it stands; return the status and all that was answered."""
    host, _, port = tcp.rpartition(":")
    with socket.create_connection((host, int(port)), 20) as sock:
        sock.sendall(attempt.raw())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    return int(answer.split(b" ", 2)[1]), answer


def digest(daemon: Daemon) -> str:
    """Return what stands for all that the daemon keeps and is set to."""
    status = daemon.status()
    kept = {name: status[name] for name in ("records", "blobs", "storage", "degraded", "contacts")}
    told = [daemon.ok("--json", "ls"), daemon.ok("--json", "history", "k"), daemon.ok("--json", "peers")]
    return hashlib.sha256(repr((kept, told, daemon.token)).encode()).hexdigest()


def test_what_pages_and_strangers_try_on_a_real_daemon_changes_nothing(alone: Daemon) -> None:
    old = alone.token
    alone.ok("token", "rotate")
    alone.ok("put", "k", "--value", "value")
    before = digest(alone)
    wrong = []
    for attempt in attempts(alone.tcp, alone.token, old):
        status, answer = ask(alone.tcp, attempt)
        head = answer.partition(b"\r\n\r\n")[0].lower()
        if status not in attempt.statuses or b"access-control" in head or alone.token.encode() in answer:
            wrong.append((status, attempt))
    assert wrong == []
    assert digest(alone) == before


def test_reading_has_no_effects(alone: Daemon) -> None:
    alone.ok("put", "k", "--value", "value")
    before = digest(alone)
    for path in paths():
        if path != "/v1/events":
            headers = (("Host", alone.tcp), ("Authorization", f"Bearer {alone.token}"))
            for method in ("GET", "HEAD", "OPTIONS"):
                status, _ = ask(alone.tcp, Attempt("reads", method, path, headers))
                assert status < 500, (method, path)
    assert digest(alone) == before


def test_the_token_is_replaced_and_all_go_on_with_the_new_one(daemons: Daemons) -> None:
    daemon = daemons.start()
    old = daemon.token
    done = daemon.peer("token", "rotate")
    assert (done.code, done.out, done.err.strip()) == (0, b"", f"the new token is in {daemon.data}/token")
    new = daemon.token
    assert new != old and len(new) >= 43
    assert stat.S_IMODE((daemon.data / "token").stat().st_mode) == 0o600

    def status(token: str) -> int:
        headers = (("Host", daemon.tcp), ("Authorization", f"Bearer {token}"))
        return ask(daemon.tcp, Attempt("asks", "GET", "/v1/status", headers))[0]

    assert (status(old), status(new)) == (401, 200)
    # `peer` reads the file anew each time; over TCP too, with the token that was just replaced.
    for _ in range(2):
        daemon.env["PEERD_DATA"] = str(daemon.data)
        assert daemon.peer("--api", daemon.tcp, "token", "rotate").code == 0
    assert status(new) == 401
    newest = daemon.token
    daemon.stop()
    daemon.launch().wait_ready()
    assert daemon.token == newest
    assert status(newest) == 200


@pytest.mark.parametrize("name", UMASKS)
def test_files_are_the_owners_alone_whatever_the_umask(daemons: Daemons, name: str) -> None:
    daemon = daemons.prepare()
    script = f'umask {UMASKS[name]:o} && exec "$@"'
    daemon.launch(wrapper=["sh", "-c", script, "sh"]).wait_ready()
    big = daemon.home / "big"
    big.write_bytes(os.urandom(300_000))
    daemon.ok("add", big)
    daemon.ok("put", "k", "--value", "v")
    daemon.ok("token", "rotate")
    found = [daemon.data, *daemon.data.rglob("*"), Path(daemon.socket), Path(daemon.socket).parent]
    wide = [(path, oct(path.lstat().st_mode)) for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    assert wide == []
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in found if path.is_dir()} == {"0o700"}
    assert {oct(stat.S_IMODE(path.lstat().st_mode)) for path in found if not path.is_dir()} == {"0o600"}
    daemon.stop()
    daemon.launch().wait_ready()


def test_a_data_directory_or_socket_directory_that_is_wider_is_refused(daemons: Daemons) -> None:
    daemon = daemons.start()
    daemon.stop()
    for directory in (daemon.data, Path(daemon.socket).parent):
        directory.chmod(0o750)
        assert str(directory) in daemon.refuse()[0]
        directory.chmod(0o700)
    daemon.launch().wait_ready()


def test_secrets_are_in_no_argument_no_log_and_no_error(daemons: Daemons) -> None:
    key = secrets.token_bytes(32)
    path = daemons.root / "network.key"
    path.write_bytes(key)
    path.chmod(0o600)
    flags = ("--network-key", str(path), "--log-level", "debug")
    alice = daemons.start(None, *flags)
    bob = daemons.start(None, *flags, "--bootstrap", alice.listen)
    until(lambda: alice.alive() == {bob.id}, 20)
    # A stranger of another network, wrong tokens, a bad file: what would be logged and said of them.
    other = daemons.root / "other.key"
    other.write_bytes(secrets.token_bytes(32))
    other.chmod(0o600)
    daemons.start(None, "--network-key", str(other), "--bootstrap", alice.listen, "--log-level", "debug")
    said = b""
    for words in (("put", "k", "--value", "v"), ("get", "k"), ("token", "rotate"), ("paths",), ("status",), ("peers",)):
        done = alice.peer(*words)
        said += done.out + done.err.encode()
    for token in (alice.token[:-2], alice.token + "x"):
        headers = (("Host", alice.tcp), ("Authorization", f"Bearer {token}"))
        said += ask(alice.tcp, Attempt("wrong token", "GET", "/v1/status", headers))[1]
    before = {daemon.name: ((daemon.data / "identity.key").read_bytes(), daemon.token) for daemon in daemons.all}
    seen = said + b"".join(seen_of(daemon) for daemon in daemons.all)
    alice.stop()
    (alice.data / "identity.key").chmod(0o640)
    alice.refuse()
    (alice.data / "identity.key").chmod(0o600)
    path.chmod(0o644)
    assert str(path) in alice.refuse()[0]
    path.chmod(0o600)
    (alice.data / "token").write_text(f"{alice.token} and more")
    alice.refuse()
    seen += alice.log_path.read_bytes()
    for seed, token in before.values():
        assert [form for form in (*forms(seed), token.encode()) if form in seen] == []
    assert [form for form in (*forms(key), *forms(other.read_bytes())) if form in seen] == []
    assert b"DEBUG" in alice.log_path.read_bytes()  # it was all there to be said
