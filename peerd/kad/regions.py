"""Which parts of the key space two peers should both hold: no key has to be looked at to know it.

Who is among the `count` nearest to a key depends on its first bits alone. So the space is walked down as a binary tree,
with the places in groups that are equally near to all keys below the present prefix, until both peers are known to be
in or out. The cost grows with the number of peers near the two, not with that of the keys.

Where peers crowd a key all of its region hold it (crowd): such parts of the space are few, and are found likewise.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from peerd.ids import ID_BITS, ID_BYTES
from peerd.kad.crowd import Rule

# Deeper than places differ; where chance made two alike for longer, both count as in.
DEPTH_MAX = 40
# Parts of the key space that are looked at: a fraction of a millisecond. Without places that are alike a few dozen
# suffice, and a crowd of such places must not make each newcomer dear.
STEPS_MAX = 128

# So finely it is looked where a region begins to be crowded; the parts where that is not decided then count as crowded.
CROWD_BITS = 6

Range = tuple[bytes, bytes]
"""Keys from the first on and below the second; b"" as the second is above all."""


@dataclass(frozen=True, slots=True)
class CrowdedPart:
    """Keys that begin with the first `depth` bits of `prefix`, crowded, and the places that are in their regions."""

    prefix: int
    depth: int
    places: frozenset[int]


def crowded_parts(own: int, places: Sequence[int], rule: Rule) -> list[CrowdedPart]:
    """Return where the keys are crowded in whose region `own` may be, `places` being all there are; some too many."""
    depth = max(0, ID_BITS - max(*rule.bounds, rule.radius).bit_length())
    near = [place for place in places if (place ^ own) >> (ID_BITS - depth) == 0]
    deepest = min(ID_BITS, depth + 1 + CROWD_BITS)
    found: list[CrowdedPart] = []
    waiting = [(own >> (ID_BITS - depth), depth)]
    while waiting:
        prefix, depth = waiting.pop()
        width = 1 << (ID_BITS - depth)
        least = sorted([((place >> (ID_BITS - depth)) ^ prefix) << (ID_BITS - depth) for place in near])
        if not any(map(int.__lt__, least, rule.bounds)) or ((own >> (ID_BITS - depth)) ^ prefix) * width >= rule.radius:
            continue
        if depth < deepest and not any(map(int.__lt__, [each + width - 1 for each in least], rule.bounds)):
            waiting += [(prefix * 2 + bit, depth + 1) for bit in (0, 1)]
            continue
        inside = [place for place in near if ((place >> (ID_BITS - depth)) ^ prefix) * width < rule.radius]
        found.append(CrowdedPart(prefix, depth, frozenset(inside)))
    return found


def regions(
    ours: int, theirs: int, places: Sequence[int], count: int, crowded: Iterable[CrowdedPart] = ()
) -> list[Range]:
    """Return in order where two of `places` (as numbers of 256 bits) are both among the `count` nearest to a key.

    And the `crowded` parts, as far as they are in the regions of both.

    Where two places are alike for long, which of them is nearer changes with every interval of that depth: parts that
    are not decided within STEPS_MAX, the smallest, count as in. Both peers come to the same.
    """
    order = sorted(places)
    own_at, their_at = bisect_left(order, ours), bisect_left(order, theirs)
    found: list[tuple[int, int]] = []
    waiting = deque([(0, 0, [(0, len(order), 0)])])
    steps = 0
    while waiting:
        prefix, depth, groups = waiting.popleft()
        theirs_in = _is_in(groups, their_at, count)
        ours_in = _is_in(groups, own_at, count) if theirs_in is not False else False
        if ours_in is False:
            continue
        steps += 1
        if (theirs_in is None or ours_in is None) and depth < DEPTH_MAX and steps < STEPS_MAX:
            for bit in (0, 1):
                waiting.append((prefix * 2 + bit, depth + 1, _parted(order, groups, depth, bit, count)))
            continue
        found.append((prefix, depth))
    found += [(part.prefix, part.depth) for part in crowded if theirs in part.places]
    ranges: list[Range] = []
    for prefix, depth in sorted(found, key=lambda part: (part[0] << (ID_BITS - part[1]), part[1])):
        _append(ranges, prefix, depth)
    return ranges


_Group = tuple[int, int, int]
"""Places equally near to all keys of a prefix: from which to which in order, and where their block begins."""


def _is_in(groups: list[_Group], at: int, count: int) -> bool | None:
    """Return whether a place is among the nearest to all keys of a prefix, None where it depends on more bits."""
    nearer = 0
    for first, end, _ in groups:
        if first <= at < end:
            return True if nearer + end - first <= count else None
        nearer += end - first
        if nearer >= count:
            break
    return False


def _parted(order: list[int], groups: list[_Group], depth: int, bit: int, count: int) -> list[_Group]:
    """Return the groups one bit further down, nearest first; those that cannot count any more are left out."""
    half = 1 << (ID_BITS - 1 - depth)
    parted: list[_Group] = []
    total = 0
    for first, end, low in groups:
        middle = bisect_left(order, low + half, first, end)
        halves = ((first, middle, low), (middle, end, low + half))
        for each in (halves[bit], halves[1 - bit]):
            if each[0] < each[1] and total < count:
                parted.append(each)
                total += each[1] - each[0]
    return parted


def _append(ranges: list[Range], prefix: int, depth: int) -> None:
    shift = 8 * ID_BYTES - depth
    low = (prefix << shift).to_bytes(ID_BYTES, "big")
    high = (prefix + 1 << shift).to_bytes(ID_BYTES, "big") if prefix + 1 < 1 << depth else b""
    if ranges and (ranges[-1][1] == b"" or ranges[-1][1] >= low):
        low, end = ranges.pop()
        high = b"" if b"" in (high, end) else max(high, end)
    ranges.append((low, high))
