"""Majorities of a key's holders: when a read knows the newest version, when a write is acknowledged. Pure counting.

Plain reads and writes count the holders that answer this operation: one that is silent past its own measured time is
left out (DESIGN.md 6; Attiya, Bar-Noy, Dolev 1995 for the write-back). "Not found" is stricter: it counts the
silent too.

Of what liars among the holders say: a floor is unsigned, and hides a version only where most of all that were asked
show one; a version far above all others is passed over unless most have it, or one liar would use up the numbers.
"""

from collections.abc import Callable, Iterable

from peerd.ids import PeerId
from peerd.records.floor import FloorVersion
from peerd.records.record import Record
from peerd.records.version import Version
from peerd.wire.limits import SEQUENCE_JUMP_MAX

# Of fewer holders no majority is left when one of them lies: there a floor counts as much as a value.
FLOORS_COUNTED_FROM = 4


def majority(count: int) -> int:
    """Return how many of `count` are more than half."""
    return count // 2 + 1


class ReadQuorum:
    """What holders answered to one read."""

    def __init__(
        self,
        asked: Iterable[PeerId],
        *,
        crowded: bool = False,
        own: PeerId | None = None,
        is_doubted: Callable[[Record], bool] = lambda record: False,
    ) -> None:
        """Count the answers of those asked; `crowded` where most of them may be there to lie (kad.crowd).

        What `is_doubted`, as what a revoked key may have signed only now, counts where most holders show it.
        """
        self._is_doubted = is_doubted
        self._doubts = False
        self._crowded = crowded
        self._own = own
        self._asked = set(asked)
        self._waiting = set(self._asked)
        self._answers: dict[PeerId, Record | None] = {}
        self._floors: dict[PeerId, FloorVersion] = {}
        self._failed: set[PeerId] = set()
        self._records: dict[Version, Record] = {}
        self._shown: Record | None = None
        self._newest: Record | None = None

    def on_asked(self, peer: PeerId) -> None:
        """Another holder is asked, in place of a silent one."""
        self._asked.add(peer)
        if peer not in self._answers:
            self._waiting.add(peer)

    def on_answer(self, peer: PeerId, record: Record | None, floor: FloorVersion | None = None) -> None:
        """A holder said what it has, or up to which version all is over; also late, after it was left out."""
        self._waiting.discard(peer)
        self._failed.discard(peer)
        self._answers[peer] = record
        self._floors.pop(peer, None)
        if floor is not None:
            self._floors[peer] = floor
        self._doubts = self._doubts or (record is not None and self._is_doubted(record))
        if record is not None:
            self._records[record.version] = record
        self._judge()

    def on_left_out(self, peer: PeerId) -> None:
        """A holder is silent or failed: this operation does not wait for it."""
        if peer in self._waiting:
            self._waiting.discard(peer)
            self._failed.add(peer)
            self._judge()

    def on_failed(self, peer: PeerId) -> None:
        """A holder that answered cannot take the newest: its answer does not count any more."""
        self._waiting.discard(peer)
        self._answers.pop(peer, None)
        self._floors.pop(peer, None)
        self._failed.add(peer)
        self._judge()

    def _judge(self) -> None:
        if self._newest is not None and len(self._records) == 1 and not (self._floors or self._doubts):
            return  # all that show anything show the same
        shown, reached = None, self._base(self._own_floor())
        for version, record in sorted(self._records.items(), key=lambda item: item[0]):
            if self._doubts and not self._is_believed(record):
                continue
            if version.sequence <= reached + SEQUENCE_JUMP_MAX or self._have(version) >= majority(len(self._asked)):
                shown, reached = record, max(reached, version.sequence)
        self._shown = shown
        self._newest = None if self._shown is None or self.is_over(self._shown) else self._shown

    def _is_believed(self, record: Record) -> bool:
        """Return whether most holders show a version that is doubted; in a crowded region: whether we have it."""
        if not self._is_doubted(record):
            return True
        showing = [peer for peer, each in self._answers.items() if each is not None and each.version == record.version]
        if self._crowded:
            return self._own in showing
        voices = len(self._answers) + len(self._waiting)
        if self._own in self._answers and self._answers[self._own] is None:
            voices -= 1  # that we have nothing says nothing of it
        return len(showing) >= majority(voices)

    @property
    def newest(self) -> Record | None:
        """The newest version that anybody showed; None where it is over, and so all below it."""
        return self._newest

    @property
    def floor(self) -> FloorVersion | None:
        """The highest floor that anybody showed and writers reach: what is written next must be above it."""
        base = self._base(self.agreed_floor)
        shown = self._shown.body.sequence if self._shown is not None else 0
        reach = max(base, shown) + SEQUENCE_JUMP_MAX
        agreed = self.agreed_floor
        within = (each for each in self._floors.values() if each[0] < reach or each == agreed)
        return max(within, default=None)

    @property
    def agreed_floor(self) -> FloorVersion | None:
        """The highest version that a majority says is over: of all that were asked, of few of those that answered."""
        floors = sorted(self._floors.values(), reverse=True)
        if self._crowded:
            return self._own_floor()
        most = majority(len(self._asked) if self._counts_floors else len(self._answers))
        return floors[most - 1] if len(floors) >= most else None

    def _own_floor(self) -> FloorVersion | None:
        return self._floors.get(self._own) if self._own is not None else None

    @staticmethod
    def _base(floor: FloorVersion | None) -> int:
        return floor[0] if floor is not None else 0

    def _have(self, version: Version) -> int:
        return sum(1 for each in self._answers.values() if each is not None and each.version >= version)

    @property
    def _counts_floors(self) -> bool:
        return len(self._asked) >= FLOORS_COUNTED_FROM

    @property
    def over(self) -> Record | None:
        """The newest version that anybody showed, where it is over."""
        return self._shown if self._shown is not None and self.is_over(self._shown) else None

    def is_over(self, record: Record) -> bool:
        """Return whether more holders have a floor at or above a version than have it or a newer one, and most of all.

        Honest floors are never wrong, only liars' are; a holder that shows an old version may have been away. A strong
        record is never over: its key keeps its tombstone, and only plain versions leave floors.
        """
        if not self._floors or record.body.strong:
            return False
        if self._crowded:  # what is unsigned counts for nothing where most may lie; what is here is our own
            own = self._own_floor()
            return own is not None and own >= record.version[:3]
        floors, having = self._floors_over(record), self._have(record.version)
        if not self._counts_floors:
            return floors > 0 and floors >= having
        return floors > having and floors >= majority(len(self._asked))

    def _floors_over(self, record: Record) -> int:
        return sum(1 for floor in self._floors.values() if floor >= record.version[:3])

    def _outweighed(self, more: int) -> bool:
        record = self._newest
        if record is None or self._crowded or record.body.strong:
            return False
        floors = self._floors_over(record)
        return floors > 0 and floors >= self._have(record.version) + more

    @property
    def unsure(self) -> bool:
        """Whether as many say that the newest is over as have it: those that are slow are heard first."""
        return self._outweighed(0)

    @property
    def unknown(self) -> bool:
        """Whether more say that the newest is over than have it, but not most of all: nobody can tell."""
        return self._outweighed(1)

    @property
    def is_held(self) -> bool:
        """Whether most of all that were asked have the newest."""
        return self._newest is not None and len(self.agreeing) >= majority(len(self._asked))

    @property
    def waiting(self) -> frozenset[PeerId]:
        """The holders that are asked and neither answered nor were left out."""
        return frozenset(self._waiting)

    @property
    def answered(self) -> frozenset[PeerId]:
        """Those whose answers count."""
        return frozenset(self._answers)

    @property
    def silent(self) -> frozenset[PeerId]:
        """Those that were left out: they did not answer, or failed."""
        return frozenset(self._failed)

    @property
    def unheard(self) -> bool:
        """Whether nobody that was asked has answered, and nobody is waited for any more."""
        return bool(self._asked) and not self._answers and not self._waiting

    @property
    def unanimous(self) -> bool:
        """Whether all that answered have the newest, which is no tombstone, and nobody says that anything is over."""
        newest = self._newest
        if newest is None or newest.deleted or self._floors or self._doubts:
            return False
        return len(self._records) == 1 and all(record is not None for record in self._answers.values())

    @property
    def decided(self) -> bool:
        """Whether a majority of those that answer has answered."""
        answered = len(self._answers)
        if self._crowded:
            return answered > 0 and not self._waiting
        return answered > 0 and answered >= majority(answered + len(self._waiting))

    @property
    def agreeing(self) -> list[PeerId]:
        """The holders that have the newest version."""
        return [peer for peer, record in self._answers.items() if self._is_newest(record)]

    @property
    def stale(self) -> list[PeerId]:
        """The holders that answered with an older version or none; of a crowd only those with an older one.

        Nobody is the wiser for writing to who denies: all of the region were written to.
        """
        if self._crowded:
            return [peer for peer in self.showing if not self._is_newest(self._answers[peer])]
        return [peer for peer, record in self._answers.items() if not self._is_newest(record)]

    @property
    def showing(self) -> list[PeerId]:
        """The holders that showed some version."""
        return [peer for peer, record in self._answers.items() if record is not None]

    @property
    def settled(self) -> bool:
        """Whether a majority of those that answer has the newest version, so that it needs no write-back.

        A tombstone only once nobody is waited for: those without room for what was written above it still show it.
        """
        if self.newest is None:
            return self.decided
        if self._crowded:
            return not self._waiting and not self.stale
        if self.newest.deleted and self._waiting:
            return False
        return len(self.agreeing) >= majority(len(self._answers) + len(self._waiting))

    @property
    def denied(self) -> bool:
        """Whether somebody said that there is nothing, and nobody showed anything."""
        return self.newest is None and bool(self._answers)

    def absent(self, holders: Iterable[PeerId]) -> bool:
        """Return whether a majority of `holders`, the silent included, said that there is nothing."""
        if not self.denied:
            return False
        expected = set(holders)
        if self._doubts:
            return False  # somebody showed what may be true
        if self._crowded and (self._waiting or self._failed):
            return False  # one honest holder that is not heard may have it
        denials = sum(1 for peer in expected if peer in self._answers)  # what any of them showed is over
        return bool(expected) and denials >= majority(len(expected))

    def _is_newest(self, record: Record | None) -> bool:
        return record is not None and self._newest is not None and record.version == self._newest.version


