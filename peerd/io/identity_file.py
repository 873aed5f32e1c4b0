"""The file that holds who a peer is: read, made, protected by a passphrase, copied away and put back.

Plain it is the 32 bytes of the seed; protected it is what `sealed_identity` describes. A backup is the same bytes.
Not here: where a passphrase comes from (`config.secret`, `io.passphrase`).
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from peerd.clock import Entropy
from peerd.errors import UsageError
from peerd.identity import SEED_BYTES
from peerd.ids import PeerId
from peerd.io.datadir import load_or_create_secret, load_secret, write_file
from peerd.io.sealed_identity import HINT, WrongPassphraseError, is_sealed, peer_of, seal, unseal

IDENTITY_NAME = "identity.key"

HINT_PASSPHRASE = "name its file with --passphrase-file, or start peerd on a terminal to be asked for it"  # noqa: S105  no secret, a hint


class IdentityFile:
    """The identity in a data directory."""

    def __init__(self, data: Path) -> None:
        self.path = data / IDENTITY_NAME

    @classmethod
    def at(cls, path: Path) -> Self:
        """Return the identity in a backup."""
        file = cls(path.parent)
        file.path = path
        return file

    @property
    def exists(self) -> bool:
        """Whether there is one."""
        try:
            return self.path.exists()
        except OSError:  # a directory that may not be entered: opening it says so
            return False

    def read(self) -> bytes:
        """Return the bytes of the file, checked; raises UsageError where it holds no identity or others may read it."""
        try:
            raw = load_secret(self.path)
        except FileNotFoundError:
            raise UsageError(
                f"there is no identity in {self.path.parent}", hint="peerd makes one when it starts"
            ) from None
        self._check(raw)
        return raw

    def is_protected(self) -> bool:
        """Whether there is an identity, and a passphrase is needed to use it."""
        return self.exists and is_sealed(self.read())

    def peer(self) -> PeerId:
        """Return whose it is."""
        return peer_of(self.read())

    def seed(self, passphrase: bytes | None) -> bytes:
        """Return the seed; raises UsageError where a passphrase is needed that is not given, or is another."""
        return self._open(self.read(), passphrase)

    def seed_or_new(self, passphrase: bytes | None, entropy: Entropy) -> bytes:
        """Return the seed, made where there is none: then protected where a passphrase is given."""
        raw = load_or_create_secret(self.path, lambda: _new(passphrase, entropy))
        self._check(raw)
        return self._open(raw, passphrase)

    def protect(self, seed: bytes, passphrase: bytes, entropy: Entropy) -> None:
        """Have the file hold the seed under the passphrase."""
        write_file(self.path, seal(seed, passphrase, entropy))

    def unprotect(self, seed: bytes) -> None:
        """Have the file hold the seed without a passphrase."""
        write_file(self.path, seed)

    def backup(self, to: Path) -> PeerId:
        """Copy it to a new file for its owner alone, as it is; raises UsageError where there is something already."""
        raw = self.read()
        write_new(to, raw)
        return peer_of(raw)

    def restore(self, raw: bytes, before: Callable[[], None]) -> PeerId:
        """Put what `read_backup` read in place where there is none, after calling `before`.

        Raises UsageError where another identity is.
        """
        peer = peer_of(raw)
        if self.exists:
            if self.peer() != peer:
                hint = "give another --data, or move this one away: a peer that nobody can be any more is lost"
                raise UsageError(f"{self.path.parent} has an identity already", hint=hint)
            return peer
        before()
        write_file(self.path, raw, replace=False)
        return peer

    def _check(self, raw: bytes) -> None:
        _named(self.path, raw)

    def _open(self, raw: bytes, passphrase: bytes | None) -> bytes:
        if not is_sealed(raw):
            return raw
        if passphrase is None:
            raise UsageError(f"{self.path} is protected by a passphrase", hint=HINT_PASSPHRASE)
        try:
            return unseal(raw, passphrase)
        except WrongPassphraseError:
            raise WrongPassphraseError(f"the passphrase does not open {self.path}", hint=HINT_PASSPHRASE) from None


def read_backup(source: Path, passphrase: bytes | None) -> bytes:
    """Return the bytes of a backup, checked; raises UsageError where there is none that could be restored.

    A protected one is opened where a passphrase is given: what was damaged meanwhile shows in nothing else.
    """
    try:
        raw = load_secret(source)
    except FileNotFoundError:
        raise UsageError(f"no backup at {source}") from None
    _named(source, raw)
    if passphrase is not None:
        IdentityFile.at(source)._open(raw, passphrase)
    return raw


def _named(path: Path, raw: bytes) -> PeerId:
    try:
        return peer_of(raw)
    except UsageError:
        raise UsageError(f"{path} does not hold an identity", hint=HINT) from None


def _new(passphrase: bytes | None, entropy: Entropy) -> bytes:
    seed = entropy(SEED_BYTES)
    return seed if passphrase is None else seal(seed, passphrase, entropy)


def write_new(path: Path, data: bytes) -> None:
    """Write a file for its owner alone where there is none; raises UsageError where there is, or where it fails."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists and is not overwritten", hint="give another name") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
