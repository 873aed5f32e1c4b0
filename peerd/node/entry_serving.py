"""Entries of build caches that this peer keeps for all: told to those nearest to the key, taken from others, bounded.

Who is told keeps the statement; the nearest fetch the content too, as cached copies. Nobody owes anything: an entry
lives until its life is over, it was unused for longest of many, or room is needed for something else.
"""

import asyncio

from loguru import logger

from peerd.content.cid import Cid
from peerd.errors import NoRoomError, PeerdError, RefusedError, StoreError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.bounds import ENTRY_ROW_BYTES
from peerd.io.store.entries import EntryRow
from peerd.kad.contact import Contact
from peerd.kad.crowd import RECORD_HOLDERS, divide
from peerd.node.asking import Asking
from peerd.node.core import Core
from peerd.node.entry_fetch import fetch_whole
from peerd.node.entry_lookup import check_entry, kept_entry
from peerd.node.keylocks import KeyLocks
from peerd.node.nearest import holders_of
from peerd.records.entry import CONTENT, INLINE, Entry, entries
from peerd.wire.messages import Done, EntryFound, FindEntry, KeepEntry, Refused, Reply

TELLING_MAX = 16
TOLD_WAITING_MAX = 1024
"""Entries that wait to be told to others; beyond, a burst of a build is this peer's alone until it is asked for."""

COPYING_MAX = 4
COPIES_WAITING_MAX = 256
"""Copies that others asked for and that wait for their turn: no peer makes another fetch without end."""

USED_NOTED_S = 60.0
"""How often a use is noted on disk: what goes first is told by the minute."""

EVICTED_PAGE = 16
DROPPED_PAGE = 256
BYTES_MAX_PART = 4

# Kept for others by whoever is among so many nearest: views differ, and holders may be away.
NEAR_HOLDERS = 3 * RECORD_HOLDERS

REFUSED_BAD, REFUSED_FAR, REFUSED_UNKNOWN = "bad", "far", "unknown"
REFUSED_NO_ROOM, REFUSED_STORE = "no_room", "store"


