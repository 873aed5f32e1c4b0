"""What other peers' mDNS answers say, judged and kept in bounds: hints of where peers may be, proof of nothing.

Pure: no socket, no clock. A hint is worth one handshake with the address it names, so the bounds here are on whom a
stranger on the LAN can make us greet. Not here: the packets (mdns_link), when to speak (mdns).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address
from typing import Literal

from peerd.ids import PeerId, find_peer_id
from peerd.io.interfaces import Interface
from peerd.io.mdns_budget import Budget, Speakers
from peerd.kad.contact import Address

VERSION = "1"
"""The protocol version in TXT `v`; another one cannot shake hands with us."""

HINTS_MAX = 64
"""Peers remembered. Any host of the LAN can invent ids; each costs a few hundred bytes and now and then a greeting."""

ADDRESSES_MAX = 4
"""Addresses kept of one peer: one id must not make us greet a whole network."""

NEW_BURST_MAX, NEW_PER_S = 64, 16.0
"""Peers not known before that are passed on at once, and per second after that: inventors of ids get no more."""

SPEAKER_NEW_BURST_MAX, SPEAKER_NEW_PER_S = 8, 2.0
"""The same of one speaker, a host or what repeats another subnet's packets: one inventor leaves room for the others."""

SPEAKER_HINTS_MAX = 16
"""Peers remembered on the word of one speaker; beyond, its own oldest makes room, and nobody else's."""

SOURCES_MAX = 4
"""Interfaces and speakers whose word on one peer is remembered: who speaks falsely of a peer does not unsay its own."""

WORD_LIFE_S = 1.0
"""What one speaker said of a peer is forgotten when another speaks of it on that link so much later: a peer that moved
is at its new place only. Who speaks falsely of it all the time hides what it says itself until it says it again."""

OFFER_GAP_S = 2.0
"""A peer is passed on again at most this often: whoever wants it has greeted it by then."""

HINT_LIFE_S = 600.0
"""A peer not heard for so long is forgotten; even on a crowded LAN it would have spoken twice."""

SUBNET_6_BITS = 64

Refusal = Literal["mdns_txt", "mdns_version", "mdns_network", "mdns_port", "mdns_address", "mdns_crowd"]


@dataclass(frozen=True, slots=True)
class Hint:
    """Where a peer says it is, on one interface of ours. It has said so itself, or a stranger has."""

    peer: PeerId
    addresses: tuple[Address, ...]


def read_hint(
    properties: Mapping[bytes, bytes | None],
    addresses: Iterable[str],
    port: int | None,
    *,
    digest: str,
    interface: Interface,
) -> Hint | Refusal:
    """Return what a service heard on `interface` hints at, or why it is ignored; the first three are foreign."""
    texts = {name: (properties.get(name) or b"").decode("ascii", "replace") for name in (b"id", b"v", b"net")}
    if texts[b"net"] != digest:
        return "mdns_network" if texts[b"net"] else "mdns_txt"
    if texts[b"v"] != VERSION:
        return "mdns_version" if texts[b"v"] else "mdns_txt"
    peer = find_peer_id(texts[b"id"])
    if peer is None:
        return "mdns_txt"
    if port is None or not 0 < port < 2**16:
        return "mdns_port"
    good = [(str(ip), port) for ip in _parsed(addresses) if on_link(ip, interface)]
    return Hint(peer, tuple(good[:ADDRESSES_MAX])) if good else "mdns_address"


def on_link(ip: IPv4Address | IPv6Address, interface: Interface) -> bool:
    """Say whether a host heard on `interface` may be at `ip`.

    Its own subnets, and private ranges, because a wire may carry several subnets. Not a public address elsewhere:
    else one packet to a LAN would make every peer on it greet a stranger on the internet.
    """
    if interface.loopback or ip.is_loopback:
        return interface.loopback and ip.is_loopback
    if ip.is_unspecified or ip.is_multicast or ip.is_reserved:
        return False
    if isinstance(ip, IPv6Address):
        if ip.is_link_local or ip.ipv4_mapped is not None:
            return False
        # A lease may be a single address; the subnet that it is on has 64 bits.
        subnets = {int(address.ip) >> SUBNET_6_BITS for address in interface.addresses if address.version == 6}
        return ip.is_private or int(ip) >> SUBNET_6_BITS in subnets
    networks = [address.network for address in interface.addresses if isinstance(address, IPv4Interface)]
    if any(ip == network.broadcast_address for network in networks if network.num_addresses > 2):
        return False
    return ip.is_private or any(ip in network for network in networks)


def _parsed(addresses: Iterable[str]) -> Iterable[IPv4Address | IPv6Address]:
    for text in addresses:
        try:
            yield ip_address(text)
        except ValueError:
            continue


