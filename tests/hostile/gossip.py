"""Liars in news: they miss who lives, announce who does not, bury by old notices, forget the living."""

from collections.abc import Sequence

from peerd.ids import PeerId
from peerd.kad.contact import Contact, pack_contacts
from peerd.node.gossip import FORGOTTEN, JOINED, LEFT, MISSED
from peerd.records.life import Forgotten, forgotten_notices
from peerd.wire import limits
from peerd.wire.messages import Leave, Request, Tell
from tests.hostile.base import Liar

ITEM_MAX_BYTES = 170
STAMP_BYTES = 8
KEPT_MAX = 64


class News(Liar):
    """Tells one lie with everything that it tells."""

    def lie(self, victim: PeerId) -> bytes | None:
        """Return an item about a peer that lives; None where there is none."""
        return None

    def news(self, items: Sequence[bytes]) -> Sequence[bytes]:
        living = sorted(peer for peer in self.core.members.all if peer not in self.clan)
        lie = self.lie(self.rng.choice(living)) if living else None
        if lie is None:
            return items
        room = limits.NEWS_MAX_BYTES - len(lie) - 3
        told = [lie]
        for item in items[: limits.NEWS_MAX - 1]:
            room -= len(item) + 3
            if room >= 0:
                told.append(item)
        return told


class Misses(News):
    """Says of everybody in turn that it does not answer."""

    name = "misses"

    def lie(self, victim: PeerId) -> bytes | None:
        return bytes([MISSED]) + victim + (0).to_bytes(STAMP_BYTES, "big")


class Announces(News):
    """Says that peers came who do not exist."""

    name = "announces"

    def lie(self, victim: PeerId) -> bytes | None:
        peer = PeerId(self.rng.randbytes(32))
        address = (f"240.0.{peer[0]}.{peer[1]}", 7433)
        contact = Contact.of(self.core.identity.network, peer, address)
        return bytes([JOINED]) + pack_contacts([contact], ITEM_MAX_BYTES)


class Buries(News):
    """Repeats each goodbye that it ever heard, also of those that are back."""

    name = "buries"

    def begin(self) -> None:
        self.kept: list[bytes] = []

    def heard(self, peer: PeerId, request: Request) -> None:
        notices = [request.notice] if isinstance(request, Leave) else []
        if isinstance(request, Tell):
            notices = [item[1:] for item in request.news if item[0] == LEFT]
        self.kept = [*self.kept, *(notice for notice in notices if notice not in self.kept)][-KEPT_MAX:]

    def lie(self, victim: PeerId) -> bytes | None:
        return bytes([LEFT]) + self.rng.choice(self.kept) if self.kept else None


class Disowns(News):
    """Signs of everybody in turn that it will not come back."""

    name = "disowns"
    stamp = 2**50

    def lie(self, victim: PeerId) -> bytes | None:
        self.stamp += 1
        body = Forgotten(format=1, signer=self.core.peer, peer=victim, stamp=self.stamp)
        return bytes([FORGOTTEN]) + forgotten_notices.sign(self.core.identity, body)


WAYS: Sequence[type[Liar]] = (Misses, Announces, Buries, Disowns)
"""All ways to lie in news."""