class EntryServing:
    """What this peer keeps of entries, and what it tells and is told of them."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._locks = KeyLocks()
        self._telling = asyncio.Semaphore(TELLING_MAX)
        self._told_waiting = 0
        self._copying = asyncio.Semaphore(COPYING_MAX)
        self._copies_waiting = 0
        self._bounding = False

    @property
    def bytes_max(self) -> int:
        """How many bytes of content are kept for entries at most."""
        most = self._core.settings.build_cache_max_bytes
        return self._core.store.quota_bytes // BYTES_MAX_PART if most is None else most

    async def keep(self, key: Key, raw: bytes, body: Entry, left_s: int, *, kept: int) -> bool:
        """Keep an entry in place of an older one; False where a newer one is known. Raises NoRoomError, StoreError."""
        core = self._core
        async with self._locks.hold(key):
            known = await core.store.entry(key)
            newest = kept_entry(core, known)
            if newest is not None and newest.order > body.order:
                return False
            if known is not None and known.statement == raw:
                kept = max(kept, known.kept)
            now = core.store.now_s()
            row = EntryRow(raw, now + left_s, now, kept)
            size = len(raw) + ENTRY_ROW_BYTES
            await core.room.put_record(lambda: core.store.put_entry(key, row), writer=PeerId(body.writer), size=size)
        if kept and not self._bounding:
            self._bounding = True
            core.tasks.spawn(self._bound(), "bound the build cache")
        return True

    def used(self, key: Key, row: EntryRow) -> None:
        """Note that an entry was used, where that was not done for a while."""
        now = self._core.store.now_s()
        if now - row.used_at > USED_NOTED_S:
            self._core.tasks.spawn(self._core.store.touch_entry(key, now), "note the use of an entry")

    def tell(self, key: Key, raw: bytes, body: Entry) -> None:
        """Tell those nearest to an entry of it, in the background."""
        if self._told_waiting < TOLD_WAITING_MAX:
            self._told_waiting += 1
            if not self._core.tasks.spawn(self._tell(key, raw, body), "tell of an entry"):
                self._told_waiting -= 1

    async def expire(self) -> None:
        """Forget entries whose life is over, and let go of their content."""
        store = self._core.store
        while gone := await store.drop_entries(store.now_s(), DROPPED_PAGE):
            for row in gone:
                await self._release(row)

    # What others ask.

    async def on_find(self, request: FindEntry) -> Reply:
        """Answer what is known here of an entry."""
        core = self._core
        try:
            row = await core.store.entry(Key(request.key))
            now = core.store.now_s()
            body = kept_entry(core, row)
            if row is None or body is None or row.expires <= now:
                return EntryFound(request.rid, b"", None, False)
            self.used(Key(request.key), row)
            has = body.kind == INLINE
            if body.kind == CONTENT:
                root = await core.store.root(body.value)
                has = root is not None and root.complete
            return EntryFound(request.rid, row.statement, max(1, int(row.expires - now)), has)
        except StoreError:
            return Refused(request.rid, REFUSED_STORE)

    async def on_keep(self, peer: PeerId, request: KeepEntry) -> Reply:
        """Keep an entry for others, and a copy of its content where that is asked for."""
        try:
            await self._keep_for(peer, request)
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return Refused(request.rid, REFUSED_BAD)
        except RefusedError as error:
            return Refused(request.rid, error.reason)
        except NoRoomError:
            return Refused(request.rid, REFUSED_NO_ROOM)
        except StoreError:
            return Refused(request.rid, REFUSED_STORE)
        return Done(request.rid)

    async def _keep_for(self, peer: PeerId, request: KeepEntry) -> None:
        core = self._core
        body = check_entry(core, request.entry)
        key, writer = Key(body.key), PeerId(body.writer)
        if writer != peer and not core.members.met(writer):
            raise RefusedError(REFUSED_UNKNOWN)
        if not self._is_near(key):
            raise RefusedError(REFUSED_FAR)
        left_s = min(request.left_s, body.life_s)
        known = await core.store.entry(key)
        is_new = known is None or known.statement != request.entry
        if is_new and not await self.keep(key, request.entry, body, left_s, kept=0):
            return
        contact = core.members.contact(peer)
        if request.copy and contact is not None and body.kind == CONTENT:
            self._copy(key, request.entry, body, left_s, contact)

    def _is_near(self, key: Key) -> bool:
        members = self._core.members
        nearest = members.closest(key, NEAR_HOLDERS)
        return members.responsible(key).ours or divide(nearest, members.own_place, key, NEAR_HOLDERS).ours

    # In the background.

    async def _tell(self, key: Key, raw: bytes, body: Entry) -> None:
        core = self._core
        copies = core.settings.build_cache_copies - 1 if body.kind == CONTENT else 0
        try:
            async with self._telling:
                holders = await holders_of(core, key)
                with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
                    for at, contact in enumerate(holders.contacts):
                        asking.ask(contact, KeepEntry, raw, body.life_s, at < copies, silent_after_s=0)
                    while await asking.next() is not None:
                        pass
        finally:
            self._told_waiting -= 1

    def _copy(self, key: Key, raw: bytes, body: Entry, left_s: int, source: Contact) -> None:
        if body.size > self.bytes_max or self._copies_waiting >= COPIES_WAITING_MAX:
            return
        self._copies_waiting += 1
        if not self._core.tasks.spawn(self._fetch_copy(key, raw, body, left_s, source), "copy an entry"):
            self._copies_waiting -= 1

    async def _fetch_copy(self, key: Key, raw: bytes, body: Entry, left_s: int, source: Contact) -> None:
        core = self._core
        try:
            async with self._copying:
                root = await core.store.root(body.value)
                here = root is not None and root.complete
                if not here and not await fetch_whole(core, Cid.from_bytes(body.value), body.size, [source]):
                    return
                known = await core.store.entry(key)
                if known is not None and known.statement == raw:
                    await self.keep(key, raw, body, left_s, kept=body.size)
        finally:
            self._copies_waiting -= 1

    async def _bound(self) -> None:
        """Let content go, that of the longest unused entries first, until what is kept is within its bound."""
        store = self._core.store
        try:
            while await store.entry_bytes() > self.bytes_max:
                idle = await store.idle_entries(EVICTED_PAGE)
                if not idle:
                    break
                for key, row in idle:
                    if await store.entry_bytes() <= self.bytes_max:
                        break
                    await store.release_entry(key)
                    await self._release(row)
        except PeerdError as error:
            logger.warning("the build cache cannot be bounded now", reason=str(error))
        finally:
            self._bounding = False

    async def _release(self, row: EntryRow) -> None:
        if row.kept and entries.is_whole(row.statement):
            await self._core.room.let_go(entries.read(row.statement).value)
