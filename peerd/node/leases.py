"""Leases of this peer: while one lasts, a `quorum` read of its key is answered from here.

Sought for what is read again and again. It counts while a majority of the key's holders has granted it, each of them
showing that just this version is what it has: that alone says as much as a quorum read. What a majority acknowledges
later has at least one of them in it, and that one told us first, or waited our lease out by its own clock. It ends by
itself LEASE_TAKER_MS after it was asked for, and at once where one of those that were asked says that the key changes,
where this peer writes it, reads or holds something newer, or where others are the key's holders now.

So a liar among the granters hides nothing that an honest one took part in, and nothing at all for longer than a lease.
Where ids crowd a key most of those asked may lie: no leases there. Not here: granting (granting).
"""

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from peerd.ids import Key, PeerId
from peerd.io.store.seen import Seen
from peerd.kad.contact import Contact
from peerd.node import mending
from peerd.node.asking import Asking
from peerd.node.core import Core
from peerd.node.found import Reading
from peerd.node.holding import Standing
from peerd.node.nearest import Holders
from peerd.node.seen import is_older
from peerd.records.record import Record
from peerd.trust.quorum import majority
from peerd.wire import limits
from peerd.wire.messages import Follow, Following

TAKER_S = limits.LEASE_TAKER_MS / 1000
# Read again within this time a key is worth a lease; and one that is still read late in its lease is worth another.
REPEATED_S = 5.0
RENEWED_BEFORE_S = 0.5
# Keys with leases, about 1.5 KB each; keys whose last read is remembered. Beyond, the longest unused go.
LEASES_MAX = 1024
READ_MAX = 4096
SOUGHT_MAX = 64
"""Leases sought at a time."""


class _Lease:
    """One lease; `holders` are all that were asked for it, we among them where we hold the key."""

    def __init__(self, record: Record, asked: Holders, until: float, epoch: int, own: PeerId) -> None:
        self.record = record
        self.asked = asked
        self.ours = asked.ours
        self.holders = frozenset(contact.peer for contact in asked.contacts) | ({own} if asked.ours else frozenset())
        self.until = until
        self.epoch = epoch


@dataclass(slots=True)
class _Seeking:
    """A lease that is being asked for; what changes meanwhile ends it before it began."""

    asked: frozenset[PeerId]
    ended: bool = False


