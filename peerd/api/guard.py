"""Who may ask: the checks of a TCP address, and the one that holds on every address. Pure.

A Unix socket is guarded by its mode (0600). A TCP address can be reached by every user of the host and by every web
page that a user opens, hence: the token; a Host that is literally this address, or DNS rebinding would make a foreign
page "same origin"; no Origin but our own; and nothing that a page of another origin could send without a preflight:
no body of an HTML form, and no effect of a GET, where the request bears the marks of a browser.
"""

import base64
import binascii
import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peerd.api.errors import HINT_TOKEN, UnauthenticatedError
from peerd.errors import NotAuthorisedError

FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HTTP_PORT = 80

OWN_SITES = frozenset({"none", "same-origin"})
"""Sec-Fetch-Site of what a person typed and of our own pages (Fetch Metadata 2.2); `same-site` is another port's."""

BROWSER_MARKS = frozenset({"origin", "cookie", "referer"})
BROWSER_PREFIX = "sec-fetch-"

_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]@/\s]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Bound:
    """A TCP address we listen on: the host as configured, and the port."""

    host: str
    port: int


def check_host(hosts: Sequence[str], bound: Bound, local_ip: str) -> str:
    """Return the Host header where it is literally ours; `local_ip` is where this connection arrived.

    Raises NotAuthorisedError where it is missing, repeated, or anything but a loopback name or address, the bound
    host, or the address the connection came to, each with the bound port.
    """
    if len(hosts) == 1:
        parsed = _authority(hosts[0])
        if parsed is not None and parsed[1] == bound.port and _is_ours(parsed[0], bound, local_ip):
            return hosts[0]
    raise NotAuthorisedError(
        "the Host header does not name this address", hint="use the address as `peer paths` shows it, with its port"
    )


def check_origin(origins: Sequence[str], host: str) -> None:
    """Raise NotAuthorisedError where the request comes from a web page that is not our own (RFC 6454 7)."""
    if origins and (len(origins) > 1 or origins[0].lower() != f"http://{host.lower()}"):
        raise NotAuthorisedError("the request comes from a web page of another origin")


def check_token(authorization: Sequence[str], token: str) -> None:
    """Raise UnauthenticatedError unless one Authorization header has the token, as bearer or as basic password."""
    if len(authorization) == 1 and token:
        given = _credential(authorization[0])
        # Compared in constant time: the time of an answer must not tell how much of a guess was right.
        if given is not None and hmac.compare_digest(given, token.encode("utf-8", "surrogateescape")):
            return
    raise UnauthenticatedError("this address needs the token of the daemon", hint=HINT_TOKEN)


def check_site(sites: Sequence[str]) -> None:
    """Raise NotAuthorisedError where the browser says that the request comes from a page that is not our own."""
    if any(site.strip().lower() not in OWN_SITES for site in sites):
        raise NotAuthorisedError("the request comes from a web page of another site")


def check_form(method: str, content_type: str, headers: Mapping[str, str]) -> None:
    """Raise NotAuthorisedError for a change that another page could have sent without a preflight: a form, a POST of
    no type (Fetch 4.10: a body of bytes alone has none). This is cross-site forgery.
    """
    untyped = method == "POST" and not headers.get("Content-Type", "").strip()
    if method not in SAFE_METHODS and (untyped or content_type.lower() in FORM_TYPES) and is_of_browser(headers):
        raise NotAuthorisedError("a form of a web page may not change anything here")


def check_effect(method: str, headers: Mapping[str, str]) -> None:
    """Raise NotAuthorisedError for a read that has an effect and comes from a browser: any page can have it made."""
    if method in SAFE_METHODS and is_of_browser(headers):
        raise NotAuthorisedError("a web page may not pin by reading", hint="POST /v1/pins/{target} pins")


def is_of_browser(headers: Mapping[str, str]) -> bool:
    """Return whether a request bears a mark that browsers set and programs do not."""
    return any(name.lower() in BROWSER_MARKS or name.lower().startswith(BROWSER_PREFIX) for name in headers)


def _credential(header: str) -> bytes | None:
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value.encode("utf-8", "surrogateescape")
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return None
        return pair.partition(b":")[2]
    return None


def _authority(text: str) -> tuple[str, int] | None:
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    bracketed, plain, port = match.groups()
    return (bracketed or plain).lower(), int(port or HTTP_PORT)


def _is_ours(host: str, bound: Bound, local_ip: str) -> bool:
    if host in {"localhost", bound.host.lower()}:
        return True
    ip = _ip(host)
    return ip is not None and (ip.is_loopback or ip == _ip(local_ip))


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket that takes both families shows IPv4 clients as ::ffff:a.b.c.d.
    return getattr(ip, "ipv4_mapped", None) or ip
