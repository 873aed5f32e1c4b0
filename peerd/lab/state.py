"""A lab on disk: where everything of it is, and what the next command has to know. One directory is one lab.

    DIR/lab.json     the state, replaced whole          DIR/lock       held by the command that changes something
    DIR/peerd.toml   settings of all peers              DIR/peer-0/    `data`, `log` of a peer
    DIR/run          the sockets; a link to a short directory where a socket's path in here would be too long

Not here: processes (process) and what is done with them (lab).
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from peerd.config.address import UNIX_PATH_MAX_BYTES, UnixAddress, expand
from peerd.errors import NotFoundError, UsageError
from peerd.lab.errors import LabError, NoLabError
from peerd.lab.process import Process

DIRECTORY_VARIABLE = "PEERD_LAB"
PEERS_MAX = 100
STATE_FORMAT = 1
STATE_MAX_BYTES = 1 << 20
LOCK_TIMEOUT_S = 60.0
LOCK_INTERVAL_S = 0.05

_MODE = 0o700
_OTHERS_WRITE = 0o022
_STATE, _LOCK, _SETTINGS, _RUN, _PEER = "lab.json", "lock", "peerd.toml", "run", "peer-"
_SETTINGS_TEXT = "# Settings of every peer of this lab, read when one is started.\n"


class PeerState(msgspec.Struct):
    """What is known of one peer; `id` and `listen` are empty until it was ready once, `process` is its last one."""

    index: int
    id: str = ""
    listen: str = ""
    process: Process | None = None


class LabState(msgspec.Struct):
    """What the commands of a lab hand on to each other.

    `flags`, `environment` (the PEERD_* part) and `cwd` are what `up` was given, for daemons that are started later.
    Each of `cuts` parts its peers from all others. `owner` is the process without which the lab has no purpose.
    `launching` is the peer whose process is being started and not yet noted.
    """

    peers: list[PeerState]
    mdns: bool
    flags: list[str]
    environment: dict[str, str]
    cwd: str
    cuts: list[list[int]] = []
    owner: Process | None = None
    launching: int | None = None
    format: int = STATE_FORMAT

    def peer(self, index: int) -> PeerState:
        """Return a peer; raises NotFoundError where the lab has no such."""
        if not 0 <= index < len(self.peers):
            last = len(self.peers) - 1
            raise NotFoundError(f"no peer {index} in this lab", hint=f"it has 0 to {last}" if last else "it has only 0")
        return self.peers[index]

    def cut_from(self, index: int) -> list[int]:
        """Return the peers that some cut parts from this one, in order."""
        apart = {other.index for other in self.peers for cut in self.cuts if (other.index in cut) != (index in cut)}
        return sorted(apart)


def default_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Return where a lab is when nobody says: PEERD_LAB, else in the runtime directory, else one of ours in /tmp."""
    environ = os.environ if environ is None else environ
    named, runtime = environ.get(DIRECTORY_VARIABLE), environ.get("XDG_RUNTIME_DIR", "")
    if named:
        return expand(named).absolute()
    if Path(runtime).is_absolute():
        return Path(runtime) / "peerd-lab"
    return Path(tempfile.gettempdir()) / f"peerd-lab-{os.getuid()}"


