"""`peer revoke FILE`: hand in a revocation that the key itself has signed."""

from __future__ import annotations

import errno
import os
import stat

from . import output
from .api import Client
from .failure import of_os_error, usage
from .text import one_line, safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .httpwire import Wire
    from .parse import Invocation

FILE_MAX_BYTES = 384
"""Longer than any revocation: a file that is none is refused by the daemon and not sent whole."""


HINT = "name the file that `peerd identity revoke -o FILE` wrote"


class _Text:
    """A request's body that is at hand."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def headers(self) -> list[tuple[str, str]]:
        return [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(self._text)))]

    def send(self, wire: Wire) -> None:
        wire.send(self._text)


def _opener(path: str, flags: int) -> int:
    # Non-blocking, so that a named pipe is refused and not waited for.
    return os.open(path, flags | os.O_NONBLOCK)


def revoke(invocation: Invocation) -> None:
    """Send the file's content to the daemon, which checks it and tells the others."""
    path = invocation.operands[0]
    try:
        with open(path, "rb", opener=_opener) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise usage(f"{safe(path)} is not a regular file", HINT)
            text = file.read(FILE_MAX_BYTES)
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise usage(f"{safe(path)} is not a regular file", HINT) from None
        raise of_os_error(error, f"reading {safe(path)}") from None
    client = Client(invocation)
    answer = client.raw_json("POST", "/v1/revocations", body=_Text(text))
    if invocation.flag("json"):
        output.write(answer + b"\n")
    elif not invocation.flag("quiet"):
        told = client.understand(answer)
        output.say(f"revoked {safe(told['id'])} ({one_line(told['reason'])}): it is out for good")
