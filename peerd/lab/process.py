"""Processes that outlive the command which started them, ended by an identity that no other process can have.

A process is its id and the time it started: ids are used again, so an id alone is never sent a signal. Not here: what
is run and when (lab).
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

PS_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.01

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_STATE_FIELD, _START_FIELD = 0, 19  # of those behind the name in /proc/PID/stat (proc(5): 3 and 22)
_ENDED = frozenset("ZXx")


class Process(msgspec.Struct, frozen=True):
    """One process; `started` is opaque, the same for as long as the process lives and never given to another."""

    pid: int
    started: str


# Our own by their ids, the last to have each: a child that nobody waits for would stay as a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


def spawn(arguments: Sequence[str], *, environment: Mapping[str, str], directory: Path, log: Path) -> Process:
    """Start a program in a session of its own, so that no terminal ends it, and return it.

    What it prints is added to the end of `log`. Raises OSError where it cannot be started.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(  # noqa: S603  no shell; the program is our own
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=directory,
            env=dict(environment),
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    _children[child.pid] = child
    # A child that nobody has waited for is at least a zombie, so its id is its own until here.
    return Process(child.pid, _look(child.pid)[1])


def find(pid: int) -> Process | None:
    """Return the living process that has the id now."""
    lives, started = _look(pid)
    return Process(pid, started) if lives else None


def is_alive(process: Process) -> bool:
    """Whether the process lives; one of our own that has ended is reaped."""
    child = _children.get(process.pid)
    if child is not None:
        child.poll()
    return find(process.pid) == process


def exit_status(process: Process) -> int | None:
    """Return the exit status of a process of ours that has ended; None where it lives or was not ours."""
    child = _children.get(process.pid)
    return None if child is None or is_alive(process) else child.returncode


def send(process: Process, signum: signal.Signals) -> bool:
    """Send a signal to this process and to no other; return whether it was there to get it."""
    try:
        if not hasattr(os, "pidfd_open"):  # macOS: the moment between the look and the signal stays
            if not is_alive(process):
                return False
            os.kill(process.pid, signum)
            return True
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The descriptor holds on to one process; only now is it asked which.
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(descriptor, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def end(processes: Sequence[Process], *, timeout_s: float) -> None:
    """End processes: SIGTERM to all, and SIGKILL to those that are still there after `timeout_s`; returns when none is.

    A second SIGKILL is of no use: what sleeps in the kernel is left after another `timeout_s`.
    """
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            send(process, signum)
        if wait_ended(processes, timeout_s=timeout_s):
            return


def wait_ended(processes: Sequence[Process], *, timeout_s: float) -> bool:
    """Wait until none of the processes lives, at most `timeout_s`; return whether that is so."""
    deadline = time.monotonic() + timeout_s
    while any(is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


def _look(pid: int) -> tuple[bool, str]:
    """Return whether the process lives, and its start; an empty text where there is none."""
    return _look_in_proc(pid) if _BOOT_ID.exists() else _look_with_ps(pid)


def _look_in_proc(pid: int) -> tuple[bool, str]:
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False, ""
    # The name is in brackets and may hold anything, brackets too.
    fields = stat.rpartition(")")[2].split()
    # The start is told in ticks since the machine's: after the next boot the same number is another moment.
    return fields[_STATE_FIELD] not in _ENDED, f"{_BOOT_ID.read_text().strip()}/{fields[_START_FIELD]}"


def _look_with_ps(pid: int) -> tuple[bool, str]:
    asked = subprocess.run(  # noqa: S603  no shell; a number
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=PS_TIMEOUT_S,
        check=False,
        env={"LC_ALL": "C"},
    )
    state, _, started = asked.stdout.strip().partition(" ")
    return bool(state) and state[0] not in _ENDED, started.strip()
