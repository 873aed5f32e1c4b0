"""Who should hold a key: the one rule for all that is kept, given, asked and counted.

The 8 nearest, as a rule. Places are ground for nothing, so 8 or 24 that were made to stand nearest to a key would own
it. Where more stand near a key than chance explains, all of its region hold it: everybody nearer than 8 honest peers
would be. The honest are then among the holders however many crowd in before them. What is stored goes to all of a
region; one signed answer out of it is enough; that there is nothing all of it must say.

A region for every key cannot be evaded, and costs a fifth more in copies (Kundapur et al. 2025, arXiv:2505.01139, whose
radius this is); this one is triggered, which eight that stand just ahead of the nearest honest peer evade at one key of
thirty. Sizes: kad.size.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from peerd.ids import ID_BITS, ID_BYTES, PeerId, distance
from peerd.kad.contact import Contact

RECORD_HOLDERS = 8
"""A record is kept by so many of the peers nearest to its key (DESIGN.md 6)."""

REGION_FROM = 17
"""In smaller networks half of all hold a key anyway, and chance crowds every tenth."""

TRIGGER = 14
"""So many in the radius of 8 are a crowd."""

SLACK = 2.5
"""Of y expected up to a distance, more than y + SLACK * sqrt(y) + SLACK are a crowd."""

JUDGED = 24
"""So many nearest are looked at."""

REGION_MAX = 64
"""A region has no more: who crowds makes others work, but not without end."""

WAVE = 12
"""So many of a region are read first, by weight: a crowd packed at the key hides no honest holder among them."""

SIDES = 4
"""So many places beside a crowded key are looked up where not all peers are known: who crowds it names only a crowd."""

RULES_MAX = 256
"""Sizes whose rule is remembered; they differ by steps of 2^(1/4)."""


@dataclass(frozen=True, slots=True)
class Responsible:
    """Who should hold a key: `contacts`, nearest first, ourselves apart; `ours` says that we are one of them."""

    contacts: list[Contact]
    ours: bool
    crowded: bool = False
    """More stand near the key than chance explains: `contacts` are all of its region."""

    weights: dict[PeerId, float] = field(default_factory=dict)
    """In a region how much of a holder each is by where it stands; those of a crowd have about 1 together."""

    own_weight: float = 0.0

    def heaviest(self, count: int) -> "Responsible":
        """Return of a region only those who are most of holders by where they stand."""
        ranked = sorted(self.contacts, key=lambda contact: -self.weights[contact.peer])  # of equals the nearest
        heavier = sum(1 for contact in ranked if self.weights[contact.peer] > self.own_weight)
        ours = self.ours and heavier < count
        return replace(self, contacts=ranked[: count - ours], ours=ours)

    def waves(self) -> list[list[Contact]]:
        """Return the contacts as they are to be read: in a region the heaviest first, else all at once."""
        if not self.crowded:
            return [self.contacts]
        ranked = self.heaviest(len(self.contacts) + self.ours).contacts
        return [part for part in (ranked[:WAVE], ranked[WAVE:]) if part]


@dataclass(frozen=True, slots=True)
class Rule:
    """What is a crowd in a network of some size, and how far a region reaches."""

    unit: float
    """The space divided by the size: a distance that one peer is expected to stand in."""

    radius: int
    bounds: tuple[int, ...]
    """The i-th nearest nearer than the i-th of these is a crowd."""

    def region(self, distances: Sequence[int]) -> int | None:
        """Return how many of the nearest hold a key, by their distances in order; None where nobody crowds it."""
        if not self.is_crowded(distances):
            return None
        within = sum(1 for each in distances[:REGION_MAX] if each < self.radius)
        return min(max(within, RECORD_HOLDERS), len(distances))

    def is_crowded(self, distances: Sequence[int]) -> bool:
        """Return whether peers crowd a key, by the distances of the nearest in order."""
        return any(map(int.__lt__, distances, self.bounds))

    def beside(self, key: bytes) -> list[bytes]:
        """Return places whose nearest are in a key's region, each on another side of who crowds the key itself."""
        point, top = int.from_bytes(key, "big"), self.radius.bit_length() - 1
        return [(point ^ 1 << bit).to_bytes(ID_BYTES, "big") for bit in range(top, max(0, top - SIDES), -1)]

    def weights(self, distances: Sequence[int]) -> list[float]:
        """Return for each of a region how much of a holder it is: up to no distance more than chance puts there."""
        total, found = 0.0, []
        for each in distances:
            weight = min(1.0, max(0.0, each / self.unit + 1 - total))
            total += weight
            found.append(weight)
        return found


@lru_cache(maxsize=RULES_MAX)
def rule_of(size: float) -> Rule:
    """Return the rule for a network of about `size` peers."""
    unit = 2.0**ID_BITS / size
    bounds = [max(0.0, _expected_below(number)) for number in range(1, JUDGED + 1)]
    bounds[TRIGGER - 1] = max(bounds[TRIGGER - 1], float(RECORD_HOLDERS))
    return Rule(unit, int(RECORD_HOLDERS * unit), tuple(int(bound * unit) for bound in bounds))


def _expected_below(number: int) -> float:
    """Return how many would be expected where `number` are just a crowd: y + SLACK * sqrt(y) + SLACK = number."""
    inner = SLACK * SLACK + 4 * (number - SLACK)
    root = (math.sqrt(inner) - SLACK) / 2 if inner > 0 else 0.0
    return root * root if root > 0 else 0.0


def responsible(nearest: Sequence[Contact], own_place: bytes, key: bytes, rule: Rule | None) -> Responsible:
    """Return who should hold a key, of all others nearest to it in order (at least REGION_MAX, where there are).

    Without a rule the 8 nearest.
    """
    if rule is None:
        return divide(nearest[:RECORD_HOLDERS], own_place, key, RECORD_HOLDERS)
    own, point = distance(own_place, key), int.from_bytes(key, "big")
    others = [int.from_bytes(contact.place, "big") ^ point for contact in nearest]
    before = bisect_left(others, own)
    distances = [*others[:before], own, *others[before:]]
    count = rule.region(distances)
    if count is None:
        return divide(nearest[:RECORD_HOLDERS], own_place, key, RECORD_HOLDERS)
    ours = before < count
    contacts = list(nearest[: count - ours])
    weights = rule.weights(distances[:count])
    own_weight = weights.pop(before) if ours else 0.0
    by_peer = dict(zip((contact.peer for contact in contacts), weights, strict=True))
    return Responsible(contacts, ours, crowded=True, weights=by_peer, own_weight=own_weight)


def divide(nearest: Sequence[Contact], own_place: bytes, key: bytes, count: int) -> Responsible:
    """Return of the `count` others nearest to a key, nearest first, those that should hold it beside or before us."""
    if len(nearest) < count:
        return Responsible(list(nearest), ours=True)
    if distance(own_place, key) < distance(nearest[-1].place, key):
        return Responsible(list(nearest[:-1]), ours=True)
    return Responsible(list(nearest), ours=False)
