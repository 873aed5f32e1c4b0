"""Following a key: whoever uses it here is woken when the key may have changed.

Its holders are asked to tell us of each change, again before that ends and when others come and go. Each says which
version it has, so what was told and lost is noticed then. Being woken says only that a read may show something newer:
what a liar says costs a read, and not more often than WAKES_MIN_S apart. Where holders are cut off or lie by silence,
who follows is woken every POLL_S all the same. Our own store's changes wake too. Nobody's write waits for a follower.

    async with core.changes.follow(key) as following:
        while True:
            ...read...
            await following.changed()

Not here: telling others (granting), reading by a lease (leases).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from peerd.errors import NoRoomError, PeerdError
from peerd.ids import Key, PeerId
from peerd.node.asking import Asking
from peerd.node.core import Core
from peerd.node.granting import Granting
from peerd.node.leases import Leases
from peerd.node.nearest import holders_of
from peerd.node.reading import REFUSED_RETURNING
from peerd.records.record import Record
from peerd.wire import limits
from peerd.wire.messages import Changed, Done, Follow, Following, Reply

# The holders are asked again so often, twice in the time that they tell us; and once others come or go, which is looked
# at so many times between.
RENEWED_S = limits.FOLLOW_LIFE_S / 3
LOOKS = 10
POLL_S = 30.0
# Between two wakes at the least: what liars say as often as they like.
WAKES_MIN_S = 0.05
# Keys followed at a time; who follows one more is told that there is no room.
FOLLOWED_MAX = 1024
ASK_TIMEOUT_S = 3.0

__all__ = ["REFUSED_RETURNING", "Changes", "Followed"]


class Followed:
    """One use of a key that is followed."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._event = asyncio.Event()
        self._woken_at = float("-inf")

    def wake(self) -> None:
        """The key may have changed."""
        self._event.set()

    async def changed(self) -> None:
        """Return once the key may have changed since this was last awaited, or since it began."""
        try:
            async with asyncio.timeout(POLL_S):
                await self._event.wait()
        except TimeoutError:
            pass
        pause_s = self._woken_at + WAKES_MIN_S - self._core.now()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        self._woken_at = self._core.now()
        self._event.clear()


class _Key:
    """A key that is followed here: by whom, who was asked to tell, and what each has."""

    def __init__(self) -> None:
        self.uses: set[Followed] = set()
        self.asked: frozenset[PeerId] = frozenset()
        self.shown: dict[PeerId, bytes] = {}

    def wake(self) -> None:
        for use in self.uses:
            use.wake()


class Changes:
    """Changes of keys: whom we tell, who tells us."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.granting = Granting(core)
        self.leases = Leases(core)
        self._keys: dict[Key, _Key] = {}

    def __len__(self) -> int:
        return len(self._keys)

    @asynccontextmanager
    async def follow(self, key: Key) -> AsyncIterator[Followed]:
        """Follow a key for as long as this lasts; raises NoRoomError where too many are."""
        followed = self._keys.get(key)
        if followed is None:
            if len(self._keys) >= FOLLOWED_MAX:
                raise NoRoomError("too many keys are followed here already")
            followed = self._keys[key] = _Key()
            if not self._core.tasks.spawn(self._keep_asking(key, followed), "follow a key"):
                del self._keys[key]
                raise NoRoomError("this peer has too much to do to follow another key")
        use = Followed(self._core)
        followed.uses.add(use)
        try:
            yield use
        finally:
            followed.uses.discard(use)
            if not followed.uses:
                self._keys.pop(key, None)

    # Told.

    def on_changed(self, peer: PeerId, request: Changed) -> Reply:
        """A holder's key changed, or is about to."""
        key = Key(request.key)
        self.leases.told(key, peer)
        followed = self._keys.get(key)
        if followed is not None and peer in followed.asked:
            followed.wake()
        return Done(request.rid)

    def happened(self, key: Key) -> None:
        """What is kept here of a key has changed, on the disk."""
        self.granting.changed(key)
        followed = self._keys.get(key)
        if followed is not None:
            followed.wake()

    def wrote(self, record: Record) -> None:
        """A version was written from here."""
        followed = self._keys.get(record.key)
        if followed is not None:
            followed.wake()

    # Asking.

    async def _keep_asking(self, key: Key, followed: _Key) -> None:
        core = self._core
        while followed.uses:
            epoch = core.members.epoch
            try:
                await self._ask(key, followed)
            except PeerdError:
                followed.wake()
            for _ in range(LOOKS):
                await asyncio.sleep(RENEWED_S / LOOKS)
                if not followed.uses or core.members.epoch != epoch:
                    break

    async def _ask(self, key: Key, followed: _Key) -> None:
        core = self._core
        holders = await holders_of(core, key)
        followed.asked = frozenset(contact.peer for contact in holders.contacts)
        with Asking(core.endpoint, timeout_s=ASK_TIMEOUT_S) as asking:
            for contact in holders.contacts:
                asking.ask(contact, Follow, key, b"", False, silent_after_s=0)
            while (answer := await asking.next()) is not None:
                peer = answer.contact.peer
                if isinstance(answer.reply, Following):
                    if followed.shown.get(peer, answer.reply.digest) != answer.reply.digest:
                        followed.wake()
                    followed.shown[peer] = answer.reply.digest
        followed.shown = {peer: digest for peer, digest in followed.shown.items() if peer in followed.asked}