class Place:
    """The directory of a lab: its layout, its state, its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def settings(self) -> Path:
        """The file with settings of all peers."""
        return self.path / _SETTINGS

    def data(self, index: int) -> Path:
        """Return the data directory of a peer."""
        return self.path / f"{_PEER}{index}" / "data"

    def log(self, index: int) -> Path:
        """Return the file that a peer's daemon prints to."""
        return self.path / f"{_PEER}{index}" / "log"

    def socket(self, index: int) -> Path:
        """Return the path of the socket of a peer's API, short enough to be one."""
        return _socket((self.path / _RUN).resolve(), index)

    def load(self) -> LabState:
        """Return the state; raises NoLabError where no lab is here, LabError where what is here cannot be read."""
        try:
            self._check_ours()
            with (self.path / _STATE).open("rb") as file:
                raw = file.read(STATE_MAX_BYTES)
            state = msgspec.json.decode(raw, type=LabState)
        except FileNotFoundError:
            raise self._no_lab() from None
        except (OSError, msgspec.DecodeError) as error:
            raise LabError(f"the state of the lab in {self.path} cannot be read: {error}", hint=_HINT_DOWN) from None
        if state.format != STATE_FORMAT:
            raise LabError(f"the lab in {self.path} is of another version of peerd", hint=_HINT_DOWN)
        return state

    def save(self, state: LabState) -> None:
        """Replace the state; a reader finds the old one or the new one."""
        fresh = self.path / (_STATE + ".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
        fresh.replace(self.path / _STATE)

    def check_empty(self) -> None:
        """Raise UsageError where something is in the directory that is no lab: `down` would remove it."""
        if not self.has_lab() and any(child.name not in (_LOCK, _STATE + ".new") for child in self.path.iterdir()):
            raise UsageError(f"{self.path} is not empty", hint="name another directory with --dir")

    def has_lab(self) -> bool:
        """Whether there is a lab, in whatever state."""
        return (self.path / _STATE).exists()

    def make(self, state: LabState) -> None:
        """Lay out a lab in the directory, which is locked and empty; the state comes first, for `down`."""
        self.save(state)
        self.settings.write_text(_SETTINGS_TEXT)
        run = self.path / _RUN
        longest = len(os.fsencode(_socket(run, PEERS_MAX)))
        if longest <= UNIX_PATH_MAX_BYTES:
            run.mkdir(_MODE)
        else:
            short = self._short()
            short.mkdir(_MODE, exist_ok=True)
            _check_private(short)
            run.symlink_to(short)
        for peer in state.peers:
            self.data(peer.index).parent.mkdir(_MODE)

    def peer_directories(self) -> list[int]:
        """Return the numbers of the peers that have a directory here, whatever the state says."""
        names = [child.name.removeprefix(_PEER) for child in self.path.glob(f"{_PEER}*")]
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())

    def remove(self) -> None:
        """Remove what a lab has here, and the directory where nothing else is in it; the state goes last."""
        short = self._short()
        if (self.path / _RUN).is_symlink() and short.is_dir() and not short.is_symlink():
            shutil.rmtree(short)
        for name in (_RUN, *(f"{_PEER}{index}" for index in self.peer_directories())):
            child = self.path / name
            if child.is_symlink():
                child.unlink()
            elif child.exists():
                shutil.rmtree(child)
        for name in (_SETTINGS, _STATE + ".new", _STATE, _LOCK):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    @contextlib.contextmanager
    def locked(self, *, make: bool = False) -> Iterator[None]:
        """Hold the lab, so that two commands do not change it at once.

        With `make` there need be none yet, nor a directory. Raises NoLabError where there is none, UsageError where the
        directory is not for us alone or holds something else, LabError where another command has it for too long.
        """
        if make:
            self._make_directory()
        elif not self.has_lab():
            raise self._no_lab()
        descriptor = self._take()
        try:
            yield
        finally:
            os.close(descriptor)

    def _make_directory(self) -> None:
        try:
            self.path.mkdir(_MODE, parents=True, exist_ok=True)
            self.check_empty()
        except OSError as error:
            raise UsageError(f"cannot use {self.path}: {error.strerror}", hint="name another with --dir") from None

    def _take(self) -> int:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self._check_ours()
                descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except FileNotFoundError:
                raise self._no_lab() from None
            except OSError as error:
                raise UsageError(f"cannot use {self.path}: {error.strerror}", hint="name another with --dir") from None
            if self._is_held(descriptor):
                return descriptor
            os.close(descriptor)
            time.sleep(LOCK_INTERVAL_S)
        raise LabError(f"another command has held the lab in {self.path} for {LOCK_TIMEOUT_S:.0f} s")

    def _is_held(self, descriptor: int) -> bool:
        """Take the lock; false where another has it, or where `down` has removed the file that was opened."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(descriptor), (self.path / _LOCK).stat())
        except (BlockingIOError, FileNotFoundError):
            return False

    def _check_ours(self) -> None:
        """Raise UsageError where others could put a lab of theirs in our way: its peers' data and pids are trusted."""
        if not self.path.is_dir():
            raise FileNotFoundError(self.path)
        _check_private(self.path)

    def _no_lab(self) -> NoLabError:
        return NoLabError(f"no lab is up in {self.path}", hint="start one: peer lab up 3")

    def _short(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path("/tmp") / f"peerd-lab-{os.getuid()}-{digest}"  # noqa: S108  checked to be ours


_HINT_DOWN = "peer lab down ends its daemons and removes it"


def _socket(run: Path, index: int) -> Path:
    return run / f"{index}.sock"


def _check_private(path: Path) -> None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & _OTHERS_WRITE:
        raise UsageError(f"others can write in {path}", hint="name a directory of your own with --dir")


def api_text(socket: Path) -> str:
    """Return the address of a peer's API as `--api` and PEER_API take it."""
    return UnixAddress(socket).text
