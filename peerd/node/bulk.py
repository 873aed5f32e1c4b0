"""Bulk connections: blocks, holds and histories over one encrypted stream for each pair of peers, used both ways.

The stream's transport has proven who accepts (pinned key); the caller proves itself here with a signature over that
key, a nonce of this connection and the network id (DESIGN.md 5). Not here: which blocks to ask whom for (fetch).
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from loguru import logger

from peerd.errors import NoRoomError, PeerdError, RefusedError, StoreError, UnreachableError, WireError
from peerd.ids import PeerId
from peerd.io.environment import Stream
from peerd.logs import short
from peerd.node.bulk_handler import BulkHandler
from peerd.node.inflow import Inflow
from peerd.node.slots import LARGE_BYTES
from peerd.node.tasks import Tasks
from peerd.wire import frames
from peerd.wire.codec import encode
from peerd.wire.fields import CID_BYTES
from peerd.wire.frames import HoldBody

# Requests of the other end that may wait here at a time; who sends more does not follow the protocol.
QUEUED_MAX = 64
HOLDS_MAX = 8
# Requests of ours under way at a time, by kind: below what the other end lets wait.
ASKED_MAX = {frames.WANT: 32, frames.VERSIONS: 8, frames.AUDIT: 4, frames.ROOTS: 4, frames.HOLD: HOLDS_MAX}
WANTS = (frames.WANT, frames.WISH)
ASKED_MAX |= {frames.PROVE: 2, frames.EVIDENCE: 2, frames.REVOCATIONS: 2}
ASKED_MAX |= {frames.RECONCILE: 2, frames.PULL: 4, frames.OFFER: 2, frames.GIVE: 4, frames.JOIN: 4}
IDLE_CLOSE_S = 60.0
# Questions given up whose blocks may still come; those of older ones end the connection.
GIVEN_UP_MAX = 256
PROGRESS_INTERVAL_S = 1.0
# So many times as long as an answer may stand still, one block may take to be written: slow links are slow to drain.
WRITE_STALLS_MAX = 4
# So many times as long a short answer may take, whatever else comes meanwhile; and who holds content may say that it
# goes on without taking any of it, where it has to look at so much of it. Else one that says so for ever is waited for.
ANSWER_STALLS_MAX = 4
HOLD_STALLS_MAX = 6
LOOKED_AT_PER_S = 4 * 1024 * 1024

Deliver = Callable[[bytes, bytes | None], Awaitable[None] | None]


@dataclass(slots=True, eq=False)
class _Ask:
    """A request of ours that waits for answers; `left` are the blocks that are still to come."""

    future: asyncio.Future[bytes]
    kind: int
    deliver: Deliver | None = None
    left: set[bytes] = field(default_factory=set)
    heard_at: float = 0.0


class BulkConnection:
    """One open connection with `peer`."""

    def __init__(
        self, stream: Stream, peer: PeerId, handler: BulkHandler, tasks: Tasks, inflow: Inflow, *, stall_s: float
    ) -> None:
        self.peer = peer
        self.used_at = asyncio.get_running_loop().time()
        self.closed = False
        self._heard_at = 0.0
        """When any part of any answer came: the other end answers one request after the other."""
        self._given_at = 0.0
        """When it last asked for blocks, or took one."""
        self._stream = stream
        self._handler = handler
        self._tasks = tasks
        self._stall_s = stall_s
        self._inflow = inflow
        self._asks: dict[int, _Ask] = {}
        self._given_up: dict[int, int] = {}
        """Blocks still to come to questions that nobody waits for any more: read past, not kept."""
        self._next_rid = 0
        self._holds = 0
        self._serving = False
        self._queue: asyncio.Queue[tuple[int, int, bytes]] = asyncio.Queue(QUEUED_MAX)
        self._writing = asyncio.Lock()
        self._room = {kind: asyncio.Semaphore(count) for kind, count in ASKED_MAX.items()}
        self._room[frames.WISH] = self._room[frames.WANT]

    @property
    def busy(self) -> bool:
        """Whether anything is under way either way."""
        return bool(self._asks) or self._holds > 0 or self._serving or not self._queue.empty()

    @property
    def heard_at(self) -> float:
        """When any part of any answer came, by the loop's clock."""
        return self._heard_at

    # Asking.

    async def want(self, cids: list[bytes], deliver: Deliver, *, in_turn: bool = False) -> None:
        """Ask for blocks; `deliver(cid, data)` is called for each as it comes, data None where the peer has it not.

        `in_turn`: or where very many want it now; it is asked for again in a moment. Raises UnreachableError where the
        connection breaks or stands still.
        """
        kind = frames.WISH if in_turn else frames.WANT
        await self.ask(kind, b"".join(cids), deliver=deliver, left=set(cids))

    async def hold(self, body: HoldBody) -> bytes:
        """Ask the peer to hold content; return its receipt.

        Raises NoRoomError, RefusedError, UnreachableError.
        """
        idle_max_s = HOLD_STALLS_MAX * self._stall_s + body.size / LOOKED_AT_PER_S
        return await self.ask(frames.HOLD, encode(body), idle_max_s=idle_max_s)

    async def ask(
        self,
        kind: int,
        payload: bytes,
        *,
        deliver: Deliver | None = None,
        left: set[bytes] | None = None,
        idle_max_s: float | None = None,
    ) -> bytes:
        """Ask and return the answer's payload, not checked; raises UnreachableError, RefusedError, NoRoomError."""
        if idle_max_s is None:
            idle_max_s = math.inf if kind in WANTS else ANSWER_STALLS_MAX * self._stall_s
        async with self._room[kind]:
            return await self._ask_now(kind, payload, deliver, left or set(), idle_max_s)

    async def _ask_now(
        self, kind: int, payload: bytes, deliver: Deliver | None, left: set[bytes], idle_max_s: float
    ) -> bytes:
        if self.closed:
            raise UnreachableError("the connection is closed")
        loop = asyncio.get_running_loop()
        self._next_rid = rid = (self._next_rid + 1) & 0xFFFFFFFF
        ask = _Ask(loop.create_future(), kind, deliver, left, loop.time())
        asked_at = loop.time()
        self._asks[rid] = ask
        self.used_at = loop.time()
        try:
            await self._send_in_time(kind, rid, payload)
            while True:
                given_at = self._given_at if kind == frames.HOLD else 0.0
                left_s = max(ask.heard_at, self._heard_at) + self._stall_s - loop.time()
                left_s = min(left_s, max(asked_at, given_at) + idle_max_s - loop.time())
                if left_s <= 0:
                    raise UnreachableError("the peer stands still")
                done, _ = await asyncio.wait({ask.future}, timeout=left_s)
                if done:
                    return ask.future.result()
        finally:
            self._asks.pop(rid, None)
            ask.future.cancel()
            if ask.left:
                self._given_up[rid] = len(ask.left)
                if len(self._given_up) > GIVEN_UP_MAX:
                    del self._given_up[next(iter(self._given_up))]

    # Both ways.

    async def run(self) -> None:
        """Read and serve until the connection ends; never raises for what the other end does."""
        try:
            async with asyncio.TaskGroup() as group:
                server = group.create_task(self._serve())
                try:
                    await self._read()
                except (UnreachableError, WireError) as error:
                    logger.debug("bulk connection ended", peer=short(self.peer), reason=str(error))
                server.cancel()
        finally:
            self.close()
            self._handler.sharing.ended(self)
            while not self._queue.empty():
                self._inflow.remove(self.peer, len(self._queue.get_nowait()[2]))

    def close(self) -> None:
        """Cut the connection and fail what waits for it."""
        if self.closed:
            return
        self.closed = True
        self._stream.close()
        for ask in list(self._asks.values()):
            if not ask.future.done():
                ask.future.set_exception(UnreachableError("the connection was lost"))
                ask.future.exception()

    async def progress(self, rid: int) -> None:
        """Tell the other end that its long request goes on."""
        with suppress(UnreachableError):
            await self._send(frames.PROGRESS, rid)

    async def tell(self, told: bytes) -> None:
        """Send frames that have no answer."""
        async with self._writing:
            await self._write(told)
        self.used_at = asyncio.get_running_loop().time()

    async def answer(self, kind: int, rid: int, payload: bytes) -> None:
        """Send the answer to a question that did not wait with the others."""
        await self._send(kind, rid, payload)

    async def share(self, root: bytes, cid: bytes, data: bytes) -> None:
        """Send a block of a root to one who gave leave to (frames.SHARE)."""
        await self._send_block(frames.SHARE, 0, root + cid, data)

    async def _send(self, kind: int, rid: int, payload: bytes = b"") -> None:
        async with self._writing:
            await self._write(frames.pack(kind, rid, payload))
        self.used_at = asyncio.get_running_loop().time()

    async def _write(self, data: bytes) -> None:
        """Write; who asks and then does not read holds no block and no place here for long."""
        try:
            async with asyncio.timeout(WRITE_STALLS_MAX * self._stall_s):
                await self._stream.write(data)
        except TimeoutError:
            self.close()
            raise UnreachableError("the peer does not read") from None

    async def _send_in_time(self, kind: int, rid: int, payload: bytes) -> None:
        """Send a request; a peer that does not read for as long as a stall may last is left."""
        try:
            async with asyncio.timeout(self._stall_s):
                await self._send(kind, rid, payload)
        except TimeoutError:
            self.close()
            raise UnreachableError("the peer does not read") from None

    async def _read(self) -> None:
        while True:
            header = await self._stream.read_exactly(frames.HEADER_BYTES)
            length, kind, rid = frames.unpack_header(header)
            if kind == frames.BLOCK:
                await self._on_block(rid, length)
                continue
            if kind == frames.SHARE:
                await self._on_share(length)
                continue
            payload = await self._payload(length, kind)
            self.used_at = asyncio.get_running_loop().time()
            if kind in frames.ANSWERS:
                await self._on_answer(kind, rid, payload)
            elif kind == frames.HOLD:
                self._on_hold(rid, payload)
            elif kind in frames.SHARING:
                self._handler.sharing.heard(self, kind, rid, payload)
            elif kind in frames.REQUESTS:
                if self._queue.full() or not self._inflow.add(self.peer, length):
                    raise WireError("too_many_requests")
                self._queue.put_nowait((kind, rid, payload))
            else:
                raise WireError("frame_kind")

    async def _on_block(self, rid: int, length: int) -> None:
        """Read a block that was asked for; what was not asked for ends the connection before it is read."""
        cid = await self._stream.read_exactly(CID_BYTES)
        ask = self._asks.get(rid)
        left = self._given_up.get(rid, 0)
        if ask is not None and not ask.future.done():
            if ask.deliver is None or cid not in ask.left:
                raise WireError("unasked_block")
        elif left:
            self._given_up[rid] = left - 1
        else:
            raise WireError("unasked_block")
        self._heard_at = asyncio.get_running_loop().time()
        data = await self._payload(length - CID_BYTES, frames.BLOCK)
        self.used_at = asyncio.get_running_loop().time()
        if ask is not None:
            await self._delivered(ask, cid, data)

    async def _on_share(self, length: int) -> None:
        """Read a block that its sender chose; where it is not wanted any more it is read past."""
        root = await self._stream.read_exactly(CID_BYTES)
        cid = await self._stream.read_exactly(CID_BYTES)
        wanted = self._handler.sharing.begins(self, root, cid)
        data = await self._payload(length - 2 * CID_BYTES, frames.BLOCK)
        self.used_at = asyncio.get_running_loop().time()
        if wanted:
            await self._handler.sharing.came(self, root, cid, data)

    async def _payload(self, length: int, kind: int) -> bytes:
        """Read a payload; a slow link is seen to deliver an answer piece by piece."""
        if kind not in frames.ANSWERS:
            return await self._stream.read_exactly(length)
        limit = self._handler.sharing.limits.down
        if kind != frames.BLOCK or limit.bytes_per_s is None:
            data = await self._stream.read_long(length, self._hear)
            return data if kind == frames.BLOCK else bytes(data)
        pieces = []
        while length:
            pieces.append(await self._stream.read_exactly(min(length, limit.piece_bytes(length))))
            length -= len(pieces[-1])
            self._hear()
            await limit.take(len(pieces[-1]))
        return b"".join(pieces)

    def _hear(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()

    async def _delivered(self, ask: _Ask, cid: bytes, data: bytes | None) -> None:
        """Give an answer to who waits for it, where somebody still does."""
        if ask.future.done() or cid not in ask.left or ask.deliver is None:
            return
        ask.heard_at = self.used_at
        ask.left.discard(cid)
        if (delivering := ask.deliver(cid, data)) is not None:
            await delivering
        if not ask.left and not ask.future.done():
            ask.future.set_result(b"")

    async def _on_answer(self, kind: int, rid: int, payload: bytes) -> None:
        ask = self._asks.get(rid)
        if ask is None or ask.future.done():
            return
        ask.heard_at = self.used_at
        if kind == frames.MISSING:
            if ask.deliver is None or payload not in ask.left:
                raise WireError("unasked_block")
            await self._delivered(ask, payload, None)
        elif kind == frames.FAILED:
            ask.future.set_exception(_failure(payload))
            ask.future.exception()
        elif kind == frames.ANSWER_OF.get(ask.kind):
            ask.future.set_result(payload)
        elif kind != frames.PROGRESS:
            raise WireError("frame_order")

    async def _serve(self) -> None:
        while True:
            self._serving = False
            kind, rid, payload = await self._queue.get()
            self._inflow.remove(self.peer, len(payload))
            self._serving = True
            try:
                if kind in WANTS:
                    await self._serve_want(rid, payload, in_turn=kind == frames.WISH)
                else:
                    answer = await self._handler.answer(self.peer, kind, payload)
                    await self._send(frames.ANSWER_OF[kind], rid, answer)
            except NoRoomError:
                await self._send(frames.FAILED, rid, b"no_room")
            except StoreError:
                await self._send(frames.FAILED, rid, b"store")
            except RefusedError as error:
                await self._send(frames.FAILED, rid, error.reason.encode())
            except (UnreachableError, WireError) as error:
                logger.debug("a request could not be served", peer=short(self.peer), reason=str(error))
                self._stream.close()
                return

    async def _serve_want(self, rid: int, payload: bytes, *, in_turn: bool) -> None:
        cids = frames.split_cids(payload)
        small = await self._handler.small_blocks(cids) if len(cids) > 1 else {}
        ready, ready_bytes = bytearray(), 0
        for cid in cids:
            self._given_at = asyncio.get_running_loop().time()
            turns = not in_turn or await self._handler.in_turn(self.peer, cid)
            data = small.get(cid)
            if data is not None and turns:
                ready += frames.pack_header(frames.BLOCK, rid, len(cid) + len(data)) + cid + data
                ready_bytes += len(data)
                if len(ready) >= LARGE_BYTES:
                    await self._send_ready(bytes(ready), ready_bytes)
                    ready, ready_bytes = bytearray(), 0
                continue
            data = await self._handler.block(cid) if turns else None
            if data is None:
                await self._send(frames.MISSING, rid, cid)
            elif len(data) < LARGE_BYTES:
                await self._send_block(frames.BLOCK, rid, cid, data)
            else:
                async with self._handler.sharing.slots.one(self.peer):
                    await self._send_block(frames.BLOCK, rid, cid, data)
        if ready:
            await self._send_ready(bytes(ready), ready_bytes)

    async def _send_ready(self, data: bytes, of_blocks: int) -> None:
        """Send the frames of small blocks together."""
        async with self._writing:
            await self._handler.sharing.limits.up.take(of_blocks)
            await self._write(data)
        self.used_at = asyncio.get_running_loop().time()

    async def _send_block(self, kind: int, rid: int, names: bytes, data: bytes) -> None:
        head = frames.pack_header(kind, rid, len(names) + len(data)) + names
        limit = self._handler.sharing.limits.up
        async with self._writing:
            if len(data) < LARGE_BYTES:
                await limit.take(len(data))
                await self._write(head + data)
            else:
                await self._write(head)
                piece_bytes = limit.piece_bytes(len(data))
                for at in range(0, len(data), piece_bytes):
                    await limit.take(min(piece_bytes, len(data) - at))
                    await self._write(data if piece_bytes == len(data) else data[at : at + piece_bytes])
        self.used_at = asyncio.get_running_loop().time()

    def _on_hold(self, rid: int, payload: bytes) -> None:
        body = frames.hold_codec.decode_canonical(payload)
        if self._holds >= HOLDS_MAX:
            self._tasks.spawn(self._send(frames.FAILED, rid, b"busy"), "refuse hold")
            return
        self._holds += 1
        if not self._tasks.spawn(self._serve_hold(rid, body), "hold"):
            self._holds -= 1

    async def _serve_hold(self, rid: int, body: HoldBody) -> None:
        ticker = asyncio.get_running_loop().create_task(self._tick(rid))
        try:
            receipt = await self._handler.hold(self, body)
            answer = (frames.HELD, receipt)
        except NoRoomError:
            answer = (frames.FAILED, b"no_room")
        except StoreError:
            answer = (frames.FAILED, b"store")
        except PeerdError as error:
            answer = (frames.FAILED, error.code.encode()[:64])
        finally:
            self._holds -= 1
            ticker.cancel()
        with suppress(UnreachableError):
            await self._send(answer[0], rid, answer[1])

    async def _tick(self, rid: int) -> None:
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            await self.progress(rid)


def _failure(payload: bytes) -> PeerdError:
    if payload == b"no_room":
        return NoRoomError("the peer has no room")
    return RefusedError(payload.decode("ascii", "replace"))
