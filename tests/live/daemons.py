"""Real daemons and the real `peer`, as a user has them: in hosts of a Net, or on loopback.

    with Daemons() as daemons:
        alice = daemons.start(net.hosts[0])
        alice.peer("put", "motd", "--value", "hello")

`start` without a host is a daemon on loopback, on ports of its own and without mDNS. Each daemon has a home of its
own, so that none has any configuration, and its log is printed when a test fails. On leaving, processes are ended by
their ids and the homes go, also after a failure. Waits are bounded and poll; nothing here sleeps for a fixed time.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.netns import Host

BIN = Path(sys.executable).parent
PEER = str(BIN / "peer")
PEERD = str(BIN / "peerd")
ROOT = Path(__file__).parents[2]

READY_LIMIT_S = 20.0
COMMAND_LIMIT_S = 60.0
END_LIMIT_S = 15.0
POLL_S = 0.05
TAIL_BYTES = 6000

_READY = "peerd ready "
_FOREIGN = ("PEER_", "PEERD_", "XDG_", "HOME")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    command: Sequence[str]
    code: int
    out: bytes
    err: str
    took_s: float

    @property
    def error(self) -> str:
        """The text of its line `peer: …`."""
        lines = self.err.splitlines()
        assert lines and lines[0].startswith("peer: "), self
        return lines[0].removeprefix("peer: ")

    def json(self) -> Any:
        """Return what it printed."""
        assert self.code == 0, self
        return json.loads(self.out)

    def require_one_line(self, code: int) -> str:
        """Check that it failed as users are promised, `peer: …` and perhaps `hint: …`; return the line."""
        assert self.code == code, self
        lines = self.err.splitlines()
        assert 1 <= len(lines) <= 2 and all(line.strip() for line in lines), self
        assert len(lines) == 1 or lines[1].startswith("hint: "), self
        assert "Traceback" not in self.err
        return self.error


class Daemon:
    """One `peerd` with a home of its own; it can be stopped, killed and started again."""

    def __init__(self, home: Path, host: Host | None, flags: Sequence[str], env: Mapping[str, str]) -> None:
        self.home = home
        self.host = host
        self.flags = list(flags)
        self.id = ""
        self.listen = ""
        self.api: list[str] = []
        self.gateway = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.program: Sequence[str] = [PEERD]
        """What is started with the flags."""
        self.log_path = home / "log"
        self._from_byte = 0
        (home / "run").mkdir(parents=True)
        base = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        self.env = base | {
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "XDG_CONFIG_HOME": str(home / "config"),
        }
        self.own_env = dict(env)
        """What the daemon has besides, and `peer` has not."""

    @property
    def name(self) -> str:
        """A short name for messages."""
        return self.home.name

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.home / "data" / "peerd"

    @property
    def token(self) -> str:
        """The token of its API on TCP."""
        return (self.data / "token").read_text().strip()

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self.process is not None
        return self.process.pid

    @property
    def tcp(self) -> str:
        """The address of its API on TCP."""
        return next(address for address in self.api if not address.startswith("unix:"))

    @property
    def socket(self) -> str:
        """The path of its API's Unix socket."""
        return next(address for address in self.api if address.startswith("unix:")).removeprefix("unix:")

    @property
    def log(self) -> str:
        """What it has written since it was last started."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[self._from_byte :].decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def launch(self, *, wrapper: Sequence[str] = ()) -> "Daemon":
        """Start the process and do not wait for it."""
        assert not self.running
        self._from_byte = self.log_path.stat().st_size if self.log_path.exists() else 0
        command = [*wrapper, *self.program, *self.flags]
        if self.host is not None:
            command = ["ip", "netns", "exec", self.host.namespace, *command]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env | self.own_env,
                cwd=self.home,
                start_new_session=True,
            )
        return self

    def wait_ready(self, limit_s: float = READY_LIMIT_S) -> "Daemon":
        """Wait for the line that says that it serves, and take the addresses from it."""
        until(lambda: self._ready_line() is not None or not self.running, limit_s, lambda: f"{self.name}: {self.log}")
        line = self._ready_line()
        assert line is not None, f"{self.name} ended with {self.process and self.process.returncode}: {self.log}"
        fields = dict(part.split("=", 1) for part in line.removeprefix(_READY).split())
        self.id, self.listen, self.api = fields["id"], fields["listen"], fields["api"].split(",")
        self.gateway = fields.get("gateway", "")
        return self

    def refuse(self, limit_s: float = READY_LIMIT_S, *, wrapper: Sequence[str] = ()) -> list[str]:
        """Start it where it cannot; return the lines it said, having checked that it ended with 2."""
        self.launch(wrapper=wrapper)
        assert self.process is not None
        code = self.process.wait(limit_s)
        lines = self.log.splitlines()
        assert code == 2, (code, lines)
        assert 1 <= len(lines) <= 2 and lines[0].startswith("peerd: "), lines
        assert len(lines) == 1 or lines[1].startswith("hint: "), lines
        return lines

    def stop(self) -> float:
        """End it as users do, by SIGTERM; return the seconds it took, having checked that it exits with 0."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(END_LIMIT_S)
        took_s = time.monotonic() - began
        assert code == 0, (code, self.log)
        return took_s

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(END_LIMIT_S)

    def peer(
        self, *words: str | os.PathLike[str], stdin: bytes | None = None, limit_s: float = COMMAND_LIMIT_S
    ) -> Done:
        """Run `peer` for this daemon to its end."""
        began = time.monotonic()
        done = subprocess.run(
            [PEER, *(os.fspath(word) for word in words)],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=self.env,
            cwd=self.home,
            timeout=limit_s,
            check=False,
        )
        return Done(
            [os.fspath(word) for word in words],
            done.returncode,
            done.stdout,
            done.stderr.decode(errors="replace"),
            time.monotonic() - began,
        )

    def popen(self, *words: str | os.PathLike[str], **options: Any) -> "subprocess.Popen[bytes]":
        """Start `peer` for this daemon; the caller ends it."""
        options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL} | options
        return subprocess.Popen([PEER, *(os.fspath(word) for word in words)], env=self.env, cwd=self.home, **options)

    def ok(self, *words: str | os.PathLike[str], stdin: bytes | None = None, limit_s: float = COMMAND_LIMIT_S) -> bytes:
        """Run `peer`, check that it exits with 0, and return its standard output."""
        done = self.peer(*words, stdin=stdin, limit_s=limit_s)
        assert done.code == 0, (self.name, done, self.log[-TAIL_BYTES:])
        return done.out

    def json(self, *words: str | os.PathLike[str], stdin: bytes | None = None) -> Any:
        """Run `peer --json`, check that it exits with 0, and return its answer."""
        return json.loads(self.ok("--json", *words, stdin=stdin))

    def curl(self, path: str, *options: str, tcp: bool = False, limit_s: float = COMMAND_LIMIT_S) -> Done:
        """Ask the API by curl: by the Unix socket, or on TCP with no token but what `options` say."""
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        where = ["http://" + self.tcp + path] if tcp else ["--unix-socket", self.socket, "http://localhost" + path]
        command = ["curl", "-sS", "--path-as-is", "--max-time", str(limit_s), *options, *where]
        if self.host is not None:
            command = ["ip", "netns", "exec", self.host.namespace, *command]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, timeout=limit_s + 5, check=False, cwd=self.home)
        return Done(command, done.returncode, done.stdout, done.stderr.decode(), time.monotonic() - began)

    def states(self) -> dict[str, str]:
        """Return the state of each peer that it lists, by id."""
        return {each["id"]: each["state"] for each in self.json("peers")}

    def alive(self) -> set[str]:
        """Return the ids of the peers that it lists as alive."""
        return {peer for peer, state in self.states().items() if state == "alive"}

    def status(self) -> Any:
        """Return what `peer status` says."""
        return self.json("status")

    def rejected(self) -> int:
        """Return how many messages it has rejected, for whatever reason."""
        return sum(self.status()["rejected"].values())

    def memory_kb(self) -> dict[str, int]:
        """Return VmRSS, VmHWM and Pss of its process, in KiB, and its Threads."""
        found = {}
        for name in ("status", "smaps_rollup"):
            for line in Path(f"/proc/{self.pid}/{name}").read_text().splitlines():
                field, _, rest = line.partition(":")
                if field in ("VmRSS", "VmHWM", "Pss", "Threads", "RssAnon"):
                    found[field] = int(rest.split()[0])
        return found

    def forget_peak(self) -> None:
        """Let VmHWM begin anew from what is used now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def cpu_s(self) -> float:
        """Return the CPU seconds it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """Return how many files it has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def _ready_line(self) -> str | None:
        return next((line for line in self.log.splitlines() if line.startswith(_READY)), None)


class Daemons:
    """The daemons of one test or one module."""

    def __init__(self, folder: Path = Path("/tmp")) -> None:
        self.all: list[Daemon] = []
        # Short: the path of a Unix socket has at most 103 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="pd-", dir=folder))
        _current.append(self)

    def __enter__(self) -> "Daemons":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(
        self, host: Host | None = None, *flags: str, name: str | None = None, env: Mapping[str, str] | None = None
    ) -> Daemon:
        """Make a daemon's home and do not start it; on loopback it gets addresses of its own and no mDNS."""
        name = name or f"{host.name if host is not None else 'l'}-{len(self.all)}"
        home = self.root / name
        if host is None:
            api = ["--api", f"unix:{home}/run/peerd/api.sock", "--api", "127.0.0.1:0"]
            flags = ("--listen", "127.0.0.1:0", *api, "--no-mdns", *flags)
        daemon = Daemon(home, host, flags, env or {})
        self.all.append(daemon)
        return daemon

    def start(
        self, host: Host | None = None, *flags: str, name: str | None = None, env: Mapping[str, str] | None = None
    ) -> Daemon:
        """Start a daemon and wait until it serves."""
        return self.prepare(host, *flags, name=name, env=env).launch().wait_ready()

    def prepare_liar(
        self, liar: str, clan: Path, *flags: str, host: Host | None = None, env: Mapping[str, str] | None = None
    ) -> Daemon:
        """As `prepare`, of a daemon that lies (tests/hostile): `liar` is MODULE:CLASS, `clan` whom it lies with."""
        daemon = self.prepare(host, *flags, env={"PYTHONPATH": str(ROOT), **(env or {})})
        program = ["-m", "tests.hostile.daemon", "--liar", liar, "--clan", str(clan), "--"]
        daemon.program = [sys.executable, *program]
        return daemon

    def loopback(self, count: int, *flags: str) -> list[Daemon]:
        """Start `count` daemons on loopback that know each other."""
        started: list[Daemon] = []
        for _ in range(count):
            bootstrap = ["--bootstrap", started[0].listen] if started else []
            started.append(self.start(None, *bootstrap, *flags))
        meet(started)
        return started

    def close(self) -> None:
        """End every daemon and remove the homes."""
        for daemon in self.all:
            if daemon.running:
                daemon.kill()
        with contextlib.suppress(ValueError):
            _current.remove(self)
        shutil.rmtree(self.root, ignore_errors=True)


