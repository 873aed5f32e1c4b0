"""The data directory: made for its owner alone, held by one daemon, written so that a crash leaves old or new.

Modes are set whatever the umask says, and a directory or secret that others may read is refused rather than
narrowed: it may have been read already, and only its owner knows.
"""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from peerd.clock import Entropy
from peerd.errors import NoRoomError, StoreError, UsageError

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
TOKEN_NAME = "token"  # noqa: S105  a file's name
TOKEN_BYTES = 32
SECRET_MAX_BYTES = 64 * 1024

STORE_NAME = "store"
KNOWN_STORE_NAME = "store-seen"

_KNOWN_STORE_MAX_BYTES = 256
_LOCK_NAME = "lock"
_UNFINISHED = ".new"
_ID_BYTES = 16
OTHERS = 0o077
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_FILE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENXIO})
_FULLSYNC = getattr(fcntl, "F_FULLFSYNC", None)


@dataclass(frozen=True, slots=True)
class KnownStore:
    """What is noted of a peer's store beside it: its id (empty where nothing was noted) and its last run."""

    store_id: bytes = b""
    run: int = 0

    def is_newer_than(self, store_id: bytes, run: int) -> bool:
        """Say whether a store that is found is not the one that was left, but an older copy or another's."""
        return bool(self.store_id) and (self.store_id != store_id or self.run > run)


class DirectoryLock:
    """One process's hold on a directory, let go by `release` or by the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, directory: Path) -> Self:
        """Take the directory; raises UsageError where another process has it or it cannot be written."""
        try:
            # No link is followed: the process's number is written into what is opened, whosesoever it is.
            descriptor = _open_file(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        except OSError as error:
            raise _refusal(directory, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(descriptor, FILE_MODE)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            who = f" (process {holder})" if holder.isdecimal() else ""
            raise UsageError(
                f"{directory} is in use by another daemon{who}", hint="stop it, or give this one its own --data"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise _refusal(directory, error) from error
        return cls(descriptor)

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class DataDirectory:
    """A data directory that this process holds."""

    def __init__(self, path: Path, lock: DirectoryLock) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the directory where there is none, check it and take it.

        Raises UsageError where it is no directory, others may enter it, it cannot be written or is in use.
        """
        make_directory(path)
        require_private(path, "the data directory", DIRECTORY_MODE)
        held = cls(path, DirectoryLock.acquire(path))
        held._remove_unfinished()
        held._narrow_store()
        return held

    def token(self, entropy: Entropy) -> str:
        """Return the API's token from the file `token`, made at the first start."""
        raw = load_or_create_secret(self.path / TOKEN_NAME, lambda: _new_token(entropy))
        text = raw.decode(errors="replace").strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise UsageError(
                f"{self.path / TOKEN_NAME} does not hold a token", hint="delete it: the next start makes a new one"
            )
        return text

    def new_token(self, entropy: Entropy) -> str:
        """Put another token in the place of the API's, on disk when this returns, and return it."""
        token = _new_token(entropy)
        write_file(self.path / TOKEN_NAME, token)
        return token.decode()

    def known_store(self) -> KnownStore:
        """Return what `note_store` noted last; nothing where it was not or cannot be read.

        Raises UsageError where something stands there that is no file: nothing could be noted in its place.
        """
        try:
            with os.fdopen(_open_file(self.path / KNOWN_STORE_NAME, os.O_RDONLY), "rb") as file:
                store_id, run = file.read(_KNOWN_STORE_MAX_BYTES).decode("ascii").split()
            noted = KnownStore(bytes.fromhex(store_id), int(run))
        except (OSError, ValueError):
            return KnownStore()
        return noted if len(noted.store_id) == _ID_BYTES else KnownStore()

    def note_store(self, known: KnownStore) -> None:
        """Note which store is this peer's, and in which run, so that a restored one is known for what it is."""
        write_file(self.path / KNOWN_STORE_NAME, f"{known.store_id.hex()} {known.run}\n".encode())

    def _remove_unfinished(self) -> None:
        # What a crash in `write_file` left: it may be a key in the plain, beside one that a passphrase protects now.
        for one in self.path.glob(f".*{_UNFINISHED}"):
            with contextlib.suppress(OSError):
                one.unlink()

    def _narrow_store(self) -> None:
        # No secret, and the directory lets nobody in: a store that was put back with wide modes is no reason to refuse.
        store = self.path / STORE_NAME
        found = [store, self.path / KNOWN_STORE_NAME]
        with contextlib.suppress(OSError):
            found += [Path(each) for each in os.scandir(store) if not each.is_symlink()]
        for one in found:
            with contextlib.suppress(OSError):
                mode = one.lstat().st_mode
                if mode & OTHERS and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    one.chmod(DIRECTORY_MODE if stat.S_ISDIR(mode) else FILE_MODE)

    def close(self) -> None:
        """Let the directory go."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _new_token(entropy: Entropy) -> bytes:
    return urlsafe_b64encode(entropy(TOKEN_BYTES)).rstrip(b"=")


def make_directory(path: Path) -> None:
    """Make a directory for its owner alone, and the parents it lacks; one that exists is left as it is."""
    missing = [path, *path.parents]
    missing = missing[: next((at for at, one in enumerate(missing) if one.exists()), len(missing))]
    try:
        for one in reversed(missing):
            with contextlib.suppress(FileExistsError):
                one.mkdir(DIRECTORY_MODE)
                one.chmod(DIRECTORY_MODE)
                sync_directory(one.parent)
    except OSError as error:
        raise _refusal(path, error) from error
    if not path.is_dir():
        raise UsageError(f"{path} is not a directory", hint="name another with --data")


def require_private(path: Path, what: str, mode: int) -> None:
    """Raise UsageError where others than the owner may use `path`."""
    found = stat.S_IMODE(path.stat().st_mode)
    if found & OTHERS:
        raise UsageError(
            f"{what} {path} is open to others (mode {found:o})",
            hint=f"if nobody has read it who should not: chmod {mode:o} {path}",
        )


def load_or_create_secret(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the bytes of a secret file, made with `make` and synced where there is none.

    Raises UsageError where others may read it, it is empty or no ordinary file, StoreError where the disk fails.
    """
    try:
        return load_secret(path)
    except FileNotFoundError:
        write_file(path, make(), replace=False)
        return load_secret(path)


