"""Whether what clients saw of one key can be put in one order that a single register could have shown.

Linearizability (Herlihy and Wing 1990) checked by the search of Wing and Gong (1993) with Lowe's memory of what was
tried (2017), as in porcupine: take an operation that nothing left must precede, see whether the register could have
answered so, go on with the rest, and back where nothing fits. An operation of unknown outcome may take effect at any
time after it began, or never; it is tried only where those that were answered lead nowhere, and of writes whose values
nobody was told of the earlier ones first. Not here: who asks what (requests); keys are independent, each checked alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

from peerd.errors import UsageError

Kind = Literal["read", "write", "delete", "cas"]

# Positions of the search (sets of operations taken, with the register's value). Honest histories of a run need some
# thousands; without an end a history of many that are under way at once would take for ever.
POSITIONS_MAX = 2_000_000
# A value that nobody was told of.
_UNTOLD = b"\x00untold"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on a key, as its client saw it; `value` and `expected` None is a key without a value.

    `value` is what was written, or what a read returned. `returned_s` None: no answer was had, or one that leaves the
    outcome open. `done` False is a refusal: of a `cas` that the value was not `expected`, of a `delete` that there was
    nothing.
    """

    kind: Kind
    began_s: float
    returned_s: float | None
    value: bytes | None = None
    expected: bytes | None = None
    done: bool = True
    who: str = ""

    def text(self) -> str:
        """Return it in one line."""
        until = "?" if self.returned_s is None else f"{self.returned_s:.6f}"
        expected = f" for {_short(self.expected)}" if self.kind == "cas" else ""
        outcome = "" if self.done else " refused"
        return f"[{self.began_s:.6f}..{until}] {self.who} {self.kind} {_short(self.value)}{expected}{outcome}"


def unordered(history: Sequence[Operation], initial: bytes | None = None) -> list[Operation]:
    """Return nothing where `history` is linearizable; else the operations that no order could place, in time.

    Those are what is left beyond the longest order found: the first of them is where to look. Raises UsageError where
    the search would take more than POSITIONS_MAX.
    """
    # A read that was not answered says nothing.
    told = [operation for operation in history if operation.kind != "read" or operation.returned_s is not None]
    return _Search(told, initial).run()


def apply(value: bytes | None, operation: Operation) -> tuple[bool, bytes | None]:
    """Return whether a register with `value` could have answered so, and its value afterwards."""
    known = operation.returned_s is not None
    match operation.kind:
        case "read":
            return operation.value == value, value
        case "write":
            return True, operation.value
        case "delete" if known:
            return (value is not None) == operation.done, None
        case "delete":
            return True, None
        case "cas":
            matches = value == operation.expected
            if known and not operation.done:
                return not matches, value
            return matches, operation.value


def changes(operation: Operation) -> bool:
    """Return whether it changes the register. What does not, and fits, is taken at once and never put back alone.

    Any order that has it later is as good with it here.
    """
    refused = not operation.done and operation.returned_s is not None and operation.kind != "write"
    return operation.kind != "read" and not refused


@dataclass(slots=True)
class _Search:
    """The search over one history; events are linked, so that what is taken can be put back in constant time."""

    operations: list[Operation]
    value: bytes | None
    events: list[tuple[float, bool, int]] = field(default_factory=list)
    """(instant, whether it is a return, which operation); at one instant beginnings come first: they overlap."""
    following: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    places: dict[int, list[int]] = field(default_factory=dict)

    def run(self) -> list[Operation]:
        self._link()
        alike = self._alike()
        left = sum(operation.returned_s is not None for operation in self.operations)
        taken = best_taken = 0
        stack: list[tuple[int, bytes | None, bool]] = []
        seen: set[tuple[int, bytes | None]] = set()
        least_left, head = left, len(self.events)
        at = self.following[head]
        late = False  # whether those of unknown outcome are tried
        while left:
            _, is_return, number = self.events[at]
            if is_return and not late:
                late, at = True, self.following[head]
                continue
            if is_return:  # it must be taken before anything that begins later, and could not be
                certain = True
                while certain:
                    if not stack:
                        return self._beyond(best_taken)
                    number, self.value, certain = stack.pop()
                    taken &= ~(1 << number)
                    left += self.operations[number].returned_s is not None
                    self._put_back(number)
                at = self.following[self.places[number][0]]
                late = self.operations[number].returned_s is None
                continue
            if late != (self.operations[number].returned_s is None) or alike.get(number, 0) & ~taken:
                at = self.following[at]
                continue
            fits, value = apply(self.value, self.operations[number])
            position = (taken | 1 << number, value)
            if not fits or position in seen or (late and value == self.value):
                at = self.following[at]
                continue
            if len(seen) >= POSITIONS_MAX:
                raise UsageError(f"a history of {len(self.operations)} operations is too much for the checker")
            seen.add(position)
            stack.append((number, self.value, not changes(self.operations[number])))
            taken, self.value = position
            left -= self.operations[number].returned_s is not None
            self._take(number)
            at, late = self.following[head], False
            if left < least_left:
                least_left, best_taken = left, taken
        return []

    def _alike(self) -> dict[int, int]:
        """Give writes of unknown outcome whose values nobody was told of one value; return of each those before it.

        They differ in nothing but when they may begin to take effect: the earlier ones are used up first.
        """
        told = {self.value}
        for operation in self.operations:
            told.add(operation.expected)
            if operation.kind == "read":
                told.add(operation.value)
        found: dict[int, int] = {}
        before = 0
        for number in sorted(range(len(self.operations)), key=lambda each: self.operations[each].began_s):
            operation = self.operations[number]
            if operation.kind == "write" and operation.returned_s is None and operation.value not in told:
                self.operations[number] = replace(operation, value=_UNTOLD)
                found[number], before = before, before | 1 << number
        return found

    def _link(self) -> None:
        for number, operation in enumerate(self.operations):
            self.events.append((operation.began_s, False, number))
            if operation.returned_s is not None:
                self.events.append((operation.returned_s, True, number))
        self.events.sort()
        count = len(self.events)
        self.following = [*range(1, count + 1), 0]
        self.before = [count, *range(count)]
        for place, (_, _, number) in enumerate(self.events):
            self.places.setdefault(number, []).append(place)

    def _take(self, number: int) -> None:
        for place in self.places[number]:
            self.following[self.before[place]] = self.following[place]
            self.before[self.following[place]] = self.before[place]

    def _put_back(self, number: int) -> None:
        for place in reversed(self.places[number]):
            self.following[self.before[place]] = place
            self.before[self.following[place]] = place

    def _beyond(self, taken: int) -> list[Operation]:
        rest = [operation for number, operation in enumerate(self.operations) if not taken >> number & 1]
        return sorted(rest, key=lambda operation: (operation.returned_s or inf, operation.began_s))


def _short(value: bytes | None) -> str:
    return "nothing" if value is None else value[:24].decode("utf-8", "backslashreplace")
