"""What a read of a key came to."""

from dataclasses import dataclass

from peerd.errors import NotFoundError
from peerd.ids import PeerId
from peerd.kad.lookup import Hop
from peerd.records.claim import Claim
from peerd.records.floor import FloorVersion
from peerd.records.record import Record


@dataclass(slots=True)
class Reading:
    """What a read came to: the newest record (a tombstone too), None where the holders say that there is nothing."""

    record: Record | None
    local: bool
    hops: int
    have: list[PeerId]
    trace: list[Hop]
    floor: int = 0
    """The highest sequence that a holder knows to be over: what is written next must be above it."""

    over: FloorVersion | None = None
    """Up to which version most holders say that the key is over."""

    stale_since_s: float | None = None
    """How long ago it was shown to be the newest, where that cannot be shown now (freshness)."""

    cached: bool = False
    """It is no holder's, but was cached here."""

    @property
    def sequence(self) -> int:
        """Return the highest sequence known, 0 where there is none."""
        return max(self.floor, self.record.body.sequence if self.record is not None else 0)

    def ends(self, claim: Claim) -> bool:
        """Return whether a claim of the key has ended."""
        if self.record is not None:
            return claim.ended_by(self.record)
        return self.over is not None and claim.over_by(self.over)


def need(reading: Reading, name: str) -> Record:
    """Return the record of a reading that names something; raises NotFoundError."""
    record = reading.record
    if record is None or record.deleted:
        raise NotFoundError(f"not found: {name}")
    return record
