"""A contact: a peer, its place and the address we know it at; and lists of contacts as they travel.

On the wire an entry is the peer (32 bytes), the family (1 byte, 4 or 6), the IP (4 or 16 bytes) and the port (2 bytes,
big-endian); entries are concatenated, nearest first. A place does not travel: the reader derives it from the peer and
its own network, so that nobody can claim one.

Not here: whether a contact is proven (the table holds only such) and whom to tell about whom (the responder).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from peerd.errors import WireError
from peerd.ids import ID_BYTES, NetworkId, NodeId, PeerId, node_id

Address = tuple[str, int]
"""A numeric IP (version 4 or 6, without a scope) and a port."""

FAMILY_4 = 4
FAMILY_6 = 6
PORT_BYTES = 2
PORT_MAX = 2**16 - 1

ENTRY_4_BYTES = ID_BYTES + 1 + 4 + PORT_BYTES
ENTRY_6_BYTES = ID_BYTES + 1 + 16 + PORT_BYTES

ADDRESS_CACHE_MAX = 16_384
"""Addresses whose conversion is remembered. The least recently used go, so a flood of invented ones costs only time."""

_ENTRY_BYTES = {FAMILY_4: ENTRY_4_BYTES, FAMILY_6: ENTRY_6_BYTES}
_BROADCAST = IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class Contact:
    """A peer as we know it; `place` is always `node_id(network, peer)`."""

    peer: PeerId
    place: NodeId
    address: Address

    @classmethod
    def of(cls, network: NetworkId, peer: PeerId, address: Address) -> Self:
        """Return the contact of `peer` at `address`, its place derived."""
        return cls(peer, node_id(network, peer), address)


def pack_contacts(contacts: Iterable[Contact], max_bytes: int) -> bytes:
    """Return the first of `contacts` that fit `max_bytes`, as they travel.

    Nearest first is the caller's order and is kept. A contact whose address means nothing to another host
    (see `can_be_told`) is left out.
    """
    parts: list[bytes] = []
    room = max_bytes
    for contact in contacts:
        tail = _pack_address(contact.address)
        if tail is None:
            continue
        room -= ID_BYTES + len(tail)
        if room < 0:
            break
        parts.append(contact.peer)
        parts.append(tail)
    return b"".join(parts)


def unpack_contacts(raw: bytes, max_count: int) -> list[tuple[PeerId, Address]]:
    """Return the peers and addresses in `raw`, in the sender's order.

    Raises WireError where it is cut, of an unknown family, longer than `max_count` entries, names a peer twice, or
    gives an address that cannot be told (see `can_be_told`) or is not in its one form.
    """
    found: dict[PeerId, Address] = {}
    offset, end = 0, len(raw)
    while offset < end:
        if len(found) >= max_count:
            raise WireError("too many contacts")
        family_at = offset + ID_BYTES
        size = _ENTRY_BYTES.get(raw[family_at]) if family_at < end else None
        if size is None or offset + size > end:
            raise WireError("contact list")
        address = _unpack_address(raw[family_at : offset + size])
        if address is None:
            raise WireError("contact address")
        peer = PeerId(raw[offset:family_at])
        if peer in found:
            raise WireError("contact twice")
        found[peer] = address
        offset += size
    return list(found.items())


def can_be_told(address: Address) -> bool:
    """Return whether `address` can be given to another host.

    Not: port 0, the unspecified address, broadcast and multicast (one answer would make many hosts send), and IPv6
    link-local (it means nothing without the scope of one host's interface). IPv4 link-local can: a cable between two
    hosts has nothing else.
    """
    return _pack_address(address) is not None


@lru_cache(maxsize=ADDRESS_CACHE_MAX)
def _pack_address(address: Address) -> bytes | None:
    """Return family, IP and port, or None where the address cannot be told.

    An IPv4 address mapped into IPv6 is written as IPv4, so that one address has one form.
    """
    host, port = address
    ip = ip_address(host)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if not (0 < port <= PORT_MAX) or not _is_single_host(ip):
        return None
    family = FAMILY_4 if ip.version == 4 else FAMILY_6
    return bytes([family]) + ip.packed + port.to_bytes(PORT_BYTES, "big")


@lru_cache(maxsize=ADDRESS_CACHE_MAX)
def _unpack_address(tail: bytes) -> Address | None:
    """Return the address in `tail` (family, IP, port, of the family's length), or None where nobody may send it."""
    packed, port = tail[1:-PORT_BYTES], int.from_bytes(tail[-PORT_BYTES:], "big")
    ip: IPv4Address | IPv6Address
    if tail[0] == FAMILY_4:
        ip = IPv4Address(packed)
    else:
        ip = IPv6Address(packed)
        if ip.ipv4_mapped is not None:
            return None
    return (str(ip), port) if port and _is_single_host(ip) else None


def _is_single_host(ip: IPv4Address | IPv6Address) -> bool:
    if ip.is_unspecified or ip.is_multicast or ip == _BROADCAST:
        return False
    return not (isinstance(ip, IPv6Address) and (ip.is_link_local or ip.scope_id is not None))
