"""Whom a read asks at once, and whom only where those do not suffice.

A majority of the holders decides a quorum read, so a majority is asked, by chance: the others would be as if they had
been slow. They are asked too where one of the majority is late or fails, or where not all show the same. Not here: what
the answers come to (trust.quorum, reading).
"""

from peerd.kad.contact import Contact
from peerd.node.asking import Answer
from peerd.node.core import Core
from peerd.node.nearest import Holders
from peerd.node.nearness import by_nearness
from peerd.trust.quorum import ReadQuorum, majority

# How many more are asked by `one` when those asked before are silent.
HEDGE_COUNT = 2


class AskedFirst:
    """Those of one read that are asked first, and the rest."""

    def __init__(self, core: Core, holders: Holders, *, one: bool, all_at_once: bool) -> None:
        """Order them; `one` begins with the nearest in time alone."""
        self._one = one
        self._crowded = holders.crowded
        firsts = by_nearness(core, holders.first) if one else list(holders.first)
        order, count = [*firsts, *holders.doubtful], 1
        if all_at_once or (holders.crowded and not one):
            count = len(order)
        elif not one:
            count = majority(len(holders.first) + holders.ours) - holders.ours
            core.environment.rng.shuffle(firsts)
            order = [*firsts, *holders.doubtful]
        self.first, self.rest = order[:count], order[count:]
        roundtrips = core.endpoint.roundtrips
        self._late_s = max((roundtrips.hedge_s(contact.peer) for contact in self.first), default=0.0)

    @property
    def late_s(self) -> float | None:
        """After so long without an answer the rest is asked; None where nobody is left, or each is waited for."""
        return self._late_s if self.rest and not self._one else None

    def everybody(self) -> list[Contact]:
        """Return all that are left: they are to be asked now."""
        rest, self.rest = self.rest, []
        return rest

    def after(self, answer: Answer, quorum: ReadQuorum, *, has_enough: bool) -> list[Contact]:
        """Return who is to be asked after this answer; `has_enough` where what was shown is new enough."""
        if not self.rest or (has_enough and (self._one or (answer.reply is not None and quorum.unanimous))):
            return []
        if self._one and (answer.reply is None or self._crowded):
            # Silent, or one of a crowd: the next two at once. Else who has it is known only by asking all.
            few, self.rest = self.rest[:HEDGE_COUNT], self.rest[HEDGE_COUNT:]
            return few
        return self.everybody()
