"""The truth of a run: what was written under each name, what was acknowledged, what a read may therefore return.

A read must return bytes that somebody wrote under that name, and never a version older than one whose write was
acknowledged before the read began, unless a cut lay between (DESIGN.md 6: conflicts are the price there).
"""

from dataclasses import dataclass, field

from peerd.ids import Key


@dataclass(frozen=True, slots=True)
class Write:
    """One acknowledged write; `value` None is a delete. `holders` are those whose receipts it had.

    `content` is the CID's 36 bytes where the value is too long for its record.
    """

    sequence: int
    value: bytes | None
    ended_at: float
    holders: tuple[str, ...]
    version: str = ""
    content: bytes | None = None


@dataclass(slots=True)
class Name:
    """All that was tried under one name.

    `tried` holds every value that may show up, acknowledged or not; `unsure_deletes` counts deletes that are under way
    or have failed: they may have had their effect.
    """

    name: str
    tried: dict[bytes, None] = field(default_factory=dict)
    unsure_deletes: int = 0
    acknowledged: list[Write] = field(default_factory=list)
    key: Key | None = None
    """Once it was worked out."""

    @property
    def newest(self) -> Write | None:
        """The acknowledged write that orders last."""
        return max(self.acknowledged, key=lambda write: write.sequence, default=None)

    def newest_before(self, instant: float) -> Write | None:
        """Return the newest write whose acknowledgement came before `instant`."""
        return max((w for w in self.acknowledged if w.ended_at <= instant), key=lambda w: w.sequence, default=None)

    def may_be_deleted(self, since: Write) -> bool:
        """Return whether a delete may order after `since`; of one sequence, only the peers know who comes first."""
        return self.unsure_deletes > 0 or any(
            write.value is None and write.sequence >= since.sequence for write in self.acknowledged
        )


class Ledger:
    """The names of a run, in order of first use."""

    def __init__(self) -> None:
        self.names: dict[str, Name] = {}

    def name(self, text: str) -> Name:
        """Return the entry of a name."""
        return self.names.setdefault(text, Name(text))

    def readable(self) -> list[Name]:
        """Return the names under which a read must find a value."""
        written = ((name, name.newest) for name in self.names.values())
        return [name for name, newest in written if newest is not None and not name.may_be_deleted(newest)]


def wrong_bytes(name: Name, value: bytes) -> str | None:
    """Return what is wrong with bytes that a read came to, or None: somebody wrote them there."""
    if value in name.tried:
        return None
    return f"wrong bytes under {name.name}: {len(value)} bytes that nobody wrote there"


def wrong_value(name: Name, value: bytes, sequence: int, *, known: Write | None) -> str | None:
    """Return what is wrong with the value that a read came to, or None.

    `known` is the newest write that the read must not be older than.
    """
    wrong = wrong_bytes(name, value)
    if wrong is not None:
        return wrong
    if known is not None and sequence < known.sequence:
        return f"{name.name} came back older than acknowledged: sequence {sequence} after {known.sequence}"
    return None


def wrong_absence(name: Name, *, known: Write | None) -> str | None:
    """Return what is wrong with "not found", or None."""
    if known is None or name.may_be_deleted(known):
        return None
    return f"{name.name} is denied though its write was acknowledged at {known.ended_at:.3f} s"
