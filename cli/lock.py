"""`peer lock NAME -- CMD`: run a command while a fenced lock is held, and give it back when the command has ended.

The lock is renewed from here, so that it ends with this process. Where it cannot be renewed in time it counts as lost,
by this host's monotonic clock, before anybody else can have it; then the command is told to end. So it is, on Linux,
where this process is killed; elsewhere the fence alone protects what the lock guards then.
"""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

import os
import time

from . import keys, output
from .api import Client
from .failure import Failure
from .text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from typing import Any

    from .parse import Invocation

FENCE_VARIABLE = "PEER_LOCK_FENCE"
RENEW_SHARE = 0.25
"""Of the lease between two renewals, and for one of them: three may fail."""
HELD_SHARE = 0.8
"""Of the lease for which the lock is surely ours, as the daemon counts it too."""
LOOK_EVERY_S = 0.2
EXIT_NOT_FOUND = 127
EXIT_NOT_STARTED = 126
EXIT_SIGNAL_BASE = 128
_PR_SET_PDEATHSIG = 1


def lock(invocation: Invocation) -> None:
    """Run a command while holding a lock; ends the process with the command's status."""
    name, command = keys.target(invocation.operands[0]), invocation.operands[1:]
    holding = _Holding(invocation, name)
    try:
        process = _start(command, holding.fence)
    except BaseException:
        holding.release()
        raise
    _pass_signals_on(process)
    lost = holding.hold_while(process)
    if lost:
        process.terminate()
    status = process.wait()
    if lost:
        raise Failure("conflict", f"the lock {safe(name)} was lost: {lost}", "what it guarded may be another's by now")
    holding.release()
    raise SystemExit(status if status >= 0 else EXIT_SIGNAL_BASE - status)


class _Holding:
    """A lock that was taken."""

    def __init__(self, invocation: Invocation, name: str) -> None:
        self._client = Client(invocation)
        self._name = name
        self._path = f"/v1/locks/{keys.quote(name)}"
        taken: dict[str, Any] = self._client.json("POST", self._path, self._client.options("timeout"))
        self.fence = int(taken["fence"])
        self._lease_s = float(taken["lease_s"])
        self._query = [("fence", str(self.fence))]
        self._client.timeout_s = max(0.5, self._lease_s * RENEW_SHARE)
        self._renewed_at = self._renew_at = time.monotonic()
        # When it was had within the waiting is not known here; the first renewal tells from when it counts.
        lost = self._renew()
        if lost or self._renew_at <= self._renewed_at:
            self.release()
            raise Failure("timeout", f"the lock {safe(name)} was had, and could not be kept: {lost or 'no answer'}")

    def hold_while(self, process: subprocess.Popen[bytes]) -> str:
        """Renew until the process ends; return why the lock is lost, or nothing."""
        import subprocess

        while True:
            try:
                process.wait(LOOK_EVERY_S)
                return ""
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() >= self._renew_at:
                lost = self._renew()
                if lost:
                    return lost

    def _renew(self) -> str:
        asked_at = time.monotonic()
        try:
            self._client.json("PUT", self._path, self._query)
        except Failure as failure:
            if failure.code == "conflict":
                return failure.message
            if time.monotonic() >= self._renewed_at + self._lease_s * HELD_SHARE:
                return f"it could not be renewed in time ({failure.message})"
            self._renew_at = asked_at + LOOK_EVERY_S
            return ""
        self._renewed_at = asked_at
        self._renew_at = asked_at + self._lease_s * RENEW_SHARE
        return ""

    def release(self) -> None:
        """Give it back; where that fails it ends by itself when its lease is over."""
        try:
            self._client.json("DELETE", self._path, self._query)
        except Failure as failure:
            output.say(f"peer: the lock {safe(self._name)} was not given back: {failure.message}")


def _start(command: list[str], fence: int) -> subprocess.Popen[bytes]:
    import subprocess

    environment = {**os.environ, FENCE_VARIABLE: str(fence)}
    try:
        return subprocess.Popen(command, env=environment, preexec_fn=_end_with_us())  # noqa: S603, PLW1509 (one thread)
    except OSError as error:
        output.say(f"peer: {safe(command[0])} cannot be started: {error.strerror}")
        raise SystemExit(EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_STARTED) from None


def _end_with_us() -> Callable[[], None] | None:
    """Return what has the kernel tell the command to end when this process dies, None where it cannot."""
    import signal
    import sys

    if sys.platform != "linux":
        return None
    import ctypes

    prctl, ours = ctypes.CDLL(None).prctl, os.getpid()

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != ours:  # we were killed before it was asked
            os.kill(os.getpid(), signal.SIGTERM)

    return prepare


def _pass_signals_on(process: subprocess.Popen[bytes]) -> None:
    """What would end us is for the command; an interrupt of the terminal reaches it by itself."""
    import signal

    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda signum, frame: process.send_signal(signum))
    signal.signal(signal.SIGINT, lambda signum, frame: None if _in_foreground() else process.send_signal(signum))


def _in_foreground() -> bool:
    """Return whether a terminal sends its interrupts to us, and so to the command too."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
