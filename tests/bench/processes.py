"""The rows that are about whole processes: how long one short command takes, how much memory an idle daemon has.

Real daemons on loopback with data of their own, without mDNS; every process that is started here is ended here.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.plan import Plan

_READY_LIMIT_S = 20.0
_END_LIMIT_S = 10.0
_COMMAND_LIMIT_S = 30.0
_READY = "peerd ready "
_NETWORK = "bench"
_LIBRARIES = ("aiohttp", "uvloop", "msgspec", "cryptography")


class AbsentError(Exception):
    """What is to be measured is not here; the text says why."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One daemon that said that it is ready."""

    process: "subprocess.Popen[str]"
    listen: str
    socket: Path


@contextlib.contextmanager
def daemons(count: int) -> Iterator[list[Daemon]]:
    """Start `count` real daemons that know each other, and end them."""
    if importlib.util.find_spec("peerd.__main__") is None:
        raise AbsentError("peerd has no daemon to start")
    running: list[Daemon] = []
    with tempfile.TemporaryDirectory(prefix="peerd-bench-") as folder:
        try:
            for number in range(count):
                running.append(_start(Path(folder) / str(number), running[0].listen if running else None))
            yield running
        finally:
            for daemon in running:
                daemon.process.send_signal(signal.SIGTERM)
            for daemon in running:
                _end(daemon.process)


def _start(data: Path, bootstrap: str | None) -> Daemon:
    data.mkdir(mode=0o700)
    socket = data / "api.sock"
    command = [sys.executable, "-m", "peerd", "run", "--data", str(data), "--listen", "127.0.0.1:0"]
    command += ["--api", f"unix:{socket}", "--network", _NETWORK, "--no-mdns"]
    if bootstrap is not None:
        command += ["--bootstrap", bootstrap]
    log = data.with_suffix(".log")
    # Settings of whoever runs this are not what is measured.
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PEER_", "PEERD_", "XDG_"))}
    bare["XDG_CONFIG_HOME"] = str(data.parent)
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, text=True, env=bare)
    deadline = time.monotonic() + _READY_LIMIT_S
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if line.startswith(_READY):
                fields = dict(part.split("=", 1) for part in line[len(_READY) :].split())
                return Daemon(process, fields["listen"], socket)
        if process.poll() is not None:
            raise AbsentError(f"the daemon ended with status {process.returncode}: {_last_line(log)}")
        time.sleep(0.02)
    _end(process)
    raise AbsentError(f"the daemon was not ready in {_READY_LIMIT_S:.0f} s: {_last_line(log)}")


def _end(process: "subprocess.Popen[str]") -> None:
    try:
        process.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text().strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def command_times(plan: Plan) -> dict[str, list[float] | str]:
    """Return wall times in ms of whole processes by what they do, or why there are none.

    The commands take turns, so that a busy moment of the machine meets them all.
    """
    python = sys.executable
    commands: dict[str, list[str]] = {
        "python -c pass": [python, "-c", "pass"],
        "python, import click": [python, "-c", "import click"],
        "python, import aiohttp": [python, "-c", "import aiohttp"],
    }
    answers: dict[str, list[float] | str] = {}
    for client in ("redis-cli", "etcdctl"):
        path = shutil.which(client)
        if path is None:
            answers[f"{client} --version"] = "not installed"
        else:
            commands[f"{client} --version"] = [path, "--version"] if client == "redis-cli" else [path, "version"]
    try:
        with daemons(2) as (first, second):
            peer = _peer_command()
            _run([*peer, "--api", f"unix:{first.socket}", "put", "bench/short", "--value", "a short value"])
            get = [*peer, "--api", f"unix:{second.socket}", "get", "bench/short"]
            if _run(get) != "a short value":
                raise AbsentError("`peer get` does not bring back what `peer put` stored")
            answers |= _take_turns({"peer get": get} | commands, plan.command_runs)
    except AbsentError as error:
        answers["peer get"] = str(error)
        answers |= _take_turns(commands, plan.command_runs)
    return answers


def _peer_command() -> list[str]:
    beside = Path(sys.executable).parent / "peer"
    if beside.exists():
        return [str(beside)]
    if importlib.util.find_spec("peerd_cli") is not None:
        return [sys.executable, "-c", "from peerd_cli.main import main; main()"]
    raise AbsentError("the command `peer` is not installed beside this interpreter (pip install -e .)")


def _run(command: list[str]) -> str:
    asked = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_LIMIT_S, check=False)
    if asked.returncode != 0:
        errors = asked.stderr.strip().splitlines()
        raise AbsentError(f"a command ended with status {asked.returncode}: {errors[0] if errors else 'silent'}")
    return asked.stdout.rstrip("\n")


def _take_turns(commands: dict[str, list[str]], runs: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            _run(command)
            if turn > 0:  # the first fills the page cache and writes .pyc files
                times[name].append((time.perf_counter() - began) * 1000)
    return times


def memory(plan: Plan) -> dict[str, dict[str, list[float]] | str]:
    """Return RSS and PSS in MB of idle processes by what they are, or why there are none."""
    answers: dict[str, dict[str, list[float]] | str] = {}
    idle = "import time; time.sleep(600)"
    for name, code in (("python", idle), (f"python, import {', '.join(_LIBRARIES)}", _imports() + idle)):
        process = subprocess.Popen([sys.executable, "-c", code], text=True)
        try:
            time.sleep(1.5)
            answers[name] = _sizes([process.pid]) if process.poll() is None else "a library is missing"
        finally:
            process.kill()
            process.wait()
    name = f"peerd, {plan.memory_peers} peers, idle {plan.memory_idle_s:.0f} s"
    try:
        with daemons(plan.memory_peers) as running:
            time.sleep(plan.memory_idle_s)
            answers[name] = _sizes([daemon.process.pid for daemon in running])
    except AbsentError as error:
        answers[name] = str(error)
    return answers


def _imports() -> str:
    return "".join(f"import {library}; " for library in _LIBRARIES)


def _sizes(pids: list[int]) -> dict[str, list[float]]:
    sizes: dict[str, list[float]] = {"rss_mb": [], "pss_mb": []}
    for pid in pids:
        fields = {}
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, rest = line.partition(":")
            fields[name] = int(rest.split()[0]) * 1024 / 1e6
        sizes["rss_mb"].append(fields["Rss"])
        sizes["pss_mb"].append(fields["Pss"])
    return sizes
