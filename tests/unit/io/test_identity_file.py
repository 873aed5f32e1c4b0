"""The identity under a passphrase, its file, its backups; and that no plain key reaches a disk on the way to TLS."""

import os
import ssl
import stat
import tempfile
from base64 import b64encode
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import UsageError
from peerd.identity import ED25519
from peerd.io import sealed_identity, tls
from peerd.io.datadir import write_file
from peerd.io.identity_file import IdentityFile, read_backup
from peerd.io.sealed_identity import SEALED_BYTES, WrongPassphraseError, is_sealed, peer_of, seal, unseal
from peerd.io.system import system_entropy

SEED = bytes(range(32))
PASSPHRASE = b"correct horse"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> int:
    """Guesses that cost a few milliseconds: what is tested here does not depend on their cost; returns the true one."""
    true = sealed_identity.LOG_N
    monkeypatch.setattr(sealed_identity, "LOG_N", 10)
    return true


def sealed() -> bytes:
    return seal(SEED, PASSPHRASE, system_entropy)


@cache
def sealed_once() -> bytes:
    """As `sealed`, cheap for who has no fixtures."""
    log_n, sealed_identity.LOG_N = sealed_identity.LOG_N, 10
    try:
        return sealed()
    finally:
        sealed_identity.LOG_N = log_n


def test_only_the_passphrase_opens_it_and_whose_it_is_shows_without() -> None:
    data = sealed()

    assert len(data) == SEALED_BYTES and is_sealed(data)
    assert unseal(data, PASSPHRASE) == SEED
    assert peer_of(data) == peer_of(SEED) == ED25519.signing_key(SEED).public
    assert SEED not in data
    for wrong in (b"", b"correct horse ", b"Correct horse", PASSPHRASE * 2):
        with pytest.raises(WrongPassphraseError):
            unseal(data, wrong)


def test_two_of_the_same_share_nothing_but_the_key_they_name() -> None:
    one, other = sealed(), sealed()

    assert one != other
    assert one[-48:] != other[-48:]


@given(st.integers(0, SEALED_BYTES * 8 - 1))
@settings(max_examples=120, deadline=None)
def test_a_changed_bit_anywhere_is_refused(bit: int) -> None:
    data = bytearray(sealed_once())
    data[bit // 8] ^= 1 << bit % 8

    with pytest.raises(UsageError):
        unseal(bytes(data), PASSPHRASE)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda end: sealed_identity.MAGIC + end))
def test_any_bytes_are_an_identity_or_a_usage_error(data: bytes) -> None:
    with suppress(UsageError):
        assert len(peer_of(data)) == 32


@pytest.mark.parametrize(
    "costs", [(17, 8, 1), (63, 8, 1), (255, 255, 255), (15, 9, 1), (15, 8, 9), (9, 8, 1), (15, 0, 1)]
)
def test_a_file_may_not_ask_for_more_work_or_memory_than_an_honest_one(
    costs: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> bytes:
        raise AssertionError("worked for it")

    data = bytearray(sealed())
    data[17:20] = bytes(costs)
    monkeypatch.setattr(sealed_identity, "_key", never)

    with pytest.raises(UsageError):
        unseal(bytes(data), PASSPHRASE)


def test_a_guess_costs_as_much_as_it_is_said_to(cheap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_identity, "LOG_N", cheap)
    asked: dict[str, Any] = {}

    def scrypt(_passphrase: bytes, **costs: Any) -> bytes:
        asked.update(costs)
        return bytes(32)

    monkeypatch.setattr(sealed_identity.hashlib, "scrypt", scrypt)
    sealed()

    assert (asked["n"], asked["r"], asked["p"], len(asked["salt"])) == (2**15, 8, 3, 16)


def test_an_identity_is_made_once_and_protected_where_a_passphrase_is_there(tmp_path: Path) -> None:
    plain, closed = IdentityFile(tmp_path / "a"), IdentityFile(tmp_path / "b")
    for file in (plain, closed):
        file.path.parent.mkdir()
        assert not file.exists and not file.is_protected()

    seed = plain.seed_or_new(None, system_entropy)
    assert plain.path.read_bytes() == seed == plain.seed(None) == plain.seed_or_new(None, bytes)
    seed = closed.seed_or_new(PASSPHRASE, system_entropy)
    assert closed.is_protected() and seed not in closed.path.read_bytes()
    assert closed.seed(PASSPHRASE) == seed == closed.seed_or_new(PASSPHRASE, bytes)
    assert closed.peer() == peer_of(seed)
    for given_one in (None, b"another"):
        with pytest.raises(UsageError, match=str(closed.path)) as caught:
            closed.seed(given_one)
        assert "--passphrase-file" in (caught.value.hint or "")
        assert (given_one or b"?").decode() not in caught.value.message


def test_protecting_changing_and_unprotecting_leave_the_same_peer(tmp_path: Path) -> None:
    file = IdentityFile(tmp_path)
    seed = file.seed_or_new(None, system_entropy)

    file.protect(seed, b"one", system_entropy)
    assert file.seed(b"one") == seed
    file.protect(seed, b"two", system_entropy)
    with pytest.raises(WrongPassphraseError):
        file.seed(b"one")
    assert file.seed(b"two") == seed
    file.unprotect(seed)
    assert file.path.read_bytes() == seed
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["identity.key"]


@pytest.mark.parametrize("umask", [0o000, 0o277])
def test_a_backup_is_the_file_for_its_owner_alone_and_replaces_nothing(tmp_path: Path, umask: int) -> None:
    file = IdentityFile(tmp_path)
    file.protect(SEED, PASSPHRASE, system_entropy)
    before = os.umask(umask)
    try:
        assert file.backup(tmp_path / "copy") == peer_of(SEED)
    finally:
        os.umask(before)
    assert (tmp_path / "copy").read_bytes() == file.path.read_bytes()
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="not overwritten"):
        file.backup(tmp_path / "copy")


