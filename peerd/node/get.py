"""Getting: the name's newest version, then its content from here or from all that have it, checked block by block."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.content.cid_set import CidSet
from peerd.content.limits import CHUNK_BYTES, WALK_BLOCKS_MAX
from peerd.content.read import FileReader
from peerd.errors import (
    NoRoomError,
    PeerdError,
    StoreError,
    TimedOutError,
    UsageError,
)
from peerd.ids import peer_id_text
from peerd.io.store.bounds import ROOM_HINT, RootClass, limit_bytes
from peerd.io.store.interface import Root, RootKind
from peerd.node import results
from peerd.node.agreeing import read_strong
from peerd.node.blocks import BlockWriter, link_whole
from peerd.node.core import Core
from peerd.node.describing import describe
from peerd.node.draining import drain, give_up
from peerd.node.fetch import Fetcher
from peerd.node.filling import Filling
from peerd.node.found import Reading, need
from peerd.node.holding import record_cid_bytes
from peerd.node.names import Digest, Name, target_of
from peerd.node.placing import inline_value
from peerd.node.providing import CACHE, announce, sources_of
from peerd.node.put import elapsed_ms
from peerd.node.reading import read
from peerd.node.results import GetOptions, Kind
from peerd.node.root_here import root_here
from peerd.node.tarring import tar
from peerd.records.record import DIRECTORY, INLINE, Record

# Blocks of one file under way ahead of its reader, of 1 MiB each.
AHEAD_BLOCKS = 12
# A file below this is read in order in any case: there is nothing in it that others could give meanwhile.
FILLED_LEAST_BYTES = 2 * CHUNK_BYTES
# Between two questions for a name of which too few holders answer.
ASK_AGAIN_S = 1.0


@dataclass(slots=True)
class Opened:
    """Something that was found, ready to be read; `close` it, or read it as an async context manager."""

    core: Core
    info: results.Get
    kind: Kind
    size: int
    root: Cid
    options: GetOptions
    inline: bytes | None
    name: str
    first: bytes | None = None
    """The root block, where it had to be fetched already to know what this is."""
    expected: bytes | None = None
    """The SHA-256 that the whole file is to have, where it was asked for by that and was not seen to have it."""

    async def body(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield the file's bytes, in order, from `offset`; raises UsageError for a directory."""
        if self.kind != "file":
            raise UsageError(
                "a directory has no bytes of its own", hint="get it with -o PATH, or list it with `peer ls`"
            )
        if self.inline is not None:
            end = None if length is None else offset + length
            if piece := self.inline[offset:end]:
                yield piece
            return
        whole = offset == 0 and (length is None or length >= self.size)
        if self.expected is not None and not whole:
            await self.core.digests.verify(self)
        if self.expected is not None and whole:
            async for piece in self.core.digests.checked(self):
                yield piece
            return
        async with Source(self, keep_whole=whole) as source:
            if whole and not self.options.in_order:
                await source.fill()
            async for piece in source.file(self.root, offset, length, first=await source.first()):
                yield piece

    async def tar(self) -> AsyncIterator[bytes]:
        """Yield the directory as a PAX tar of its entries, without a directory above them."""
        if self.kind != "directory":
            raise UsageError("not a directory")
        async with Source(self, keep_whole=True) as source:
            # Content named by its id alone says nothing of its size before it was walked.
            async for piece in tar(source, self.root, size=self.size if self.name else None):
                yield piece


async def open_target(core: Core, target: str, options: GetOptions, *, own: bool = False) -> Opened:
    """Find what `target` names (a key, PEER/KEY, or a CID) and return it ready to be read.

    Raises NotFoundError, TimedOutError, IntegrityError, UsageError.
    """
    started = core.now()
    found = target_of(core, target, own=own)
    if isinstance(found, Digest):
        return await core.digests.open(found, options)
    if isinstance(found, Cid):
        return await _open_cid(core, found, options, started)
    reading = await _read_patiently(core, found, options, started)
    record = need(reading, found.shown)
    opened = await _open_record(core, found, record, options, started, reading=reading)
    if reading.stale_since_s is not None:
        opened.info = structs.replace(opened.info, stale_since_s=reading.stale_since_s)
    return opened


