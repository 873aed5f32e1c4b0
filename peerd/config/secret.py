"""The shared secret of a private network, from its file."""

import os
import stat
from pathlib import Path

from peerd.errors import UsageError

NETWORK_KEY_MAX_BYTES = 4096

_OTHERS = 0o077


def read_network_key(path: Path) -> bytes:
    """Return the secret in the file at `path`: its bytes, without one newline at the end.

    Raises UsageError where it cannot be read, is no regular file, is open to others, is empty, or has more than 4096
    bytes. The group may read what another user owns: so service managers hand a secret to the user of a service.
    """
    try:
        with open(path, "rb", opener=_opener) as file:
            found = os.fstat(file.fileno())
            mode = found.st_mode
            # One byte for the newline, and one to see that it is too long.
            secret = file.read(NETWORK_KEY_MAX_BYTES + 2) if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        hint = f"make one: peer keygen {path}, and copy it to the other peers"
        raise UsageError(f"no network key at {path}", hint=hint) from None
    except OSError as error:
        hint = "name a file with the secret that the user of peerd can read"
        raise UsageError(f"cannot read the network key {path}: {error.strerror}", hint=hint) from None
    if not stat.S_ISREG(mode):
        raise UsageError(f"the network key {path} is not a regular file", hint="name a file that holds the secret")
    if mode & (_OTHERS if found.st_uid == os.geteuid() else _OTHERS & ~stat.S_IRGRP):
        hint = f"if nobody has read or changed it who should not: chmod 600 {path}"
        raise UsageError(f"the network key {path} is open to others (mode {stat.S_IMODE(mode):o})", hint=hint)
    secret = secret.removesuffix(b"\n")
    if not secret:
        raise UsageError(f"the network key {path} is empty", hint=f"make one: peer keygen {path}")
    if len(secret) > NETWORK_KEY_MAX_BYTES:
        raise UsageError(f"the network key {path} is longer than {NETWORK_KEY_MAX_BYTES} bytes", hint="32 are plenty")
    return secret


def _opener(path: str, flags: int) -> int:
    # Non-blocking, so that a named pipe is refused and does not hang the start.
    return os.open(path, flags | os.O_NONBLOCK)
