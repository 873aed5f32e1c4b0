"""Which block is asked of which source: every source busy, nothing asked twice without need.

A source that delivers faster is asked for more, since it comes back for more sooner. One that misses a block, breaks
or lies loses its share to the others. At the end, where a source is slow and another idle, the block is asked again
there ("endgame", as BitTorrent has it; Cohen 2003). Blocks are handed out in the order in which they were wanted.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from peerd.ids import PeerId

# Blocks asked of one source in one request; how many are under way in all is bounded by what is wanted at a time.
REQUEST_BLOCKS_MAX = 32
# A block asked of one source for longer than this may be asked of another that has nothing to do.
ENDGAME_S = 0.5
ASKED_AT_ONCE_MAX = 2


@dataclass(slots=True)
class _Source:
    """One peer that may have blocks."""

    asked: dict[bytes, float] = field(default_factory=dict)
    lacks: set[bytes] = field(default_factory=set)


class Schedule:
    """The blocks wanted and the sources there are; CIDs are 36 bytes."""

    def __init__(self) -> None:
        self._sources: dict[PeerId, _Source] = {}
        self._waiting: OrderedDict[bytes, None] = OrderedDict()
        self._asked: dict[bytes, set[PeerId]] = {}

    def add_source(self, peer: PeerId) -> None:
        """A source can be asked from now on."""
        self._sources.setdefault(peer, _Source())

    def drop_source(self, peer: PeerId) -> None:
        """A source is gone or lied; what it was asked for waits for another."""
        source = self._sources.pop(peer, None)
        if source is None:
            return
        for cid in source.asked:
            self._unasked(cid, peer)

    def want(self, cid: bytes) -> None:
        """A block is wanted, after those wanted before."""
        if cid not in self._asked:
            self._waiting[cid] = None

    def forget(self, cid: bytes) -> None:
        """A block is no longer wanted, or is here."""
        self._waiting.pop(cid, None)
        for peer in self._asked.pop(cid, set()):
            self._sources[peer].asked.pop(cid, None)

    def assign(self, peer: PeerId, now: float) -> list[bytes]:
        """Return the blocks to ask of a source now, noted as asked."""
        source = self._sources.get(peer)
        if source is None:
            return []
        # An equal share of what waits, in two requests for each source so that one is always under way.
        room = min(REQUEST_BLOCKS_MAX, 1 + len(self._waiting) // (2 * len(self._sources)))
        chosen: list[bytes] = []
        for cid in self._waiting:
            if len(chosen) >= room:
                break
            if cid not in source.lacks:
                chosen.append(cid)
        for cid in chosen:
            del self._waiting[cid]
        if not chosen and not source.asked:
            chosen = self._endgame(source, now)
        for cid in chosen:
            source.asked[cid] = now
            self._asked.setdefault(cid, set()).add(peer)
        return chosen

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
        if source.asked.pop(cid, None) is not None:
            self._unasked(cid, peer)

    def on_delivered(self, peer: PeerId, cid: bytes) -> None:
        """A source delivered the block (checked by the caller): nobody else needs to."""
        self.forget(cid)

    def forgive(self) -> None:
        """Forget who lacked what: it may have come to them meanwhile."""
        for source in self._sources.values():
            source.lacks.clear()

    def hopeless(self) -> list[bytes]:
        """Return waiting blocks that every source lacks (all of them where there is no source)."""
        sources = self._sources.values()
        return [cid for cid in self._waiting if all(cid in source.lacks for source in sources)]

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
