"""Telling the service manager how far we are (sd_notify(3)), over the socket that it names.

Where there is none, nothing is said. Not here: restarting and limits, which are the unit's.
"""

import os
import socket
from collections.abc import Mapping

SOCKET_VARIABLE = "NOTIFY_SOCKET"
SEND_TIMEOUT_S = 1.0


def notify_ready(environ: Mapping[str, str] | None = None) -> bool:
    """Say that the peer can serve; return whether somebody was told."""
    return notify("READY=1", environ)


def notify_stopping(environ: Mapping[str, str] | None = None) -> bool:
    """Say that the peer hands over and leaves; return whether somebody was told."""
    return notify("STOPPING=1", environ)


def notify(state: str, environ: Mapping[str, str] | None = None) -> bool:
    """Send one `NAME=value` line; return whether it was sent. No manager, or one that is gone, is no error."""
    path = (os.environ if environ is None else environ).get(SOCKET_VARIABLE, "")
    if not path.startswith(("/", "@")):
        return False
    # A leading @ stands for the NUL of Linux's abstract sockets.
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as channel:
            channel.settimeout(SEND_TIMEOUT_S)
            channel.connect(address)
            channel.send(state.encode())
    except OSError:
        return False
    return True
