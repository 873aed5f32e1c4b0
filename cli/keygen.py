"""`peer keygen FILE`: a secret for --network-key that nobody can guess, in a file that only its owner reads."""

# Pathlib never: start time.
# ruff: noqa: PTH108
from __future__ import annotations

import os

from . import output
from .failure import of_os_error, usage
from .text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .parse import Invocation

KEY_BYTES = 32
MODE = 0o600


def keygen(invocation: Invocation) -> None:
    """Write a new secret; an existing file is never overwritten."""
    path = invocation.operands[0]
    shown = safe(path)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    except FileExistsError:
        raise usage(f"{shown} exists and is not overwritten", "the peers that use it would be cut off") from None
    except OSError as error:
        raise of_os_error(error, f"writing {shown}") from None
    try:
        os.fchmod(fd, MODE)  # whatever the umask
        os.write(fd, os.urandom(KEY_BYTES))
        os.fsync(fd)
    except BaseException as error:
        os.unlink(path)
        if isinstance(error, OSError):
            raise of_os_error(error, f"writing {shown}") from None
        raise
    finally:
        os.close(fd)
    if invocation.flag("json"):
        output.json_line({"file": path, "bytes": KEY_BYTES})
    elif not invocation.flag("quiet"):
        output.say(f"wrote {KEY_BYTES} random bytes to {shown}: copy it to every peer of the network")
