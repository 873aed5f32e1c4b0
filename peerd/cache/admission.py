"""What is kept where not all can be: W-TinyLFU by size, in bytes.

New things stay in a small window of those used last. What it pushes out is a candidate for the rest, and gets in only
where it was used more often than all that would have to go for it together (Einziger, Eytan, Friedman, Manes 2022,
"AV": by size, the sum of the victims). So a scan of things read once passes through the window and leaves the rest
alone. The rest is a segmented LRU: on probation until used again, then protected (Karedla 1994). What is larger than
the window is a candidate at once. How often things were used is a sketch's guess (sketch).

It says what is to go and takes it as gone; the caller lets go of it. Nothing here is a promise: pins and promised
copies never come here. Not here: what is cached, and where.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from peerd.cache.sketch import SAMPLE_USES, Sketch

WINDOW_PARTS = 64
WINDOW_FIRST, WINDOW_MOST = 2, 48
"""Of 64 parts of the whole the window has 2 at first, and between 1 and 48."""

CLIMB_PARTS = 4
CLIMB_AFTER = 4
"""After so many times the uses for which a sample is the whole, the window grows or shrinks by 4 parts: on in the same
direction while the share of hits rises (Einziger, Eytan, Friedman, Manes 2018: a climb by steps). Where what is new is
what is wanted, a small window would keep all of it out."""

PROTECTED_PARTS = (4, 5)
"""So much of the rest is for what was used again since it came."""

SAMPLE_KEYS_MIN = 64
"""The counts age by the number of things kept, and not faster than with so many."""

VICTIMS_MAX = 256
"""So many are compared with one candidate at most: a huge thing that only many small ones could make room for stays out
without all of them being counted."""

Segment = OrderedDict[bytes, int]


@dataclass(slots=True)
class Tally:
    """What was decided so far."""

    kept: int = 0
    declined: int = 0
    evicted: int = 0


class Admission:
    """Keys with their sizes, which of them stay, and which go next. `entries_max` bounds the memory of it all."""

    def __init__(self, capacity: int, *, entries_max: int, seed: bytes) -> None:
        self._sketch = Sketch(entries_max, seed)
        self._entries_max = entries_max
        self._window: Segment = OrderedDict()
        self._probation: Segment = OrderedDict()
        self._protected: Segment = OrderedDict()
        self._bytes = {"window": 0, "probation": 0, "protected": 0}
        self._capacity = capacity
        self._window_parts = WINDOW_FIRST
        self._climb = CLIMB_PARTS
        self._hits = self._uses = 0
        self._share_before = 0.0
        self.tally = Tally()

    def __contains__(self, key: bytes) -> bool:
        return key in self._window or key in self._probation or key in self._protected

    def __len__(self) -> int:
        return len(self._window) + len(self._probation) + len(self._protected)

    @property
    def size(self) -> int:
        """The bytes of all that is kept."""
        return sum(self._bytes.values())

    def resize(self, capacity: int) -> None:
        """Have another capacity from now on; what is too much goes with the next `excess`."""
        self._capacity = max(0, capacity)

    def used(self, key: bytes) -> None:
        """Count one use of a key, kept or not."""
        keys = max(SAMPLE_KEYS_MIN, len(self))
        self._sketch.sample = SAMPLE_USES * keys
        self._sketch.add(key)
        self._hits += key in self
        self._uses += 1
        if self._uses >= CLIMB_AFTER * keys:
            self._move_window()
        if key in self._window:
            self._window.move_to_end(key)
        elif key in self._protected:
            self._protected.move_to_end(key)
        elif key in self._probation:
            self._put(self._protected, key, self._take(self._probation, key))
            most = self._main_max * PROTECTED_PARTS[0] // PROTECTED_PARTS[1]
            while self._bytes["protected"] > most and len(self._protected) > 1:
                oldest = next(iter(self._protected))
                self._put(self._probation, oldest, self._take(self._protected, oldest))

    def uses(self, key: bytes) -> int:
        """Return about how often a key was used of late."""
        return self._sketch.count(key)

    def admits(self, key: bytes, size: int) -> bool:
        """Return whether a thing of that size would be kept now, be it only in the window."""
        admitted = key in self or self._has_place(key, size)
        self.tally.declined += not admitted
        return admitted

    def add(self, key: bytes, size: int) -> None:
        """Note that a thing is kept; one that is there already has this size from now on."""
        self.gone(key)
        self._put(self._window if size <= self._window_max else self._probation, key, size)
        self.tally.kept += 1

    def resume(self, key: bytes, size: int) -> None:
        """Note a thing that was kept before anybody counted: it is on probation, and goes after those there."""
        if key not in self:
            self._put(self._probation, key, size)

    def adopt(self, key: bytes, size: int) -> None:
        """As `resume`, of one that goes before those there."""
        if key not in self:
            self.resume(key, size)
            self._probation.move_to_end(key, last=False)

    def gone(self, key: bytes) -> None:
        """Note that a thing is not kept any more."""
        for segment in (self._window, self._probation, self._protected):
            if key in segment:
                self._take(segment, key)

    def excess(self) -> list[bytes]:
        """Return what has to go by now, and count it as gone."""
        out: list[bytes] = []
        while self._bytes["window"] > self._window_max:
            self._leave_window(out)
        while self.size > self._capacity or len(self) > self._entries_max:
            self._evict(next(self._in_order()), out)
        self.tally.evicted += len(out)
        return out

    def victims(self, wanted: int) -> list[bytes]:
        """Return what goes where so many bytes are needed for something else, and count it as gone."""
        least = max(0, self.size - wanted)
        out: list[bytes] = []
        while self.size > least:
            self._evict(next(self._in_order()), out)
        self.tally.evicted += len(out)
        return out

    def _move_window(self) -> None:
        """Make the window larger or smaller: on as before where that brought hits, else back."""
        share = self._hits / self._uses
        if share < self._share_before:
            self._climb = -self._climb
        self._window_parts = min(WINDOW_MOST, max(1, self._window_parts + self._climb))
        self._hits = self._uses = 0
        self._share_before = share

    @property
    def _window_max(self) -> int:
        return self._capacity * self._window_parts // WINDOW_PARTS

    @property
    def _main_max(self) -> int:
        return self._capacity - self._window_max

    def _has_place(self, key: bytes, size: int) -> bool:
        if size <= self._window_max or self.size + size <= self._capacity:
            return size <= self._capacity
        return size <= self._main_max and self._outdone_by(key, size) is not None

    def _leave_window(self, out: list[bytes]) -> None:
        """Have what the window has no place for take one in the rest, or go."""
        key = next(iter(self._window))
        size = self._window[key]
        victims = self._outdone_by(key, size)
        if victims is None:
            self._evict(key, out)
            return
        for victim in victims:
            self._evict(victim, out)
        self._put(self._probation, key, self._take(self._window, key))

    def _outdone_by(self, key: bytes, size: int) -> list[bytes] | None:
        """Return what would have to go from the rest for a thing; None where together it was used as often."""
        missing = self._bytes["probation"] + self._bytes["protected"] + size - self._main_max
        if missing <= 0:
            return []
        uses = self.uses(key)
        victims: list[bytes] = []
        for segment in (self._probation, self._protected):
            for victim, its in segment.items():
                uses -= self.uses(victim)
                if uses <= 0 or len(victims) == VICTIMS_MAX:
                    return None
                victims.append(victim)
                missing -= its
                if missing <= 0:
                    return victims
        return None

    def _in_order(self) -> Iterator[bytes]:
        """Yield what goes first where room is needed: of the oldest of window and probation the one used less."""
        heads = [next(iter(segment)) for segment in (self._probation, self._window) if segment]
        yield from sorted(heads, key=self.uses)
        yield from self._protected

    def _evict(self, key: bytes, out: list[bytes]) -> None:
        self.gone(key)
        out.append(key)

    def _put(self, segment: Segment, key: bytes, size: int) -> None:
        segment[key] = size
        self._bytes[self._name(segment)] += size

    def _take(self, segment: Segment, key: bytes) -> int:
        size = segment.pop(key)
        self._bytes[self._name(segment)] -= size
        return size

    def _name(self, segment: Segment) -> str:
        if segment is self._window:
            return "window"
        return "probation" if segment is self._probation else "protected"
