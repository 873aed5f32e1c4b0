"""The store's own clock: the seconds it has lived, and the stamps that order its peer's statements.

Never the wall clock, which may be a day behind, ten years ahead, or stepped. Lives of records and of announcements,
the grace of tombstones and what was used longest ago are all counted on it. While the store is closed it goes on where
the host was not started anew in between; else the time of the pause is not counted: what is kept ends late, not early.
"""

from dataclasses import dataclass

from peerd.clock import Clock

SAVE_INTERVAL_S = 10.0
"""So much of its life a store forgets at most when the host goes down."""

STAMP_AHEAD = 60_000
"""Stamps allowed by one note on disk, in milliseconds: a note a minute at most."""


@dataclass(frozen=True, slots=True)
class Lived:
    """What is noted on disk: `lived_s` at `up_s` seconds after the start `boot` of the host, and the last stamp."""

    lived_s: float = 0.0
    boot: str = ""
    up_s: float = 0.0
    stamp: int = 0


class Lifetime:
    """One store's clock, from what its disk remembers."""

    def __init__(self, clock: Clock, lived: Lived) -> None:
        self._clock = clock
        self._boot, up_s = clock.boot()
        away_s = max(0.0, up_s - lived.up_s) if self._boot and self._boot == lived.boot else 0.0
        self._offset_s = lived.lived_s + away_s - up_s
        self._now_s = lived.lived_s + away_s
        self._saved_at = float("-inf")
        self._stamp = lived.stamp
        self._allowed = self._noted = lived.stamp

    def now_s(self) -> float:
        """Return the seconds that the store has lived; never less than before."""
        self._now_s = max(self._now_s, self._clock.boot()[1] + self._offset_s)
        return self._now_s

    @property
    def due(self) -> bool:
        """Whether it is time to note it on disk again."""
        return self.now_s() - self._saved_at >= SAVE_INTERVAL_S

    def lived(self) -> Lived:
        """Return what to note on disk now."""
        self._saved_at = self.now_s()
        return Lived(self._saved_at, self._boot, self._clock.boot()[1], self._allowed)

    def stamp(self) -> tuple[int, bool]:
        """Return the next stamp, Unix milliseconds or the last one more, and whether it must be noted on disk first."""
        self._stamp = max(int(self._clock.wall() * 1000), self._stamp + 1)
        if self._stamp <= self._noted:
            return self._stamp, False
        self._allowed = self._stamp + STAMP_AHEAD
        return self._stamp, True

    def noted(self, lived: Lived) -> None:
        """Hear that this is on disk."""
        self._noted = max(self._noted, lived.stamp)
