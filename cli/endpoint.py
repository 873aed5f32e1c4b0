"""Where the daemon may be and how to get in: addresses in the order they are tried, and the token of the TCP one.

Order: --api, else PEER_API, else the socket of the runtime directory, the socket of the data directory, and
127.0.0.1:7434 where there is a token for it. What was named is the only one tried. Not here: speaking HTTP (httpwire).
"""

# Pathlib never: start time.
# ruff: noqa: PTH100, PTH111, PTH117, PTH118
from __future__ import annotations

import os
import socket

from .failure import Failure, usage
from .text import safe

DEFAULT_TCP = "127.0.0.1:7434"
TOKEN_MAX_BYTES = 4096
UNIX_PATH_MAX_BYTES = 103
"""What the smallest `sockaddr_un` of our platforms takes (macOS)."""


class Endpoint:
    """One address of the local API; `path` of a Unix socket, or `host` and `port`."""

    __slots__ = ("host", "path", "port", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.path: str | None = None
        self.host = ""
        self.port = 0
        if text.startswith("unix:"):
            self.path = os.path.expanduser(text[len("unix:") :])
            if not self.path or self.path.endswith("/"):
                raise usage(f"not the path of a socket: {safe(text)}", "as in unix:/run/user/1000/peerd/api.sock")
            if len(os.fsencode(self.path)) > UNIX_PATH_MAX_BYTES:
                raise usage(f"the path of a Unix socket has at most {UNIX_PATH_MAX_BYTES} bytes: {safe(text)}")
            return
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not colon or not host or not (port.isascii() and port.isdigit() and len(port) <= 5) or int(port) > 65535:
            raise usage(f"not an address of the API: {safe(text)}", "write unix:PATH or HOST:PORT")
        if (":" in host and not bracketed) or not host.isascii() or not host.isprintable() or " " in host:
            raise usage(f"not a host: {safe(host)}", "as in 127.0.0.1:7434 or [::1]:7434")
        self.host = host[1:-1] if bracketed else host
        self.port = int(port)

    @property
    def http_host(self) -> str:
        """The value of the Host header: the address as it was dialled."""
        return "localhost" if self.path is not None else self.text

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connected socket; raises OSError (TimeoutError among them) where nobody answers."""
        if self.path is None:
            connected = socket.create_connection((self.host, self.port), timeout_s)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connected
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            unix.settimeout(timeout_s)
            unix.connect(self.path)
        except BaseException:
            unix.close()
            raise
        return unix


def candidates(named: str | None) -> list[Endpoint]:
    """Return the addresses to try, in order; `named` is the value of --api."""
    named = named or os.environ.get("PEER_API")
    if named:
        return [Endpoint(named)]
    found = []
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        found.append(f"unix:{runtime}/peerd/api.sock")
    found.append(f"unix:{data_directory()}/api.sock")
    if token() is not None:
        found.append(DEFAULT_TCP)
    usable = [text for text in found if len(os.fsencode(text)) <= UNIX_PATH_MAX_BYTES + len("unix:")]
    return [Endpoint(text) for text in usable]


def data_directory() -> str:
    """Return the daemon's data directory: PEERD_DATA, else `peerd` in the user's data directory."""
    named = os.environ.get("PEERD_DATA")
    if named:
        return os.path.abspath(os.path.expanduser(named))
    return os.path.join(_base("XDG_DATA_HOME", ".local/share"), "peerd")


def config_file() -> str:
    """Return the daemon's settings file: PEERD_CONFIG, else `peerd/config.toml` in the user's settings directory."""
    named = os.environ.get("PEERD_CONFIG")
    if named:
        return os.path.abspath(os.path.expanduser(named))
    return os.path.join(_base("XDG_CONFIG_HOME", ".config"), "peerd", "config.toml")


def token_file() -> str:
    """Return the file the daemon keeps its token in."""
    return os.path.join(data_directory(), "token")


def token() -> str | None:
    """Return the token for a TCP address: PEER_TOKEN, else what the data directory's file says; None without either."""
    named = os.environ.get("PEER_TOKEN")
    if named is None:
        try:
            fd = os.open(token_file(), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            named = os.read(fd, TOKEN_MAX_BYTES).decode("ascii", "replace")
        except OSError:
            return None
        finally:
            os.close(fd)
    named = named.strip()
    if not named:
        return None
    if not named.isascii() or not named.isprintable() or " " in named:
        raise usage(
            "the API token holds characters that no token has", f"it is read from PEER_TOKEN or {safe(token_file())}"
        )
    return named


def connect(endpoints: list[Endpoint], timeout_s: float) -> tuple[Endpoint, socket.socket]:
    """Return the first of `endpoints` that takes a connection.

    Raises Failure: `no_daemon` where none does, `not_authorised` where a socket is not ours to use.
    """
    forbidden: str | None = None
    for endpoint in endpoints:
        try:
            return endpoint, endpoint.connect(timeout_s)
        except PermissionError:
            forbidden = forbidden or endpoint.text
        except BlockingIOError:
            raise Failure("timeout", f"the daemon at {safe(endpoint.text)} takes no more connections") from None
        except (OSError, UnicodeError):  # UnicodeError: a host name that cannot be one
            continue
    if forbidden is not None:
        raise Failure(
            "not_authorised",
            f"no permission to use the daemon's socket {safe(forbidden)}",
            "it belongs to the user who started peerd",
        )
    tried = ", ".join(safe(endpoint.text) for endpoint in endpoints) or "any default address, all too long for a socket"
    raise Failure("no_daemon", f"no daemon answers at {tried}", "start one with `peerd`, or name another with --api")


def _base(variable: str, under_home: str) -> str:
    """Return an XDG base directory; a relative value is not one (XDG Base Directory 0.8)."""
    value = os.environ.get(variable, "")
    return value if os.path.isabs(value) else os.path.join(os.path.expanduser("~"), under_home)
