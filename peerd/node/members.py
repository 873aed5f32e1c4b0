"""Everybody this peer knows: in the routing table while they answer, remembered while they are silent.

A member's state comes of what this peer has seen for itself: alive while it answers, suspect after an unanswered
request, dead when that has lasted and nobody could show that it lives, left when it said goodbye (trust.membership has
the rules; here are contacts, places and who is to be asked for what). Not here: sending anything (probing, joining).
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable

from peerd.clock import Clock
from peerd.config import Settings
from peerd.ids import NetworkId, PeerId, distance, node_id
from peerd.kad.contact import Address, Contact
from peerd.kad.diversity import BUCKET_MAX
from peerd.kad.groups import group, group_or_host
from peerd.node.vicinity import Member, Source, Vicinity
from peerd.trust.admission import Crowd
from peerd.trust.forgotten import Forgotten, Gone
from peerd.trust.membership import Membership

# Members remembered; beyond, those go first that share an address group with most, the longest known of it.
KNOWN_MAX = 4096
# A dead member is tried again this often (jittered by the caller): partitions heal within 15 s.
DEAD_RETRY_S = 11.0
# So many dead are tried at a time, and so many where nobody else is there.
RETRIED_MAX = 2
RETRIED_ALONE_MAX = 16
# How long until it is looked again whether the dead that others try have become ours to try.
OTHERS_RETRY_S = 3.0
# Peers only remembered are tried by all who remember them, each so much more rarely.
REMEMBERED_SHARE_MAX = 10
# Of a member's place so much says which it is, among few: two alike are one in a hundred million.
PLACE_PREFIX_BYTES = 4
# Who did not answer for so long may have missed what was written meanwhile: copies are looked at as if it had come.
MISSED_AFTER_S = 1.0
# How long a peer that said goodbye may still be handing over; until then it is asked for what nobody else has.
LINGER_S = 15.0

_OURS, _NEVER_MET = b"ours", b"never met"


class Members(Vicinity):
    """All members known, ourselves left out."""

    def __init__(
        self, network: NetworkId, own_peer: PeerId, settings: Settings, clock: Clock, *, changed: Callable[[], None]
    ) -> None:
        self.own_peer = own_peer
        super().__init__(
            node_id(network, own_peer),
            members_max=settings.members_max,
            group_max=settings.group_members_max,
            clock=clock,
            grace_s=settings.tombstone_grace_s,
        )
        self.all = {}
        self._crowd: Crowd[PeerId] = Crowd(KNOWN_MAX)
        self.detector = Membership(suspect_timeout_s=settings.suspect_timeout_s)
        self.doubted = self.detector.suspects
        self._network = network
        self._changed = changed
        self.returned: Callable[[PeerId], None] = lambda peer: None
        """Told of whoever answers again after it did not for a while, or is new: it may have missed something."""
        self._digest = 0
        self._forgotten = Forgotten(own_peer, is_member=self._is_proven, member_count=self._proven_count)
        self.company_since: float | None = None
        """Since when somebody else is there, None while nobody is."""

    def size_said(self, peer: PeerId, *, large: bool) -> None:
        """A member showed whether it knows all members."""
        self.sizes.say(peer, yes=large)

    # What others show of themselves.

    def proven(self, peer: PeerId, address: Address, source: Source, *, sought: bool = False) -> bool:
        """A handshake showed that `peer` lives at `address`; return whether it was not alive before.

        `sought`: it was we who began.
        """
        now = self._clock.monotonic()
        member = self.all.get(peer)
        if member is None:
            contact = Contact.of(self._network, peer, address)
            member = self.all[peer] = Member(contact, source, now, verified=True, standing=self.detector.know(peer))
            self._bound_known(peer, address)
        elif member.contact.address != address:
            member.contact = Contact(peer, member.contact.place, address)
        member.verified = True
        if member.since is None:
            member.since = now - member.lived_before_s
        silent_s = self._silent_s(member, now)
        came = self.detector.met(peer, now)
        self._there(member, now, came=came, silent_s=silent_s, sought=sought)
        return came

    def lives_at(self, peer: PeerId, address: Address) -> bool:
        """Return whether `peer` was met at that host, whatever the port."""
        member = self.all.get(peer)
        return member is not None and member.contact.address[0] == address[0]

    def budget_of(self, peer: PeerId) -> bytes:
        """Return whose share of our disk and work a peer uses: its address group's; one for all we never met."""
        if peer == self.own_peer:
            return _OURS
        member = self.all.get(peer)
        return group_or_host(member.contact.address) if member is not None and member.verified else _NEVER_MET

    def met(self, peer: PeerId) -> bool:
        """Return whether a handshake has ever shown where `peer` lives, or it is ourselves."""
        return self.budget_of(peer) != _NEVER_MET

    def budgets(self) -> set[bytes]:
        """Return all there are."""
        return {_OURS, _NEVER_MET, *(group_or_host(each.contact.address) for each in self.all.values())}

    def heard(self, peer: PeerId) -> None:
        """`peer` answered us."""
        member = self.all.get(peer)
        if member is None or member.state == "left":
            return
        now = self._clock.monotonic()
        silent_s = self._silent_s(member, now)
        self._there(member, now, came=self.detector.answered(peer, now), silent_s=silent_s)

    def spoke(self, peer: PeerId) -> bool:
        """`peer` lives, though it has not answered us; return whether to look again at once whether it does."""
        member = self.all.get(peer)
        if member is None:
            return False
        member.last_seen = max(member.last_seen, self._clock.monotonic())
        return self.detector.lives(peer, self._clock.monotonic())

    def unanswered(self, peer: PeerId) -> None:
        """A request to `peer` had no answer: it is suspected until it answers."""
        self.detector.unanswered(peer, self._clock.monotonic())

    def refuted(self, peer: PeerId, stamp: int) -> bool:
        """`peer` signed that it lives; return whether that was not known."""
        new = self.detector.refuted(peer, stamp, self._clock.monotonic())
        if new and (member := self.all.get(peer)) is not None and member.state == "suspect":
            member.last_seen = max(member.last_seen, self._clock.monotonic())
        return new

    def left(self, peer: PeerId, stamp: int, notice: bytes = b"") -> bool:
        """A signed notice says that `peer` goes; return whether it was there until now."""
        member = self.all.get(peer)
        if member is None:
            return False
        was_there = member.state in ("alive", "suspect")
        if not self.detector.left(peer, stamp, self._clock.monotonic()):
            return False
        member.farewell = notice
        self._gone(member, was_there=was_there)
        return True

    # Who will not come back.

    def forget(self, peer: PeerId, signer: PeerId, notice: bytes) -> bool:
        """`signer` says that `peer` will not come back; return whether that is new, never where the peer is there."""
        member = self.all.get(peer)
        if peer == self.own_peer or (member is not None and member.state in ("alive", "suspect")):
            return False
        before = peer in self._forgotten
        new = self._forgotten.add(peer, signer, notice)
        if member is not None and before != (peer in self._forgotten):
            self._turn()
        return new

    def _is_proven(self, peer: PeerId) -> bool:
        member = self.all.get(peer)
        return member is not None and (member.verified or member.source == "remembered")

    def _proven_count(self) -> int:
        return 1 + sum(1 for member in self.all.values() if member.verified and member.state != "left")

    def unforget(self, peer: PeerId) -> bool:
        """It is there again; return whether it was forgotten."""
        return self._forgotten.drop(peer)

    def forgotten(self, peer: PeerId) -> bool:
        """Return whether this peer is not expected to come back."""
        return peer in self._forgotten

    def forgotten_here(self, peer: PeerId) -> bool:
        """Return whether our own operator said that this peer will not come back."""
        return self._forgotten.own(peer)

    @property
    def gone(self) -> Gone:
        """Who does not count in the lists of registers any more."""
        return self._forgotten

    def expel(self, peer: PeerId) -> None:
        """Have `peer` no more among the members, nor wait for it: it was put out for good."""
        self._forgotten.put_out(peer)
        member = self.all.pop(peer, None)
        if member is not None:
            self._gone(member, was_there=member.state in ("alive", "suspect"))
            self.silent.pop(peer, None)
            self.detector.drop(peer)

    def forgotten_notices(self) -> list[bytes]:
        """Return what says so, the newest last."""
        return self._forgotten.notices()

    def known(self) -> list[PeerId]:
        """Return every member not forgotten, whatever its state, ourselves left out."""
        return [peer for peer in self.all if peer not in self._forgotten]

    def remember(self, peer: PeerId, address: Address, unseen_s: float, lived_s: float = 0.0) -> None:
        """Note a member from before our start; nothing is known of it until it answers."""
        if peer != self.own_peer and peer not in self.all and not self._forgotten.is_out(peer):
            contact = Contact.of(self._network, peer, address)
            last_seen = self._clock.monotonic() - unseen_s
            standing = self.detector.know(peer)
            self.all[peer] = Member(
                contact, "remembered", last_seen, verified=False, standing=standing, lived_before_s=lived_s
            )
            self._bound_known(peer, address)
            self.silent[peer] = None

    # Time passes.

    def bury(self) -> list[Member]:
        """Return the members whose suspicion has lasted too long, now counted as dead."""
        dead = [self.all[peer] for peer in self.detector.bury(self._clock.monotonic())]
        for member in dead:
            self._gone(member, was_there=True)
        return dead

    def to_retry(self) -> list[Member]:
        """Return silent members that may be tried again now, those longest due first, and not many at a time.

        Of all that are here one tries, so that a dead host is not hit the more the larger the network is: the nearest
        of those that were here when it died.
        """
        now = self._clock.monotonic()
        waiting = [m for peer in self.silent if peer not in self._forgotten and (m := self.all[peer]).retry_at <= now]
        due: list[Member] = []
        alone = self.alive_count() == 0
        for member in sorted(waiting, key=lambda each: each.retry_at):
            if not self._is_ours_to_try(member):
                member.retry_at = now + OTHERS_RETRY_S
                continue
            share = 1 if member.verified else min(REMEMBERED_SHARE_MAX, 1 + self.alive_count())
            member.retry_at = now + DEAD_RETRY_S * share
            due.append(member)
            if len(due) == (RETRIED_ALONE_MAX if alone else RETRIED_MAX):
                break
        return due

    def _is_ours_to_try(self, member: Member) -> bool:
        if not member.verified:
            return True
        place, died_at = member.contact.place, member.standing.died_at
        own = distance(self.own_place, place)
        return not any(
            self.all[contact.peer].came_at <= died_at and distance(contact.place, place) < own
            for contact in self.table.contacts()
        )

    # Questions.

    def contact(self, peer: PeerId) -> Contact | None:
        """Return the contact of a member that is not gone."""
        member = self.all.get(peer)
        return member.contact if member is not None and member.state in ("alive", "suspect") else None

    def lingering(self, peer: PeerId) -> Contact | None:
        """Return the contact of a member that said goodbye a moment ago and may still hand over."""
        member = self.all.get(peer)
        if member is None or member.state != "left" or member.standing.left_at < self._clock.monotonic() - LINGER_S:
            return None
        return member.contact

    def alive_count(self) -> int:
        """Return how many members answer, ourselves left out."""
        return len(self.table) - sum(1 for peer in self.doubted if peer in self.table)

    def is_expected(self, peer: PeerId) -> bool:
        """Return whether this member may still come back with what it holds."""
        member = self.all.get(peer)
        if member is None or member.state == "left" or peer in self._forgotten:
            return False
        return member.last_seen > self._clock.monotonic() - self._grace_s

    def page(self, after: bytes, count: int, have: Container[bytes] = (), asker: PeerId | None = None) -> list[Contact]:
        """Return members that answer, in order of place after `after`; not those whose place's beginning is in `have`.

        Who asks is one of them.
        """
        doubted = self.doubted
        found = (c for c in self.table.contacts() if c.place > after and (c.peer not in doubted or c.peer == asker))
        return [c for c in found if c.place[:PLACE_PREFIX_BYTES] not in have][:count]

    def prefixes(self, after: bytes, at_most: int) -> bytes:
        """Return the beginnings of the places of all members beyond `after`, in order; none where they are too many."""
        places = [c.place[:PLACE_PREFIX_BYTES] for c in self.table.contacts() if c.place > after]
        return b"".join(places) if len(places) <= at_most else b""

    def knows_all(self, have: bytes) -> bool:
        """Return whether all whose places begin so are members here, or ourselves."""
        known = {c.place[:PLACE_PREFIX_BYTES] for c in self.table.contacts()}
        return places_of(have) <= known | {self.own_place[:PLACE_PREFIX_BYTES]}

    def digest(self) -> bytes:
        """Return 8 bytes that are equal where two peers know the same members, themselves included."""
        return (self._digest ^ _mark(self.own_place)).to_bytes(8, "big")

    def to_remember(self, count: int) -> list[Member]:
        """Return the proven members to remember across a restart.

        Half of them anchors: those that lived longest, two of an address group at most, so that a flood of new ones
        just before a restart does not stand in their place. Then the last seen.
        """
        proven = [m for p, m in self.all.items() if m.verified and m.state != "left" and p not in self._forgotten]
        groups: Counter[bytes] = Counter()
        found: dict[PeerId, Member] = {}
        for member in sorted(proven, key=lambda m: -m.lived_s):
            of = group(member.contact.address)
            if len(found) < count // 2 and (of is None or groups[of] < BUCKET_MAX):
                found[member.contact.peer] = member
                groups[of or b""] += 1
        for member in sorted(proven, key=lambda m: -m.last_seen):
            if len(found) < count:
                found.setdefault(member.contact.peer, member)
        return list(found.values())

    def alive(self) -> Iterable[Contact]:
        """Return all that are in the table."""
        return self.table.contacts()

    @staticmethod
    def _silent_s(member: Member, now: float) -> float:
        return now - member.standing.suspected_at if member.state == "suspect" else 0.0

    def _there(self, member: Member, now: float, *, came: bool, silent_s: float, sought: bool = False) -> None:
        member.last_seen = now
        self.silent.pop(member.contact.peer, None)
        self.table.seen(member.contact, now, sought=sought)
        if came:
            self._digest ^= _mark(member.contact.place)
            if self.company_since is None:
                self.company_since = now
        if came or silent_s >= MISSED_AFTER_S:
            self.returned(member.contact.peer)
            self._turn()

    def _gone(self, member: Member, *, was_there: bool) -> None:
        peer = member.contact.peer
        if was_there:
            self._digest ^= _mark(member.contact.place)
        if member.state == "dead":
            self.silent[peer] = None
        else:
            self.silent.pop(peer, None)
        member.retry_at = self._clock.monotonic() + DEAD_RETRY_S / 2
        self.table.remove(peer)
        self.sizes.drop(peer)
        if not len(self.table):
            self.company_since = None
        self._turn()

    def _turn(self) -> None:
        self.epoch += 1
        self._changed()

    def _bound_known(self, peer: PeerId, address: Address) -> None:
        """Let one go where there are too many: of the address group with most, and of the table's none."""
        out = self._crowd.add(peer, group_or_host(address), spare=self.table)
        if out is not None and out not in self.table:
            gone = self.all.pop(out)
            self._digest ^= _mark(gone.contact.place) if gone.state in ("alive", "suspect") else 0
            self.detector.drop(out)
            self.silent.pop(out, None)


def places_of(have: bytes) -> set[bytes]:
    """Return the beginnings of places that `prefixes` made one of."""
    return {have[at : at + PLACE_PREFIX_BYTES] for at in range(0, len(have), PLACE_PREFIX_BYTES)}


def _mark(place: bytes) -> int:
    return int.from_bytes(place[:8], "big")
