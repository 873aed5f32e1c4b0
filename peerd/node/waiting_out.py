"""A write that waits for leases: what its holder answers meanwhile, and what its writer makes of that.

A holder that has to wait for a lease-taker longer than HELD_S says so (`leased`): else its writer would take it for
silent, go on without it, and acknowledge what a taker does not know yet. Asked once more it answers when it is done.
Who says `leased` and nothing more is silent like any other, a lease's time later. Not here: the leases (granting).
"""

import asyncio

from peerd.errors import PeerdError, RefusedError
from peerd.ids import PeerId
from peerd.node.asking import Answer, Asking
from peerd.node.core import Core
from peerd.node.endpoint import store_after_leases
from peerd.node.holding import Kept, Outdone, Over, keep_record
from peerd.records.record import Record
from peerd.wire import limits

REFUSED_LEASED = "leased"
# A taker on the LAN has answered by then; a writer does not take its holder for silent before.
HELD_S = 0.02
# Records that wait at a time; what comes beyond is not spoken of before it is done.
WAITING_MAX = 1024
# A writer hears the end of it after a lease at the latest, and repeats its question no faster.
PATIENCE_S = limits.LEASE_GIVER_MS / 1000 + 0.3
REPEATED_S = 0.5

Outcome = Kept | Outdone | Over


class WaitingOut:
    """What holders were sent and keep once their lease-takers know."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._under_way: dict[tuple[PeerId, bytes], asyncio.Future[Outcome]] = {}

    async def keep(self, sender: PeerId, record: Record, left_s: int | None) -> Outcome | None:
        """Keep a record that was sent (`holding.keep_record`); None where that waits: it is to be sent once more."""
        granting = self._core.changes.granting
        under_way = self._under_way.get((sender, record.version.digest))
        if under_way is not None:
            return await asyncio.shield(under_way)
        full = len(self._under_way) >= WAITING_MAX
        if full or not granting.has_takers(record.key, sender if sender == record.body.writer else None):
            return await keep_record(self._core, record, left_s, sender=sender)
        under_way = asyncio.get_running_loop().create_future()
        self._under_way[sender, record.version.digest] = under_way
        if not self._core.tasks.spawn(self._keep(under_way, sender, record, left_s), "wait for leases"):
            del self._under_way[sender, record.version.digest]
            return await keep_record(self._core, record, left_s, sender=sender)
        await asyncio.wait([under_way], timeout=HELD_S)
        return under_way.result() if under_way.done() else None

    async def _keep(
        self, under_way: asyncio.Future[Outcome], sender: PeerId, record: Record, left_s: int | None
    ) -> None:
        try:
            under_way.set_result(await keep_record(self._core, record, left_s, sender=sender))
        except PeerdError as error:
            under_way.set_exception(error)
            under_way.exception()  # who sent it may have gone away
        finally:
            under_way.cancel()  # this peer is stopping
            self._under_way.pop((sender, record.version.digest), None)


class Patience:
    """Who said that it waits for leases, in one write: each is asked once more, and waited for."""

    def __init__(self) -> None:
        self._asked: set[PeerId] = set()

    def asks_again(self, asking: Asking, answer: Answer, record: Record, left_s: int | None) -> bool:
        """Ask again where an answer says that it waits for leases; return whether it does, for the first time."""
        error, peer = answer.error, answer.contact.peer
        if not isinstance(error, RefusedError) or error.reason != REFUSED_LEASED or peer in self._asked:
            return False
        self._asked.add(peer)
        asking.ask(
            answer.contact,
            store_after_leases,
            record.raw,
            left_s,
            silent_after_s=PATIENCE_S,
            wait_min_s=REPEATED_S,
        )
        return True
