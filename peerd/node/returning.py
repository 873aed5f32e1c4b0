"""A peer that is back: it answers for a key only once others have confirmed what it holds, deletes included.

Every start with a store that is not empty is a return: the process was killed, the host was off, an old backup was
restored; nothing here can tell them apart. A key is confirmed when this peer has reconciled with a majority of the
key's other holders that are present. Where nobody is present a peer that was away for no longer than the grace of
tombstones, or never knew anybody, serves what it has. Not here: reconciling itself.
"""

import asyncio

from loguru import logger

from peerd.content.cid import Cid
from peerd.errors import PeerdError, StoreError
from peerd.ids import Key, PeerId
from peerd.io.store.interface import Root
from peerd.node.claims import claims_on, drop_claims
from peerd.node.core import Core
from peerd.node.reading import read
from peerd.trust.quorum import majority

# Nothing is confirmed before those that are there can have been met: so long after the start, and while others come in
# quick succession, but never longer than the last.
SETTLE_S = 1.0
QUIET_S = 0.5
SETTLE_MAX_S = 5.0
# A peer that knew others gives them so long before it takes itself for alone.
ALONE_S = 3.0
WRITTEN_MAX = 65_536
PAGE = 128
CHECK_TIMEOUT_S = 5.0


class Returning:
    """What of this peer's store is confirmed since it started; `active` until all that is present was heard."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.active = False
        self._started_at = core.now()
        self._came_at = float("-inf")
        self._reconciled: set[PeerId] = set()
        self._given_up: set[PeerId] = set()
        self._written: dict[Key, None] = {}
        self._knew_others = False
        self._away_s = 0.0

    async def begin(self) -> None:
        """Say whether this is a return, before anything is answered; raises StoreError."""
        core = self._core
        self._started_at = core.now()
        # A store that was put back may be from before the first record: what it promised since is not in it.
        kept = core.store.is_copy or await core.store.record_count() > 0
        self.active = kept or bool(await core.store.floors(None, 1))
        if not self.active:
            return
        last = await core.store.remembered_peers(1)
        self._knew_others = bool(last)
        if last:
            self._away_s = max(0.0, core.store.now_s() - last[0].last_seen)
        core.tasks.spawn(self._settle(), "settle")

    def came(self) -> None:
        """Another peer is here."""
        self._came_at = self._core.now()

    def confirmed(self, key: Key) -> bool:
        """Return whether this peer may answer for a key."""
        if not self.active or key in self._written:
            return True
        if self._settles_in_s > 0:
            return False
        found = self._core.members.responsible(key)
        # A crowd must not keep us from ever answering: who cannot be reconciled with is not waited for there.
        others = [each for each in found.contacts if not (found.crowded and each.peer in self._given_up)]
        if not found.contacts:
            return self._alone_may_serve
        heard = sum(1 for contact in others if contact.peer in self._reconciled)
        return heard >= majority(len(others))

    @property
    def unconfirmed_s(self) -> float:
        """For how long what is here was not confirmed by anybody."""
        return round(self._away_s + self._core.now() - self._started_at, 3)

    def wrote(self, key: Key) -> None:
        """A version newer than what was here was stored here, by a writer or reader that knows."""
        if self.active:
            self._written[key] = None
            if len(self._written) > WRITTEN_MAX:
                self._written.pop(next(iter(self._written)))

    def gave_up(self, peer: PeerId) -> None:
        """Again and again another could not be reconciled with, though it is there."""
        if self.active:
            self._given_up.add(peer)

    def reconciled(self, peer: PeerId) -> None:
        """This peer knows all that another did of what both should hold."""
        self._given_up.discard(peer)
        if self.active and peer not in self._reconciled:
            self._reconciled.add(peer)
            self._end_when_all_were_heard()

    @property
    def _settles_in_s(self) -> float:
        quiet_at = min(self._came_at + QUIET_S, self._started_at + SETTLE_MAX_S)
        return max(self._started_at + SETTLE_S, quiet_at) - self._core.now()

    @property
    def _alone_may_serve(self) -> bool:
        if not self._knew_others and not self._core.members.all:
            return True
        waited = self._core.now() >= self._started_at + ALONE_S
        if waited and not self._core.members.known():
            return True  # all others are forgotten: nobody will say more
        return waited and self._away_s <= self._core.settings.tombstone_grace_s

    async def _settle(self) -> None:
        while True:
            left_s = self._settles_in_s
            if left_s <= 0:
                break
            await asyncio.sleep(left_s)
        self._end_when_all_were_heard()

    def _end_when_all_were_heard(self) -> None:
        core = self._core
        if not self.active or self._settles_in_s > 0:
            return
        present = [contact.peer for contact in core.members.alive() if contact.peer not in core.members.doubted]
        waiting = [p for p in present if p not in self._reconciled and core.reconciling.shared_with(p)]
        if not present or waiting:
            return
        self.active = False
        self._written.clear()
        took_s = round(core.now() - self._started_at, 3)
        logger.info("what is kept here is confirmed", peers=len(present), took_s=took_s)
        core.reconciling.returned()
        core.tasks.spawn(self._check_claims(), "check claims")

    async def _check_claims(self) -> None:
        """Content that is here for names which have named something else meanwhile is a cached copy from now on."""
        core = self._core
        after = None
        while roots := await core.store.roots(after, PAGE):
            for root in roots:
                await self._check_root(root)
            after = roots[-1].cid

    async def _check_root(self, root: Root) -> None:
        core = self._core
        for held in await claims_on(core, root.cid):
            if held.claim.key is None:
                continue
            try:
                reading = await read(core, Key(held.claim.key), consistency="quorum", timeout_s=CHECK_TIMEOUT_S)
            except StoreError:
                raise
            except PeerdError as error:
                logger.debug("a claim could not be checked", cid=Cid.from_bytes(root.cid).text, reason=str(error))
                continue
            if reading.ends(held.claim):
                await drop_claims(core, root.cid, [held.row])