def small_disk(folder: Path, size: str, *options: str) -> list[str]:
    """Return what to put before a command to give it a disk of `size` ('8m') at `folder`; needs root.

    It is mounted in a namespace of the command's own, so that it goes when the command ends; the others see it by
    `inside`.
    """
    mount = ",".join([f"size={size}", "mode=0700", *options])
    script = f'mount -t tmpfs -o {mount} none "$0" && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(folder)]


def inside(daemon: Daemon, path: Path) -> Path:
    """Return the path by which others see what `daemon` sees as `path`."""
    return Path(f"/proc/{daemon.pid}/root{path}")


_current: list[Daemons] = []


def current() -> list[Daemon]:
    """Return the daemons of every group that is not closed yet."""
    return [daemon for group in _current for daemon in group.all]


def until(claim: Callable[[], Any], limit_s: float, what: Callable[[], object] = lambda: "") -> float:
    """Wait until `claim` holds and return the seconds it took; fail with `what` after `limit_s`."""
    began = time.monotonic()
    while not claim():
        assert time.monotonic() - began < limit_s, f"not in {limit_s} s: {what()}"
        time.sleep(POLL_S)
    return time.monotonic() - began


def meet(daemons: Sequence[Daemon], limit_s: float = 10.0) -> float:
    """Wait until each of `daemons` lists all others as alive; return the seconds it took."""
    everybody = {daemon.id for daemon in daemons}

    def missing() -> dict[str, int]:
        return {each.name: len(everybody - {each.id} - each.alive()) for each in daemons}

    return until(lambda: not any(missing().values()), limit_s, lambda: f"peers missing: {missing()}")
