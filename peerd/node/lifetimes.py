"""How long a record still lives, by what its holders say: no two clocks need agree.

Not here: asking them (reading), and what a peer asks after its own clock stood still (lives).
"""

from collections.abc import Iterable

from peerd.ids import PeerId
from peerd.records.record import Record

# The median of fewer lives is nobody's. What clocks drift apart in a life is no reason to write.
LIVES_MIN = 3
LIFE_SLACK_S = 5
LIFE_SLACK_PART = 0.02


class Lifetimes:
    """What the holders of one key said to one read."""

    def __init__(self) -> None:
        self.left_s: dict[PeerId, int | None] = {}

    def of(self, newest: Record | None, agreeing: Iterable[PeerId]) -> int | None:
        """Return the seconds of life that a record has left: the median of what those that have it say."""
        if newest is None or newest.body.ttl_s is None:
            return None
        lives = sorted(min(life, newest.body.ttl_s) for peer in agreeing if (life := self.left_s.get(peer)))
        return lives[len(lives) // 2] if lives else newest.body.ttl_s

    def mended(self, newest: Record, agreeing: list[PeerId], own: PeerId) -> int | None:
        """Return the life that our copy should have where that is another than it has, else None."""
        life_s, own_s = self.of(newest, agreeing), self.left_s.get(own)
        if life_s is None or own_s is None or len(agreeing) < LIVES_MIN:
            return None
        return life_s if abs(life_s - own_s) > max(LIFE_SLACK_S, LIFE_SLACK_PART * life_s) else None