async def _read_patiently(core: Core, name: Name, options: GetOptions, started: float) -> Reading:
    """Read a name; where it is not known, again and again for as long as the user gave it.

    A strong read is refused at once where it is clear that there is no majority.
    """
    if options.consistency == "strong":
        return await read_strong(core, name.key, timeout_s=options.timeout_s)
    while True:
        try:
            return await read(core, name.key, consistency=options.consistency, timeout_s=options.timeout_s)
        except TimedOutError:
            if core.now() + ASK_AGAIN_S > started + options.patience_s:
                raise
            await asyncio.sleep(ASK_AGAIN_S)


async def _open_record(
    core: Core, name: Name, record: Record, options: GetOptions, started: float, *, reading: Reading
) -> Opened:
    raw = record_cid_bytes(record)
    assert raw is not None, "a tombstone is not opened"
    root = Cid.from_bytes(raw)
    inline = record.body.value if record.body.kind == INLINE else None
    source = "cache" if reading.cached else "local" if reading.local else "peer"
    if inline is None:
        held = await root_here(core, raw)
        if held is not None and held.complete:
            source = "cache" if held.class_ == "cache" else "local"
    elif await _is_holder(core, record):
        source = "local"
    core.counts.cache_hits += source != "peer"
    core.counts.cache_misses += source == "peer"
    info = results.Get(
        key=name.shown,
        cid=root.text,
        kind="directory" if record.body.kind == DIRECTORY else "file",
        size=record.body.size,
        version=record.version.text,
        writer=peer_id_text(record.body.writer),
        source=source,  # type: ignore[arg-type]
        hops=0 if source != "peer" else reading.hops,
        elapsed_ms=elapsed_ms(core, started),
    )
    return Opened(core, info, info.kind, record.body.size, root, options, inline, name.shown)


async def _is_holder(core: Core, record: Record) -> bool:
    try:
        return await core.store.record(record.key) == record.raw
    except StoreError:
        return False


async def _open_cid(core: Core, root: Cid, options: GetOptions, started: float) -> Opened:
    raw = root.to_bytes()
    held = await root_here(core, raw)
    inline = None if held is not None else await inline_value(core, raw)
    source, first = "local", None
    if held is not None and held.complete:
        source = "cache" if held.class_ == "cache" else "local"
        kind: Kind = "directory" if held.kind == "directory" else "file"
        size = held.size
    elif inline is not None:
        kind, size = "file", len(inline)
    else:
        first, kind, size, local = await describe(core, root, until=started + options.patience_s)
        source = "local" if local else "peer"
    core.counts.cache_hits += source != "peer"
    core.counts.cache_misses += source == "peer"
    info = results.Get(
        cid=root.text,
        kind=kind,
        size=size,
        source=source,  # type: ignore[arg-type]
        hops=0 if source != "peer" else 1,
        elapsed_ms=elapsed_ms(core, started),
    )
    return Opened(core, info, kind, size, root, options, inline, "", first)