def test_a_restored_identity_takes_no_other_ones_place(tmp_path: Path) -> None:
    made: list[str] = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    ours = IdentityFile(tmp_path / "a")
    ours.seed_or_new(None, system_entropy)
    ours.backup(tmp_path / "copy")

    restored = IdentityFile(tmp_path / "b")
    assert restored.restore(read_backup(tmp_path / "copy", None), lambda: made.append("store")) == ours.peer()
    assert restored.peer() == ours.peer() and made == ["store"]
    assert restored.restore(read_backup(tmp_path / "copy", None), lambda: made.append("again")) == ours.peer()
    other = IdentityFile(tmp_path / "c")
    other.seed_or_new(None, system_entropy)
    before = other.path.read_bytes()
    with pytest.raises(UsageError, match="has an identity already"):
        other.restore(read_backup(tmp_path / "copy", None), lambda: made.append("again"))
    assert other.path.read_bytes() == before
    assert made == ["store"]


@pytest.mark.parametrize("content", [b"", b"short", bytes(33), b"peerd-identity/1\n" + bytes(7), bytes(100_000)])
def test_what_is_no_identity_is_not_restored(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "copy"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(UsageError, match=str(path)):
        IdentityFile(tmp_path).restore(read_backup(path, None), lambda: None)

    assert not IdentityFile(tmp_path).exists


@pytest.mark.parametrize("at", [20, 60, SEALED_BYTES - 1])
def test_a_damaged_backup_is_not_restored_where_the_passphrase_is_given(tmp_path: Path, at: int) -> None:
    data = bytearray(sealed())
    write_file(tmp_path / "copy", bytes(data))
    to = tmp_path / "data"
    to.mkdir()
    made: list[str] = []
    with pytest.raises(WrongPassphraseError):
        IdentityFile(to).restore(read_backup(tmp_path / "copy", b"another"), lambda: made.append("store"))
    data[at] ^= 1
    write_file(tmp_path / "copy", bytes(data))

    with pytest.raises(UsageError):
        IdentityFile(to).restore(read_backup(tmp_path / "copy", PASSPHRASE), lambda: made.append("store"))
    assert not made and not list(to.iterdir())

    data[at] ^= 1
    write_file(tmp_path / "copy", bytes(data))
    assert IdentityFile(to).restore(
        read_backup(tmp_path / "copy", PASSPHRASE), lambda: made.append("store")
    ) == peer_of(SEED)


def test_a_backup_that_others_may_read_is_not_restored(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_bytes(SEED)
    path.chmod(0o644)

    with pytest.raises(UsageError, match="open to others"):
        IdentityFile(tmp_path).restore(read_backup(path, None), lambda: None)


def test_the_key_that_tls_loads_is_on_no_disk_in_the_plain_and_gone_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[bytes] = []
    load = ssl.SSLContext.load_cert_chain

    def watched(self: ssl.SSLContext, path: Path, **options: Any) -> None:
        seen.append(Path(path).read_bytes())
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        load(self, path, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)

    tls.server_context(SEED, system_entropy)

    (written,) = seen
    assert b"ENCRYPTED PRIVATE KEY" in written
    assert SEED not in written
    plain = b64encode(bytes.fromhex("302e020100300506032b657004220420") + SEED)
    assert plain not in written.replace(b"\n", b"")
    assert list(tmp_path.iterdir()) == []
