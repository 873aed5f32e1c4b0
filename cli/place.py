"""Where `peer get -o PATH` writes: beside PATH under a hidden name, renamed when it is whole, removed otherwise.

What is begun is locked for as long as its process lives. What a killed one left is thus told from what another writes
just now, and is removed by the next that writes to the same PATH: what had come of it the daemon has.
Not here: what is written (get, extract). Nothing but a finished file or directory ever stands under the final name. A
pipe or a device that stands at PATH is written to as it is: it must not be replaced by a file.
"""

# Modules are imported where they are needed; pathlib never: start time.
# ruff: noqa: PLC0415, PTH102, PTH104, PTH105, PTH108, PTH112, PTH114, PTH116, PTH118, PTH119, PTH120
from __future__ import annotations

import os
import stat

from .failure import Failure, Terminated, of_os_error, usage
from .text import safe, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

NAME_KEPT_BYTES = 180
"""Of the final name in the temporary one, which may have 255 bytes in all."""

RANDOM_BYTES = 4
DESCRIPTOR_DIGITS_MAX = 9
_DESCRIPTORS = {"/dev/stdout": 1, "/dev/stderr": 2}
ATTEMPTS_MAX = 16
_SUFFIX = ".part"


class Place:
    """A target path; as a context manager it removes what was begun and not committed.

    Raises Failure (usage) where nothing can be written there, whatever it is.
    """

    def __init__(self, path: str) -> None:
        if not path:
            raise usage("the path to write to is empty")
        self.shown = safe(path)
        self._slash = path.endswith("/")
        self._final = path
        self._temporary: str | None = None
        self._locked: int | None = None
        self._is_directory = False
        self._first: int | None = None
        self._standing: os.stat_result | None = None
        self._descriptor = _descriptor_of(path)
        try:
            self._standing = os.stat(path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise usage(f"cannot write to {self.shown}: {getattr(error, 'strerror', None) or error}") from None
        if self._descriptor is not None and self._standing is None:
            raise usage(f"cannot write to {self.shown}: it is not open")
        if self.is_stream:
            return
        # What a link points to is replaced, not the link; and the last part of `.` and `a/..` is not a name.
        if os.path.islink(path.rstrip("/")) or os.path.basename(path.rstrip("/")) in ("", ".", ".."):
            self._final = os.path.realpath(path)
        else:
            self._final = path.rstrip("/")
        parent = os.path.dirname(self._final) or "."
        if not os.path.isdir(parent):
            raise usage(f"cannot write to {self.shown}: there is no directory {safe(parent)}", "make it first")
        if self._standing is not None and stat.S_ISDIR(self._standing.st_mode):
            self._check_directory()

    @property
    def is_stream(self) -> bool:
        """Whether a pipe, a device or an open descriptor stands there, which is written to directly."""
        return self._descriptor is not None or (
            self._standing is not None
            and not (stat.S_ISREG(self._standing.st_mode) or stat.S_ISDIR(self._standing.st_mode))
        )

    def check(self, kind: str) -> None:
        """Raise Failure (usage) where a `kind`, `file` or `directory`, cannot stand there."""
        there = self._standing
        if kind == "file":
            if self._slash or (there is not None and stat.S_ISDIR(there.st_mode)):
                raise usage(f"{self.shown} is a directory, and what was asked for is a file", "name the file to write")
        elif there is not None and not stat.S_ISDIR(there.st_mode):
            raise usage(f"{self.shown} exists, and what was asked for is a directory", "name a directory to make")

    def require_room(self, count: int) -> None:
        """Raise Failure (no_room) where so many bytes cannot be written there: better told at once than at the end."""
        if self.is_stream:
            return
        free = free_bytes(os.path.dirname(self._final) or ".")
        if free is not None and count > free:
            raise Failure(
                "no_room",
                f"writing {self.shown}: {size(count)} are to come, and its disk has {size(free)} free",
                "free some space, or choose another place",
            )

    def open_first(self) -> int | None:
        """Return a descriptor of the file that may be to be written, before it is known what it will be.

        None where a file cannot stand there, or a stream does. Raises Failure.
        """
        occupied = self._standing is not None and stat.S_ISDIR(self._standing.st_mode)
        if not (self.is_stream or self._slash or occupied):
            self._first = self._begin_file()
        return self._first

    def forget_first(self) -> None:
        """It is a directory that is to be written: take away what was opened."""
        if self._first is not None and self._temporary is not None:
            os.close(self._first)
            _unlink(self._temporary)
            self._first = self._temporary = None

    def open_file(self) -> int:
        """Return a descriptor of the file to be written; raises Failure."""
        if self._first is not None:
            return self._first
        if self.is_stream:
            try:
                if self._descriptor is not None:  # what it is open on must stay what it is, and be written where it is
                    return os.dup(self._descriptor)
                return os.open(self._final, os.O_WRONLY | os.O_CLOEXEC)
            except OSError as error:
                raise _cannot(error, self.shown) from None
        return self._begin_file()

    def open_directory(self) -> int:
        """Return a descriptor of the directory to be filled; raises Failure."""
        self._is_directory = True
        self._begin(_make_directory)
        assert self._temporary is not None
        return os.open(self._temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def commit(self, fd: int, count: int | None = None) -> None:
        """Make what was written durable and let it stand under its final name; raises Failure.

        A file that is not as long as the `count` bytes that were written, or not at its name any more, is not whole.
        """
        if self._temporary is None:  # a pipe or device
            return
        if not self._is_directory:
            self._check_ours(fd, count)
        try:
            if self._standing is not None:
                os.fchmod(fd, stat.S_IMODE(self._standing.st_mode) & 0o777)
            if self._is_directory:
                _sync_file_system(fd)
                os.rename(self._temporary, self._final)
            else:
                os.fsync(fd)
                os.replace(self._temporary, self._final)
            self._temporary = None
            _sync_directory(os.path.dirname(self._final) or ".")
        except OSError as error:
            raise _cannot(error, self.shown) from None

    def __enter__(self) -> Place:
        import signal

        for signum in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is signal.SIG_DFL:  # `nohup` has SIGHUP ignored
                signal.signal(signum, _terminate)
        return self

    def __exit__(self, *_: object) -> None:
        if self._temporary is None:
            return
        import signal

        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a second Ctrl-C must not leave half of it
            signal.signal(signum, signal.SIG_IGN)
        if self._is_directory:
            import shutil

            shutil.rmtree(self._temporary, ignore_errors=True)
        else:
            _unlink(self._temporary)

    def _check_directory(self) -> None:
        try:
            with os.scandir(self._final) as entries:
                occupied = any(True for _ in entries)
        except OSError as error:
            raise _cannot(error, self.shown) from None
        if occupied:
            raise usage(
                f"{self.shown} is a directory that is not empty", "name a file or a directory that is not there yet"
            )
        if os.path.realpath(self._final) == os.path.realpath("."):
            raise usage(f"{self.shown} is the current directory", "name a directory to make")

    def _check_ours(self, fd: int, count: int | None) -> None:
        assert self._temporary is not None
        found = os.fstat(fd)
        try:
            ours = os.path.samestat(os.lstat(self._temporary), found)
        except OSError:
            ours = False
        if not ours or count not in (None, found.st_size):
            why = "somebody else changed the file while it was written"
            raise Failure("failed", f"writing {self.shown}: {why}", "fetch it again")

    def _begin_file(self) -> int:
        return self._begin(lambda name: os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))

    def _begin(self, make: Callable[[str], int]) -> int:
        """Make the temporary file or directory under a name that is known first, to be removed."""
        directory, name = os.path.split(self._final)
        kept = os.fsdecode(os.fsencode(name)[:NAME_KEPT_BYTES])
        _remove_left(directory or ".", f".{kept}.peer-")
        for _ in range(ATTEMPTS_MAX):
            self._temporary = os.path.join(directory, f".{kept}.peer-{os.urandom(RANDOM_BYTES).hex()}{_SUFFIX}")
            try:
                fd = make(self._temporary)
            except FileExistsError:
                self._temporary = None  # somebody else's
                continue
            except OSError as error:
                raise _cannot(error, self.shown) from None
            if self._lock():
                return fd
            if fd >= 0:
                os.close(fd)
        raise Failure("failed", f"cannot write to {self.shown}: no free temporary name beside it")

    def _lock(self) -> bool:
        """Lock what was just made; False where somebody took it for a leftover before that, and removes it."""
        assert self._temporary is not None
        try:
            self._locked = _locked(self._temporary)
        except (FileNotFoundError, BlockingIOError):
            self._temporary = None
            return False
        except OSError:  # no locks on this file system: what is killed here stays
            return True
        return True


def _locked(path: str) -> int:
    """Return a descriptor that holds the lock of a file or directory.

    Raises FileNotFoundError where it is gone, BlockingIOError where another has it, OSError where there are no locks.
    """
    import fcntl

    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(fd), os.lstat(path)):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _remove_left(directory: str, prefix: str) -> None:
    """Remove what killed processes began to write; what cannot be removed stays, and is no reason not to write."""
    digits = 2 * RANDOM_BYTES
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX)]
    except OSError:
        return
    for name in names:
        if len(name) != len(prefix) + digits + len(_SUFFIX):
            continue  # of another target, whose name begins as this one's does
        path = os.path.join(directory, name)
        try:
            fd = _locked(path)
        except OSError:
            continue
        try:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                import shutil

                shutil.rmtree(path, ignore_errors=True)
            else:
                _unlink(path)
        finally:
            os.close(fd)


def free_bytes(place: str | int) -> int | None:
    """Return the room on the disk of a path or descriptor, None where that cannot be known."""
    try:
        disk = os.statvfs(place)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def _descriptor_of(path: str) -> int | None:
    """Return the descriptor that a path such as `/dev/stdout` or `/dev/fd/3` means, None of any other."""
    if path in _DESCRIPTORS:
        return _DESCRIPTORS[path]
    for prefix in ("/dev/fd/", "/proc/self/fd/"):
        number = path.removeprefix(prefix)
        if number != path and number.isascii() and number.isdigit() and len(number) <= DESCRIPTOR_DIGITS_MAX:
            return int(number)
    return None


def _make_directory(name: str) -> int:
    os.mkdir(name)
    return -1


def _unlink(name: str) -> None:
    try:
        os.unlink(name)
    except OSError:  # it may be gone: the interrupt came between renaming it and noting that
        return


def _cannot(error: OSError, shown: str) -> Failure:
    return of_os_error(error, f"writing {shown}")


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_file_system(fd: int) -> None:
    """Sync everything on the file system of `fd`: one wait instead of one for each of ten thousand files."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
    elif libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _terminate(signum: int, _frame: FrameType | None) -> None:
    raise Terminated(signum)