@dataclass(slots=True)
class _Known:
    heard_at: float
    offered_at: float
    offered: tuple[Address, ...] = ()
    speaker: str = ""
    said: dict[tuple[str, str], tuple[str, tuple[Address, ...], float]] = field(default_factory=dict)
    """By interface and speaker: the service's name there, its addresses, and when; what was heard last comes last."""

    def hear(self, link: str, speaker: str, name: str, addresses: tuple[Address, ...]) -> None:
        now = self.heard_at
        for source, (_, _, heard_at) in list(self.said.items()):
            if source == (link, speaker) or (source[0] == link and now - heard_at > WORD_LIFE_S):
                del self.said[source]
        self.said[link, speaker] = (name, addresses, now)
        if len(self.said) > SOURCES_MAX:
            del self.said[next(iter(self.said))]

    def addresses(self) -> tuple[Address, ...]:
        """Return the addresses, those first from which the peer itself spoke, then those heard last."""
        heard = [(speaker, address) for (_, speaker), (_, each, _) in reversed(self.said.items()) for address in each]
        itself = [address for speaker, address in heard if address[0] == speaker]
        return tuple(dict.fromkeys([*itself, *(address for _, address in heard)]))[:ADDRESSES_MAX]


class HintTable:
    """The peers heard of, in bounded number; says which are to be passed on and when.

    A full table forgets the one not heard for longest: an inventor of ids can push others out, but each honest peer
    comes back whenever it speaks, and is passed on then.
    """

    def __init__(self, hints_max: int = HINTS_MAX) -> None:
        self._max = hints_max
        self._known: dict[PeerId, _Known] = {}  # the one heard last is last
        self._new = Budget(NEW_BURST_MAX, NEW_PER_S)
        self._new_of = Speakers(SPEAKER_NEW_BURST_MAX, SPEAKER_NEW_PER_S)

    def __len__(self) -> int:
        return len(self._known)

    def hear(
        self, link: str, name: str, hint: Hint, *, now: float, speaker: str = "", free: bool = False
    ) -> tuple[Address, ...] | Refusal:
        """Take a hint heard on interface `link` under service `name`; return the addresses to pass on now.

        `speaker` is where it came from, empty where that says nothing: the bound on one speaker is left out then.
        `free`: the peer is one of ours anyhow, and neither new nor refused.
        """
        known = self._known.pop(hint.peer, None)
        if known is None:
            if not free and not self._spend(speaker, now):
                return "mdns_crowd"
            self._make_room(speaker)
            known = _Known(now, float("-inf"))
        known.heard_at, known.speaker = now, speaker
        known.hear(link, speaker, name, hint.addresses)
        self._known[hint.peer] = known
        return self._offer(known, now)

    def forget(self, link: str, name: str | None = None, speaker: str = "") -> None:
        """Forget what `speaker` said on `link` of service `name`, or all that was heard there."""
        for peer, known in list(self._known.items()):
            for source, (called, _, _) in list(known.said.items()):
                if source[0] == link and (name is None or (called == name and source[1] == speaker)):
                    del known.said[source]
            if not known.said:
                del self._known[peer]

    def addresses_of(self, wanted: Callable[[PeerId], bool]) -> frozenset[str]:
        """Return the hosts at which those peers are said to be that are wanted."""
        found = (known for peer, known in self._known.items() if wanted(peer))
        return frozenset(host for known in found for host, _ in known.addresses())

    def again(self, now: float) -> list[tuple[PeerId, tuple[Address, ...]]]:
        """Return the peers to pass on once more, those heard last first, and forget the ones long unheard."""
        for peer, known in list(self._known.items()):
            if now - known.heard_at > HINT_LIFE_S:
                del self._known[peer]
        offers = ((peer, self._offer(known, now)) for peer, known in reversed(self._known.items()))
        return [(peer, addresses) for peer, addresses in offers if addresses]

    def _offer(self, known: _Known, now: float) -> tuple[Address, ...]:
        addresses = known.addresses()
        changed = addresses != known.offered
        if now - known.offered_at < OFFER_GAP_S and not (changed and self._spend(known.speaker, now)):
            return ()
        known.offered, known.offered_at = addresses, now
        return addresses

    def _make_room(self, speaker: str) -> None:
        """Let the oldest go: of this speaker where it has its share, else of all where the table is full."""
        own = [peer for peer, known in self._known.items() if speaker and known.speaker == speaker]
        if len(own) >= SPEAKER_HINTS_MAX:
            del self._known[own[0]]
        while len(self._known) >= self._max:
            del self._known[next(iter(self._known))]

    def _spend(self, speaker: str, now: float) -> bool:
        return (not speaker or self._new_of.spend(speaker, now)) and self._new.spend(now)
