"""How a command fails: a stable code, the exit status of the table in INTERFACE.md, one line, perhaps a hint.

Not here: printing it (main), and reading the daemon's answer about it (api).
"""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_DAEMON = 4
EXIT_TIMEOUT = 5
EXIT_INTERRUPTED = 130

EXIT_OF_CODE = {
    "usage": EXIT_USAGE,
    "not_found": 3,
    "no_daemon": EXIT_NO_DAEMON,
    "timeout": EXIT_TIMEOUT,
    "too_few_copies": 6,
    "not_authorised": 7,
    "integrity": 8,
    "no_room": 9,
    "conflict": 10,
    "interrupted": EXIT_INTERRUPTED,
}
"""The exit status of each code of an error; every other code is EXIT_FAILED."""


class Failure(Exception):
    """The end of a command without success; `extra` holds further fields of the JSON form."""

    def __init__(
        self, code: str, message: str, hint: str | None = None, *, extra: dict[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.extra = extra or {}

    @property
    def exit_status(self) -> int:
        """What the process exits with."""
        return EXIT_OF_CODE.get(self.code, EXIT_FAILED)


class OutputClosed(Exception):
    """Whoever read our standard output has gone (`peer ls | head`): end quietly, as any filter does."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP, raised where the work stands, so that it is cleaned up like after an interrupt."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def usage(message: str, hint: str | None = None) -> Failure:
    """Return the failure of a wrong argument, option or setting."""
    return Failure("usage", message, hint)


def of_os_error(error: OSError, doing: str) -> Failure:
    """Return the failure for what the operating system refused while `doing` (“writing x”).

    A disk or quota that is full is `no_room`; a name that does not exist is wrong usage; the rest is a plain failure.
    """
    import errno

    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure("no_room", f"{doing}: {reason}", "free some space, or choose another place")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return usage(f"{doing}: {reason}")
    return Failure("failed", f"{doing}: {reason}")
