"""Range-based set reconciliation: two peers find where they differ, at a cost in proportion to the difference.

Source: Meyer, "Range-Based Set Reconciliation" (2022); the form is negentropy's. One side compares, the other only
answers and keeps nothing between questions. A question says of each range a fingerprint or all items; the answer to a
fingerprint is that it is the same, or those of a part each (items where they are few); the answer to items is where
they differ. Departures: items are keys with a mark, of which the other end's may be newer or older; an answer that
grows too long says LATER; an answer to items names only the differences. Not here: records, whom to ask, what is done.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from peerd.errors import WireError
from peerd.swarm.itemset import END, FINGERPRINT_BYTES, ItemSet
from peerd.wire.frames import ITEM_BYTES, KEY_BYTES
from peerd.wire.reconcile import FINGERPRINT, ITEMS, LATER, NO_MARK, SAME, RangeBody, split_items

# A range that differs is parted in so many; one of at most so many items is told whole.
PARTS = 16
TOLD_ITEMS_MAX = 16
# Ranges asked of in one question, and bytes told in one answer (or items in one question) before the rest waits.
ASKED_MAX = 64
ANSWER_BYTES = 96 * 1024

Range = tuple[bytes, bytes]


@dataclass(slots=True)
class Found:
    """What is known now: `ranges` were compared; in them `differing` keys have these marks there (None: nothing)."""

    ranges: list[Range] = field(default_factory=list)
    differing: dict[bytes, bytes | None] = field(default_factory=dict)


class Comparing:
    """The asking side of one session over some ranges of the key space, in order and apart.

    Call `next` for a question, give its answer to `receive`, until `next` is None. The set may change meanwhile.
    """

    def __init__(self, items: ItemSet, scope: Iterable[Range]) -> None:
        self._items = items
        self._waiting: deque[Range] = deque(scope)
        self._small: set[Range] = set()
        """Those that wait whose items are told, not their fingerprint."""
        self._asked: dict[Range, int] = {}
        self._found = Found()

    def next(self) -> list[RangeBody] | None:
        """Return the next question, None when all was compared."""
        if not self._waiting:
            return None
        said: list[RangeBody] = []
        reached = b""
        room = ANSWER_BYTES
        while self._waiting and len(self._asked) < ASKED_MAX and room > 0:
            low, high = span = self._waiting.popleft()
            if low > reached:
                said.append(RangeBody(low, SAME, b""))
            if span in self._small or self._items.count(low, high) == 0:
                self._small.discard(span)
                self._asked[span] = ITEMS
                said.append(RangeBody(high, ITEMS, b"".join(self._items.items(low, high))))
            else:
                self._asked[span] = FINGERPRINT
                said.append(RangeBody(high, FINGERPRINT, self._items.fingerprint(low, high)))
            room -= len(said[-1].data)
            reached = high
        return said

    def receive(self, answer: list[RangeBody]) -> None:
        """Take the answer to the last question.

        Raises WireError (`ranges`) where it does not answer just what was asked, or says nothing at all.
        """
        asked, self._asked = self._asked, {}
        told = _by_asked(list(asked), answer)
        again: list[Range] = []
        for span, kind in asked.items():
            for part in told[span]:
                self._take(part, kind, again)
        if [(low, high) for low, high in again if (low, high) in asked] == list(asked):
            raise WireError("ranges")
        self._waiting.extendleft(reversed(again))

    def found(self) -> Found:
        """Return what was found since this was called last."""
        found, self._found = self._found, Found()
        return found

    def _take(self, part: "_Part", asked: int, again: list[Range]) -> None:
        low, high, kind, data = part
        if kind == LATER:
            self._wait(low, high, again, small=asked == ITEMS)
        elif kind == SAME:
            self._found.ranges.append((low, high))
        elif kind == FINGERPRINT:
            if asked == ITEMS:
                raise WireError("ranges")
            if data == self._items.fingerprint(low, high):
                self._found.ranges.append((low, high))
            else:
                self._part(low, high, again)
        else:
            self._compare(low, high, told_items(data, low, high), whole=asked == FINGERPRINT)

    def _wait(self, low: bytes, high: bytes, again: list[Range], *, small: bool) -> None:
        again.append((low, high))
        if small:
            self._small.add((low, high))

    def _part(self, low: bytes, high: bytes, again: list[Range]) -> None:
        if self._items.count(low, high) <= TOLD_ITEMS_MAX:
            self._wait(low, high, again, small=True)
            return
        for bound in self._items.bounds(low, high, PARTS):
            self._wait(low, bound, again, small=False)
            low = bound

    def _compare(self, low: bytes, high: bytes, theirs: dict[bytes, bytes], *, whole: bool) -> None:
        """Note where `theirs` differs: all of a range, or only what is said to differ."""
        self._found.ranges.append((low, high))
        differing = self._found.differing
        for key, mark in theirs.items():
            own = self._items.mark(key)
            there = None if mark == NO_MARK else mark
            if own != there:
                differing[key] = there
        if whole:
            for item in self._items.items(low, high):
                if item[:KEY_BYTES] not in theirs:
                    differing[item[:KEY_BYTES]] = None


@dataclass(slots=True)
class Answered:
    """An answer, and what the question showed to be alike: of `ranges` all but `differing` keys."""

    answer: list[RangeBody] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    differing: set[bytes] = field(default_factory=set)
    same: bool = True
    """Whether nothing that was asked differs."""


def answer(items: ItemSet, asked: list[RangeBody]) -> Iterator[Answered]:
    """Answer a question, one range for each step; the last step's Answered is the whole.

    Raises WireError (`ranges`, `items`) where ranges are not in order or items not in their range.
    """
    done = Answered()
    room = ANSWER_BYTES
    low = b""
    for number, body in enumerate(asked):
        high = body.upper
        if (low >= high and high != END) or (high == END and number != len(asked) - 1) or number > 2 * ASKED_MAX:
            raise WireError("ranges")
        before = len(done.answer)
        if body.kind == SAME:
            done.answer.append(RangeBody(high, SAME, b""))
        elif room <= 0:
            done.same = False
            done.answer.append(RangeBody(high, LATER, b""))
        elif body.kind == FINGERPRINT:
            _answer_fingerprint(items, low, body, done)
        elif body.kind == ITEMS:
            _answer_items(items, low, body, done, room)
        else:
            raise WireError("ranges")
        room -= sum(len(each.data) + len(each.upper) for each in done.answer[before:])
        low = high
        yield done


def _answer_fingerprint(items: ItemSet, low: bytes, body: RangeBody, done: Answered) -> None:
    high = body.upper
    if len(body.data) != FINGERPRINT_BYTES:
        raise WireError("ranges")
    if body.data == items.fingerprint(low, high):
        done.answer.append(RangeBody(high, SAME, b""))
        done.ranges.append((low, high))
        return
    done.same = False
    if items.count(low, high) <= TOLD_ITEMS_MAX:
        done.answer.append(RangeBody(high, ITEMS, b"".join(items.items(low, high))))
        return
    for bound in items.bounds(low, high, PARTS):
        done.answer.append(RangeBody(bound, FINGERPRINT, items.fingerprint(low, bound)))
        low = bound


def _answer_items(items: ItemSet, low: bytes, body: RangeBody, done: Answered, room: int) -> None:
    """Tell where the asker's items differ from ours, as far as there is room."""
    high = body.upper
    theirs = told_items(body.data, low, high)
    told: list[bytes] = []
    missing = sorted(key for key in theirs if items.mark(key) is None)
    upto = high
    ours = items.items(low, high)
    for item in ours:
        if theirs.get(item[:KEY_BYTES]) != item[KEY_BYTES:]:
            if len(told) * ITEM_BYTES >= room:
                upto = item[:KEY_BYTES]
                break
            told.append(item)
    told += [key + NO_MARK for key in missing if upto == END or key < upto]
    told.sort()
    done.answer.append(RangeBody(upto, ITEMS, b"".join(told)))
    done.ranges.append((low, upto))
    done.differing.update(item[:KEY_BYTES] for item in told)
    done.same = done.same and not told
    if upto != high:
        done.answer.append(RangeBody(high, LATER, b""))


