"""The sockets of the API: bound, guarded by mode, and the file of a Unix socket put away.

Not here: serving them (server) and the form of addresses (config.address).
"""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from peerd.api.guard import Bound
from peerd.config.address import HostPort, UnixAddress, parse_api_address
from peerd.errors import UsageError
from peerd.io.datadir import OTHERS, make_directory

BACKLOG = 128
SOCKET_MODE = 0o600

_HINT = "stop what uses it, or give the daemon another address with {}"


@dataclass(frozen=True, slots=True)
class Listening:
    """An address with its sockets; `bound` is None for a Unix socket, whose `inode` is that of its file."""

    text: str
    sockets: tuple[socket.socket, ...]
    bound: Bound | None = None
    path: Path | None = None
    inode: int = 0

    def remove(self) -> None:
        """Close the sockets and remove the file of a Unix socket, where it is still ours."""
        for each in self.sockets:
            each.close()
        if self.path is not None and _inode(self.path) == self.inode:
            self.path.unlink(missing_ok=True)


async def listen_all(addresses: Sequence[str], *, option: str = "--api") -> list[Listening]:
    """Return all of `addresses` bound, or none: raises as `listen` does.

    Apart from the server, so that a daemon can do it before it writes anything; who connects waits until it is served.
    """
    with ExitStack() as undo:
        bound: list[Listening] = []
        for address in addresses:
            bound.append(await listen(address, option=option))
            undo.callback(bound[-1].remove)
        undo.pop_all()
        return bound


async def listen(address: str, *, option: str = "--api") -> Listening:
    """Return `address` (`unix:PATH` or HOST:PORT) bound, with port 0 resolved.

    Raises UsageError where the address is malformed, taken, not ours or not permitted.
    """
    parsed = parse_api_address(address)
    try:
        if isinstance(parsed, UnixAddress):
            return _listen_unix(parsed)
        return await _listen_tcp(parsed)
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be bound: {error.strerror or error}"
        what = "API" if option == "--api" else "gateway's"
        raise UsageError(f"the {what} address {parsed.text} {reason}", hint=_HINT.format(option)) from error


async def _listen_tcp(address: HostPort) -> Listening:
    infos = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    if address.port == 0:
        # The addresses of a name must share a port, and a free one is chosen for the first.
        infos = infos[:1]
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, target in dict.fromkeys(infos):
            sockets.append(socket.socket(family, kind, protocol))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sockets[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sockets[-1].bind(target)
            sockets[-1].listen(BACKLOG)
            sockets[-1].setblocking(False)
    except OSError:
        for each in sockets:
            each.close()
        raise
    port: int = sockets[0].getsockname()[1]
    return Listening(HostPort(address.host, port).text, tuple(sockets), bound=Bound(address.host, port))


def _listen_unix(address: UnixAddress) -> Listening:
    path = address.path
    make_directory(path.parent)
    _require_private(path.parent)
    _make_way(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the file the mode of the unbound socket, so that nobody can connect between bind and chmod.
        os.fchmod(sock.fileno(), SOCKET_MODE)
        sock.bind(str(path))
        path.chmod(SOCKET_MODE)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return Listening(address.text, (sock,), path=path, inode=_inode(path))


def _require_private(directory: Path) -> None:
    """Raise UsageError where others may enter: who can write there puts a socket of theirs in the place of ours."""
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & OTHERS:
        raise UsageError(
            f"the directory of the API's socket {directory} is open to others (mode {mode:o})",
            hint="give --api unix: a path in a directory of mode 700; one that is not there yet is made so",
        )


def _make_way(path: Path) -> None:
    """Remove the socket of a daemon that died; raise UsageError where one lives, or where it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"{path} exists and is no socket", hint="remove it, or give another path with --api unix:PATH")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # Its backlog is full: alive, and busy.
    raise UsageError(f"another daemon answers on {path}", hint=_HINT.format("--api"))


def _inode(path: Path) -> int:
    try:
        return path.lstat().st_ino
    except OSError:
        return 0
