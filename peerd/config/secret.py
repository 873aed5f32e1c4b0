"""Secrets that the user names by a file: the network's shared one, and the passphrase of the identity.

They are never a flag's or a variable's value, which other users of the host can read.
"""

import os
import stat
from pathlib import Path

from peerd.errors import UsageError

NETWORK_KEY_MAX_BYTES = 4096
PASSPHRASE_MAX_BYTES = 1024

_OTHERS = 0o077


def read_network_key(path: Path) -> bytes:
    """Return the secret in the file at `path`: its bytes, without one newline at the end.

    Raises UsageError where it cannot be read, is no regular file, is open to others, is empty, or has more than 4096
    bytes. The group may read what another user owns: so service managers hand a secret to the user of a service.
    """
    make = f"make one: peer keygen {path}"
    return _read(
        path, "network key", NETWORK_KEY_MAX_BYTES, missing=f"{make}, and copy it to the other peers", empty=make
    )


def read_passphrase(path: Path) -> bytes:
    """Return the passphrase in the file at `path`, as `read_network_key` does; at most 1024 bytes."""
    hint = "write the passphrase to it, and let nobody else read it"
    return _read(path, "passphrase", PASSPHRASE_MAX_BYTES, missing=hint, empty=hint)


def _read(path: Path, what: str, most: int, *, missing: str, empty: str) -> bytes:
    try:
        with open(path, "rb", opener=_opener) as file:
            found = os.fstat(file.fileno())
            mode = found.st_mode
            # One byte for the newline, and one to see that it is too long.
            secret = file.read(most + 2) if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        raise UsageError(f"no {what} at {path}", hint=missing) from None
    except OSError as error:
        hint = "name a file with the secret that the user of peerd can read"
        raise UsageError(f"cannot read the {what} {path}: {error.strerror}", hint=hint) from None
    if not stat.S_ISREG(mode):
        raise UsageError(f"the {what} {path} is not a regular file", hint="name a file that holds the secret")
    if mode & (_OTHERS if found.st_uid == os.geteuid() else _OTHERS & ~stat.S_IRGRP):
        hint = f"if nobody has read or changed it who should not: chmod 600 {path}"
        raise UsageError(f"the {what} {path} is open to others (mode {stat.S_IMODE(mode):o})", hint=hint)
    secret = secret.removesuffix(b"\n")
    if not secret:
        raise UsageError(f"the {what} {path} is empty", hint=empty)
    if len(secret) > most:
        raise UsageError(f"the {what} {path} is longer than {most} bytes", hint="32 are plenty")
    return secret


def _opener(path: str, flags: int) -> int:
    # Non-blocking, so that a named pipe is refused and does not hang the start.
    return os.open(path, flags | os.O_NONBLOCK)
