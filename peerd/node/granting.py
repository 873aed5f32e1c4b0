"""Whom this peer, as a holder, tells of changes: lease-takers before a change, followers after it.

A lease lets its taker answer `quorum` reads of a key by itself (Gray and Cheriton 1989). So before a holder keeps a
newer version it tells all that have a lease of it from here, and waits for their answers or for the end of the lease:
what it shows or acknowledges then is news to nobody who still reads the old. Meanwhile it grants none on that key.

Who was silent is given no lease for a while, and neither is anybody on that key: whoever takes leases and falls silent,
by mischance or to slow writers down, delays one write in that time. A follower is told when the change is on the disk,
and nobody waits for it. Not here: taking leases (leases), following (changes).
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from peerd.cache.takers import Takers
from peerd.errors import PeerdError, StoreError
from peerd.ids import Key, PeerId
from peerd.node import holding
from peerd.node.core import Core
from peerd.node.reading import REFUSED_RETURNING
from peerd.wire import limits
from peerd.wire.messages import Changed, Done, Follow, Following, Refused, Reply

GIVER_S = limits.LEASE_GIVER_MS / 1000
# Of a record that is to end sooner nobody has a lease: by it its end might be missed.
LASTING_S = 4
# After a lease had to be waited out: no lease to who was silent, none on that key.
TAKER_REST_S = 60.0
KEY_REST_S = 10.0
RESTING_MAX = 4096
TELL_TIMEOUT_S = 3.0
REFUSED_STORE = "store"


class Granting:
    """Who has leases from here, and who follows what."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._leased = Takers()
        self._followers = Takers()
        self._turning: Counter[Key] = Counter()
        self._resting: OrderedDict[bytes, float] = OrderedDict()

    # Asked.

    async def on_follow(self, peer: PeerId, request: Follow) -> Reply:
        """Note who is to be told of changes of a key, and say which version is here."""
        core, key = self._core, Key(request.key)
        if core.returning.active and not core.returning.confirmed(key):
            return Refused(request.rid, REFUSED_RETURNING)
        # Noted before anything is looked at: of what changes from now on it is told.
        granted = self._note_lease(key, peer) if request.lease else self._note_follower(key, peer)
        try:
            here = (await holding.standing(core, key)).record
            left_s = await holding.left_s(core, here) if here is not None else 0
        except StoreError:
            return Refused(request.rid, REFUSED_STORE)
        digest = here.version.digest if here is not None else b""
        if request.lease:
            lasts = here is not None and not here.deleted and (left_s is None or left_s >= LASTING_S)
            granted = granted and lasts and digest == request.digest and not self._turning[key]
        return Following(request.rid, granted, digest)

    def _note_lease(self, key: Key, peer: PeerId) -> bool:
        now = self._core.now()
        if key in self._turning or self._rests(key, now) or self._rests(peer, now):
            return False
        return self._core.members.contact(peer) is not None and self._leased.note(key, peer, now + GIVER_S, now)

    def _note_follower(self, key: Key, peer: PeerId) -> bool:
        now = self._core.now()
        return self._followers.note(key, peer, now + limits.FOLLOW_LIFE_S, now)

    def _rests(self, who: bytes, now: float) -> bool:
        return self._resting.get(who, 0.0) > now

    def _rest(self, who: bytes, until: float) -> None:
        self._resting[who] = until
        self._resting.move_to_end(who)
        if len(self._resting) > RESTING_MAX:
            self._resting.popitem(last=False)

    # Changing.

    def has_takers(self, key: Key, but: PeerId | None = None) -> bool:
        """Return whether a change of a key has to wait for anybody apart from `but`."""
        takers = self._leased.of(key, self._core.now())
        return bool(takers.keys() - {but})

    @asynccontextmanager
    async def turning(self, key: Key, but: PeerId | None = None) -> AsyncIterator[None]:
        """Have no lease on a key while what is in it runs; `but` knows of the change, for it is the writer."""
        self._turning[key] += 1
        try:
            if but is not None:
                self._leased.drop(key, but)
            takers = self._leased.of(key, self._core.now())
            if takers:
                await asyncio.gather(*(self._end(key, PeerId(taker), until) for taker, until in takers.items()))
            yield
        finally:
            self._turning[key] -= 1
            if not self._turning[key]:
                del self._turning[key]

    async def _end(self, key: Key, taker: PeerId, until: float) -> None:
        """Return when a lease is over: its taker knows, or it was waited out."""
        core = self._core
        contact = core.members.contact(taker)
        if contact is None or not await self._tell(key, taker, timeout_s=until - core.now()):
            await asyncio.sleep(max(0.0, until - core.now()))
            now = core.now()
            self._rest(taker, now + TAKER_REST_S)
            self._rest(key, now + KEY_REST_S)
            core.counts.rejected["silent_lease"] += 1
        self._leased.drop(key, taker)

    async def _tell(self, key: Key, peer: PeerId, *, timeout_s: float) -> bool:
        contact = self._core.members.contact(peer)
        if contact is None:
            return False
        try:
            return isinstance(await self._core.endpoint.ask(contact, Changed, key, timeout_s=timeout_s), Done)
        except PeerdError:
            return False

    def changed(self, key: Key) -> None:
        """Tell all that follow a key that it changed; what it is now is on the disk."""
        followers = self._followers.of(key, self._core.now())
        if followers:
            self._core.tasks.spawn(self._tell_all(key, followers), "tell of a change")

    async def _tell_all(self, key: Key, followers: dict[bytes, float]) -> None:
        peers = [PeerId(each) for each in followers]
        told = await asyncio.gather(*(self._tell(key, peer, timeout_s=TELL_TIMEOUT_S) for peer in peers))
        for peer, heard in zip(peers, told, strict=True):
            if not heard:
                self._followers.drop(key, peer)
