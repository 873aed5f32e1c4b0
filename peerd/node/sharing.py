"""Who fetches serves: the roots that are fetched or served to a crowd here, and those who share them.

A peer that fetches all of a root joins those who have it or fetch it too, says what it has as it comes, and gives each
leave to send it blocks (credits). Which block goes to whom is chosen by the giver (swarm.sharing), when it has a slot
for it (slots). Not here: what is missing and what becomes of what comes (filling).
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from loguru import logger

from peerd.content.cid import CID_BYTES, RAW, Cid
from peerd.content.dag_walk import DagWalk
from peerd.errors import PeerdError, RefusedError, StoreError, UnreachableError, WireError
from peerd.ids import PeerId
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node.bulk import BulkConnection
from peerd.node.core import Core
from peerd.node.limiting import Limits
from peerd.node.sharer_news import Telling
from peerd.node.slots import SLOT_S, Slots
from peerd.swarm.sharing import CREDITS_MAX, Sharing
from peerd.wire import frames
from peerd.wire.limits import BLOCK_MAX_BYTES, SHARERS_TOLD_MAX

# Roots shared at a time, and peers that share one: each costs a list of its blocks, and what the others have of it.
ROOTS_MAX = 64
SHARERS_MAX = 128
# Joins of others being looked at: each may read the inner nodes of a root from the disk.
JOINING_MAX = 64
# So many are chosen for, and asked, as there are slots to send in.
TURNS_PER_SLOT = 2
# So long one may take to say whether it wants a block; it holds a slot meanwhile.
DECIDED_WITHIN_S = 1.0


class Receiver(Protocol):
    """Takes what comes of a root that is fetched (filling.Filling)."""

    def decides(self, peer: PeerId, cid: bytes) -> bool:
        """A block is proposed; says whether it is wanted of this peer, which is then expected to send it."""

    def begins(self, peer: PeerId, cid: bytes) -> bool:
        """A block begins to come; says whether it is wanted."""

    async def took(self, peer: PeerId, cid: bytes, data: bytes) -> None:
        """A block came; raises WireError where it is a wrong one."""

    def joined(self, peer: PeerId) -> None:
        """Another shares it."""

    def fell_away(self, peer: PeerId) -> None:
        """A sharer is gone."""


@dataclass(slots=True, eq=False)
class _Mate:
    """A sharer: what is told to it, and given."""

    telling: Telling
    giving: bool = False
    proposed: tuple[bytes, asyncio.Future[bool]] | None = None


class SharedRoot:
    """One root that is shared."""

    def __init__(self, core: Core, turns: Slots, slots: Slots, root: Cid, blocks: list[bytes]) -> None:
        self.root = root.to_bytes()
        self.sharing = Sharing(blocks, core.environment.rng)
        self.receiver: Receiver | None = None
        self.pending: Callable[[Cid], bytes | None] = lambda cid: None
        """Blocks that are here and not on the disk yet."""
        self.granted: Counter[PeerId] = Counter()
        """Blocks that each may still send us."""
        self._core = core
        self._turns, self._slots = turns, slots
        self._mates: dict[PeerId, _Mate] = {}

    @property
    def peers(self) -> list[PeerId]:
        """Those who share it, by id."""
        return list(self._mates)

    def having(self, cid: bytes, *, but: PeerId | None) -> list[BulkConnection]:
        """Return the connections with those who say that they have a block, in an order of chance."""
        sharers = self.sharing.sharers
        peers = [peer for peer in self._mates if peer != but and (sharers[peer].whole or cid in sharers[peer].has)]
        self._core.environment.rng.shuffle(peers)
        return [self._mates[peer].telling.connection for peer in peers]

    def heard_at(self, peer: PeerId) -> float:
        """Return when some part of a block or answer last came of a sharer, by the clock of the host."""
        mate = self._mates.get(peer)
        ago_s = asyncio.get_running_loop().time() - mate.telling.connection.heard_at if mate is not None else math.inf
        return self._core.now() - ago_s

    def add(self, connection: BulkConnection) -> None:
        """A peer shares it, over this connection."""
        peer = connection.peer
        mate = self._mates.get(peer)
        if mate is not None:
            if mate.telling.connection.closed:
                mate.telling.connection = connection
            return
        telling = Telling(connection, self.root, self._core.tasks)
        telling.alone = lambda: len(self._mates) == 1  # nobody else sends the same meanwhile
        telling.failed = partial(self._lost, peer, telling)
        self._mates[peer] = _Mate(telling)
        self.sharing.drop(peer)
        self.sharing.add(peer)

    def drop(self, peer: PeerId) -> None:
        """A peer is gone."""
        mate = self._mates.pop(peer, None)
        if mate is None:
            return
        mate.telling.end()
        self.sharing.drop(peer)
        self.granted.pop(peer, None)
        if self.receiver is not None:
            self.receiver.fell_away(peer)

    def is_over(self, connection: BulkConnection) -> bool:
        """Say whether what is shared with a peer goes over this connection."""
        mate = self._mates.get(connection.peer)
        return mate is not None and mate.telling.connection is connection

    def introduce(self, peer: PeerId) -> None:
        """Tell a sharer all that is here."""
        if self.sharing.here and not self.sharing.whole and (mate := self._mates.get(peer)) is not None:
            mate.telling.news(self.sharing.here, soon=True)

    def announce(self, cid: bytes, *, but: PeerId | None = None) -> None:
        """Tell all that a block is here, or about to be: who has it need not give it."""
        for peer, mate in self._mates.items():
            if peer != but:
                mate.telling.news((cid,))

    def grant(self, peer: PeerId, count: int) -> None:
        """Let a sharer send more blocks: it is told so at once where it knows of few that it may send."""
        mate = self._mates.get(peer)
        if mate is not None and count > 0:
            told = self.granted[peer] - mate.telling.credits_waiting
            self.granted[peer] += count
            mate.telling.credit(count, soon=told <= self.granted[peer] - max(2, self.granted[peer] // 4))

    def leave(self) -> None:
        """Tell all that nothing more is wanted."""
        self.receiver = None
        for mate in self._mates.values():
            mate.telling.leave()

    def give(self) -> None:
        """See to it that all get what they would take."""
        for peer, mate in list(self._mates.items()):
            self._give(peer, mate)

    def give_to(self, peer: PeerId) -> None:
        """As `give`, of one."""
        if (mate := self._mates.get(peer)) is not None:
            self._give(peer, mate)

    def _lost(self, peer: PeerId, telling: Telling) -> None:
        mate = self._mates.get(peer)
        if mate is not None and mate.telling is telling:
            self.drop(peer)

    def _give(self, peer: PeerId, mate: _Mate) -> None:
        if not mate.giving and self.sharing.may_give(peer):
            mate.giving = self._core.tasks.spawn(self._give_all(peer, mate), "give to a sharer")

    async def _give_all(self, peer: PeerId, mate: _Mate) -> None:
        try:
            while self._mates.get(peer) is mate and self.sharing.may_give(peer):
                async with self._turns.one(peer):
                    cid = self.sharing.choose(peer)
                    if cid is not None and await self._is_wanted(peer, mate, cid):
                        async with self._slots.one(peer):
                            await self._send(peer, mate, cid)
        except UnreachableError:
            self.drop(peer)
        finally:
            mate.giving = False

    async def _send(self, peer: PeerId, mate: _Mate, cid: bytes) -> None:
        data = await self._block(cid)
        if data is not None:
            self.sharing.gives(peer, cid)
            await mate.telling.connection.share(self.root, cid, data)

    async def _is_wanted(self, peer: PeerId, mate: _Mate, cid: bytes) -> bool:
        """Propose a block to one who wants to be asked first; who does not answer soon does not want it."""
        if not self.sharing.sharers[peer].asked_first:
            return True
        decided: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        mate.proposed = (cid, decided)
        try:
            await mate.telling.propose(cid)
            async with asyncio.timeout(DECIDED_WITHIN_S):
                return await decided
        except TimeoutError:
            self.sharing.lacks(peer, cid)
            return False
        finally:
            mate.proposed = None

    def decided(self, peer: PeerId, cid: bytes, wanted: bool) -> None:
        """A sharer answers what was proposed to it."""
        mate = self._mates.get(peer)
        if mate is not None and mate.proposed is not None and mate.proposed[0] == cid and not mate.proposed[1].done():
            mate.proposed[1].set_result(wanted)

    def decide(self, peer: PeerId, cid: bytes) -> None:
        """Answer a proposal."""
        mate = self._mates.get(peer)
        if mate is not None and mate.telling.answers_count < CREDITS_MAX:
            wanted = self.receiver is not None and self.receiver.decides(peer, cid)
            mate.telling.answer(cid + bytes([wanted]))

    async def _block(self, cid: bytes) -> bytes | None:
        named = Cid.from_bytes(cid)
        data = self.pending(named)
        if data is None:
            data = await self._core.store.block_to_send(named)
        if data is None:
            self.sharing.lost(cid)
        return data


class SharedRoots:
    """The roots shared by this peer; what bulk connections ask of it (bulk_handler.SharingHandler)."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._roots: dict[bytes, SharedRoot] = {}
        self._joining = 0
        settings = core.settings
        self.limits = Limits(settings.limit_up_bytes_per_s, settings.limit_down_bytes_per_s)
        up = settings.limit_up_bytes_per_s
        # Where the rate is ours to hold it is no receiver's fault that a block takes long.
        hold_s = SLOT_S if up is None else max(SLOT_S, 2 * settings.upload_slots * BLOCK_MAX_BYTES / up)
        self.slots = Slots(settings.upload_slots, hold_s)
        # While some send others are asked, so that no slot waits for an answer.
        self._turns = Slots(TURNS_PER_SLOT * settings.upload_slots, TURNS_PER_SLOT * hold_s)

    def get(self, root: bytes) -> SharedRoot | None:
        """Return a root that is shared now."""
        return self._roots.get(root)

    def begin(self, root: Cid, blocks: list[bytes]) -> SharedRoot | None:
        """Share a root that is about to be fetched; None where it is fetched already, or too many are shared."""
        shared = self._roots.get(root.to_bytes())
        if shared is None and len(self._roots) < ROOTS_MAX:
            shared = self._roots[root.to_bytes()] = SharedRoot(self._core, self._turns, self.slots, root, blocks)
        return None if shared is None or shared.receiver is not None else shared

    def end(self, shared: SharedRoot) -> None:
        """What was begun has ended; what came of it is served on to those who are still there."""
        shared.leave()
        self._forget_unused()

    async def join(self, shared: SharedRoot, contact: Contact) -> tuple[bool, list[PeerId]] | None:
        """Join one who has a root or fetches it too: whether it has all, and who else shares it; None of others.

        Raises UnreachableError, WireError.
        """
        connection = await self._core.bulk.get(contact)
        known = contact.peer in shared.peers
        shared.add(connection)
        try:
            answer = await connection.ask(frames.JOIN, shared.root)
            whole, others = frames.split_joined(answer)
        except RefusedError:
            shared.drop(contact.peer)
            return None
        except PeerdError:
            shared.drop(contact.peer)
            raise
        if whole:
            shared.sharing.needs_nothing(contact.peer)
        if not known:
            shared.introduce(contact.peer)
        return whole, [PeerId(other) for other in others]

    # What comes over connections.

    def heard(self, connection: BulkConnection, kind: int, rid: int, payload: bytes) -> None:
        """Take what is said among sharers (frames.SHARING). Raises WireError."""
        root, peer = payload[:CID_BYTES], connection.peer
        if kind == frames.JOIN:
            self._core.tasks.spawn(self._on_join(connection, rid, root), "join a sharer")
            return
        shared = self._roots.get(root)
        if shared is None or peer not in shared.peers:
            return  # it has ended here meanwhile
        if kind == frames.HAVE:
            shared.sharing.heard(peer, frames.split_cids(payload[CID_BYTES:]))
        elif kind == frames.CREDIT:
            shared.sharing.credit(peer, asked_first=payload[-1:] != b"\1")
            shared.give_to(peer)
        elif kind == frames.PROPOSE:
            shared.decide(peer, payload[CID_BYTES:])
        elif kind == frames.DECIDE:
            shared.decided(peer, payload[CID_BYTES:-1], payload[-1:] == b"\1")
        elif kind == frames.LEAVE:
            shared.sharing.needs_nothing(peer)

    def begins(self, connection: BulkConnection, root: bytes, cid: bytes) -> bool:
        """A block begins to come; says whether it is wanted. Raises WireError where it may not come."""
        shared = self._roots.get(root)
        if shared is None or shared.granted[connection.peer] <= 0 or not shared.sharing.is_of_root(cid):
            raise WireError("unasked_block")
        shared.granted[connection.peer] -= 1
        return shared.receiver is not None and shared.receiver.begins(connection.peer, cid)

    async def came(self, connection: BulkConnection, root: bytes, cid: bytes, data: bytes) -> None:
        """A block came that was wanted when it began. Raises WireError where it is a wrong one."""
        shared = self._roots.get(root)
        if shared is not None and shared.receiver is not None:
            await shared.receiver.took(connection.peer, cid, data)

    def ended(self, connection: BulkConnection) -> None:
        """A connection is over."""
        for shared in self._roots.values():
            if shared.is_over(connection):
                shared.drop(connection.peer)
        self._forget_unused()

    def _forget_unused(self) -> None:
        for root in [root for root, each in self._roots.items() if not each.peers and each.receiver is None]:
            del self._roots[root]

    async def _on_join(self, connection: BulkConnection, rid: int, root: bytes) -> None:
        shared = None
        if self._joining < JOINING_MAX:
            self._joining += 1
            try:
                shared = self._roots.get(root) or await self._serve(root)
            except (PeerdError, ValueError) as error:
                logger.debug("a root cannot be shared", peer=short(connection.peer), reason=str(error))
            finally:
                self._joining -= 1
        if shared is None or connection.closed or len(shared.peers) >= SHARERS_MAX:
            await connection.answer(frames.FAILED, rid, b"absent")
            return
        others = [peer for peer in shared.peers if peer != connection.peer]
        self._core.environment.rng.shuffle(others)
        known = shared.sharing.sharers.get(connection.peer)
        if known is not None and known.whole:
            shared.drop(connection.peer)  # it needed nothing any more, and does again
        shared.add(connection)
        whole = shared.sharing.whole
        told = bytes([whole]) + b"".join(others[:SHARERS_TOLD_MAX])
        await connection.answer(frames.JOINED, rid, told)
        shared.introduce(connection.peer)
        if shared.receiver is not None:
            shared.receiver.joined(connection.peer)

    async def _serve(self, root: bytes) -> SharedRoot | None:
        """Return what is needed to serve a root of which all is here; None of any other."""
        if len(self._roots) >= ROOTS_MAX:
            return None
        store = self._core.store
        known = await store.root(root)
        if known is None or not known.complete or known.kind != "file":
            return None

        async def read(cid: Cid) -> bytes:
            data = await store.block(cid)
            if data is None:
                raise StoreError("a block is not there")
            return data

        named = Cid.from_bytes(root)
        blocks = await blocks_of(named, read)
        shared = self._roots.get(root)
        if shared is None:
            shared = self._roots[root] = SharedRoot(self._core, self._turns, self.slots, named, blocks)
            shared.sharing.arrived(blocks)
        return shared


async def blocks_of(root: Cid, read: Callable[[Cid], Awaitable[bytes]]) -> list[bytes]:
    """Return the raw blocks of a root in order, each once; its inner nodes are read.

    Raises IntegrityError where its DAG is malformed, and what `read` does.
    """
    walk = DagWalk(root)
    leaves: list[bytes] = []
    while not walk.done:
        for cid in walk.wants(1):  # one by one: in the order of the file
            if cid.codec == RAW:
                leaves.append(cid.to_bytes())
                walk.skip(cid)
            else:
                walk.give(cid, await read(cid))
    return leaves
