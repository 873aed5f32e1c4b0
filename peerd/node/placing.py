"""Copies of content: asking the peers nearest to a root to hold it, and holding what others ask of us.

A holder takes the blocks over the connection on which it was asked, checks each, has all of them on disk and then signs
a receipt. The asker counts receipts; where a peer fails or is full the next nearest takes its share.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, replace

from loguru import logger

from peerd.content.block import BLOCK_MAX_BYTES, Block
from peerd.content.cid import Cid
from peerd.content.read import DagWalk
from peerd.errors import NoRoomError, PeerdError, StoreError, UnreachableError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.bounds import RootClass
from peerd.io.store.interface import Root, RootKind
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node.answering import answer
from peerd.node.blocks import BlockWriter, link_whole
from peerd.node.bulk import BulkConnection
from peerd.node.claims import added_claim, forget_older_claims, name_claim
from peerd.node.core import Core
from peerd.node.fetch import Fetcher
from peerd.node.nearest import holders_of
from peerd.node.providing import CACHE, REPLICA, announce, find_providers, sources_of
from peerd.records.receipt import OF_CONTENT, RECEIPT_LIFE_S, Receipt, receipts
from peerd.records.record import INLINE, read_record
from peerd.wire.frames import HoldBody
from peerd.wire.messages import Ping

KINDS: tuple[RootKind, ...] = ("raw", "file", "directory")

# Blocks under way at a time while a DAG is copied: so many bytes of them, by the size of those that came so far.
AHEAD_BYTES = 12 * 1024 * 1024
AHEAD_MIN, AHEAD_MAX = 8, 256
SIZES_REMEMBERED = 32
SPARES_MAX = 8
# How long a peer may take to say that it is there, before the next nearest takes its share.
PATIENCE_MIN_S = 0.5
PATIENCE_RTOS = 4


@dataclass(frozen=True, slots=True)
class Content:
    """Some content and why it is to be kept.

    `key` and `sequence` are of the version that claims it; None and 0 where it was added without a name.
    """

    root: Cid
    kind: RootKind
    size: int
    copies: int
    key: Key | None
    sequence: int
    name: str

    def claim(self, adder: PeerId) -> bytes:
        """Return the claim by which holders keep it."""
        return name_claim(self.key, self.sequence) if self.key is not None else added_claim(adder)


@dataclass(slots=True)
class Placed:
    """Who has promised to hold all blocks, of how many wanted."""

    holders: list[PeerId]
    wanted: int
    no_room: bool
    unreachable_count: int = 0


async def place(core: Core, content: Content) -> Placed:
    """Have the nearest peers hold content whose blocks are all here; return when each answered or was replaced."""
    # A peer that is only suspected counts: under load a living one is slow. Who cannot be reached now does not.
    present = len(core.members.table) + 1
    wanted = min(content.copies, present)
    holders = await holders_of(core, content.root.digest, content.copies)
    placed = Placed([], wanted, no_room=False)
    await keep_here(core, content, adder=core.peer, ours=holders.ours)
    if holders.ours:
        placed.holders.append(core.peer)
    candidates = [*holders.contacts, *holders.doubtful]
    known = {contact.peer for contact in candidates}
    spares = core.members.closest(content.root.digest, content.copies + SPARES_MAX)
    candidates += [contact for contact in spares if contact.peer not in known]
    queue = iter(candidates)

    async def fill_share() -> None:
        for contact in queue:
            if await _ask_to_hold(core, content, contact, placed):
                placed.holders.append(contact.peer)
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(wanted - len(placed.holders)):
            group.create_task(fill_share())
    # Who turned out to be gone meanwhile is not counted among those that should have it.
    placed.wanted = min(wanted, present - placed.unreachable_count)
    if not holders.ours and len(placed.holders) >= wanted:
        await _let_go(core, content)
    return placed


async def _let_go(core: Core, content: Content) -> None:
    """The holders have theirs: what is here is a cached copy from now on (an adder remembers that it added it)."""
    raw = content.root.to_bytes()
    if content.key is not None:
        await core.store.remove_claim(raw, content.claim(core.peer))
    root = await core.store.root(raw)
    if (
        root is not None
        and root.class_ == "own"
        and all(c == added_claim(core.peer) for c in await core.store.claims(raw))
    ):
        await core.store.put_root(replace(root, class_="cache"))
        core.tasks.spawn(announce(core, content.root, CACHE), "announce")


async def _ask_to_hold(core: Core, content: Content, contact: Contact, placed: Placed) -> bool:
    body = HoldBody(
        root=content.root.to_bytes(),
        kind=KINDS.index(content.kind),
        size=content.size,
        copies=content.copies,
        name_key=content.key,
        sequence=content.sequence,
        name=content.name,
    )
    try:
        await _check_there(core, contact)
        connection = await core.bulk.get(contact)
        receipt = receipts.verify(await connection.hold(body), core.verifier)
        if receipt.kind != OF_CONTENT or receipt.digest != content.root.digest or receipt.holder != contact.peer:
            raise WireError("receipt")
    except PeerdError as error:
        placed.no_room = placed.no_room or isinstance(error, NoRoomError)
        placed.unreachable_count += isinstance(error, UnreachableError)
        logger.info("a peer did not take its copy", peer=short(contact.peer), reason=str(error))
        return False
    return True


async def _check_there(core: Core, contact: Contact) -> None:
    """Ask over the control session, whose round trips are known, before a connection is opened: the dead cost little.

    Raises UnreachableError.
    """
    if contact.peer in core.endpoint.sessions:
        patience_s = max(PATIENCE_MIN_S, PATIENCE_RTOS * core.silent_after_s(contact))
        await core.endpoint.ask(contact, Ping, timeout_s=patience_s)


async def hand_over(core: Core, content: Content) -> None:
    """Before we go: have somebody else promise our copy, where too few of the others have one."""
    found = await find_providers(core, content.root)
    others = {p for p, kind in found.providers.items() if kind == REPLICA and core.members.contact(p) is not None}
    missing = min(content.copies, core.members.alive_count()) - len(others)
    placed = Placed([], 0, no_room=False)
    for contact in core.members.closest(content.root.digest, content.copies + SPARES_MAX):
        if missing <= 0:
            return
        if contact.peer not in others and await _ask_to_hold(core, content, contact, placed):
            missing -= 1


async def keep_here(core: Core, content: Content, *, adder: PeerId, ours: bool) -> None:
    """Note content whose blocks are all here, with its claim; a promised copy where we are one of its holders."""
    raw = content.root.to_bytes()
    now = core.store.now_s()
    await core.store.add_claim(raw, content.claim(adder))
    if content.key is not None:
        await forget_older_claims(core, raw, content.key, below=content.sequence)
    known = await core.store.root(raw)
    class_: RootClass = "replica" if ours else "own" if adder == core.peer else "cache"
    root = Root(raw, content.kind, content.size, 0, class_, content.name, content.copies, True, now, now)
    if known is not None:
        strongest: RootClass = known.class_ if known.class_ in ("pinned", "replica") else class_
        name = content.name or known.name
        root = replace(root, class_=strongest, copies=max(known.copies, content.copies), name=name)
    await core.store.put_root(root)
    core.tasks.spawn(announce(core, content.root, REPLICA if root.class_ != "cache" else CACHE), "announce")


async def copy_dag(core: Core, root: Cid, fetcher: Fetcher) -> None:
    """Bring every block of a DAG here, durably, linked to the root.

    Raises what fetching and storing raise, and IntegrityError where the DAG is malformed.
    """
    walk = DagWalk(root)
    writer = BlockWriter(core.store, core.room, root)
    cids = bytearray()
    tasks: dict[Cid, asyncio.Task[bytes]] = {}
    sizes: deque[int] = deque((BLOCK_MAX_BYTES,), maxlen=SIZES_REMEMBERED)
    try:
        while not walk.done:
            # By the largest of late and of those to come, so that small nodes do not let large leaves in all at once.
            ahead = max(AHEAD_MIN, min(AHEAD_MAX, AHEAD_BYTES // max(1, *sizes)))
            wants = walk.wants(ahead)
            for cid in wants:
                if cid not in tasks:
                    tasks[cid] = asyncio.get_running_loop().create_task(fetcher.get(cid))
            first = wants[0]
            data = await tasks[first]
            del tasks[first]
            node = walk.give(first, data)
            sizes.append(len(data))
            if node is not None and node.links:
                sizes.append(max(min(link.tsize, BLOCK_MAX_BYTES) for link in node.links))
            cids += first.to_bytes()
            await writer.add(Block(first, data))
        await writer.flush()
        if not await link_whole(core.store, root, cids):
            raise NoRoomError("some blocks did not stay while the others came")
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        await writer.close()


class Holding:
    """What this peer does for the other ends of bulk connections (bulk.BulkHandler)."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def block(self, cid: bytes) -> bytes | None:
        """Return a block kept here; also the value of a record, whose content id names it."""
        core = self._core
        data = await core.store.block(Cid.from_bytes(cid))
        if data is not None:
            return data
        return await inline_value(core, cid)

    async def hold(self, connection: BulkConnection, body: HoldBody) -> bytes:
        """Take content from the peer that asks, and return our receipt."""
        core = self._core
        root = Cid.from_bytes(body.root)
        content = Content(
            root=root,
            kind=KINDS[body.kind],
            size=body.size,
            copies=body.copies,
            key=Key(body.name_key) if body.name_key is not None else None,
            sequence=body.sequence,
            name=body.name,
        )
        async with core.locks.hold(b"hold " + body.root):  # who is asked twice copies once
            known = await core.store.root(body.root)
            if known is None or not known.complete:
                await self._copy(content, connection)
        await keep_here(core, content, adder=connection.peer, ours=True)
        core.events.emit("held", cid=root.text, size=body.size)
        return receipts.sign(
            core.identity,
            Receipt(
                format=1,
                kind=OF_CONTENT,
                holder=core.peer,
                store=core.store.store_id,
                key=root.digest,
                digest=root.digest,
                sequence=0,
                life_s=RECEIPT_LIFE_S,
            ),
        )

    async def _copy(self, content: Content, connection: BulkConnection) -> None:
        core = self._core
        await self._make_room(content.size)

        async def others() -> list[Contact]:
            return await sources_of(core, content.root)

        with core.room.coming_in(content.root):
            async with Fetcher(core, others, connection=connection) as fetcher:
                await copy_dag(core, content.root, fetcher)

    async def _make_room(self, size: int) -> None:
        usage = await self._core.store.usage()
        over = usage.used_bytes + size - usage.quota_bytes
        if over > 0 and await self._core.room.free(over) < over:
            raise NoRoomError("no room for that content within the quota")

    async def answer(self, kind: int, payload: bytes) -> bytes:
        """Return what this peer knows of keys and roots."""
        return await answer(self._core, kind, payload)


async def inline_value(core: Core, cid: bytes) -> bytes | None:
    """Return the value of a record kept here whose content id is `cid`."""
    try:
        raw = await core.store.record_with_cid(cid)
    except StoreError:
        return None
    record = read_record(raw) if raw is not None else None
    return record.body.value if record is not None and record.body.kind == INLINE else None
