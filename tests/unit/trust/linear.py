"""Is a history of operations on one register linearizable? (Wing and Gong 1993, with the memory of Lowe 2017.)

An operation is invoked and, unless it is not known what became of it, returns; it takes effect at one instant between.
One that never returned may take effect at any later instant, or never.
"""

from dataclasses import dataclass
from typing import Any

READ, WRITE, CAS = "read", "write", "cas"
NEVER = float("inf")


@dataclass(slots=True)
class Operation:
    """`wanted` is what a compare-and-set compares with; `value` what was written or read; `ok` whether it compared."""

    kind: str
    invoked: float
    value: Any = None
    wanted: Any = None
    returned: float = NEVER
    ok: bool = True

    def after(self, present: Any) -> tuple[bool, Any]:
        """Return whether this can be what happened where `present` is there, and what is there then."""
        if self.kind == WRITE:
            return True, self.value
        if self.kind == READ:
            return present == self.value, present
        matches = present == self.wanted
        if self.returned != NEVER and matches != self.ok:
            return False, present
        return True, self.value if matches else present


def is_linearizable(history: list[Operation], first: Any = None) -> bool:
    """Whether there is an order of instants that explains every answer."""
    history = [one for one in history if one.kind != READ or one.returned != NEVER]
    seen: set[tuple[int, Any]] = set()
    done_all = sum(1 << at for at, operation in enumerate(history) if operation.returned != NEVER)
    stack: list[tuple[int, Any]] = [(0, first)]
    while stack:
        done, present = stack.pop()
        if done & done_all == done_all:
            return True
        rest = [at for at in range(len(history)) if not done >> at & 1]
        until = min(history[at].returned for at in rest)
        for at in rest:
            if history[at].invoked > until:
                continue
            fits, then = history[at].after(present)
            step = (done | 1 << at, then)
            if fits and step not in seen:
                seen.add(step)
                stack.append(step)
    return False
