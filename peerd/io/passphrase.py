"""Asking a person for a passphrase, on a terminal and never as an argument, where others of the host would read it."""

import getpass
import os
import sys

from peerd.config.secret import PASSPHRASE_MAX_BYTES
from peerd.errors import UsageError

HINT = "1 to 1024 bytes; give a file with it by {flag} where there is no terminal"


def has_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask(what: str, *, twice: bool = False, flag: str = "--passphrase-file") -> bytes:
    """Return what a person types, without showing it; raises UsageError without a terminal, or where it is no good."""
    if not has_terminal():
        raise UsageError(f"the {what} cannot be asked for: there is no terminal", hint=HINT.format(flag=flag))
    typed = os.fsencode(getpass.getpass(f"{what}: "))
    if not 0 < len(typed) <= PASSPHRASE_MAX_BYTES:
        raise UsageError(f"the {what} has {len(typed)} bytes", hint=HINT.format(flag=flag))
    if twice and os.fsencode(getpass.getpass(f"{what} again: ")) != typed:
        raise UsageError(f"the two {what}s differ", hint="try again")
    return typed
