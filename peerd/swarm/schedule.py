"""Which block is asked of which source: every source busy, nothing asked twice without need.

A source that delivers faster is asked for more, since it comes back for more sooner. One that misses a block, breaks
or lies loses its share to the others. At the end, where a source is slow and another idle, the block is asked again
there ("endgame", as BitTorrent has it; Cohen 2003). Blocks are handed out in the order in which they were wanted.

Who reads waits for the first of them: one that its source does not deliver in about twice the time that blocks take is
asked of another, then of two more, then of four; where not a byte came in about two round trips, of three more, and
where most of those are silent too, of all; and a source that is late gets nothing new that another may have. So those
that drip, however many and however skilfully, cost a moment and not their own pace.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice

from peerd.ids import PeerId

# Blocks asked of one source in one request; how many are under way in all is bounded by what is wanted at a time.
REQUEST_BLOCKS_MAX = 32
# A block asked of one source for longer than this may be asked of another that has nothing to do.
ENDGAME_S = 0.5
ASKED_AT_ONCE_MAX = 2

# The blocks waited for first, which are asked again where they are late; of at most so many sources.
HEAD_BLOCKS = 4
LATE_ASKED_MAX = 8
# Late is who delivers nothing for twice the time that the fastest source takes for a block, at least this long; who
# delivers a little now and then has four times as long.
LATE_MIN_S = 0.3
LATE_FACTOR = 2.0
DRIPPING_FACTOR = 4.0
# Nobody has to be waited for so long who sends nothing at all: a block begins to come after a round trip and a look at
# the disk. Where most say that they have something and are silent, a block is asked of all in two steps. Where blocks
# take long for the link's sake, their beginnings may take a share of that.
SILENT_MIN_S = 0.1
SILENT_SHARE = 0.25
SILENT_ROUND_TRIPS = 2.0
SILENT_ASKED_MORE = 3
# Those asked because another was silent have so much of that time: that most of several are slow at once is no chance.
SILENT_AGAIN_PART = 0.65
# So often at least, and so seldom at most, is looked for what became late.
LOOK_MIN_S = 0.002
LOOK_MAX_S = 0.1
_LEARNT = 0.3


@dataclass(slots=True)
class _Source:
    """One peer that may have blocks."""

    silent_s: float
    """How long it may send nothing at all once it was asked."""
    asked: dict[bytes, float] = field(default_factory=dict)
    owed: dict[bytes, float] = field(default_factory=dict)
    """What it was asked for and another delivered first: it is not idle, and shows by it whether it is late."""
    lacks: set[bytes] = field(default_factory=set)
    heard_at: float = 0.0
    """When any part of a block came."""
    delivered_at: float = 0.0
    block_s: float | None = None
    """How long a block takes, of late."""
    overtaken: bool = False
    """Another delivered what this one was late with, and it has delivered nothing in time since."""

    def late_at(self, late_s: float, silent_s: float) -> float:
        """Return from when on it is late where nothing comes; never, where it was asked for nothing."""
        if not self.asked and not self.owed:
            return math.inf
        asked_at = min((*self.asked.values(), *self.owed.values()))
        heard_at = max(self.heard_at, self.delivered_at)
        if heard_at <= asked_at:
            return asked_at + silent_s
        return min(heard_at + late_s, max(self.delivered_at, asked_at) + DRIPPING_FACTOR * late_s)

    def is_late(self, now: float, late_s: float, silent_s: float) -> bool:
        """Say whether it was asked for something and delivers nothing, or hardly anything."""
        return self.overtaken or now > self.late_at(late_s, silent_s)

    def is_silent(self) -> bool:
        """Say whether nothing at all came since it was asked."""
        asked_at = min((*self.asked.values(), *self.owed.values()), default=-math.inf)
        return max(self.heard_at, self.delivered_at) <= asked_at

    def learn(self, asked_at: float, now: float, late_s: float) -> None:
        """Note how long a block took, from when it could be begun."""
        took_s = now - max(asked_at, self.delivered_at)
        self.overtaken = self.overtaken and took_s > late_s
        self.block_s = took_s if self.block_s is None else self.block_s + _LEARNT * (took_s - self.block_s)
        self.delivered_at = now


class Schedule:
    """The blocks wanted and the sources there are; CIDs are 36 bytes."""

    def __init__(self, round_trip_s: float = LATE_MIN_S, *, late_min_s: float = LATE_MIN_S) -> None:
        self._late_min_s = late_min_s
        """What a rate that we hold ourselves makes of LATE_MIN_S."""
        self._round_trip_s = round_trip_s
        self._sources: dict[PeerId, _Source] = {}
        self._waiting: OrderedDict[bytes, None] = OrderedDict()
        self._asked: dict[bytes, set[PeerId]] = {}
        self._wanted: dict[bytes, None] = {}
        self._rounds: dict[bytes, int] = {}
        """Of how many more sources a late block may be asked now."""

    def add_source(self, peer: PeerId, round_trip_s: float = math.inf) -> None:
        """A source can be asked from now on; one that is nearer than others is waited for less, a far one no longer."""
        trip_s = min(round_trip_s, self._round_trip_s)
        silent_s = max(SILENT_MIN_S, min(LATE_MIN_S, SILENT_ROUND_TRIPS * trip_s))
        self._sources.setdefault(peer, _Source(silent_s))

    def drop_source(self, peer: PeerId) -> None:
        """A source is gone or lied; what it was asked for waits for another."""
        source = self._sources.pop(peer, None)
        if source is None:
            return
        for cid in source.asked:
            self._unasked(cid, peer)

    def want(self, cid: bytes, *, of_all: bool = False) -> None:
        """A block is wanted, after those wanted before; `of_all`: it is small, and asked of all sources at once."""
        self._wanted[cid] = None
        if of_all:
            self._rounds[cid] = LATE_ASKED_MAX
        if cid not in self._asked:
            self._waiting[cid] = None

    def forget(self, cid: bytes) -> None:
        """A block is no longer wanted, or is here."""
        self._waiting.pop(cid, None)
        self._wanted.pop(cid, None)
        self._rounds.pop(cid, None)
        for peer in self._asked.pop(cid, set()):
            source = self._sources[peer]
            source.owed[cid] = source.asked.pop(cid)

    def assign(self, peer: PeerId, now: float) -> list[bytes]:
        """Return the blocks to ask of a source now, noted as asked."""
        source = self._sources.get(peer)
        if source is None:
            return []
        # An equal share of what waits, in two requests for each source so that one is always under way.
        room = min(REQUEST_BLOCKS_MAX, 1 + len(self._waiting) // (2 * len(self._sources)))
        late_s = self._late_s()
        chosen = self._late(peer, source, now, late_s)
        prompt = [each for each in self._sources.values() if not self._is_late(each, now, late_s)]
        for cid in self._waiting:
            if len(chosen) >= room:
                break
            if cid in source.lacks or (source not in prompt and any(cid not in each.lacks for each in prompt)):
                continue
            chosen.append(cid)
        for cid in chosen:
            self._waiting.pop(cid, None)
        if not chosen and not source.asked:
            chosen = self._endgame(source, now)
        for cid in chosen:
            source.asked[cid] = now
            self._asked.setdefault(cid, set()).add(peer)
        return chosen

    def look_in_s(self, now: float) -> float:
        """Return how long until just after a source may become late."""
        late_s = self._late_s()
        due = [each.late_at(late_s, _silent_s(each, late_s)) - now for each in self._sources.values()]
        for cid in islice(self._wanted, HEAD_BLOCKS):
            peers = self._asked.get(cid, ())
            if 1 < len(peers) < LATE_ASKED_MAX:
                due += [self._again_at(cid, self._sources[each], late_s) - now for each in peers]
        return min(LOOK_MAX_S, LOOK_MIN_S + min((left for left in due if left > 0), default=LOOK_MAX_S))

    def _is_late(self, source: _Source, now: float, late_s: float) -> bool:
        return source.is_late(now, late_s, _silent_s(source, late_s))

    def _again_at(self, cid: bytes, source: _Source, late_s: float) -> float:
        return source.asked[cid] + SILENT_AGAIN_PART * _silent_s(source, late_s)

    def _more(self, cid: bytes, now: float, late_s: float) -> int:
        """Return of how many more sources a block may be asked because those that were asked are late."""
        sources = [self._sources[each] for each in self._asked[cid]]
        if not all(each.is_silent() for each in sources):
            return len(sources) if all(self._is_late(each, now, late_s) for each in sources) else 0
        if len(sources) == 1:
            late = self._is_late(sources[0], now, late_s)
        else:
            late = 2 * sum(now > self._again_at(cid, each, late_s) for each in sources) > len(sources)
        return len(sources) * SILENT_ASKED_MORE if late else 0

    def _late_s(self) -> float:
        known = [source.block_s for source in self._sources.values() if source.block_s is not None]
        return max(self._late_min_s, LATE_FACTOR * min(known, default=0.0))

    def _late(self, peer: PeerId, source: _Source, now: float, late_s: float) -> list[bytes]:
        """Return one of the blocks waited for first that all who were asked for it are late with.

        Two where there is nothing else to do, so that one prompt source among many late ones is always busy.
        """
        if self._is_late(source, now, late_s):
            return []
        found = []
        for cid in islice(self._wanted, HEAD_BLOCKS):
            peers = self._asked.get(cid)
            if not peers or peer in peers or cid in source.lacks or len(peers) >= LATE_ASKED_MAX:
                continue
            if not self._rounds.get(cid):
                self._rounds[cid] = self._more(cid, now, late_s)
            if self._rounds.get(cid):
                self._rounds[cid] -= 1
                found.append(cid)
                if len(found) == ASKED_AT_ONCE_MAX or source.asked or self._waiting:
                    break
        return found

    def _endgame(self, source: _Source, now: float) -> list[bytes]:
        late = []
        for cid, peers in self._asked.items():
            asked_at = min(self._sources[peer].asked[cid] for peer in peers)
            if len(peers) < ASKED_AT_ONCE_MAX and cid not in source.lacks and now - asked_at > ENDGAME_S:
                late.append(cid)
                if len(late) >= 2:
                    break
        return late

    def on_missing(self, peer: PeerId, cid: bytes) -> None:
        """A source has the block not."""
        source = self._sources.get(peer)
        if source is None:
            return
        source.lacks.add(cid)
        source.owed.pop(cid, None)
        if source.asked.pop(cid, None) is not None:
            self._unasked(cid, peer)

    def on_heard(self, peer: PeerId, at: float) -> None:
        """Something came of a source."""
        source = self._sources.get(peer)
        if source is not None:
            source.heard_at = max(source.heard_at, at)

    def on_delivered(self, peer: PeerId, cid: bytes, now: float) -> list[PeerId]:
        """A source delivered the block (checked by the caller): nobody else needs to.

        Returns those that are late with what others delivered.
        """
        late_s = self._late_s()
        source = self._sources.get(peer)
        asked_at = source.asked.get(cid, source.owed.get(cid)) if source is not None else None
        late = [
            other
            for other in self._asked.get(cid, ())
            if asked_at is not None and self._sources[other].asked[cid] < asked_at
            if self._is_late(self._sources[other], now, late_s)
        ]
        if source is not None and asked_at is not None:
            source.learn(asked_at, now, late_s)
        for other in late:
            self._sources[other].overtaken = True
        self.forget(cid)
        if source is not None:
            source.owed.pop(cid, None)
        return [other for other, each in self._sources.items() if each.owed and now > each.late_at(late_s, late_s)]

    def owing(self) -> list[PeerId]:
        """Return the sources that did not deliver what others did."""
        return [peer for peer, source in self._sources.items() if source.owed]

    def forgive(self) -> None:
        """Forget who lacked what: it may have come to them meanwhile."""
        for source in self._sources.values():
            source.lacks.clear()

    def hopeless(self) -> list[bytes]:
        """Return waiting blocks that every source lacks (all of them where there is no source)."""
        sources = self._sources.values()
        return [cid for cid in self._waiting if all(cid in source.lacks for source in sources)]

    def useful_count(self) -> int:
        """Return how many sources there are that may have all that waits."""
        return sum(not any(cid in source.lacks for cid in self._waiting) for source in self._sources.values())

    @property
    def sources(self) -> list[PeerId]:
        """The sources in use."""
        return list(self._sources)

    def _unasked(self, cid: bytes, peer: PeerId) -> None:
        peers = self._asked.get(cid)
        if peers is None:
            return
        peers.discard(peer)
        if not peers:
            del self._asked[cid]
            self._waiting[cid] = None
            self._waiting.move_to_end(cid, last=False)


def _silent_s(source: _Source, late_s: float) -> float:
    return max(source.silent_s, SILENT_SHARE * late_s)
