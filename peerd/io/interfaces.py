"""The network interfaces of this host, and which of them a peer announces itself on.

Reading is cheap (some 0.2 ms) and blocks on nothing, so it is done again and again: cables, leases and adapters come
and go. Not here: sockets, and what is said on them (mdns).
"""

import re
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

IpInterface = IPv4Interface | IPv6Interface

# Bridges of containers and virtual machines, whose addresses other hosts cannot reach, and tunnels, which are not the
# LAN. Not veth, tap and eth: these are the cards of containers and test hosts.
_NOT_A_LAN = re.compile(
    r"(docker|podman|nerdctl|cni|flannel|cali|cilium|kube|lxcbr|lxdbr|incusbr|virbr|vmnet|vboxnet"
    r"|tun|utun|wg|tailscale|zt|nordlynx|ppp).*|br-[0-9a-f]{12}"
)

# netdevice(7): the same bits on Linux and the BSDs; the request's number is not.
_UP, _LOOPBACK, _POINT_TO_POINT, _RUNNING = 0x1, 0x8, 0x10, 0x40
_SIOCGIFFLAGS = {"linux": 0x8913, "darwin": 0xC0206911}.get(sys.platform)
_IFREQ_BYTES, _IFREQ_NAME_BYTES = 40, 16
_FLAGS_ASSUMED = _UP | _RUNNING


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface as it is now; equal as long as nothing that matters to its sockets has changed."""

    name: str
    index: int
    addresses: tuple[IpInterface, ...]
    """With their networks, IPv4 first; only those that can be used now and that mean the same on every host of the
    LAN: no link-local IPv6, which needs a scope."""
    up: bool
    """Switched on, and with a carrier."""
    loopback: bool = False
    point_to_point: bool = False


def read_interfaces() -> list[Interface]:
    """Return the interfaces of this host, in the system's order.

    Raises OSError where the system does not tell.
    """
    import ifaddr  # noqa: PLC0415  (20 ms, and a process to find the C library: only where the LAN is asked)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return [
            _interface(adapter.name, adapter.index or 0, _flags(probe, adapter.name), adapter.ips)
            for adapter in ifaddr.get_adapters(include_unconfigured=True)
        ]


def choose(interfaces: Sequence[Interface], wanted: Sequence[str] = ()) -> list[Interface]:
    """Return the interfaces to announce on, each with only the addresses to announce.

    `wanted` names interfaces or addresses of theirs, and then nothing else counts; an interface wanted by an address
    is announced with that address alone. With nothing wanted: all that are up, without those of containers, virtual
    machines and tunnels; where none is left the loopback, so that peers of one host find one another.
    """
    usable = [each for each in interfaces if each.up and each.addresses]
    if wanted:
        return [each for each in (_as_wanted(each, wanted) for each in usable) if each.addresses]
    lan = [
        each for each in usable if not each.loopback and not each.point_to_point and not _NOT_A_LAN.fullmatch(each.name)
    ]
    return lan or [each for each in usable if each.loopback]


def _as_wanted(interface: Interface, wanted: Sequence[str]) -> Interface:
    if interface.name in wanted:
        return interface
    return replace(interface, addresses=tuple(each for each in interface.addresses if _names(wanted, each)))


def _names(wanted: Sequence[str], address: IpInterface) -> bool:
    for text in wanted:
        try:
            if ip_address(text) == address.ip:
                return True
        except ValueError:
            continue  # the name of an interface
    return False


def _interface(name: str, index: int, flags: int, ips: Iterable[object]) -> Interface:
    addresses = [address for address in (_address(ip) for ip in ips) if address is not None]
    usable = [address for address in addresses if address.version == 4 or _bindable(address)]
    return Interface(
        name=name,
        index=index,
        addresses=tuple(sorted(usable, key=lambda address: address.version)),
        up=bool(flags & _UP and flags & _RUNNING),
        loopback=bool(flags & _LOOPBACK),
        point_to_point=bool(flags & _POINT_TO_POINT),
    )


def _address(ip: object) -> IpInterface | None:
    text, prefix = getattr(ip, "ip", ""), getattr(ip, "network_prefix", 0)
    try:
        address = ip_interface(f"{text[0] if isinstance(text, tuple) else text}/{prefix}")
    except ValueError:
        return None
    scoped = address.version == 6 and address.is_link_local
    return None if scoped or address.is_multicast or address.is_unspecified else address


def _bindable(address: IpInterface) -> bool:
    """Say whether an IPv6 address is ours to use: for its first second or two it may prove to be another host's."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address.ip), 0))
    except OSError:
        return False
    return True


def _flags(probe: socket.socket, name: str) -> int:
    if _SIOCGIFFLAGS is None:
        return _FLAGS_ASSUMED
    from fcntl import ioctl  # noqa: PLC0415  (not on every system)

    try:
        raw = name.encode().ljust(_IFREQ_BYTES, b"\0")[:_IFREQ_BYTES]
        return int(struct.unpack_from("H", ioctl(probe, _SIOCGIFFLAGS, raw), _IFREQ_NAME_BYTES)[0])
    except OSError:
        return 0  # gone since it was listed
