"""Who should hold a key: the one rule for all that is kept, given, asked and counted."""

from dataclasses import dataclass

from peerd.ids import distance
from peerd.kad.contact import Contact

RECORD_HOLDERS = 8
"""A record is kept by so many of the peers nearest to its key (DESIGN.md 6)."""


@dataclass(frozen=True, slots=True)
class Responsible:
    """Who should hold a key: `contacts`, nearest first, ourselves apart; `ours` says that we are one of them."""

    contacts: list[Contact]
    ours: bool
    crowded: bool = False


def divide(nearest: list[Contact], own_place: bytes, key: bytes, count: int) -> Responsible:
    """Return of the `count` others nearest to a key, nearest first, those that should hold it beside or before us."""
    if len(nearest) < count:
        return Responsible(nearest, ours=True)
    if distance(own_place, key) < distance(nearest[-1].place, key):
        return Responsible(nearest[:-1], ours=True)
    return Responsible(nearest, ours=False)