class WriteQuorum:
    """Whose receipts a write has. `asked` grows when the next nearest takes the share of a silent holder."""

    def __init__(self, asked: Iterable[PeerId], *, required: int | None = None, crowded: bool = False) -> None:
        self._crowded = crowded
        self._waiting = set(asked)
        self._required = required
        self.receipts: dict[PeerId, bytes] = {}
        self.failed: set[PeerId] = set()

    def on_asked(self, peer: PeerId) -> None:
        """Another holder is asked, in place of a silent one."""
        if peer not in self.receipts:
            self._waiting.add(peer)

    def on_receipt(self, peer: PeerId, receipt: bytes) -> None:
        """A holder has it on its disk."""
        self._waiting.discard(peer)
        self.failed.discard(peer)
        self.receipts[peer] = receipt

    def on_left_out(self, peer: PeerId) -> None:
        """A holder is silent, failed or refused."""
        if peer in self._waiting:
            self._waiting.discard(peer)
            self.failed.add(peer)

    @property
    def waiting(self) -> frozenset[PeerId]:
        """The holders whose receipts may still come."""
        return frozenset(self._waiting)

    @property
    def acknowledged(self) -> bool:
        """Whether a majority of the holders that answer has it, or as many as were asked for."""
        count = len(self.receipts)
        if self._required is not None and count < self._required:
            return False
        if self._crowded:  # the honest among them are to have it too
            return count > 0 and not self._waiting
        return count > 0 and count >= majority(count + len(self._waiting))
