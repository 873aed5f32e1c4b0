"""Who of the members stands near a key, and who of them should hold it: for all that is kept, given, asked and counted.

The rule itself is kad.crowd's; here is whom this peer knows: those that answer, those in doubt, those silent that may
come back. Not here: who is there (members), look-ups where not all are known (nearest).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from peerd.clock import Clock
from peerd.ids import NodeId, PeerId, distance
from peerd.kad.contact import Contact
from peerd.kad.crowd import (
    JUDGED,
    RECORD_HOLDERS,
    REGION_FROM,
    REGION_MAX,
    Responsible,
    Rule,
    divide,
    responsible,
    rule_of,
)
from peerd.kad.size import Samples, Stepped, trimmed
from peerd.kad.table import RoutingTable
from peerd.trust.forgotten import Forgotten
from peerd.trust.hearsay import Hearsay
from peerd.trust.membership import Standing, State

Source = Literal["mdns", "bootstrap", "coordinator", "overlay", "remembered"]

# In a crowded region content gets so many times its copies: by weight about half of those asked are of no crowd.
CROWDED_COPIES = 2


@dataclass(slots=True)
class Member:
    """One peer as we know it. `last_seen` is a monotonic instant."""

    contact: Contact
    source: Source
    last_seen: float
    verified: bool
    standing: Standing
    retry_at: float = 0.0
    lived_before_s: float = 0.0
    """For how long it lived in the runs before this one."""
    since: float | None = None
    """When it was first met in this run, less that; None: it was not."""
    farewell: bytes = b""
    """Its newest leave notice, to be shown to whoever asks for it."""

    @property
    def state(self) -> State:
        """Whether it is there."""
        return self.standing.state

    @property
    def lived_s(self) -> float:
        """For how long it has been known to live."""
        return self.lived_before_s if self.since is None else max(0.0, self.last_seen - self.since)

    @property
    def came_at(self) -> float:
        """When it was last found to live after it was not (or not known)."""
        return self.standing.came_at

    @came_at.setter
    def came_at(self, now: float) -> None:
        self.standing.came_at = now


class Vicinity:
    """The members by where they stand; their coming and going is `Members`'."""

    own_peer: PeerId
    own_place: NodeId
    all: dict[PeerId, Member]
    doubted: dict[PeerId, None]
    _forgotten: Forgotten

    def __init__(self, own_place: NodeId, *, members_max: int, group_max: int, clock: Clock, grace_s: float) -> None:
        self.own_place = own_place
        self.table = RoutingTable(own_place, members_max=members_max, group_max=group_max)
        self.silent: dict[PeerId, None] = {}
        """The dead: they may come back with what they hold."""
        self.sizes = Hearsay()
        """Which members said that the network is too large to be known whole."""
        self.epoch = 0
        """Grows whenever somebody comes, goes for good or was silent; what was placed before may be placed wrong."""
        self.samples = Samples()
        self._clock = clock
        self._grace_s = grace_s
        self._stepped = Stepped()
        self._rule: Rule | None = None
        self._rule_mark: tuple[int, int, float | None, bool] | None = None

    @property
    def complete(self) -> bool:
        """Whether this peer knows everybody: nobody was turned away, and nobody told us of a network too large."""
        return self.table.complete and not self.partial

    @property
    def partial(self) -> bool:
        """Whether most members that said so say that the network is too large to be known whole."""
        return self.sizes.believed

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

    def responsible(self, key: bytes, *, exclude: Collection[PeerId] = ()) -> Responsible:
        """Return who should hold `key` of those that answer: the one rule for all that is kept, given and asked.

        Others take the share of those of `exclude`.
        """
        rule = self.rule()
        found = responsible(self.closest(key, RECORD_HOLDERS if rule is None else JUDGED), self.own_place, key, rule)
        if found.crowded:
            found = responsible(self.closest(key, REGION_MAX), self.own_place, key, rule)
        if exclude and any(contact.peer in exclude for contact in found.contacts):
            count = REGION_MAX if found.crowded else RECORD_HOLDERS - found.ours
            others = self.closest(key, count, exclude)
            known = {contact.peer for contact in found.contacts} if found.crowded else None
            found = replace(found, contacts=[c for c in others if known is None or c.peer in known])
        return found

    def copy_holders(self, key: bytes, copies: int) -> Responsible:
        """Return who should have a copy of content: the nearest; in a crowded region twice as many, by their weight."""
        found = self.responsible(key)
        if found.crowded:
            return found.heaviest(CROWDED_COPIES * copies)
        return divide(self.closest(key, copies), self.own_place, key, copies)

    def is_first(self, key: bytes) -> bool:
        """Return whether what all holders of a key need not do is ours to do: the nearest does, of a region each."""
        found = self.responsible(key)
        if found.crowded or not found.contacts:
            return found.ours
        return distance(self.own_place, key) < distance(found.contacts[0].place, key)

    def rule(self) -> Rule | None:
        """Return what is a crowd in a network of this size; None where it is small, or its size is not known."""
        mark = (self.epoch, len(self.table), self.samples.size, self.complete)
        if mark != self._rule_mark:
            self._rule_mark = mark
            size = self._size_without_crowds() if len(self.table) + 1 >= REGION_FROM else None
            self._rule = rule_of(self._stepped.take(size)) if size is not None else None
        return self._rule

    def _size_without_crowds(self) -> float | None:
        if not self.complete:
            return self.samples.size
        places = [int.from_bytes(contact.place, "big") for contact in self.table.contacts()]
        return trimmed([int.from_bytes(self.own_place, "big"), *places])

    def size(self) -> int:
        """Return about how many peers the network has, ourselves included: all known, or what look-ups showed."""
        known = len(self.table) + 1
        return known if self.complete else max(known, round(self.samples.size or 0))

    def heirs(self, key: bytes) -> list[Contact]:
        """Return who should hold `key` once we are gone, and need not while we are here."""
        if self.responsible(key).crowded:
            return []
        return self.closest(key, RECORD_HOLDERS)[RECORD_HOLDERS - 1 :]

    def expected_holders(self, key: bytes, count: int | None = None, *, within_grace: bool = True) -> list[PeerId]:
        """Return who should hold `key` of all that may still have it: also the silent, for as long as the grace.

        With `count` the nearest, crowded or not. Not only `within_grace`: until they are forgotten, however long they
        are silent.
        """
        rule = self.rule() if count is None else None
        count = count or RECORD_HOLDERS
        nearest = self.table.closest(key, count if rule is None else REGION_MAX)
        places = [(distance(contact.place, key), contact.peer) for contact in nearest]
        places.append((distance(self.own_place, key), self.own_peer))
        if self.silent:
            limit = self._clock.monotonic() - self._grace_s if within_grace else -inf
            for peer in self.silent:
                member = self.all[peer]
                if member.last_seen > limit and peer not in self._forgotten:
                    places.append((distance(member.contact.place, key), peer))
        places.sort()
        if rule is not None:
            count = rule.region([each for each, _ in places]) or count
        return [peer for _, peer in places[:count]]