class Source:
    """The blocks of one read: fetched ahead of the reader, kept as a cached copy on the way."""

    def __init__(self, opened: Opened, *, keep_whole: bool) -> None:
        self._core = opened.core
        self._opened = opened
        self._root = opened.root

        async def find() -> list[Any]:
            return await sources_of(self._core, self._root)

        self._fetcher = Fetcher(self._core, find, patience_s=opened.options.timeout_s)
        self._keep = opened.options.cache or opened.options.pin
        self._keep_whole = keep_whole and self._keep
        self._writer = BlockWriter(self._core.store, self._core.room, self._root)
        self._failed_to_keep = False
        self._fetched_bytes = 0
        self._coming: list[asyncio.Task[bytes]] = []
        """Blocks under way when whoever read them went away."""
        self._completed = False
        self._coming_in = self._core.room.coming_in(self._root)
        self._read = CidSet()
        """The blocks of a read that is to be kept whole."""
        self._find = find
        self._filling: Filling | None = None

    async def __aenter__(self) -> "Source":
        self._core.room.caching.used(self._root.to_bytes())
        if self._keep and self._opened.info.source == "peer" and not await self._has_room():
            self._keep = self._keep_whole = False
        self._coming_in.__enter__()
        await self._fetcher.__aenter__()
        return self

    async def _has_room(self) -> bool:
        """Say whether a copy can stay here; NoRoomError where it was to be pinned.

        One that is larger than all that may go for it would push out every other cached copy in vain, and one that is
        used less than those that would have to go is delivered and not kept.
        """
        with suppress(StoreError):
            usage = await self._core.store.usage()
            most = limit_bytes(usage.quota_bytes, reserve=False) - usage.used_bytes + usage.cache_bytes
            if self._opened.size > most:
                if self._opened.options.pin:
                    raise NoRoomError("no room to pin that within the quota", hint=ROOM_HINT)
                return False
            if not self._opened.options.pin:
                return await self._core.room.caching.admits(self._root.to_bytes(), self._opened.size)
        return True

    async def __aexit__(self, *exc_info: object) -> None:
        # Who has been given all of it, or enough, may hang up at once: that ends the answer, not our copy.
        kept = asyncio.Event()
        if self._core.tasks.spawn(self._end(kept), "keep what was fetched"):
            if not self._coming:
                await kept.wait()
        else:
            await self._end(kept)

    async def _end(self, kept: asyncio.Event) -> None:
        """Keep what was read: whole as a cached copy, else the blocks that came, for who asks again."""
        try:
            if self._filling is not None:
                await self._end_filling(self._filling)
            await drain(self._coming, self._writer)
            await self._fetcher.__aexit__(None)
            # What was delivered is delivered, whatever becomes of our copy.
            with suppress(PeerdError):
                if self._keep_whole and self._completed:
                    await self._kept()
                elif self._keep and not self._failed_to_keep:
                    await self._writer.flush()
            await self._writer.close()
            if self._filling is not None:
                self._filling.forget()
        finally:
            self._coming_in.__exit__(None, None, None)
            kept.set()
        with suppress(StoreError):
            self._core.store.touch_root(self._root.to_bytes(), self._core.store.now_s())

    async def _end_filling(self, filling: Filling) -> None:
        async with self._core.locks.hold(b"drain " + self._root.to_bytes()):
            await filling.drain()
            await filling.end()
            with suppress(PeerdError):
                await self._writer.flush()

    async def fill(self) -> None:
        """Fetch all of it from now on, in any order, where it is kept and large enough to be worth it."""
        if not self._keep_whole or self._opened.info.source != "peer" or self._opened.size < FILLED_LEAST_BYTES:
            return
        async with self._core.locks.hold(b"drain " + self._root.to_bytes()):
            pass  # what is still on its way to who read it before is not asked for twice
        patience_s = self._opened.options.timeout_s
        filling = Filling(self._core, self._root, self._fetcher, self._writer, self._find, patience_s=patience_s)
        if await filling.begin(self._node):
            self._filling = filling

    async def _node(self, cid: Cid) -> bytes:
        if cid == self._root and self._opened.first is not None:
            return self._opened.first
        return await self.block(cid)

    async def first(self) -> bytes | None:
        """Return the root block where it was fetched before this read, and keep it."""
        data, self._opened.first = self._opened.first, None
        if data is not None and self._keep_whole:
            self._read.add(self._root.to_bytes())
        if data is not None and self._keep:
            await self._keep_block(Block(self._root, data))
        return data

    @property
    def filling(self) -> Filling | None:
        """What fetches all of it in any order, where something does."""
        return self._filling

    def note(self, raw: bytes) -> None:
        """A block is one of those that are read."""
        if self._keep_whole and len(self._read) < WALK_BLOCKS_MAX:
            self._read.add(raw)

    def completed(self) -> None:
        """All of it was fetched."""
        self._completed = True

    async def block(self, cid: Cid) -> bytes:
        """Return one block, and keep it where it came from elsewhere."""
        self.note(cid.to_bytes())
        if self._filling is not None and self._filling.covers(cid):
            return await self._filling.block(cid)
        pending = self._writer.pending(cid)
        if pending is not None:
            return pending
        before = self._fetcher.from_peers_count
        # The root of a file of many blocks has only their names.
        of_all = cid == self._root and self._opened.kind == "file" and self._opened.size > CHUNK_BYTES
        data = await self._fetcher.get(cid, of_all=of_all)
        if self._keep and not self._failed_to_keep and self._fetcher.from_peers_count > before:
            await self._keep_block(Block(cid, data))
        return data

    async def ask(self, sizes: dict[Cid, int]) -> dict[Cid, asyncio.Future[bytes]]:
        """Ask for blocks, so large at most, that are neither here nor coming: each is to be awaited as `asked`."""
        absent = zip(sizes.items(), await self._fetcher.absent(list(sizes)), strict=True)
        wanted = [one for one, no in absent if no and self._writer.pending(one[0]) is None]
        return {cid: self._fetcher.ask(cid, most_bytes=size) for cid, size in wanted}

    async def asked(self, cid: Cid, future: asyncio.Future[bytes]) -> bytes:
        """Return a block that was asked for, and keep it."""
        try:
            data = future.result() if future.done() else await asyncio.shield(future)
        finally:
            self._fetcher.let_go(cid, future)
        self.note(cid.to_bytes())
        if self._keep and not self._failed_to_keep:
            await self._keep_block(Block(cid, data))
        return data

    async def small_here(self, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        """Return those small blocks that are kept here; `block` gives the others."""
        found = await self._fetcher.small_here(cids)
        for cid in found:
            self.note(cid.to_bytes())
        return found

    async def _keep_block(self, block: Block) -> None:
        self._fetched_bytes += len(block.data)
        try:
            await self._writer.add(block)
        except PeerdError:  # no room for a copy is no reason not to deliver
            self._failed_to_keep = True

    async def file(
        self, root: Cid, offset: int = 0, length: int | None = None, *, first: bytes | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes of the file `root`, in order; `first` is its root block where that was fetched already."""
        reader = FileReader(root, offset, length)
        if first is not None:
            pieces = reader.give(root, first)
            self._note_done(root, reader)
            for piece in pieces:
                yield piece
        tasks: dict[Cid, asyncio.Task[bytes]] = {}
        try:
            while not reader.done:
                wants = reader.wants(AHEAD_BLOCKS)
                for cid in wants:
                    if cid not in tasks:
                        tasks[cid] = asyncio.get_running_loop().create_task(self.block(cid))
                data = await tasks[wants[0]]
                del tasks[wants[0]]
                pieces = reader.give(wants[0], data)
                self._note_done(root, reader)
                for piece in pieces:
                    yield piece
        except (asyncio.CancelledError, GeneratorExit):
            if self._keep and self._filling is None:
                self._coming, tasks = list(tasks.values()), {}
            raise
        finally:
            await give_up(tasks.values())

    def _note_done(self, root: Cid, reader: FileReader) -> None:
        if reader.done and root == self._root:
            self.completed()

    async def _kept(self) -> None:
        opened, core = self._opened, self._core
        try:
            await self._writer.flush()
        except PeerdError:
            return
        if self._failed_to_keep or len(self._read) >= WALK_BLOCKS_MAX:
            return
        raw = self._root.to_bytes()
        known = await core.store.root(raw)
        if known is not None and known.complete and not opened.options.pin:
            return
        if not await link_whole(core.store, self._root, self._read.packed):
            return
        now = core.store.now_s()
        kind: RootKind = "directory" if opened.kind == "directory" else "file"
        class_: RootClass = "pinned" if opened.options.pin else "cache"
        size = max(opened.size, self._fetched_bytes)
        root = Root(raw, kind, opened.size, size, class_, opened.name, core.settings.copies, True, now, now)
        if known is not None and known.class_ in ("own", "replica") and not opened.options.pin:
            root = replace(root, class_=known.class_, copies=known.copies)
        await core.store.put_root(root)
        core.tasks.spawn(announce(core, self._root, CACHE), "announce")
        if root.class_ == "cache":
            await core.room.caching.kept(raw, size, core.room.let_go)
        await core.room.bound_cache(core.settings.cache_max_bytes)
