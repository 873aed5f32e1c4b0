"""Everybody this peer knows: in the routing table while they answer, remembered while they are silent.

A member's state is only what this peer has seen for itself: alive while it answers, suspect after an unanswered
request, dead after `suspect_timeout_s` of that, left when it said goodbye. Not here: sending anything (maintain, join).
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from peerd.clock import Clock
from peerd.config import Settings
from peerd.ids import NetworkId, NodeId, PeerId, distance, node_id
from peerd.kad.contact import Address, Contact
from peerd.kad.table import RoutingTable

State = Literal["alive", "suspect", "dead", "left"]
Source = Literal["mdns", "bootstrap", "coordinator", "overlay", "remembered"]

# Members remembered beside those in the table; the longest unseen go first.
KNOWN_MAX = 4096
# A dead member is tried again this often (jittered by the caller): partitions heal within 15 s.
DEAD_RETRY_S = 11.0
# How long a peer that said goodbye may still be handing over; until then it is asked for what nobody else has.
LINGER_S = 15.0


@dataclass(slots=True)
class Member:
    """One peer as we know it. `last_seen` and `suspected_at` are monotonic instants."""

    contact: Contact
    state: State
    source: Source
    last_seen: float
    verified: bool
    suspected_at: float = 0.0
    retry_at: float = 0.0
    leave_stamp: int = 0
    left_at: float = 0.0
    came_at: float = 0.0
    """When it was last found to live after it was not (or not known)."""


class Members:
    """All members known, ourselves left out."""

    def __init__(
        self, network: NetworkId, own_peer: PeerId, settings: Settings, clock: Clock, *, changed: Callable[[], None]
    ) -> None:
        self.own_peer = own_peer
        self.own_place: NodeId = node_id(network, own_peer)
        self.table = RoutingTable(self.own_place, members_max=settings.members_max)
        self.all: dict[PeerId, Member] = {}
        self.doubted: dict[PeerId, None] = {}
        self.silent: dict[PeerId, None] = {}
        """The dead: they may come back with what they hold."""
        self.partial = False
        """A member said that the network is too large to be known whole: look-ups find who is near a key."""
        self.epoch = 0
        """Grows whenever somebody comes or goes for good; what was placed before may be placed wrong now."""
        self._network = network
        self._clock = clock
        self._suspect_timeout_s = settings.suspect_timeout_s
        self._grace_s = settings.tombstone_grace_s
        self._changed = changed
        self._digest = 0

    @property
    def complete(self) -> bool:
        """Whether this peer knows everybody: nobody was turned away, and nobody told us of a network too large."""
        return self.table.complete and not self.partial

    # What others show of themselves.

    def proven(self, peer: PeerId, address: Address, source: Source) -> bool:
        """A handshake showed that `peer` lives at `address`; return whether it was not alive before."""
        now = self._clock.monotonic()
        member = self.all.get(peer)
        if member is None:
            contact = Contact.of(self._network, peer, address)
            member = self.all[peer] = Member(contact, "dead", source, now, verified=True)
            self._bound_known()
        elif member.contact.address != address:
            member.contact = Contact(peer, member.contact.place, address)
        member.verified = True
        came = member.state in ("dead", "left")
        self._alive(member, now)
        self.table.seen(member.contact, now)
        if came:
            member.came_at = now
            self._turn(member)
        return came

    def heard(self, peer: PeerId) -> None:
        """An authentic message came from `peer`."""
        member = self.all.get(peer)
        if member is None or member.state == "left":
            return
        now = self._clock.monotonic()
        came = member.state == "dead"
        self._alive(member, now)
        self.table.seen(member.contact, now)
        if came:
            member.came_at = now
            self._turn(member)

    def unanswered(self, peer: PeerId) -> None:
        """A request to `peer` had no answer: it is suspected until it says something."""
        member = self.all.get(peer)
        if member is not None and member.state == "alive":
            member.state = "suspect"
            member.suspected_at = self._clock.monotonic()
            self.doubted[peer] = None

    def left(self, peer: PeerId, stamp: int) -> bool:
        """A signed notice says that `peer` goes; return whether it was there until now."""
        member = self.all.get(peer)
        if member is None or stamp <= member.leave_stamp:
            return False
        member.leave_stamp = stamp
        if member.state == "left":
            return False
        member.left_at = self._clock.monotonic()
        self._gone(member, "left")
        return True

    def remember(self, peer: PeerId, address: Address, unseen_s: float) -> None:
        """Note a member from before our start; nothing is known of it until it answers."""
        if peer != self.own_peer and peer not in self.all:
            contact = Contact.of(self._network, peer, address)
            last_seen = self._clock.monotonic() - unseen_s
            self.all[peer] = Member(contact, "dead", "remembered", last_seen, verified=False)
            self.silent[peer] = None

    # Time passes.

    def bury(self) -> list[Member]:
        """Return the members whose suspicion has lasted too long, now counted as dead."""
        limit = self._clock.monotonic() - self._suspect_timeout_s
        dead = [m for p in self.doubted if (m := self.all[p]).state == "suspect" and m.suspected_at <= limit]
        for member in dead:
            self._gone(member, "dead")
        return dead

    def to_retry(self) -> list[Member]:
        """Return silent members that may be tried again now."""
        now = self._clock.monotonic()
        due = [m for peer in self.silent if (m := self.all[peer]).retry_at <= now]
        for member in due:
            member.retry_at = now + DEAD_RETRY_S
        return due

    # Questions.

    def forgotten(self, peer: PeerId) -> bool:
        """Return whether this peer is not expected to come back."""
        return False

    def known(self) -> list[PeerId]:
        """Return every member not forgotten, whatever its state, ourselves left out."""
        return list(self.all)

    def contact(self, peer: PeerId) -> Contact | None:
        """Return the contact of a member that is not gone."""
        member = self.all.get(peer)
        return member.contact if member is not None and member.state in ("alive", "suspect") else None

    def lingering(self, peer: PeerId) -> Contact | None:
        """Return the contact of a member that said goodbye a moment ago and may still hand over."""
        member = self.all.get(peer)
        if member is None or member.state != "left" or member.left_at < self._clock.monotonic() - LINGER_S:
            return None
        return member.contact

    def alive_count(self) -> int:
        """Return how many members answer, ourselves left out."""
        return len(self.table) - sum(1 for peer in self.doubted if peer in self.table)

    def closest(self, key: bytes, count: int, exclude: Collection[PeerId] = ()) -> list[Contact]:
        """Return the members nearest to `key` that answer, nearest first; never ourselves."""
        if not self.doubted:
            return self.table.closest(key, count, exclude)
        return self.table.closest(key, count, {*self.doubted, *exclude})

    def doubtful(self, key: bytes, count: int) -> list[Contact]:
        """Return those of the `count` nearest whose last request went unanswered: asked as well, not waited for."""
        if not self.doubted:
            return []
        return [contact for contact in self.table.closest(key, count) if contact.peer in self.doubted]

    def nearest_with_us(self, key: bytes, count: int) -> tuple[list[Contact], bool]:
        """Return the nearest members and whether we are among the `count` nearest (then at most count - 1 others)."""
        contacts = self.closest(key, count)
        if len(contacts) < count:
            return contacts, True
        if distance(self.own_place, key) < distance(contacts[-1].place, key):
            return contacts[:-1], True
        return contacts, False

    def expected_holders(self, key: bytes, count: int) -> list[PeerId]:
        """Return the `count` nearest of all that may still have it: also the silent, for as long as the grace."""
        places = [(distance(contact.place, key), contact.peer) for contact in self.table.closest(key, count)]
        places.append((distance(self.own_place, key), self.own_peer))
        if self.silent:
            limit = self._clock.monotonic() - self._grace_s
            for peer in self.silent:
                member = self.all[peer]
                if member.last_seen > limit:
                    places.append((distance(member.contact.place, key), peer))
        places.sort()
        return [peer for _, peer in places[:count]]

    def is_expected(self, peer: PeerId) -> bool:
        """Return whether this member may still come back with what it holds."""
        member = self.all.get(peer)
        if member is None or member.state == "left":
            return False
        return member.last_seen > self._clock.monotonic() - self._grace_s

    def page(self, after: bytes, count: int) -> list[Contact]:
        """Return members that answer, in order of place after `after`."""
        doubted = self.doubted
        return [c for c in self.table.contacts() if c.place > after and c.peer not in doubted][:count]

    def digest(self) -> bytes:
        """Return 8 bytes that are equal where two peers know the same members, themselves included."""
        return (self._digest ^ _mark(self.own_place)).to_bytes(8, "big")

    def recent(self, count: int) -> list[Member]:
        """Return the proven members to remember across a restart, the last seen first."""
        proven = [m for m in self.all.values() if m.verified and m.state != "left"]
        return sorted(proven, key=lambda m: -m.last_seen)[:count]

    def alive(self) -> Iterable[Contact]:
        """Return all that are in the table."""
        return self.table.contacts()

    def _alive(self, member: Member, now: float) -> None:
        if member.state in ("dead", "left"):
            self._digest ^= _mark(member.contact.place)
        member.state = "alive"
        member.last_seen = now
        self.silent.pop(member.contact.peer, None)
        self.doubted.pop(member.contact.peer, None)

    def _gone(self, member: Member, state: State) -> None:
        if member.state in ("alive", "suspect"):
            self._digest ^= _mark(member.contact.place)
        member.state = state
        if state == "dead":
            self.silent[member.contact.peer] = None
        else:
            self.silent.pop(member.contact.peer, None)
        member.retry_at = self._clock.monotonic() + DEAD_RETRY_S / 2
        self.doubted.pop(member.contact.peer, None)
        self.table.remove(member.contact.peer)
        self._turn(member)

    def _turn(self, member: Member) -> None:
        self.epoch += 1
        self._changed()

    def _bound_known(self) -> None:
        if len(self.all) > KNOWN_MAX:
            others = (m for m in self.all.values() if m.contact.peer not in self.table)
            oldest = min(others, key=lambda m: m.last_seen, default=None)
            if oldest is not None:
                self._digest ^= _mark(oldest.contact.place) if oldest.state in ("alive", "suspect") else 0
                self.doubted.pop(oldest.contact.peer, None)
                self.silent.pop(oldest.contact.peer, None)
                del self.all[oldest.contact.peer]


def _mark(place: bytes) -> int:
    return int.from_bytes(place[:8], "big")
