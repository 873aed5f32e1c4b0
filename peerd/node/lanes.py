"""Addresses that wait to be tried, in lanes: whom one was told of by liars waits for no one else's handshakes.

Each lane (configured peers, remembered ones, mDNS, other members' answers) keeps a share of the handshakes under way
that no other lane takes. In a lane those who named the candidates take turns, each with a window as in TCP's slow
start: it doubles when somebody answers where it said, and halves when nobody does. Who invents contacts waits for them
alone.
Not here: handshakes, and which addresses are worth one (joining).
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from peerd.ids import PeerId
from peerd.kad.contact import Address
from peerd.node.handshakes import TRIES_MAX as HELLOS_MAX
from peerd.node.vicinity import Source

Lane: TypeAlias = Literal["configured", "remembered", "mdns", "overlay"]

# Candidates that wait for a handshake; the last of whoever named most go first.
CANDIDATES_MAX = 1024
# Handshakes of ours under way at a time, and those of them that each lane keeps for itself.
HANDSHAKES_MAX = 32
LANE_KEEPS = 6
# How many candidates of one referrer are tried at a time: at first, at least, at most. The last few places of a lane
# are for those of whose candidates none is tried.
WINDOW_FIRST = 4
WINDOW_MIN = 2
WINDOW_MAX = 12
LANE_LAST = 4
# A referrer is noted once in so many contacts of its at which nobody was ever met and of which hardly one answered.
INVENTED_EACH = 32
INVENTED_SHARE = 4
# Referrers whose windows are remembered; those longest unused go.
REFERRERS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address to try, whom we expect there if anybody, and where we have it from."""

    address: Address
    expected: PeerId | None
    source: Source
    hellos_max: int = HELLOS_MAX
    again: bool = False
    """Whether it is our turn to try somebody dead."""
    referrer: PeerId | None = None
    """Which member named it."""
    fresh: bool = False
    """Whether it is said to have come just now."""

    @property
    def lane(self) -> Lane:
        """Return with whom it waits."""
        match self.source:
            case "bootstrap" | "coordinator":
                return "configured"
            case source:
                return source


@dataclass(slots=True)
class _Referrer:
    """What came of the candidates that one peer named."""

    window: int = WINDOW_FIRST
    under_way: int = 0
    invented: int = 0
    answered: int = 0
    waiting: OrderedDict[Address, Candidate] = field(default_factory=OrderedDict)


_By = tuple[Lane, PeerId | None]


class Lanes:
    """The candidates that wait and those under way."""

    def __init__(self) -> None:
        self._referrers: OrderedDict[_By, _Referrer] = OrderedDict()
        """Those longest not served first."""
        self._by_address: dict[Address, _By] = {}
        self._under_way: dict[Lane, int] = {"configured": 0, "remembered": 0, "mdns": 0, "overlay": 0}
        self.dropped_count = 0

    def __contains__(self, address: Address) -> bool:
        """Return whether an address waits or is under way."""
        return address in self._by_address

    def __len__(self) -> int:
        """Return how many wait or are under way."""
        return len(self._by_address)

    def put(self, candidate: Candidate) -> bool:
        """Let one wait; return False where it is dropped because too many do."""
        by = (candidate.lane, candidate.referrer)
        referrer = self._referrers.get(by)
        if referrer is None:
            referrer = self._referrers[by] = _Referrer()
            if candidate.referrer is None:
                referrer.window = HANDSHAKES_MAX
            self._bound_referrers()
        if len(self._by_address) >= CANDIDATES_MAX + HANDSHAKES_MAX:
            self.dropped_count += 1
            longest = max(self._referrers.values(), key=lambda each: len(each.waiting))
            if len(longest.waiting) <= len(referrer.waiting) + 1:
                return False
            address, _ = longest.waiting.popitem()
            del self._by_address[address]
        referrer.waiting[candidate.address] = candidate
        self._by_address[candidate.address] = by
        return True

    def take(self) -> Candidate | None:
        """Return whom to try now, None where nobody waits or enough are under way; `done` must follow."""
        for by, referrer in self._referrers.items():
            if referrer.waiting and referrer.under_way < referrer.window and self._has_room(by, referrer):
                break
        else:
            return None
        self._referrers.move_to_end(by)
        _, candidate = referrer.waiting.popitem(last=False)
        referrer.under_way += 1
        self._under_way[by[0]] += 1
        return candidate

    def done(self, candidate: Candidate, *, answered: bool, tried: bool = True, known: bool = True) -> bool:
        """Note what came of a candidate that was taken: whether it answered, was tried at all, was ever met.

        Return whether its referrer is to be noted as one that invents contacts.
        """
        by = self._by_address.pop(candidate.address)
        referrer = self._referrers[by]
        referrer.under_way -= 1
        self._under_way[by[0]] -= 1
        if candidate.referrer is None:
            return False
        if answered:
            referrer.answered += 1
            referrer.window = min(WINDOW_MAX, 2 * referrer.window)
        elif tried:
            referrer.window = max(WINDOW_MIN, referrer.window // 2)
            referrer.invented += not known
        if referrer.invented < INVENTED_EACH:
            return False
        invents = referrer.answered * INVENTED_SHARE < referrer.invented
        referrer.invented = referrer.answered = 0
        return invents

    def is_doubtful(self, by: PeerId | None, lane: Lane = "overlay") -> bool:
        """Return whether hardly anybody answered where this peer said: its contacts are worth one hello each."""
        referrer = self._referrers.get((lane, by))
        return by is not None and referrer is not None and referrer.window <= WINDOW_MIN

    def _has_room(self, by: _By, referrer: _Referrer) -> bool:
        lane, who = by
        last = LANE_LAST if who is not None and referrer.under_way else 0
        kept = sum(max(LANE_KEEPS, count) for each, count in self._under_way.items() if each != lane)
        return self._under_way[lane] + kept + last < HANDSHAKES_MAX

    def _bound_referrers(self) -> None:
        if len(self._referrers) > REFERRERS_MAX:
            idle = (by for by, each in self._referrers.items() if not each.waiting and not each.under_way)
            oldest = next(idle, None)
            if oldest is not None:
                del self._referrers[oldest]