def load_secret(path: Path) -> bytes:
    """Return the bytes of a secret file; raises FileNotFoundError where there is none, else as above."""
    try:
        descriptor = _open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        require_private(path, "the secret file", FILE_MODE)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(SECRET_MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if not 0 < len(data) <= SECRET_MAX_BYTES:
        raise UsageError(
            f"{path} does not hold a secret ({len(data)} bytes)", hint="restore it, or delete it for a new one"
        )
    return data


def _open_file(path: Path, flags: int) -> int:
    """Open what must be an ordinary file; raises UsageError where it is something else, and OSError."""
    try:
        # Non-blocking, so that a named pipe is refused and does not hang the start.
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _no_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path)
    return descriptor


def write_file(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write a small file so that a crash leaves the old one or the new one, whole; synced on return.

    Without `replace` a file that is there stays. Raises NoRoomError where the disk is full, else StoreError.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, FILE_MODE)
            file.write(data)
            file.flush()
            sync_file(descriptor)
        if replace:
            temporary.replace(path)
            temporary = None
        else:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        failure = NoRoomError if error.errno in _FULL else StoreError
        raise failure(f"cannot write {path}: {error.strerror}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def sync_file(descriptor: int) -> None:
    """Have the disk hold a file's bytes; on macOS plain fsync leaves them in the drive's cache."""
    if _FULLSYNC is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, _FULLSYNC)


def sync_directory(path: Path) -> None:
    """Have the disk hold a directory's names."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _no_file(path: Path) -> UsageError:
    return UsageError(f"{path} is not a file")


def _refusal(directory: Path, error: OSError) -> UsageError | NoRoomError:
    if error.errno in _FULL:
        return NoRoomError(f"cannot write in {directory}: the disk is full")
    return UsageError(f"cannot write in {directory}: {error.strerror}", hint="name another directory with --data")
