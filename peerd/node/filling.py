"""Fetching all of a file into the store, its blocks in any order, from all who have it or fetch it too.

The others choose what they send (swarm.sharing): each is given leave for a few blocks at a time, and more as they come.
So a source brings what it can, and none that is slow, dead or silent is waited for. What began and does not come, or
what nobody offers, is asked for by name from all sources (fetch), whose schedule leaves behind who is late.

Every block is checked before it is written or shown to anybody. What is held in memory is what is coming in and the
batches of the writer. Not here: connections (sharing), the reader's order (get).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from loguru import logger

from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.errors import PeerdError, StoreError, TimedOutError, UnreachableError, WireError
from peerd.ids import PeerId
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node.blocks import BlockWriter
from peerd.node.core import Core
from peerd.node.fetch import Fetcher
from peerd.node.sharing import SharedRoot, blocks_of

# Blocks that may be had of all sharers at a time, and of each at least and at most: enough to keep a long link full
# where there are few, and few at each where there are many.
CREDITS = 16
CREDITS_LEAST = 2
CREDITS_MOST = 8
# Sharers that are called; the others call.
CALLED_MAX = 10
CALLING_AT_ONCE_MAX = 4
# A block that takes so many times as long as blocks do, and at least so long, is asked for elsewhere: soon where all
# else is here or on its way, and nobody waits for anything but what is late.
LATE_FACTOR = 8.0
LATE_MIN_S = 4.0
LATE_LAST_FACTOR = 3.0
LATE_LAST_MIN_S = 1.0
LATE_MAX_S = 10.0
# Of who has begun or proposed one some part comes within twice what blocks take, at least this long; and this long
# while nobody knows what they take.
SILENT_FACTOR = 2.0
SILENT_MIN_S = 1.0
SILENT_FIRST_S = 2.0
# So long may nothing at all begin to come before blocks are asked for by name.
IDLE_S = 1.5
NAMED_AT_ONCE_MAX = 4
NAMED_OF_MAX = 2
# Who is asked by name and does not send it in that time, or in what blocks take three times, is passed by.
NAMED_MIN_S = 0.5
LOOK_S = 0.1
# Who has the root is asked again this often while nobody shares it.
FIND_AGAIN_S = 2.0
# When whoever reads has gone, what is on its way is taken for so long, and for so long without a block.
DRAIN_MAX_S = 10.0
DRAIN_IDLE_S = 1.0
_LEARNT = 0.2


class Filling:
    """One fetch of all blocks of a root that is begun and ended with `begin` and `end`."""

    def __init__(
        self,
        core: Core,
        root: Cid,
        fetcher: Fetcher,
        writer: BlockWriter,
        find_sources: Callable[[], Awaitable[list[Contact]]],
        *,
        patience_s: float,
    ) -> None:
        self._core = core
        self._root = root
        self._fetcher = fetcher
        self._writer = writer
        self._writing = asyncio.Lock()
        self._find_sources = find_sources
        self._patience_s = patience_s
        self._shared: SharedRoot | None = None
        self._missing: dict[bytes, None] = {}
        self._coming: dict[bytes, tuple[PeerId, float]] = {}
        self._late: set[PeerId] = set()
        """Who was late with what it had begun or proposed: nothing is kept for them any more."""
        self._orphans: dict[bytes, None] = {}
        """Those that the others believe to be here or on their way, and are not."""
        self._named: dict[bytes, asyncio.Task[None]] = {}
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        self._callable: deque[Contact] = deque()
        self._called: set[PeerId] = set()
        self._calling: set[asyncio.Task[None]] = set()
        self._block_s = 0.0
        self._progress_at = core.now()
        self._found_at = -FIND_AGAIN_S
        self._running: asyncio.Task[None] | None = None
        self._error: PeerdError | None = None
        self._draining = False
        self.sink: Callable[[bytes, bytes], None] | None = None
        """What is called with each block as it comes, in a thread; it never raises."""
        self.twice_count = 0
        """Blocks that came although they were on their way already."""

    async def begin(self, read: Callable[[Cid], Awaitable[bytes]]) -> bool:
        """Begin, having listed the blocks by `read`; False where the root is fetched already.

        Raises what `read` does, IntegrityError.
        """
        blocks = await blocks_of(self._root, read)
        shared = self._core.sharing.begin(self._root, blocks)
        if shared is None:
            return False
        named = [Cid.from_bytes(cid) for cid in blocks]
        here = await self._core.store.has_blocks(named)
        shared.receiver = self
        shared.pending = self._writer.pending
        shared.sharing.arrived(cid for cid, has in zip(blocks, here, strict=True) if has)
        self._missing = dict.fromkeys(shared.sharing.missing())
        self._shared = shared
        self._running = asyncio.get_running_loop().create_task(self._run())
        return True

    async def drain(self) -> None:
        """Give nobody leave any more, and take what they have leave for: it may be on its way already."""
        self._draining, self._progress_at = True, self._core.now()
        ends_at = self._core.now() + DRAIN_MAX_S
        while self._missing and (self._coming or (self._shared is not None and self._shared.granted.total() > 0)):
            if self._core.now() > min(ends_at, self._progress_at + DRAIN_IDLE_S):
                return
            await asyncio.sleep(LOOK_S)

    async def end(self) -> None:
        """Stop; what came is served on."""
        tasks = [*self._named.values(), *self._calling, *([self._running] if self._running else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for future in self._waiting.values():
            future.cancel()
        if self._shared is not None:
            self._core.sharing.end(self._shared)

    def forget(self) -> None:
        """The writer has ended: what is here is on the disk."""
        if self._shared is not None:
            self._shared.pending = lambda cid: None

    def covers(self, cid: Cid) -> bool:
        """Say whether that is one of the blocks that are fetched."""
        return self._shared is not None and self._shared.sharing.is_of_root(cid.to_bytes())

    async def block(self, cid: Cid) -> bytes:
        """Return one of the blocks once it is here. Raises TimedOutError, IntegrityError, StoreError."""
        await self.come(cid.to_bytes())
        data = self._writer.pending(cid)
        if data is None:
            with suppress(StoreError):  # what came was checked then
                data = await self._core.store.block_to_send(cid)
        return data if data is not None else await self._fetcher.get(cid)

    def lacks(self, raw: bytes) -> bool:
        """Say whether a block is still to come."""
        return raw in self._missing

    async def come(self, raw: bytes) -> None:
        """Return once one of the blocks is here; raises as `block`."""
        if raw in self._missing:
            if self._error is not None:
                raise self._error
            future = self._waiting.get(raw)
            if future is None:
                future = self._waiting[raw] = asyncio.get_running_loop().create_future()
            await asyncio.shield(future)

    # The receiver of a shared root.

    def begins(self, peer: PeerId, cid: bytes) -> bool:
        """A block begins to come: the others need not send it too."""
        assert self._shared is not None, "it is shared"
        self._refill(peer)
        coming = self._coming.get(cid)
        if cid not in self._missing or (coming is not None and coming[0] != peer):
            self.twice_count += 1
            return False
        if coming is None:
            self._shared.announce(cid, but=peer)
        self._coming[cid] = (peer, self._core.now())
        return True

    def decides(self, peer: PeerId, cid: bytes) -> bool:
        """A block is proposed: it is taken where nobody else is sending it."""
        assert self._shared is not None, "it is shared"
        own = sum(sender == peer for sender, _ in self._coming.values())
        if cid not in self._missing or cid in self._coming or peer in self._late or own >= CREDITS_LEAST:
            return False
        self._coming[cid] = (peer, self._core.now())
        self._shared.announce(cid, but=peer)
        return True

    async def took(self, peer: PeerId, cid: bytes, data: bytes) -> None:
        """A block came. Raises WireError where it is a wrong one."""
        block = Block(Cid.from_bytes(cid), data)
        if not await self._writer.receive(block, None if self.sink is None else partial(self.sink, cid, data)):
            self._fetcher.lied = True
            self._core.counts.rejected["wrong_block"] += 1
            self._core.trust.note(peer, "wrong_block")
            logger.warning("a peer sent a wrong block and is not asked again", peer=short(peer))
            raise WireError("wrong_block")
        coming = self._coming.get(cid)
        if coming is not None:
            took_s = self._core.now() - coming[1]
            self._block_s += (_LEARNT if self._block_s else 1.0) * (took_s - self._block_s)
        self._fetcher.from_peers_count += 1
        await self._arrived(block)

    def joined(self, peer: PeerId) -> None:
        """Another shares the root: it may send some of it."""
        self._called.add(peer)
        self._refill(peer)

    def fell_away(self, peer: PeerId) -> None:
        """A sharer is gone, and what it was sending with it."""
        for cid in [cid for cid, (sender, _) in self._coming.items() if sender == peer]:
            del self._coming[cid]
            self._orphans[cid] = None

    def _refill(self, peer: PeerId) -> None:
        shared = self._shared
        if shared is not None and self._missing and not self._draining:
            sharers = max(1, len(shared.peers))
            each = max(CREDITS_LEAST, min(CREDITS_MOST, CREDITS // sharers))
            shared.grant(peer, each - shared.granted[peer])

    async def _arrived(self, block: Block) -> None:
        shared, cid = self._shared, block.cid.to_bytes()
        if shared is None:
            return
        async with self._writing:
            if cid not in self._missing:
                if self._writer.pending(block.cid) is None:
                    self._writer.let_go(block)
                return
            await self._writer.add(block)
        self._missing.pop(cid, None)
        self._coming.pop(cid, None)
        self._orphans.pop(cid, None)
        self._progress_at = self._core.now()
        shared.sharing.arrived((cid,))
        shared.give()
        if not self._missing:
            shared.leave()
        waiting = self._waiting.pop(cid, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        named = self._named.get(cid)
        if named is not None and named is not asyncio.current_task():
            named.cancel()

    # What moves it on.

    async def _run(self) -> None:
        try:
            while self._missing:
                await self._find()
                self._look()
                await asyncio.sleep(LOOK_S)
        except PeerdError as error:
            self._fail(error)

    async def _find(self) -> None:
        """Call those who have the root, and those they told of."""
        shared, now = self._shared, self._core.now()
        assert shared is not None, "it is shared"
        if not shared.peers and not self._calling and now >= self._found_at + FIND_AGAIN_S:
            self._found_at = now
            self._called.clear()
            with suppress(PeerdError):
                self._callable.extend(await self._find_sources())
        self._call_more()

    def _call_more(self) -> None:
        while self._callable and len(self._called) < CALLED_MAX and len(self._calling) < CALLING_AT_ONCE_MAX:
            contact = self._callable.popleft()
            if contact.peer in self._called or contact.peer == self._core.peer:
                continue
            self._called.add(contact.peer)
            task = asyncio.get_running_loop().create_task(self._call(contact))
            self._calling.add(task)
            task.add_done_callback(self._call_ended)

    def _call_ended(self, task: asyncio.Task[None]) -> None:
        self._calling.discard(task)
        if not task.cancelled():
            task.exception()
            self._call_more()

    async def _call(self, contact: Contact) -> None:
        assert self._shared is not None, "it is shared"
        try:
            joined = await self._core.sharing.join(self._shared, contact)
        except (UnreachableError, WireError) as error:
            logger.debug("a sharer cannot be joined", peer=short(contact.peer), reason=str(error))
            return
        if joined is None:
            return
        self._refill(contact.peer)
        for peer in joined[1]:
            other = self._core.members.contact(peer)
            if other is not None:
                self._callable.append(other)

    def _look(self) -> None:
        """Ask by name for what does not come by itself."""
        assert self._shared is not None, "it is shared"
        now = self._core.now()
        if self._draining:
            return
        if now > self._progress_at + self._patience_s + IDLE_S:
            raise TimedOutError("no peer that can be reached now has all of the content")
        late_s = self._late_s()
        silent_s = max(SILENT_MIN_S, SILENT_FACTOR * self._block_s) if self._block_s else SILENT_FIRST_S
        overdue = [
            cid
            for cid, (peer, since) in self._coming.items()
            if now - since > late_s or now - max(since, self._shared.heard_at(peer)) > silent_s
        ]
        self._late.update(self._coming[cid][0] for cid in overdue)
        wanted = [*self._orphans, *overdue]
        if (not self._coming and now > self._progress_at + IDLE_S) or not (self._shared.peers or self._calling):
            wanted += [cid for cid in self._missing if cid not in self._coming][:NAMED_AT_ONCE_MAX]
        for cid in wanted:
            if len(self._named) >= NAMED_AT_ONCE_MAX:
                return
            if cid not in self._named:
                task = asyncio.get_running_loop().create_task(self._get_named(cid))
                self._named[cid] = task
                task.add_done_callback(partial(self._named_ended, cid))

    def _late_s(self) -> float:
        if not self._block_s:
            return LATE_MAX_S
        if len(self._coming) < len(self._missing):
            return min(LATE_MAX_S, max(LATE_MIN_S, LATE_FACTOR * self._block_s))
        return self._soon_s()

    def _soon_s(self) -> float:
        return min(LATE_MAX_S, max(LATE_LAST_MIN_S, LATE_LAST_FACTOR * self._block_s))

    async def _get_named(self, cid: bytes) -> None:
        """Ask some sharers for a block, one after the other; where it does not come, all sources at once."""
        assert self._shared is not None, "it is shared"
        sender = self._coming.get(cid, (None, 0.0))[0]
        came: list[bytes] = []
        prompt = [each for each in self._shared.having(cid, but=sender) if each.peer not in self._late]
        for connection in prompt[:NAMED_OF_MAX]:
            try:
                async with asyncio.timeout(max(NAMED_MIN_S, LATE_LAST_FACTOR * self._block_s)):
                    await connection.want([cid], lambda _, data: came.append(data) if data else None)
            except TimeoutError:
                self._late.add(connection.peer)
            except UnreachableError:
                continue
            if came:
                await self.took(connection.peer, cid, came[0])
                return
        data = await self._fetcher.get(Cid.from_bytes(cid))
        if self.sink is not None:
            await self._core.environment.offload(self.sink, cid, data)
        await self._arrived(Block(Cid.from_bytes(cid), data))

    def _named_ended(self, cid: bytes, task: asyncio.Task[None]) -> None:
        self._named.pop(cid, None)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, PeerdError) and not (self._shared is not None and self._shared.peers):
            self._fail(error)

    def _fail(self, error: PeerdError) -> None:
        self._error = error
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
                future.exception()
        self._waiting.clear()
