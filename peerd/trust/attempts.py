"""What became of what a proposer proposed: whether a version that got too few answers took effect after all."""

from dataclasses import dataclass, replace
from enum import Enum

from peerd.records.record import Record
from peerd.trust.register import Ballot, Preparing, State, has_majority, mark
from peerd.wire import limits

# Of the later versions seen meanwhile so many are noted; one that the marks of the next reach is enough.
NOTED_MAX = 8


class Fate(Enum):
    """What became of a proposal whose answers were not enough."""

    OURS = "ours"
    """It is the newest accepted: to be chosen again."""
    PAST = "past"
    """A later version was made from it."""
    LOST = "lost"
    """It was not chosen. While an acceptor has it, and nothing later is chosen, another proposer may still find it."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A version that was proposed, with what ballot, in what state, and on what.

    A state's marks reach back a few versions only. So of later versions seen meanwhile it is noted whether they
    were made from this one: what follows one of those is made from it too, or is not, however far its own marks reach.
    """

    ballot: Ballot
    record: Record
    state: State
    base: Record | None
    made_from_it: tuple[bytes, ...] = ()
    not_from_it: tuple[bytes, ...] = ()

    def fate(self, preparing: Preparing) -> Fate:
        """Return what became of it, by a prepared round with a higher ballot (which stops it for good)."""
        ballot, base = preparing.base_ballot, preparing.base
        if base is None:
            return Fate.LOST if has_majority(self.state.holders, preparing.promisers, preparing.gone) else Fate.UNKNOWN
        if base.record == self.record.raw:
            return Fate.OURS
        marks = {*base.past, mark(base.value)}
        if mark(self.record) in marks or not marks.isdisjoint(self.made_from_it):
            return Fate.PAST
        if not base.is_related(self.state):
            return Fate.UNKNOWN
        if ballot < self.ballot:
            return Fate.LOST
        # Made after it, and not from it: then it was not chosen. Unless the marks do not reach back so far.
        whole = len(base.past) < limits.REGISTER_PAST_MAX
        on = () if self.base is None else (mark(self.base),)
        known = whole or not marks.isdisjoint((*on, *self.not_from_it))
        return Fate.LOST if known else Fate.UNKNOWN

    def noting(self, preparing: Preparing) -> "Attempt":
        """Return it with what the newest accepted says of it noted; whether that is chosen does not matter."""
        base, fate = preparing.base, self.fate(preparing)
        if base is None or preparing.base_ballot < self.ballot:
            return self
        if fate is Fate.PAST:
            return replace(self, made_from_it=_newest(self.made_from_it, mark(base.value)))
        if fate is Fate.LOST:
            return replace(self, not_from_it=_newest(self.not_from_it, mark(base.value)))
        return self


def _newest(marks: tuple[bytes, ...], new: bytes) -> tuple[bytes, ...]:
    return (*(one for one in marks if one != new), new)[-NOTED_MAX:]


class Attempts:
    """All that one operation has proposed: each version may be found and finished by somebody, at most one is."""

    def __init__(self) -> None:
        self._made: list[Attempt] = []

    def __bool__(self) -> bool:
        return bool(self._made)

    def add(self, attempt: Attempt) -> None:
        """Note a proposal before it is sent."""
        self._made = [one for one in self._made if one.record.raw != attempt.record.raw] + [attempt]

    def on(self, base: Record | None) -> Record | None:
        """Return the version that was proposed on `base`: the same is proposed again, so that finding it is no harm."""
        raw = base.raw if base is not None else None
        return next((one.record for one in self._made if (one.base.raw if one.base else None) == raw), None)

    def fate(self, preparing: Preparing) -> tuple[Fate, Attempt | None]:
        """Return what became of them, by a prepared round; and of which, where one took effect."""
        if preparing.settled:  # what is chosen and later than a proposal, and not made from it, has ended it
            ballot = preparing.base_ballot
            ended = [one for one in self._made if one.ballot < ballot and one.fate(preparing) is Fate.LOST]
            self._made = [one for one in self._made if one not in ended]
        self._made = [one.noting(preparing) for one in self._made]
        fates = [(one.fate(preparing), one) for one in self._made]
        for fate, one in fates:
            if fate in (Fate.OURS, Fate.PAST):
                return fate, one
        unknown = any(fate is Fate.UNKNOWN for fate, _ in fates)
        return (Fate.UNKNOWN if unknown else Fate.LOST), None
