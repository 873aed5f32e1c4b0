"""The build cache: what build tools put under a path, for all peers of the network, for a while.

A put is acknowledged when it is on this peer's disk; others are told behind it, and some of them take a copy. A get
is answered from this disk: what is elsewhere is fetched whole first, and what cannot be had in time is a miss. All of
it is of class cache, within a bound of its own: it goes when room is needed, and is never a promise.

Not here: what others ask (entry_serving), looking up and fetching (entry_lookup, entry_fetch), HTTP (api.build_cache).
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace

from loguru import logger

from peerd.content.cid import Cid
from peerd.errors import NoRoomError, NotFoundError, PeerdError, StoreError, UsageError
from peerd.ids import Key
from peerd.io.store.entries import EntryRow
from peerd.io.store.interface import Root
from peerd.node import results
from peerd.node.blocks import link_whole
from peerd.node.claims import change_root
from peerd.node.core import Core
from peerd.node.entry_fetch import fetch_whole, keep_cached
from peerd.node.entry_lookup import FoundEntry, kept_entry, look_up
from peerd.node.entry_names import EntryName, parse_entry_path
from peerd.node.entry_serving import EntryServing
from peerd.node.get import Opened
from peerd.node.ingest import OFFLOAD_MIN_BYTES, Ingested, ingest, small_cid, store_small
from peerd.node.results import GetOptions
from peerd.records.entry import CONTENT, GONE, INLINE, Entry, entries
from peerd.wire import limits

ENTRY_BYTES_MAX = 2 * 1024**3
"""Content of one entry: a tool that goes wrong is told so before it has filled the cache."""

HELD_S = 30.0
HELD_MAX = 1024
"""What a HEAD promised stays for so long, so many at a time: a client that asks and never gets fills nothing."""

FETCH_ATTEMPTS = 2
VERIFIED_MAX = 4096


class BuildCache:
    """The entries of this peer."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._finding: dict[Key, asyncio.Future[FoundEntry | None]] = {}
        self._held_count = 0
        self._verified: OrderedDict[bytes, bytes] = OrderedDict()
        """By the digests of names: the content here that was seen to have it."""
        self.serving = EntryServing(core)

    @property
    def entry_bytes_max(self) -> int:
        """The largest content of an entry that is taken."""
        return min(ENTRY_BYTES_MAX, self.serving.bytes_max)

    async def put(self, path: str, body: AsyncIterator[bytes]) -> bool:
        """Keep what a tool puts under a path; returns whether there was nothing that is known here.

        Raises UsageError (a path that is none, content that is not what a `cas/` path says), NoRoomError, StoreError.
        """
        core, name = self._core, parse_entry_path(path)
        hashed = _Hashed(core, body) if name.digest is not None else None
        try:
            with core.intake.one():
                ingested = await ingest(core, body if hashed is None else hashed.pieces(), "file")
                if hashed is not None and hashed.digest != name.digest:
                    raise UsageError("the content does not have the digest that its path says")
                kind, value = await self._keep_content(ingested)
                key = name.key(core.identity.network)
                before = await core.store.entry(key)
                await self._write(key, kind, value, ingested.node.size, before)
                if name.digest is not None:
                    self._note_verified(name.digest, value)
        finally:
            core.tasks.spawn(core.intake.sweep(), "sweep")
        if before is not None:
            core.tasks.spawn(self._let_go(before, value), "let an older entry go")
        older = kept_entry(core, before)
        return older is None or older.kind == GONE

    async def open(self, path: str, *, hold: bool = False) -> Opened:
        """Return what is under a path, ready to be read from this disk; `hold` sees that it stays for HELD_S.

        Raises NotFoundError where it cannot be had in time, UsageError for a path that is none.
        """
        core, name = self._core, parse_entry_path(path)
        key = name.key(core.identity.network)
        found = await self._here(key)
        if found is not None and not name.fits(found.body):
            found = None  # whoever told it lied
        if found is None or not await self._can_be_read(name, found.body):
            found = await self._elsewhere(key, name, found)
        core.counts.cache_hits += found is not None
        core.counts.cache_misses += found is None
        if found is None:
            raise NotFoundError("no such entry that can be had now")
        if hold and found.body.kind == CONTENT:
            self._hold(Cid.from_bytes(found.body.value))
        return self._opened(found.body)

    async def remove(self, path: str) -> None:
        """Delete what is under a path, here and at those that are told; raises NotFoundError, as `open` does."""
        core, name = self._core, parse_entry_path(path)
        key = name.key(core.identity.network)
        before = await core.store.entry(key)
        found = await self._here(key) or await look_up(core, name, None)
        if found is None or found.body.kind == GONE:
            raise NotFoundError("no such entry that is known now")
        await self._write(key, GONE, b"", 0, before)
        if before is not None:
            core.tasks.spawn(self._let_go(before, b""), "let an entry go")

    # What is here.

    async def _here(self, key: Key) -> FoundEntry | None:
        """Return the entry as it is known here, None where its life is over or the disk cannot tell."""
        try:
            row = await self._core.store.entry(key)
        except StoreError as error:
            logger.warning("an entry cannot be read here", reason=str(error))
            return None
        now = self._core.store.now_s()
        body = kept_entry(self._core, row)
        if row is None or body is None or row.expires <= now:
            return None
        self.serving.used(key, row)
        return FoundEntry(body, row.statement, max(1, int(row.expires - now)))

    async def _can_be_read(self, name: EntryName, body: Entry) -> bool:
        """Whether all of an entry's content is here and what its name says; it is used then, and wanted."""
        if body.kind != CONTENT:
            return body.kind == INLINE
        try:
            root = await self._core.store.root(body.value)
            if root is None or not root.complete or not await self._is_verified(name, body):
                return False
            if root.copies == 0 and root.class_ == "cache":
                await keep_cached(self._core, Cid.from_bytes(body.value), body.size)
        except PeerdError as error:
            logger.debug("the content of an entry cannot be looked at", reason=str(error))
            return False
        self._core.store.touch_root(body.value, self._core.store.now_s())
        return True

    async def _is_verified(self, name: EntryName, body: Entry) -> bool:
        """Whether content has the digest of its name: a copy that was asked for by its writer is read for that once."""
        if name.digest is None or self._verified.get(name.digest) == body.value:
            return True
        hashed = _Hashed(self._core, self._opened(body).body())
        async for _ in hashed.pieces():
            pass
        if hashed.digest != name.digest:
            return False
        self._note_verified(name.digest, body.value)
        return True

    def _note_verified(self, digest: bytes, root: bytes) -> None:
        self._verified[digest] = root
        if len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)

    def _opened(self, body: Entry) -> Opened:
        inline = body.value if body.kind == INLINE else None
        root = small_cid(body.value) if inline is not None else Cid.from_bytes(body.value)
        info = results.Get(cid=root.text, size=body.size, source="cache", hops=0, elapsed_ms=0.0)
        return Opened(self._core, info, "file", body.size, root, GetOptions(), inline, "")

    def _hold(self, root: Cid) -> None:
        if self._held_count >= HELD_MAX:
            return
        stack = ExitStack()
        stack.enter_context(self._core.room.coming_in(root))
        self._held_count += 1

        def release() -> None:
            self._held_count -= 1
            stack.close()

        asyncio.get_running_loop().call_later(HELD_S, release)

    # What is elsewhere.

    async def _elsewhere(self, key: Key, name: EntryName, known: FoundEntry | None) -> FoundEntry | None:
        """Look it up and fetch it; those that ask meanwhile wait for the same, and nobody who leaves ends it."""
        future = self._finding.get(key)
        if future is None:
            future = self._finding[key] = asyncio.get_running_loop().create_future()
            if not self._core.tasks.spawn(self._find(key, name, known, future), "find an entry"):
                del self._finding[key]
                return None
        return await asyncio.shield(future)

    async def _find(
        self, key: Key, name: EntryName, known: FoundEntry | None, future: "asyncio.Future[FoundEntry | None]"
    ) -> None:
        found = None
        try:
            for attempt in range(FETCH_ATTEMPTS):
                candidate = await look_up(self._core, name, known, patient=attempt > 0)
                if candidate is None:
                    break
                if await self._fetch(key, name, candidate):
                    found = candidate
                    break
        finally:
            del self._finding[key]
            if not future.done():
                future.set_result(found)

    async def _fetch(self, key: Key, name: EntryName, found: FoundEntry) -> bool:
        core, body = self._core, found.body
        kept = 0
        if body.kind == CONTENT:
            if body.size > self.entry_bytes_max:
                return False
            root = Cid.from_bytes(body.value)
            if not await fetch_whole(core, root, body.size, found.sources, digest=name.digest):
                return False
            kept = body.size
            if name.digest is not None:
                self._note_verified(name.digest, body.value)
        try:
            await self.serving.keep(key, found.raw, body, found.left_s, kept=kept)
        except (NoRoomError, StoreError) as error:  # it is served, and looked up again the next time
            logger.debug("an entry was found and not noted", reason=str(error))
        return True

    # Writing.

    async def _keep_content(self, ingested: Ingested) -> tuple[int, bytes]:
        """Keep what came in, where it does not fit its entry; return the entry's kind and value."""
        core = self._core
        if ingested.small is not None and len(ingested.small) <= limits.ENTRY_VALUE_MAX_BYTES:
            return INLINE, ingested.small
        if ingested.small is not None:
            await store_small(core, ingested)
        root = ingested.node.cid
        with core.room.coming_in(root):
            if not await link_whole(core.store, root, ingested.cids):
                raise StoreError("some blocks did not stay while the others came")
            await keep_cached(core, root, ingested.node.size)
        return CONTENT, root.to_bytes()

    async def _write(self, key: Key, kind: int, value: bytes, size: int, before: EntryRow | None) -> None:
        """Write the newest entry of a key; where somebody wrote a newer one meanwhile, that stays."""
        core = self._core
        life_s = core.settings.build_cache_ttl_s
        stamp, older = await core.next_stamp(), kept_entry(core, before)
        if older is not None:
            stamp = min(max(stamp, older.stamp + 1), limits.STAMP_MAX)  # its writer's clock may be ahead of ours
        body = Entry(1, key, core.peer, kind, stamp, life_s, size, value)
        raw = entries.sign(core.identity, body)
        if await self.serving.keep(key, raw, body, life_s, kept=size if kind == CONTENT else 0):
            self.serving.tell(key, raw, body)
        elif kind == CONTENT:
            core.tasks.spawn(self._unwanted(value), "let an entry go")

    async def _let_go(self, before: EntryRow, value: bytes) -> None:
        """Have content that no entry of this key names any more go first when room is needed."""
        older = kept_entry(self._core, before)
        if older is not None and older.kind == CONTENT and older.value != value:
            await self._unwanted(older.value)

    async def _unwanted(self, content: bytes) -> None:
        def unwanted(root: Root | None) -> Root | None:
            return replace(root, copies=0) if root is not None and root.class_ == "cache" else None

        await change_root(self._core, content, unwanted)


class _Hashed:
    """A body whose SHA-256 is worked out as it passes."""

    def __init__(self, core: Core, body: AsyncIterator[bytes]) -> None:
        self._core = core
        self._body = body
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            if len(piece) < OFFLOAD_MIN_BYTES:
                self._hash.update(piece)
            else:
                await self._core.environment.offload(self._hash.update, piece)
            yield piece
