"""Liars in look-ups: they lead to each other, say nothing, name who does not exist, or tell half the members.

All answer pings and handshakes well, so that nobody takes them for dead.
"""

from collections.abc import Sequence

from peerd.ids import NodeId, PeerId, node_id
from peerd.kad.contact import Address, Contact, pack_contacts
from peerd.wire import limits
from peerd.wire.messages import FindNode, FindProviders, FindValue, Members, Nodes, Providers, Request, Store, Value
from tests.hostile.base import Answer, Honest, Liar
from tests.hostile.clan import about

ROOM_BYTES = 1000
# Peers that do not exist, made once: enough that some seem near to any target.
INVENTED = 512


class Hijack(Liar):
    """Knows of nobody but its own clan, and denies all values."""

    name = "hijack"

    def named(self, target: bytes) -> bytes:
        """Return the contacts that are told of a target."""
        return pack_contacts(self.nearest(target), ROOM_BYTES)

    def nearest(self, target: bytes) -> Sequence[Contact]:
        """Return those told, nearest first."""
        return self.clan.nearest(self.core.identity.network, target, limits.CONTACTS_MAX)

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        match request:
            case FindNode():
                return Nodes(request.rid, self.named(request.target))
            case FindValue():
                return Value(request.rid, b"", None, self.named(request.key) if request.near else b"")
            case FindProviders():
                return Providers(request.rid, [], self.named(request.key))
            case Members():
                found = sorted(self.nearest(request.after), key=lambda contact: contact.place)
                told = [contact for contact in found if contact.place > request.after]
                return Nodes(request.rid, pack_contacts(told, ROOM_BYTES))
        return honest()


class Drop(Liar):
    """Says nothing to any request for values, contacts or room."""

    name = "drop"

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        silent = (FindNode, FindValue, FindProviders, Members, Store)
        return None if isinstance(request, silent) else honest()


class Invent(Hijack):
    """Names peers that do not exist, at addresses where nobody answers, as near to the target as it finds."""

    name = "invent"

    def begin(self) -> None:
        network = self.core.identity.network
        peers = [PeerId(self.rng.randbytes(32)) for _ in range(INVENTED)]
        self._places: list[tuple[NodeId, PeerId]] = sorted((node_id(network, peer), peer) for peer in peers)

    def nearest(self, target: bytes) -> Sequence[Contact]:
        found = list(about(self._places, target, limits.CONTACTS_MAX))[: limits.CONTACTS_MAX]
        return [Contact(peer, place, self._dead_address(peer)) for place, peer in found]

    def _dead_address(self, peer: PeerId) -> Address:
        """Return an address near our own where nobody is: reserved (240/4) or, on this host, a port nobody has."""
        own = self.clan.members[self.core.peer][0]
        if own.startswith("127."):
            return own, 1 + peer[0]
        return f"240.{peer[0]}.{peer[1]}.{peer[2]}", 7433


class Partial(Liar):
    """Says that the network is too large for its members to be told, and tells of nobody."""

    name = "partial"

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        return Nodes(request.rid, b"") if isinstance(request, Members) else honest()


WAYS: Sequence[type[Liar]] = (Hijack, Drop, Invent, Partial)
"""All ways to lie in look-ups."""