def told_items(data: bytes, low: bytes, high: bytes) -> dict[bytes, bytes]:
    """Return the items told of a range, mark by key; raises WireError where they are not in it or not in order."""
    found: dict[bytes, bytes] = {}
    last = b""
    for key, mark in split_items(data):
        if key <= last or key < low or (high != END and key >= high):
            raise WireError("items")
        found[key] = mark
        last = key
    return found


def cut(scope: Iterable[Range], cuts: Iterable[bytes]) -> list[Range]:
    """Return the same ranges, parted where one of `cuts` falls into them: no chosen items fit what is random."""
    found: list[Range] = []
    at = sorted(cuts)
    for low, high in scope:
        inside = [bound for bound in at if low < bound and (high == END or bound < high)]
        found += zip([low, *inside], [*inside, high], strict=True)
    return found


def pack_scope(scope: Iterable[Range]) -> bytes:
    """Return ranges as they travel in an Agree: bounds in turn, each a byte of length and so many; zeros at ends go."""
    bounds = [bound.rstrip(b"\x00") for span in scope for bound in span]
    return b"".join(bytes([len(bound)]) + bound for bound in bounds)


def unpack_scope(packed: bytes) -> list[Range]:
    """Return the ranges of an Agree; raises WireError (`ranges`) where they are not whole, or not in order."""
    bounds: list[bytes] = []
    at = 0
    while at < len(packed):
        bound = packed[at + 1 : at + 1 + packed[at]]
        if len(bound) != packed[at] or len(bound) > KEY_BYTES:
            raise WireError("ranges")
        bounds.append(bound)
        at += 1 + len(bound)
    if len(bounds) % 2:
        raise WireError("ranges")
    for number in range(1, len(bounds)):
        ends = number == len(bounds) - 1 and bounds[number] == END
        if not ends and (bounds[number] < bounds[number - 1] or (number % 2 and bounds[number] == bounds[number - 1])):
            raise WireError("ranges")
    return list(zip(bounds[::2], bounds[1::2], strict=True))


def fingerprint_of(items: ItemSet, scope: Iterable[Range]) -> bytes:
    """Return the fingerprint of several ranges together (16 bytes)."""
    each = b"".join(items.fingerprint(low, high) for low, high in scope)
    return hashlib.sha256(each).digest()[:FINGERPRINT_BYTES]


_Part = tuple[bytes, bytes, int, bytes]


def _by_asked(asked: list[Range], answer: list[RangeBody]) -> dict[Range, list[_Part]]:
    """Return the parts that an answer says of each range asked; raises WireError where it is not just of those."""
    told: dict[Range, list[_Part]] = {span: [] for span in asked}
    waiting = deque(asked)
    low = b""
    for body in answer:
        high = body.upper
        if low >= high and high != END:
            raise WireError("ranges")
        if not waiting or (high != END and high <= waiting[0][0]):
            if body.kind != SAME:
                raise WireError("ranges")
        else:
            span = waiting[0]
            inside = low >= span[0] and (span[1] == END or (high != END and high <= span[1]))
            if not inside:
                raise WireError("ranges")
            told[span].append((low, high, body.kind, body.data))
            if high == span[1]:
                waiting.popleft()
        low = high
    if waiting:
        raise WireError("ranges")
    return told
