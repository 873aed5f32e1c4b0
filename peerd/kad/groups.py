"""Address groups: addresses that one party is likely to have all of, told by their beginning.

Identities cost nothing, addresses in many networks do: so tables and budgets count by group. A group is a /24 of IPv4
or a /64 of IPv6. Addresses that mean something only in one place (private, loopback, link-local, shared by a carrier's
customers) have none: in a LAN everybody would be of one.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from peerd.kad.contact import Address

GROUP_4_BYTES = 3
GROUP_6_BYTES = 8
PORTS = 65_536

GROUP_CACHE_MAX = 16_384
"""Hosts whose group is remembered. The least recently used go, so a flood of invented ones costs only time."""

# Written out: what the standard library calls private holds ranges for documentation too, and they change.
_LOCAL = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::/127",
        "fc00::/7",
        "fe80::/10",
    )
)
# The IPv4 internet as hosts that have only IPv6 see it (RFC 6052): told apart as there.
_TRANSLATED = IPv6Network("64:ff9b::/96")


def group(address: Address) -> bytes | None:
    """Return the group of an address (4 or 9 bytes, the family first), None where it is of a local range."""
    return _group_of_host(address[0])


def is_address(address: Address) -> bool:
    """Return whether it is one at all: what the disk has damaged may be none."""
    try:
        group(address)
    except ValueError:
        return False
    return 0 < address[1] < PORTS


def group_or_host(address: Address) -> bytes:
    """Return whose budget an address uses up: its group's, and of a local range its own; never the port's."""
    return group(address) or b"host " + address[0].encode()


@lru_cache(maxsize=GROUP_CACHE_MAX)
def _group_of_host(host: str) -> bytes | None:
    ip = ip_address(host.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _TRANSLATED:
            ip = IPv4Address(ip.packed[-4:])
    if any(ip.version == network.version and ip in network for network in _LOCAL):
        return None
    width = GROUP_4_BYTES if ip.version == 4 else GROUP_6_BYTES
    return bytes([ip.version]) + ip.packed[:width]
