"""Writing blocks of one root to the store while they arrive: in batches, durable, with bounded memory."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from peerd.cache.sketch import SEED_BYTES
from peerd.clock import Clock, Entropy
from peerd.content.block import Block
from peerd.content.cid import CID_BYTES, DAG_PB, Cid
from peerd.content.dagpb import decode_node
from peerd.content.limits import LINKS_MAX
from peerd.errors import NoRoomError, WireError
from peerd.ids import PeerId
from peerd.io.store.bounds import INLINE_MAX_BYTES, ROOM_HINT, common_bytes, limit_bytes
from peerd.io.store.interface import Freed, Store
from peerd.node.caching import Caching
from peerd.node.shares import Shares

BATCH_BYTES = 4 * 1024 * 1024
BATCH_BLOCKS_MAX = 512
# So long at most small blocks wait for others to be written with them: what a kill of the process loses of them.
BATCH_WAIT_S = 0.1
# A node from this size on that names large blocks is written before they come.
NODE_AT_ONCE_BYTES = 1024
# Freed at a time when room is needed, so that not every batch has to ask.
EVICT_BYTES = 32 * 1024 * 1024
EVICT_PART = 16
# Of the quota so much is there for one writer's records that others should keep, not we.
FAR_PART = 64
# Up to this part of the quota puts need not wait for each other.
PLENTY_PART = 0.75

T = TypeVar("T")


class BlockWriter:
    """Collects blocks and puts them in batches; one batch is being written while the next fills.

    With `root`, each batch is linked to it, and what has arrived outlives the process at once (`Store.stage_block`);
    small blocks wait BATCH_WAIT_S for others. Without, `cids` lists what was put, 36 bytes each, to be linked later.
    With `writer`, it is held to its share of a quota that is nearly used up.
    """

    def __init__(self, store: Store, room: "Room", root: Cid | None = None, *, writer: PeerId | None = None) -> None:
        self._writer = writer
        self._store = store
        self._room = room
        self._root = root.to_bytes() if root is not None else None
        self._batch: list[Block] = []
        self._batch_bytes = 0
        self._large: list[bytes] = []
        """Large blocks that the batch names."""
        self._named: dict[Cid, bytes] = {}
        self._sent: dict[Cid, bytes] = {}
        self._writing: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None
        self.cids = bytearray()
        self.dag_bytes = 0

    async def add(self, block: Block) -> None:
        """Take a block; waits while the last batch is still being written. Raises NoRoomError, StoreError."""
        self._batch.append(block)
        self._named[block.cid] = block.data
        self._batch_bytes += len(block.data)
        self.dag_bytes += len(block.data)
        if self._root is None:
            self.cids += block.cid.to_bytes()
        else:
            self._store.stage_block(block)
            if self._due is None:
                self._due = asyncio.get_running_loop().call_later(BATCH_WAIT_S, self._turn_when_due)
        large = _large_of(block)
        self._large += large
        names_others = len(block.data) >= NODE_AT_ONCE_BYTES and bool(large)
        if self._batch_bytes >= BATCH_BYTES or len(self._batch) >= BATCH_BLOCKS_MAX or names_others:
            await self._turn()

    async def receive(self, block: Block, land: Callable[[], None] | None = None) -> bool:
        """Say whether a block that came is what its CID says, before it is added; see `StagesBlocks.receive_block`."""
        right = await self._store.receive_block(block, land)
        if not right:
            self.let_go(block)
        return right

    def let_go(self, block: Block) -> None:
        """A block that was received is not added."""
        self._store.unstage_blocks([block])

    def pending(self, cid: Cid) -> bytes | None:
        """Return a block that was taken and is not in the store yet."""
        return self._named.get(cid, self._sent.get(cid))

    async def flush(self) -> None:
        """Return when all is durable; raises as `add`."""
        await self._turn()
        await self._written()

    async def close(self) -> None:
        """Give up what is not written; for the way out of a failure."""
        self._wait_no_more()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None
        self._store.unstage_blocks(self._batch)

    async def _turn(self) -> None:
        await self._written()
        self._start()

    def _start(self) -> None:
        self._wait_no_more()
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            large, self._large = self._large, []
            self._named, self._sent = {}, self._named
            self._writing = asyncio.get_running_loop().create_task(self._write(batch, large))

    def _turn_when_due(self) -> None:
        """Write what has waited long enough; where the last batch failed, whoever adds or flushes next is told."""
        self._due = None
        if self._writing is None or (self._writing.done() and _succeeded(self._writing)):
            self._writing, self._sent = None, {}
            self._start()
        elif not self._writing.done():
            self._due = asyncio.get_running_loop().call_later(BATCH_WAIT_S, self._turn_when_due)

    def _wait_no_more(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    async def _written(self) -> None:
        while (writing := self._writing) is not None:
            await asyncio.wait({writing})  # who waits may be cancelled, and the others wait on
            if self._writing is writing:
                self._writing, self._sent = None, {}
                writing.result()

    async def _write(self, batch: list[Block], large: list[bytes]) -> None:
        """Write a batch; what it names is linked with it where it will be staged, and so outlives a kill."""
        root, named = self._root, large
        if root is not None and any(len(block.data) > INLINE_MAX_BYTES for block in batch):
            # Before they are staged as files: what a kill leaves of those is kept where something links it.
            await self._store.link_blocks(root, [*(block.cid.to_bytes() for block in batch), *named])
            root, named = None, []
        try:
            await self._room.put_blocks(batch, writer=self._writer, root=root, named=named)
        except BaseException:
            self._store.unstage_blocks(batch)
            raise


def _succeeded(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and task.exception() is None


def _large_of(node: Block) -> list[bytes]:
    """Return of the blocks that a node names those that are staged as files of their own, or that lead to such.

    What names small files alone may wait with them: as a batch for each, the shards of ten thousand would be hundreds.
    """
    if node.cid.codec != DAG_PB:
        return []
    try:
        links, _ = decode_node(node.data)
    except WireError:  # whoever reads it says so
        return []
    if len(links) > LINKS_MAX:
        return []
    return [link.cid.to_bytes() for link in links if not 0 < link.tsize <= INLINE_MAX_BYTES]


class Room:
    """Makes room for blocks by letting cached copies go, never those that are coming in just now."""

    def __init__(
        self, store: Store, intake: "Intake", entropy: Entropy = bytes, cache_max_bytes: int | None = None
    ) -> None:
        """Cached copies take `cache_max_bytes` at most, None: what is left."""
        self._store = store
        self._intake = intake
        self.caching = Caching(store, entropy(SEED_BYTES), cache_max_bytes)
        self._narrow = asyncio.Lock()
        self._arriving_bytes = 0
        self._promised_bytes = 0
        self._plenty_bytes = 0
        """So much more surely leaves the part alone that is kept."""
        self.shares = Shares(store)
        self._coming_in: Counter[bytes] = Counter()

    @contextmanager
    def coming_in(self, root: Cid) -> Iterator[None]:
        """Surround a transfer of `root`: what has come of it stays."""
        raw = root.to_bytes()
        self._coming_in[raw] += 1
        try:
            yield
        finally:
            self._coming_in[raw] -= 1
            if not self._coming_in[raw]:
                del self._coming_in[raw]

    def is_coming_in(self, root: bytes) -> bool:
        """Say whether a transfer of `root` is under way."""
        return root in self._coming_in

    async def put_blocks(
        self,
        blocks: list[Block],
        *,
        writer: PeerId | None = None,
        root: bytes | None = None,
        named: Sequence[bytes] = (),
    ) -> None:
        """Put blocks; raises NoRoomError where letting cached copies go is not enough, or not for that writer.

        With `root`, it links them and those `named` in the same change.

        Where there is little room, one call after the other: no two find the same room free.
        """
        size = sum(len(block.data) for block in blocks)
        self._arriving_bytes += size
        self._plenty_bytes -= size
        try:
            usage = await self._store.usage()
            if usage.used_bytes + self._arriving_bytes < usage.quota_bytes * PLENTY_PART:
                await self._store.put_blocks(blocks, root=root, named=named)
                return
            async with self._narrow:
                if writer is not None:
                    await self.require_share(writer, size)
                await self._with_room(lambda: self._store.put_blocks(blocks, root=root, named=named), size)
                if writer is not None:
                    self.shares.charge(writer, size)
        finally:
            self._arriving_bytes -= size

    async def put_record(self, put: Callable[[], Awaitable[T]], *, writer: PeerId, size: int) -> T:
        """Put a record of a writer, which makes what is kept larger by `size`; return what `put` does.

        Raises NoRoomError as `put_blocks` does; what makes nothing larger passes wherever the store takes it.
        """
        if size > 0:
            self._plenty_bytes -= size
            if self._plenty_bytes < 0:
                await self.require_share(writer, size)
        done = await self._with_room(put, size)
        if size > 0:
            self.shares.charge(writer, size)
        return done

    async def _with_room(self, put: Callable[[], Awaitable[T]], size: int) -> T:
        """Put something; where there is no room for it cached copies go first."""
        try:
            return await put()
        except NoRoomError:
            quota_bytes = (await self._store.usage()).quota_bytes
            # Some more than is needed, so that not every batch has to ask; of a small quota not all caches at once.
            if not await self.free(max(min(EVICT_BYTES, quota_bytes // EVICT_PART), size)):
                raise
            return await put()

    async def require_share(self, writer: PeerId, size: int) -> None:
        """Raise NoRoomError where `size` more bytes of promised copies or records for a writer have no place here.

        Caches give way. A tenth of the quota is kept for writers that use less than their share of it.
        """
        usage = await self._store.usage()
        promised = usage.used_bytes - usage.cache_bytes + size + self._promised_bytes
        most = limit_bytes(usage.quota_bytes, reserve=False)
        self._plenty_bytes = common_bytes(usage.quota_bytes) - promised
        if self._plenty_bytes >= 0:
            return
        if promised > most:
            raise NoRoomError("no room for that within the quota", hint=ROOM_HINT)
        kept = most - common_bytes(usage.quota_bytes)
        await self.shares.used(writer)
        if self.shares.refuses(writer, size, most=most, kept=kept, free=most - promised + size):
            raise NoRoomError(
                "what is left of the quota is kept for writers that use less than their share", hint=ROOM_HINT
            )

    async def require_row(self, writer: PeerId, size: int) -> None:
        """Count a row that a writer has us keep besides its records and content.

        Raises NoRoomError as `put_blocks` does.
        """
        self._plenty_bytes -= size
        if self._plenty_bytes < 0:
            await self.require_share(writer, size)
        self.shares.charge(writer, size)

    async def require_small(self, writer: PeerId, size: int) -> None:
        """Raise NoRoomError where a writer would have more than a small part here: of what others should keep."""
        quota_bytes = (await self._store.usage()).quota_bytes
        if await self.shares.used(writer) + size > quota_bytes // FAR_PART:
            raise NoRoomError("others are nearer to that key")

    @contextmanager
    def promising(self, writer: PeerId, size: int) -> Iterator[None]:
        """Surround the arrival of a copy that is to be promised, so that others do not count on the same room."""
        self._promised_bytes += size
        self.shares.charge(writer, size)
        try:
            yield
        except BaseException:
            self.shares.charge(writer, -size)
            raise
        finally:
            self._promised_bytes -= size

    async def free(self, wanted_bytes: int) -> int:
        """Let cached copies go, those used least first; returns the bytes freed."""
        freed = await self.caching.free(wanted_bytes, self.let_go) if wanted_bytes > 0 else 0
        if freed >= wanted_bytes:
            return freed
        more = await self._store.evict_cache(wanted_bytes - freed, self._coming_in, since=self._intake.since())
        return freed + more

    async def bound_cache(self, most_bytes: int | None) -> int:
        """Let cached copies go, those used least first, until they take no more than that; returns what was freed."""
        if most_bytes is None:
            return 0
        return await self.free((await self._store.usage()).cache_bytes - most_bytes)

    async def let_go(self, root: bytes) -> Freed | None:
        """Release a cached copy that nothing claims, unless it is coming in; None where it stays."""
        if root in self._coming_in:
            return None
        return await self._store.release_unclaimed(root, since=self._intake.since())


async def link_whole(store: Store, root: Cid, cids: bytes | bytearray) -> bool:
    """Link all blocks of a root (36 bytes each) to it, and return whether every one of them is here.

    The last check before a copy counts as whole, whatever happened while it was made: what is linked and here stays.
    """
    raw_root, whole = root.to_bytes(), True
    for at in range(0, len(cids), CID_BYTES * BATCH_BLOCKS_MAX):
        page = bytes(cids[at : at + CID_BYTES * BATCH_BLOCKS_MAX])
        linked = [page[i : i + CID_BYTES] for i in range(0, len(page), CID_BYTES)]
        rest = await store.not_linked(raw_root, linked)
        if rest:
            await store.link_blocks(raw_root, rest)
            whole = whole and all(await store.has_blocks([Cid.from_bytes(raw) for raw in rest]))
    return whole


class Intake:
    """Keeps what is coming in apart from what is left over: blocks that no root links yet belong to a put under way.

    A put that fails or is interrupted leaves such blocks; they are freed once no older put is under way. What frees
    blocks leaves those put `since` the oldest put under way began, whoever else has them: it may count on them.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._under_way: dict[object, float] = {}
        self._left_over = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Surround a put from its first block until its blocks are linked and claimed."""
        put = object()
        self._under_way[put] = self._clock.monotonic()
        try:
            yield
        except BaseException:
            self._left_over = True
            raise
        finally:
            del self._under_way[put]

    def since(self) -> float:
        """Return the monotonic instant from which on what is put may be counted on by a put under way."""
        return min(self._under_way.values(), default=self._clock.monotonic())

    async def sweep(self) -> int:
        """Free what failed puts left, as far as no put under way may count on it; returns the bytes freed."""
        if not self._left_over:
            return 0
        self._left_over = bool(self._under_way)
        return (await self.collect(0.0)).bytes

    async def collect(self, age_s: float) -> Freed:
        """Free unlinked blocks of that age that no put under way may count on."""
        return await self._store.drop_unlinked(age_s, since=self.since())
