"""Addresses as people write them: `HOST:PORT`, `[V6]:PORT`, `unix:PATH`.

Not here: resolving names (io), and the numeric addresses of contacts (kad.contact).
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from peerd.errors import UsageError

PORT_MAX = 65535
HOST_NAME_MAX_CHARS = 253
UNIX_PATH_MAX_BYTES = 103
"""What the smallest `sockaddr_un` of our platforms takes (macOS: 104 with the final NUL; Linux: 108)."""

SHOWN_MAX_CHARS = 80

_HINT = "write HOST:PORT, as in 192.168.1.5:7433, [fd00::5]:7433 or alice.lan:7433"
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_SCOPE = re.compile(r"[A-Za-z0-9._-]{1,15}")


class HostPort(NamedTuple):
    """A host (name, IPv4, or IPv6 without brackets and perhaps with a scope) and a port."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """The form that `parse_host_port` reads."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket by its path."""

    path: Path

    @property
    def text(self) -> str:
        """The form that `parse_api_address` reads."""
        return f"unix:{self.path}"


ApiAddress = HostPort | UnixAddress


def parse_host_port(text: str) -> HostPort:
    """Return the host and port that `text` names; the host is checked for its form, not looked up.

    Raises UsageError on anything else than HOST:PORT with a port of 0 to 65535.
    """
    host, colon, port_text = text.strip().rpartition(":")
    if not colon or not host or not (port_text.isascii() and port_text.isdigit()):
        raise UsageError(f"not a host and port: {_shown(text)}", hint=_HINT)
    port = int(port_text[: len(str(PORT_MAX)) + 1])
    if port > PORT_MAX:
        raise UsageError(f"not a port: {_shown(port_text)}", hint=f"ports are 0 to {PORT_MAX}")
    if host.startswith("[") and host.endswith("]"):
        return HostPort(_ipv6(host[1:-1], text), port)
    if ":" in host:
        raise UsageError(f"an IPv6 address without brackets: {_shown(text)}", hint=_HINT)
    if not _is_ipv4(host) and not _is_host_name(host):
        raise UsageError(f"not a host: {_shown(host)}", hint=_HINT)
    return HostPort(host, port)


def parse_api_address(text: str) -> ApiAddress:
    """Return the address of the local API that `text` names: `unix:PATH` or HOST:PORT.

    Raises UsageError on anything else, and on a path that is longer than a socket's may be.
    """
    text = text.strip()
    if not text.startswith("unix:"):
        return parse_host_port(text)
    path = expand(text.removeprefix("unix:"))
    if not path.name or "\0" in text:
        raise UsageError(
            f"not the path of a socket: {_shown(text)}", hint="write unix:PATH, as in unix:/run/peerd.sock"
        )
    check_unix_path(path)
    return UnixAddress(path)


def expand(text: str) -> Path:
    """Return the path that `text` names, with a leading `~` as the home directory.

    Raises UsageError where there is no such home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(f"no such home directory: {_shown(text)}", hint="write the whole path") from None


def check_unix_path(path: Path) -> None:
    """Raise UsageError where `path` is longer than the path of a Unix socket may be."""
    if len(str(path).encode(errors="surrogateescape")) > UNIX_PATH_MAX_BYTES:
        raise UsageError(
            f"the path of a Unix socket has at most {UNIX_PATH_MAX_BYTES} bytes: {_shown(str(path))}",
            hint="choose a shorter one with --api unix:PATH",
        )


def _ipv6(host: str, text: str) -> str:
    address, percent, scope = host.partition("%")
    try:
        # Scopes are interface names; the address module takes any text for them.
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        raise UsageError(f"not an IPv6 address: {_shown(text)}", hint=_HINT) from None
    if percent and not _SCOPE.fullmatch(scope):
        raise UsageError(f"not an interface after the %: {_shown(text)}", hint="as in [fe80::1%eth0]:7433")
    return f"{parsed}{percent}{scope}"


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _is_host_name(host: str) -> bool:
    """Whether `host` has the form of RFC 1123; a last label of digits alone would be a mistyped IPv4 address."""
    labels = host.removesuffix(".").split(".")
    return len(host) <= HOST_NAME_MAX_CHARS and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def _shown(text: str) -> str:
    return repr(text[:SHOWN_MAX_CHARS])
