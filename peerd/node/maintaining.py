"""What a peer does for what it keeps when nobody asks: publish anew, restore copies, forget what expired.

Each is a loop with a jittered interval from the settings. Failures are logged and the loop goes on. Not here: who is
there (probing), how copies are restored (repairing).
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from peerd.node.collecting import collect_aged, expire_records
from peerd.node.core import Core
from peerd.node.lives import mend_lives
from peerd.node.repairing import Repairing
from peerd.node.restoring import Restoring
from peerd.node.scrubbing import scrub
from peerd.node.tasks import every
from peerd.node.watchdog import Watchdog
from peerd.node.withdrawing import Rechecking, tell_withdrawals

EXPIRY_INTERVAL_S = 10.0
COLLECTIONS_PER_GRACE = 4
SWEEPS_PER_GRACE = 4
SWEEP_MIN_S = 1.0


class Maintaining:
    """The background loops of one peer."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._repairing = Repairing(core)
        self._rechecking = Rechecking(core)
        self._watchdog = Watchdog(core, self._repairing.content, mend=self._repairing.changed)

    def start(self) -> None:
        """Begin all loops."""
        settings = self._core.settings
        spawn = self._core.tasks.spawn
        spawn(self._every(settings.republish_interval_s, self._repairing.republish), "republish")
        spawn(self._every(settings.republish_interval_s, self._core.digests.announce_all), "aliases")
        spawn(self._every(EXPIRY_INTERVAL_S, self._expire), "expire")
        spawn(self._every(settings.unclaimed_grace_s / COLLECTIONS_PER_GRACE, self._collect), "collect")
        spawn(self._every(settings.republish_interval_s, self._recheck), "recheck claims")
        spawn(self._repairing.run(), "repair")
        spawn(self._every(settings.audit_interval_s, self._watchdog.round), "audit")
        sweep_s = max(SWEEP_MIN_S, min(settings.repair_interval_s, settings.tombstone_grace_s / SWEEPS_PER_GRACE))
        spawn(self._every(sweep_s, self._core.tombstones.sweep), "tombstones")
        spawn(mend_lives(self._core), "mend lives")
        spawn(self._core.room.caching.begin(), "take over cached copies")
        spawn(scrub(self._core), "scrub")

    @property
    def restoring(self) -> Restoring:
        """What sees to the copies of content."""
        return self._repairing.content

    def members_changed(self) -> None:
        """Somebody came or went: what is kept may be in the wrong place."""
        self._repairing.changed()

    def _every(self, interval_s: float, work: Callable[[], Awaitable[None]]) -> Coroutine[Any, Any, None]:
        return every(self._core.environment.rng, interval_s, work)

    async def _expire(self) -> None:
        """Forget records whose life is over, and see that the store's clock is on disk."""
        self._core.store.note_time()
        await expire_records(self._core)

    async def _collect(self) -> None:
        """Free what nobody has claimed for the grace, and what interrupted puts left."""
        await collect_aged(self._core)

    async def _recheck(self) -> None:
        """Hear of ends of claims that were missed, and tell ours to those that missed them."""
        await tell_withdrawals(self._core)
        await self._rechecking.round()
