"""Fetching blocks of one root: from here where they are here, else from all sources at once, each checked on arrival.

The schedule (swarm) says which block to ask of whom; this module moves them. A source that sends a wrong block is
named, counted, dropped and remembered. Nothing unchecked is ever handed on or written. Sources are opened in the order
in which they were found, so many at a time; where one fails or has nothing the next takes its place.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from loguru import logger

from peerd.content.block import check
from peerd.content.cid import Cid
from peerd.content.limits import BLOCK_MAX_BYTES
from peerd.errors import IntegrityError, PeerdError, StoreError, TimedOutError, UnreachableError, WireError
from peerd.ids import PeerId
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node.bulk import BulkConnection
from peerd.node.core import Core
from peerd.node.slots import LARGE_BYTES
from peerd.swarm.schedule import LATE_MIN_S, Schedule

WORKERS_PER_SOURCE = 2
SOURCES_MAX = 8
# Sources tried in all between two searches: those that fail, lie or have nothing must not keep the others out.
CANDIDATES_MAX = 32
# What a reader has under way at a time: at a rate that we hold ourselves all of it may take so long.
UNDER_WAY_MAX_BYTES = 16 * 1024 * 1024
# Where nobody has what is wanted, sources are looked for again this often, while there is patience; the first time
# sooner: of a crowd some have it in a few round trips.
FIND_AGAIN_S = 0.5
FIND_AGAIN_FIRST_TRIPS = 3
FIND_AGAIN_FIRST_MIN_S = 0.05

# By how much the source that was chosen may be opened later than another and is asked first still.
LEAD_PART, LEAD_MIN_S = 0.5, 0.005

FindSources = Callable[[], Awaitable[list[Contact]]]


class Fetcher:
    """Blocks of one root, from here or elsewhere. Use as an async context manager."""

    def __init__(
        self,
        core: Core,
        find_sources: FindSources,
        *,
        connection: BulkConnection | None = None,
        patience_s: float = 0.0,
    ) -> None:
        self._core = core
        self._find_sources = find_sources
        down = core.sharing.limits.down.bytes_per_s
        late_min_s = LATE_MIN_S if down is None else max(LATE_MIN_S, UNDER_WAY_MAX_BYTES / down)
        self._schedule = Schedule(core.endpoint.roundtrips.median_s() or LATE_MIN_S, late_min_s=late_min_s)
        self._futures: dict[bytes, asyncio.Future[bytes]] = {}
        self._workers: dict[asyncio.Task[None], None] = {}
        self._wake = asyncio.Event()
        self._finding: asyncio.Task[None] | None = None
        self._tried: set[PeerId] = set()
        self._candidates: deque[Contact] = deque()
        self._connections: dict[PeerId, BulkConnection] = {}
        self._dripped: set[PeerId] = set()
        self._first = connection
        self._patience_s = patience_s
        self._progress_at = core.now()
        self._again: asyncio.Task[None] | None = None
        self._waiters: Counter[bytes] = Counter()
        self._most_bytes: dict[bytes, int] = {}
        self._error: PeerdError | None = None
        self._found = False
        self._looked_again = False
        self.lied = False
        self.from_local_count = 0
        self.from_peers_count = 0

    async def __aenter__(self) -> "Fetcher":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        tasks = [*self._workers, *(task for task in (self._finding, self._again) if task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for future in self._futures.values():
            future.cancel()
        owing = [each for peer in self._schedule.owing() if (each := self._connections.get(peer)) is not None]
        owing = [each for each in owing if each.peer not in self._dripped]
        if owing:
            self._core.tasks.spawn(_judge(self._core, owing), "judge who is late")

    async def get(self, cid: Cid, *, of_all: bool = False) -> bytes:
        """Return a block, checked. `of_all`: it is small, so that it is asked of all sources: who is prompt shows.

        Raises TimedOutError where none of the sources has it now, IntegrityError where all that had it lied.
        """
        data = await self._here(cid)
        if data is not None:
            self.from_local_count += 1
            return data
        future = self.ask(cid, of_all=of_all)
        try:
            return await asyncio.shield(future)
        finally:
            self.let_go(cid, future)

    def ask(self, cid: Cid, *, of_all: bool = False, most_bytes: int = BLOCK_MAX_BYTES) -> asyncio.Future[bytes]:
        """Ask for a block that is not here, and return what will have it (as `get`); `let_go` of it in any case.

        For whom asks for very many: a task for each would be most of the work. One that is larger than `most_bytes`,
        as the link to it says, is not kept: very many are under way.
        """
        raw = cid.to_bytes()
        if most_bytes < BLOCK_MAX_BYTES:
            self._most_bytes[raw] = most_bytes
        future = self._futures.get(raw)
        if future is None:
            future = self._futures[raw] = asyncio.get_running_loop().create_future()
            self._schedule.want(raw, of_all=of_all)
            self._wake.set()
            if self._finding is None:
                self._finding = asyncio.get_running_loop().create_task(self._find())
            elif self._found and not self._workers:
                self._give_up()
        self._waiters[raw] += 1
        return future

    def let_go(self, cid: Cid, future: asyncio.Future[bytes]) -> bytes | None:
        """Say that one who asked for a block has it or wants it no more; return it where it came."""
        raw = cid.to_bytes()
        self._waiters[raw] -= 1
        if not self._waiters[raw]:
            del self._waiters[raw]
            self._most_bytes.pop(raw, None)
            self._schedule.forget(raw)
            if self._futures.get(raw) is future:
                del self._futures[raw]
        if not future.done() or future.cancelled() or future.exception() is not None:
            return None
        self.from_peers_count += 1
        return future.result()

    async def small_here(self, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        """Return those small blocks that are kept here, by one look; of the rest, and of larger ones, `get` knows."""
        try:
            found = await self._core.store.small_blocks(cids)
        except StoreError as error:
            logger.warning("blocks cannot be read here", reason=str(error))
            return {}
        self.from_local_count += len(found)
        return found

    async def absent(self, cids: Sequence[Cid]) -> list[bool]:
        """Say of each block, by one look, whether it is certain not to be here."""
        try:
            return [not has for has in await self._core.store.has_blocks(cids)]
        except StoreError:
            return [False] * len(cids)

    async def _here(self, cid: Cid) -> bytes | None:
        """Return a block that is kept here; where our disk cannot say, others are asked."""
        try:
            return await self._core.store.block(cid)
        except StoreError as error:
            logger.warning("a block cannot be read here", reason=str(error))
            return None

    async def _find(self) -> None:
        try:
            if self._first is not None:
                self._add(self._first)
            else:
                await self._add_found()
        except PeerdError as error:
            self._error = error
        self._end_finding()

    def _end_finding(self) -> None:
        self._found = True
        if not self._workers:
            self._give_up()
        else:
            self._settle()  # what the first sources lacked while others were still being opened

    async def _add_found(self) -> None:
        contacts = [c for c in await self._find_sources() if c.peer not in self._tried]
        self._candidates = deque(contacts[:CANDIDATES_MAX])
        await self._open_next()

    async def _open_next(self) -> None:
        """Open candidates until there are enough sources that may have what is wanted, or no candidate is left."""
        chosen = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for place in range(max(1, SOURCES_MAX - self._schedule.useful_count())):
                group.create_task(self._open_one(chosen, is_chosen=place == 0))

    async def _open_one(self, chosen: asyncio.Event, *, is_chosen: bool) -> None:
        """Open a candidate. The first, which was chosen, is begun with, though others are open a moment earlier."""
        while self._candidates:
            contact = self._candidates.popleft()
            self._tried.add(contact.peer)
            try:
                connection = await self._core.bulk.get(contact)
            except (UnreachableError, WireError) as error:
                logger.debug("a source cannot be reached", peer=short(contact.peer), reason=str(error))
                continue
            if not is_chosen:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._lead_s):
                        await chosen.wait()
            self._add(connection)
            break
        if is_chosen:
            chosen.set()

    @property
    def _lead_s(self) -> float:
        return max(LEAD_MIN_S, (self._core.endpoint.roundtrips.median_s() or 0.0) * LEAD_PART)

    def _add(self, connection: BulkConnection) -> None:
        trip_s = self._core.endpoint.roundtrips.srtt_s(connection.peer)
        self._schedule.add_source(connection.peer, math.inf if trip_s is None else trip_s)
        self._connections[connection.peer] = connection
        for _ in range(WORKERS_PER_SOURCE):
            worker = asyncio.get_running_loop().create_task(self._work(connection))
            self._workers[worker] = None
            worker.add_done_callback(self._worker_ended)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.pop(worker, None)
        if not worker.cancelled() and worker.exception() is not None:
            logger.opt(exception=worker.exception()).error("a fetch worker failed")
        self._settle()

    async def _work(self, connection: BulkConnection) -> None:
        peer = connection.peer
        while True:
            self._note_heard()
            cids = self._schedule.assign(peer, self._core.now())
            if not cids:
                if peer not in self._schedule.sources:
                    return
                self._wake.clear()
                look_in_s = self._schedule.look_in_s(self._core.now()) if self._futures else None
                try:
                    async with asyncio.timeout(look_in_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            try:
                in_turn = self._patience_s > 0  # who has none takes what there is, or nothing
                await connection.want(cids, lambda cid, data: self._deliver(peer, cid, data), in_turn=in_turn)
            except PeerdError as error:
                logger.debug("a source fell away", peer=short(peer), reason=str(error))
                self._drop(peer)
                return

    async def _deliver(self, peer: PeerId, raw: bytes, data: bytes | None) -> None:
        if data is None:
            self._schedule.on_missing(peer, raw)
            self._wake.set()
            self._settle()
            return
        cid = Cid.from_bytes(raw)
        large = len(data) >= LARGE_BYTES
        if not (await self._core.environment.offload(check, cid, data) if large else check(cid, data)):
            self.lied = True
            self._core.counts.rejected["wrong_block"] += 1
            self._core.trust.note(peer, "wrong_block")
            logger.warning("a peer sent a wrong block and is not asked again", peer=short(peer))
            raise WireError("wrong_block")
        self._progress_at = self._core.now()
        for late in self._schedule.on_delivered(peer, raw, self._core.now()):
            if late not in self._dripped:
                self._dripped.add(late)
                self._core.trust.note(late, "dripped")
        future = self._futures.get(raw)
        if future is None or future.done():
            return
        if len(data) <= self._most_bytes.get(raw, BLOCK_MAX_BYTES):
            future.set_result(data)
        else:
            future.set_exception(IntegrityError(f"block {Cid.from_bytes(raw)} is larger than the link to it says"))
            future.exception()

    def _note_heard(self) -> None:
        loop_now, now = asyncio.get_running_loop().time(), self._core.now()
        for peer, connection in self._connections.items():
            self._schedule.on_heard(peer, now - (loop_now - connection.heard_at))

    def _drop(self, peer: PeerId) -> None:
        self._connections.pop(peer, None)
        self._schedule.drop_source(peer)
        self._wake.set()
        if self._found and self._candidates and self._futures:
            self._wait_on()  # the next takes its place
        self._settle()

    def _settle(self) -> None:
        """Fail what none of the sources has; while sources are still being found, wait for them."""
        if not self._found:
            return
        hopeless = self._schedule.hopeless()
        if hopeless and not self._wait_on():
            for raw in hopeless:
                self._fail(raw)

    def _wait_on(self) -> bool:
        """Try the candidates that are left, or look for sources again in a moment where there is patience left.

        Returns whether that is so.
        """
        if self._candidates:
            if self._again is not None:
                return True  # it is opening them
            self._found = False
            self._finding = asyncio.get_running_loop().create_task(self._find_next())
            return True
        if self.lied or self._error is not None or self._core.now() >= self._progress_at + self._patience_s:
            return False
        if self._again is None or self._again.done():
            self._again = asyncio.get_running_loop().create_task(self._find_again())
        return True

    async def _find_next(self) -> None:
        await self._open_next()
        self._end_finding()

    async def _find_again(self) -> None:
        soon_s = FIND_AGAIN_FIRST_TRIPS * (self._core.endpoint.roundtrips.median_s() or FIND_AGAIN_S)
        first_s = min(FIND_AGAIN_S, max(FIND_AGAIN_FIRST_MIN_S, soon_s))
        await asyncio.sleep(FIND_AGAIN_S if self._looked_again else first_s)
        self._looked_again = True
        self._schedule.forgive()
        self._tried = set(self._schedule.sources)
        try:
            await self._add_found()
        except PeerdError as error:
            self._error = error
        self._again = None
        self._wake.set()
        if not self._workers:
            self._give_up()
        else:
            self._settle()

    def _give_up(self) -> None:
        if self._futures and self._wait_on():
            return
        for raw in list(self._futures):
            self._fail(raw)

    def _fail(self, raw: bytes) -> None:
        self._schedule.forget(raw)
        future = self._futures.pop(raw, None)
        if future is None or future.done():
            return
        if self._error is not None:
            future.set_exception(self._error)
        elif self.lied:
            future.set_exception(IntegrityError("every peer that answered sent something else than what was asked for"))
        else:
            future.set_exception(TimedOutError("no peer that can be reached now has all of the content"))
        future.exception()


async def _judge(core: Core, owing: list[BulkConnection]) -> None:
    """Note who still sends nothing of what others sent: that a get was done before is no merit of theirs."""
    heard_at = [connection.heard_at for connection in owing]
    await asyncio.sleep(LATE_MIN_S)
    for connection, at in zip(owing, heard_at, strict=True):
        if connection.heard_at == at and not connection.closed:
            core.trust.note(connection.peer, "dripped")