class Leases:
    """What this peer may answer by itself, and for how long."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._leases: OrderedDict[Key, _Lease] = OrderedDict()
        self._read_at: OrderedDict[Key, float] = OrderedDict()
        self._seeking: dict[Key, _Seeking] = {}
        self._writing: Counter[Key] = Counter()
        self.served = 0
        self.off = False
        """Whether none is sought: each read asks the holders."""

    def __len__(self) -> int:
        return len(self._leases)

    # Reading.

    def reading(self, key: Key, here: Standing, least: Seen | None) -> Reading | None:
        """Return what a quorum read of a key would, where a lease says so; `here` and `least` are what we know."""
        lease = self._leases.get(key)
        if lease is None:
            return None
        now = self._core.now()
        if now >= lease.until or not self._stands(key, lease, here, least):
            self.end(key)
            return None
        self._leases.move_to_end(key)
        self._note_read(key, now)
        if lease.until - now < RENEWED_BEFORE_S:
            self._seek(key, lease.record, lease.asked)
        self.served += 1
        return Reading(lease.record, local=True, hops=0, have=sorted(lease.holders), trace=[])

    def _stands(self, key: Key, lease: _Lease, here: Standing, least: Seen | None) -> bool:
        if least is not None and is_older(lease.record, least):
            return False
        if here.record is not None and here.record.version > lease.record.version:
            return False
        if lease.ours and (here.record is None or here.record.version != lease.record.version):
            return False
        if here.floor is not None and here.floor.version >= lease.record.version[:3]:
            return False
        members = self._core.members
        if lease.epoch != members.epoch and members.complete:
            found = members.responsible(key)
            now_held_by = {contact.peer for contact in found.contacts} | ({self._core.peer} if found.ours else set())
            if found.crowded or not now_held_by <= lease.holders:
                return False
            lease.epoch = members.epoch
        return True

    def was_read(self, key: Key, reading: Reading, holders: Holders) -> None:
        """Note what a quorum read of a key came to: where it is read again and again a lease is sought."""
        now, record = self._core.now(), reading.record
        again = self._note_read(key, now) is not None
        if again and record is not None and not record.deleted and not self._core.trust.is_doubted(record):
            self._seek(key, record, holders)

    def _note_read(self, key: Key, now: float) -> float | None:
        """Note a read; return when the last was, where that is not long ago."""
        last = self._read_at.pop(key, None)
        self._read_at[key] = now
        if len(self._read_at) > READ_MAX:
            self._read_at.popitem(last=False)
        return last if last is not None and now - last <= REPEATED_S else None

    # Taking.

    def _seek(self, key: Key, record: Record, holders: Holders) -> None:
        if self.off or holders.crowded or not holders.contacts or key in self._seeking or key in self._writing:
            return
        if len(self._seeking) < SOUGHT_MAX:
            asked = frozenset(contact.peer for contact in holders.contacts)
            seeking = self._seeking[key] = _Seeking(asked)
            if not self._core.tasks.spawn(self._ask(key, record, holders, seeking), "seek a lease"):
                del self._seeking[key]

    async def _ask(self, key: Key, record: Record, holders: Holders, seeking: _Seeking) -> None:
        core = self._core
        asked_at, epoch = core.now(), core.members.epoch
        granted = int(holders.ours and core.returning.confirmed(key))
        enough = majority(len(holders.contacts) + holders.ours)
        others: list[Contact] = []
        try:
            with Asking(core.endpoint, timeout_s=TAKER_S - RENEWED_BEFORE_S) as asking:
                for contact in holders.contacts:
                    asking.ask(contact, Follow, key, record.version.digest, True, silent_after_s=0)
                while (answer := await asking.next()) is not None:
                    if not isinstance(answer.reply, Following):
                        continue
                    if answer.reply.digest != record.version.digest:
                        others.append(answer.contact)
                        continue
                    granted += answer.reply.granted
                    if granted == enough and answer.reply.granted and not seeking.ended:
                        self._take(key, _Lease(record, holders, asked_at + TAKER_S, epoch, core.peer))
        finally:
            if self._seeking.get(key) is seeking:
                del self._seeking[key]
        if others and record.body.ttl_s is None:
            await mending.give(core, record, None, others)  # a read would have met them

    def _take(self, key: Key, lease: "_Lease") -> None:
        self._leases[key] = lease
        if len(self._leases) > LEASES_MAX:
            self._leases.popitem(last=False)

    # Ending.

    def told(self, key: Key, peer: PeerId) -> None:
        """A peer says that a key changes: that ends a lease where it was asked for it."""
        lease, seeking = self._leases.get(key), self._seeking.get(key)
        if lease is not None and peer in lease.holders:
            del self._leases[key]
        if seeking is not None and peer in seeking.asked:
            seeking.ended = True

    def met(self, peer: PeerId) -> None:
        """End all leases that a peer granted: it may have been started again, and know nothing of them."""
        for key in [key for key, lease in self._leases.items() if peer in lease.holders]:
            del self._leases[key]
        for seeking in self._seeking.values():
            seeking.ended = seeking.ended or peer in seeking.asked

    def end(self, key: Key) -> None:
        """End a lease, also one that is being sought."""
        self._leases.pop(key, None)
        if key in self._seeking:
            self._seeking[key].ended = True

    @asynccontextmanager
    async def writing(self, key: Key) -> AsyncIterator[None]:
        """Have no lease while we write a key: its holders know that we know."""
        self._writing[key] += 1
        self.end(key)
        try:
            yield
        finally:
            self.end(key)
            self._writing[key] -= 1
            if not self._writing[key]:
                del self._writing[key]
