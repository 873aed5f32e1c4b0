"""Copies of content: asking the peers nearest to a root to hold it, and holding what others ask of us.

A holder takes the blocks over the connection on which it was asked, checks each, has all of them on disk and then signs
a receipt. The asker counts receipts; where a peer fails or is full the next nearest takes its share.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from loguru import logger

from peerd.content.cid import Cid
from peerd.errors import NoRoomError, PeerdError, StoreError, UnreachableError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.bounds import CLAIM_ROW_BYTES, RootClass, limit_bytes
from peerd.io.store.interface import Root, RootKind
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node.answering import answer
from peerd.node.bulk import BulkConnection
from peerd.node.claims import Held, add_claims, check_claim, claims_on, drop_claims, settle_root
from peerd.node.copying import copy_dag
from peerd.node.core import Core
from peerd.node.fetch import Fetcher
from peerd.node.holding import readable
from peerd.node.nearest import copy_holders_of
from peerd.node.providing import CACHE, REPLICA, announce, find_providers, sources_of
from peerd.node.scrubbing import Mending
from peerd.node.sharing import SharedRoots
from peerd.node.turns import Turns
from peerd.records.claim import Claim
from peerd.records.receipt import OF_CONTENT, receipts
from peerd.records.record import INLINE, read_record
from peerd.wire import limits
from peerd.wire.fields import CID_RAW
from peerd.wire.frames import ClaimBody, HoldBody
from peerd.wire.messages import Ping

KINDS: tuple[RootKind, ...] = ("raw", "file", "directory")

SPARES_MAX = 8
# How long a peer may take to say that it is there, before the next nearest takes its share.
PATIENCE_MIN_S = 0.5
PATIENCE_RTOS = 4
# Who takes so many times as long as the first that took its share is overtaken by the next nearest.
SLOW_TIMES = 3


@dataclass(frozen=True, slots=True)
class Content:
    """Some content and why it is to be kept: at least one claim."""

    root: Cid
    kind: RootKind
    size: int
    claims: tuple[Held, ...]

    @property
    def copies(self) -> int:
        """Return how many copies are wanted: the largest number that a claim asks for."""
        return max(held.claim.copies for held in self.claims)

    @property
    def name(self) -> str:
        """Return a name by which it is known, or nothing."""
        return next((held.claim.name for held in self.claims if held.claim.name), "")


async def content_of(core: Core, root: Root) -> Content | None:
    """Return what is kept here with the claims to be handed on; None where nothing claims it."""
    held = await claims_on(core, root.cid)
    # Those who want the most copies first: of very many claims on the same bytes only some travel at a time.
    held.sort(key=lambda one: -one.claim.copies)
    if not held:
        return None
    return Content(Cid.from_bytes(root.cid), root.kind, root.size, tuple(held[: limits.CLAIMS_PER_HOLD_MAX]))


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
    holders = await copy_holders_of(core, content.root.digest, content.copies)
    placed = Placed([], wanted, no_room=False)
    ours = holders.ours and (present == 1 or await _has_share(core, content))
    await keep_here(core, content, ours=ours)
    if ours:
        placed.holders.append(core.peer)
    candidates = [*holders.contacts, *holders.doubtful]
    known = {contact.peer for contact in candidates}
    shares = max(wanted, len(holders.contacts) + ours) if holders.crowded else wanted
    spares = core.members.closest(content.root.digest, content.copies + SPARES_MAX)
    candidates += [contact for contact in spares if contact.peer not in known]
    queue = iter(candidates)

    async def fill_share() -> bool:
        for contact in queue:
            if await _ask_to_hold(core, content, contact, placed):
                placed.holders.append(contact.peer)
                return True
        return False

    await _fill(fill_share, shares - len(placed.holders), core.settings.transfer_timeout_s)
    if len(placed.holders) < wanted and not ours and await _has_share(core, content):
        # The others are full or gone: it is here, and counts once we promise it.
        ours = True
        await keep_here(core, content, ours=True)
        placed.holders.append(core.peer)
    # Who turned out to be gone meanwhile is not counted among those that should have it.
    placed.wanted = min(wanted, present - placed.unreachable_count)
    if not ours and len(placed.holders) >= wanted and not holders.crowded:
        await _let_go(core, content)
    return placed


async def _fill(fill_share: Callable[[], Coroutine[None, None, bool]], count: int, patience_s: float) -> None:
    """Fill so many shares; the next nearest get those of peers that take far longer than the first took.

    Who says for ever that it goes on would else be waited for as long.
    """
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    until: float | None = None
    filled, overtaken = 0, False
    async with asyncio.TaskGroup() as group:
        pending = {group.create_task(fill_share()) for _ in range(count)}
        while pending and filled < count:
            wait_s = None if until is None or overtaken else max(0.0, until - loop.time())
            done, pending = await asyncio.wait(pending, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            filled += sum(not task.cancelled() and task.exception() is None and task.result() for task in done)
            if not done:
                overtaken = True
                pending |= {group.create_task(fill_share()) for _ in range(count - filled)}
            elif filled and until is None:
                until = loop.time() + SLOW_TIMES * (loop.time() - began_at) + patience_s
        for task in pending:
            task.cancel()


async def _has_share(core: Core, content: Content) -> bool:
    """Say whether there is room to promise here what we put; where there is none another takes our share."""
    root = await core.store.root(content.root.to_bytes())
    if root is not None and root.class_ in ("replica", "pinned"):
        return True
    try:
        await core.room.require_share(PeerId(content.claims[0].claim.claimant), 0)
    except NoRoomError:
        return False
    return True


async def _let_go(core: Core, content: Content) -> None:
    """The holders have theirs: what is here only because it was put here is a cached copy from now on."""
    raw = content.root.to_bytes()
    if core.room.is_coming_in(raw):
        return
    root = await core.store.root(raw)
    if root is None or root.class_ != "own":
        return
    await make_cached(core, raw, [held.row for held in content.claims], content.copies)


async def make_cached(core: Core, raw: bytes, rows: Sequence[bytes], copies: int) -> None:
    """Drop claims whose content others keep: unless something else claims it, it is a cached copy from now on."""
    # Fetched or put here: wanted as a help to others, unlike what nothing claims any more.
    await drop_claims(core, raw, rows, cached=copies)


async def _ask_to_hold(core: Core, content: Content, contact: Contact, placed: Placed) -> bool:
    now = core.store.now_s()
    body = HoldBody(
        root=content.root.to_bytes(),
        kind=KINDS.index(content.kind),
        size=content.size,
        claims=[
            ClaimBody(held.statement, None if held.ends is None else max(0, int(held.ends - now)))
            for held in content.claims
        ],
    )
    try:
        await _check_there(core, contact)
        connection = await core.bulk.get(contact)
        raw = await connection.hold(body)
        receipt = receipts.verify(raw, core.verifier)
        if receipt.kind != OF_CONTENT or receipt.digest != content.root.digest or receipt.holder != contact.peer:
            raise WireError("receipt")
        core.proofs.keep(receipt, raw)
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


async def keep_here(core: Core, content: Content, *, ours: bool) -> None:
    """Claim content whose blocks are all here; a promised copy where we are one of its holders.

    Claimed first, looked at then: from the claim on it does not go.
    """
    await add_claims(core, content.root.to_bytes(), content.claims)
    await _settle(core, content, "replica" if ours else "own")


async def _settle(core: Core, content: Content, class_: RootClass) -> None:
    """Note that content is whole here and claimed."""
    raw, now = content.root.to_bytes(), core.store.now_s()
    # Newer versions may have come meanwhile; and who claims for itself is believed only once its version is there.
    ended = [held for held in content.claims if await has_ended(core, held.claim)]
    wanted = max((held.claim.copies for held in content.claims if held not in ended), default=0)

    def kept(known: Root | None) -> Root:
        root = Root(raw, content.kind, content.size, 0, class_, content.name, wanted, True, now, now)
        if known is None:
            return root
        strongest: RootClass = known.class_ if known.class_ in ("pinned", "replica") else class_
        copies = wanted if known.class_ == "cache" else max(known.copies, wanted)
        return replace(root, class_=strongest, copies=copies, name=content.name or known.name, added_at=known.added_at)

    root = await settle_root(core, raw, kept, [held.row for held in ended])
    kind = CACHE if root.class_ == "cache" else REPLICA
    core.tasks.spawn(announce(core, content.root, kind), "announce")


async def has_ended(core: Core, claim: Claim) -> bool:
    """Return whether what is known here of its name, or of what we withdrew, shows that a claim has ended."""
    if claim.key is not None:
        return (await readable(core, Key(claim.key)))[0].ends(claim)
    if claim.claimant != core.peer:
        return False
    added = await core.store.addition(claim.root)
    return added is not None and added[0] is not None


class Holding:
    """What this peer does for the other ends of bulk connections (bulk.BulkHandler)."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._mending = Mending(core)
        self.sharing = core.sharing = SharedRoots(core)
        self._turns = Turns()

    async def block(self, cid: bytes) -> bytes | None:
        """Return a block kept here; also the value of a record, whose content id names it."""
        core = self._core
        data = await core.store.block_to_send(Cid.from_bytes(cid))
        if data is not None:
            return data
        value = await inline_value(core, cid)
        if value is None:
            self._mending.noticed(cid)
        return value

    async def small_blocks(self, cids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return of these the small blocks kept here, by one look; of the rest `block` knows."""
        found = await self._core.store.small_blocks([Cid.from_bytes(cid) for cid in cids])
        return {cid.to_bytes(): data for cid, data in found.items()}

    async def in_turn(self, peer: PeerId, cid: bytes) -> bool:
        """Return whether a peer is given a block now: of content that is one block very many are given in turns."""
        if not cid.startswith(CID_RAW):
            return True
        now = self._core.now()
        if not self._turns.is_turn(cid, peer, now) and await self._core.store.root(cid) is not None:
            return False
        self._turns.gave(cid, peer, now)
        return True

    async def hold(self, connection: BulkConnection, body: HoldBody) -> bytes:
        """Take content from the peer that asks, and return our receipt."""
        core = self._core
        root = Cid.from_bytes(body.root)
        held = [check_claim(core, body.root, each.claim, each.left_s) for each in body.claims]
        content = Content(root, KINDS[body.kind], body.size, tuple(await self._standing(connection.peer, held)))
        async with core.locks.hold(b"hold " + body.root):  # who is asked twice copies once
            new = await add_claims(core, body.root, content.claims)  # before we look: from now on it does not go
            try:
                for one in content.claims:
                    if one.row in new:
                        await core.room.require_row(PeerId(one.claim.claimant), len(one.row) + CLAIM_ROW_BYTES)
                known = await core.store.root(body.root)
                if known is None or not known.complete:
                    await self._copy(content, connection)
                await _settle(core, content, "replica")
            except BaseException:
                with suppress(StoreError):
                    await self._take_back(content, new)
                raise
        core.events.emit("held", cid=root.text, size=body.size)
        return await core.promises.receipt(OF_CONTENT, root.digest, root.digest, 0)

    async def _take_back(self, content: Content, new: list[bytes]) -> None:
        """Undo the claims of a copy that did not come.

        Of a part that came once, and is no promised copy, older ones go too: a disk that failed kept them from being
        taken back, and what they claim could never make way for anything.
        """
        raw = content.root.to_bytes()
        known = await self._core.store.root(raw)
        left_over = known is None or (known.class_ == "cache" and not known.complete)
        await drop_claims(self._core, raw, [one.row for one in content.claims] if left_over else new)

    async def _standing(self, asker: PeerId, held: list[Held]) -> list[Held]:
        """Return the claims that others hand on and that nothing known here has ended; WireError without any.

        One who claims for itself is about to write what will be the newest: its content is taken, and is a copy that
        nothing claims until it claims it by that version.
        """
        core = self._core
        standing = [one for one in held if one.claim.claimant == asker or not await has_ended(core, one.claim)]
        if not standing:
            raise WireError("claims_ended")
        return standing

    async def _copy(self, content: Content, connection: BulkConnection) -> None:
        core = self._core
        writer = PeerId(content.claims[0].claim.claimant)
        await core.room.require_share(writer, content.size)
        await self._make_room(content.size)

        async def others() -> list[Contact]:
            return await sources_of(core, content.root)

        with core.room.coming_in(content.root), core.room.promising(writer, content.size):
            async with Fetcher(core, others, connection=connection) as fetcher:
                await copy_dag(core, content.root, fetcher, size=content.size)

    async def _make_room(self, size: int) -> None:
        usage = await self._core.store.usage()
        over = usage.used_bytes + size - limit_bytes(usage.quota_bytes, reserve=False)
        if over > 0 and await self._core.room.free(over) < over:
            raise NoRoomError("no room for that content within the quota")

    async def answer(self, peer: PeerId, kind: int, payload: bytes) -> bytes:
        """Return what this peer knows of keys and roots, or its part of a reconciliation."""
        return await answer(self._core, peer, kind, payload)


async def inline_value(core: Core, cid: bytes) -> bytes | None:
    """Return the value of a record kept here whose content id is `cid`."""
    try:
        raw = await core.store.record_with_cid(cid)
    except StoreError:
        return None
    record = read_record(raw) if raw is not None else None
    return record.body.value if record is not None and record.body.kind == INLINE else None
