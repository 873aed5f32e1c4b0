"""Why content is kept, and its end: signed claims of names' versions and of peers that added it (DESIGN.md 7).

A name's claim ends with proof: a signed version of that name above the one that claims, which names something else, or
a floor that is believed (tombstones); or with the name's life. An adder's claim ends on its word. What nobody claims
any more and is not pinned is an unclaimed copy: class cache, 0 copies wanted. It goes first when room is needed, and by
itself after a grace (collecting).

Claims and class of one root change under its lock, so that a claim that comes while another ends is never overlooked.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from peerd.content.cid import Cid
from peerd.errors import WireError
from peerd.ids import Key, PeerId
from peerd.io.store.interface import Root
from peerd.node.core import Core
from peerd.node.providing import CACHE, GONE, announce
from peerd.records.claim import Claim, claims, content_of
from peerd.records.floor import FloorVersion
from peerd.records.record import Record, verify_record

PINNED = b"pinned"
# What rows of claims begin with: the name's key or the adder follows, of a name with a life before that its end.
_NAME = b"name:"
_MORTAL = b"mortal:"
_ADDED = b"added:"
_END_BYTES = 8
PAGE = 128
# Claims looked at to find the largest number of copies: of very many names of the same bytes not all are read.
CLAIMS_READ_MAX = 256


@dataclass(frozen=True, slots=True)
class Held:
    """A claim that was verified: the statement as it travelled, and when its name's life ends (the store's clock)."""

    statement: bytes
    claim: Claim
    ends: float | None = None

    @property
    def row(self) -> bytes:
        """Return it as the store keeps it."""
        if self.claim.key is None:
            return _ADDED + self.claim.claimant + self.statement
        if self.ends is None:
            return _NAME + self.claim.key + self.statement
        return _MORTAL + self.claim.key + math.ceil(self.ends).to_bytes(_END_BYTES, "big") + self.statement


def read_row(row: bytes) -> Held | None:
    """Return a claim from its row; None of a pin, and of one that the disk has damaged: what it is of stays kept."""
    if row.startswith(_ADDED):
        statement, ends = row[len(_ADDED) + 32 :], None
    elif row.startswith(_NAME):
        statement, ends = row[len(_NAME) + 32 :], None
    elif row.startswith(_MORTAL):
        start = len(_MORTAL) + 32
        ends = float(int.from_bytes(row[start : start + _END_BYTES], "big"))
        statement = row[start + _END_BYTES :]
    else:
        return None
    return Held(statement, claims.read(statement), ends) if claims.is_whole(statement) else None


def claimant_of(row: bytes) -> PeerId | None:
    """Return whose claim a row is; None of a pin."""
    held = read_row(row)
    return PeerId(held.claim.claimant) if held is not None else None


def make_claim(core: Core, root: Cid, *, key: Key | None, sequence: int, copies: int, name: str) -> Held:
    """Sign our claim on content: for a version of a name, or without a key because we add it."""
    claim = Claim(1, root.to_bytes(), core.peer, key, sequence, copies, name)
    return Held(claims.sign(core.identity, claim), claim)


def with_life(core: Core, held: Held, life_s: int | None) -> Held:
    """Return the claim of a name that lives so many seconds from now."""
    return held if life_s is None else replace(held, ends=core.store.now_s() + life_s)


def check_claim(core: Core, root: bytes, statement: bytes, life_s: int | None) -> Held:
    """Return a claim on `root` that came from outside; raises WireError."""
    claim = claims.verify(statement, core.verifier)
    if claim.root != root:
        raise WireError("claim_root")
    return with_life(core, Held(statement, claim), life_s if claim.key is not None else None)


async def claims_on(core: Core, cid: bytes, most: int = CLAIMS_READ_MAX) -> list[Held]:
    """Return claims on some content, without pins: those for names first."""
    rows = await core.store.claims(cid, limit=most + 1)
    return [held for held in map(read_row, reversed(rows)) if held is not None][:most]


async def add_claims(core: Core, cid: bytes, added: Sequence[Held]) -> list[bytes]:
    """Note claims, each in place of older ones of the same name or adder; returns the rows that are new.

    From here on the content does not go: where it is here already it stays.
    """
    new = []
    async with core.locks.hold(_lock(cid)):
        for held in added:
            known = await _rows_like(core, cid, held.claim)
            if held.row in known:
                continue
            if any(
                (other := read_row(row)) is not None and other.claim.sequence > held.claim.sequence for row in known
            ):
                continue
            await core.store.add_claim(cid, held.row)
            new.append(held.row)
            for row in known:
                await core.store.remove_claim(cid, row)
    return new


async def _rows_like(core: Core, cid: bytes, claim: Claim) -> list[bytes]:
    """Return the rows of one name's claims, or of one adder's."""
    if claim.key is None:
        return await core.store.claims(cid, prefix=_ADDED + claim.claimant)
    return [row for kind in (_NAME, _MORTAL) for row in await core.store.claims(cid, prefix=kind + claim.key)]


async def change_root(core: Core, cid: bytes, change: Callable[[Root | None], Root | None]) -> Root | None:
    """Change a root by what it is, with no claim coming or going meanwhile; `change` returns None to leave it."""
    async with core.locks.hold(_lock(cid)):
        root = change(await core.store.root(cid))
        if root is not None:
            await core.store.put_root(root)
        return root


async def settle_root(core: Core, cid: bytes, change: Callable[[Root | None], Root], ended: Sequence[bytes]) -> Root:
    """Note content as `change` says without the claims that have ended; unclaimed where no other is left."""
    async with core.locks.hold(_lock(cid)):
        for row in ended:
            await core.store.remove_claim(cid, row)
        root = change(await core.store.root(cid))
        if not await core.store.claims(cid, limit=1):
            root = replace(root, class_="cache", name="", copies=0, used_at=core.store.now_s())
        await core.store.put_root(root)
        return root


async def drop_claims(core: Core, cid: bytes, rows: Sequence[bytes], *, cached: int | None = None) -> None:
    """Remove claims; the number of copies wanted follows, and content without any is unclaimed from then on.

    With `cached`, it is a cached copy of what others promise so many copies of.
    """
    async with core.locks.hold(_lock(cid)):
        for row in rows:
            await core.store.remove_claim(cid, row)
        root = await core.store.root(cid)
        if root is None:
            return
        left = await core.store.claims(cid, limit=1)
        if not left and root.class_ != "pinned":
            await _let_lapse(core, root, cached)
        elif root.class_ in ("own", "replica", "pinned"):
            copies = max((held.claim.copies for held in await claims_on(core, cid)), default=0)
            if copies != root.copies:
                await core.store.put_root(replace(root, copies=copies))


async def _let_lapse(core: Core, root: Root, cached: int | None) -> None:
    """Make unclaimed what nothing claims; the grace begins now. Unlike of a cached copy, no copies are wanted."""
    if cached is not None:
        await core.store.put_root(replace(root, class_="cache", name="", copies=cached, used_at=core.store.now_s()))
        if root.complete:
            core.tasks.spawn(announce(core, Cid.from_bytes(root.cid), CACHE), "announce")
        return
    if root.class_ == "cache" and root.copies == 0:
        return
    promised = root.class_ != "cache"
    await core.store.put_root(replace(root, class_="cache", name="", copies=0, used_at=core.store.now_s()))
    if promised and root.complete:
        core.tasks.spawn(announce(core, Cid.from_bytes(root.cid), GONE), "announce")
    elif not promised:
        core.lapsing.look(root.cid, unclaimed=True)


async def pin_root(core: Core, cid: bytes) -> None:
    """Keep content that is here whatever happens."""
    await core.store.add_claim(cid, PINNED)
    await change_root(core, cid, lambda root: replace(root, class_="pinned") if root is not None else None)


async def unpin_root(core: Core, cid: bytes) -> bool:
    """Let go of a pin; returns whether there was one. What nothing else claims is a cached copy from then on."""
    if not await core.store.claims(cid, prefix=PINNED):
        return False
    claimed = bool(await claims_on(core, cid, most=1))

    def unpinned(root: Root | None) -> Root | None:
        return None if root is None else replace(root, class_="own" if claimed else "cache")

    await change_root(core, cid, unpinned)
    await core.store.remove_claim(cid, PINNED)
    return True


async def record_changed(core: Core, old: Record | None, new: Record) -> None:
    """A newer version of a name came here by whatever way.

    The claims of the name's older versions on other content end, and a cached copy of what it named is unclaimed.
    """
    await _end_claims(core, new.key, lambda claim: claim.ended_by(new))
    named = content_of(old) if old is not None else None
    if named is not None and content_of(new) != named:
        await drop_claims(core, named, [])


async def floor_laid(core: Core, key: Key, floor: FloorVersion, old: Record | None) -> None:
    """A name is over here up to a version: so are its claims up to there, and a cached copy of what it named."""
    await _end_claims(core, key, lambda claim: claim.over_by(floor))
    named = content_of(old) if old is not None else None
    if named is not None:
        await drop_claims(core, named, [])


async def _end_claims(core: Core, key: Key, ended: Callable[[Claim], bool]) -> None:
    for kind in (_NAME, _MORTAL):
        after: tuple[bytes, bytes] | None = None
        while page := await core.store.claims_like(kind + key, after, PAGE):
            for cid, row in page:
                held = read_row(row)
                if held is not None and ended(held.claim):
                    await drop_claims(core, cid, [row])
            after = page[-1]


async def end_claim(core: Core, sender: PeerId, cid: bytes, raw_record: bytes) -> None:
    """End a claim on content held here, as a member asks.

    With `raw_record`, a version of a name that names something else than `cid`, the claims of that name's older
    versions end; without it that of the sender. Raises WireError where the proof is none.
    """
    if not raw_record:
        await end_added(core, sender, cid)
        return
    record = verify_record(raw_record, core.identity.network, core.verifier)
    if content_of(record) == cid:
        raise WireError("claim_stands")
    await drop_name_claims(core, cid, record)


async def end_added(core: Core, adder: PeerId, cid: bytes) -> None:
    """Remove the claim of a peer that added content."""
    rows = await core.store.claims(cid, prefix=_ADDED + adder)
    if rows:
        await drop_claims(core, cid, rows)


async def drop_name_claims(core: Core, cid: bytes, record: Record) -> None:
    """Remove the claims on some content that a version of a name ends."""
    rows = [row for kind in (_NAME, _MORTAL) for row in await core.store.claims(cid, prefix=kind + record.key)]
    ended = [row for row in rows if (held := read_row(row)) is not None and held.claim.ended_by(record)]
    if ended:
        await drop_claims(core, cid, ended)


async def expire_claims(core: Core, now: float) -> int:
    """End the claims of names whose life was over at `now` (the store's clock); returns how many."""
    count = 0
    after: tuple[bytes, bytes] | None = None
    while page := await core.store.claims_like(_MORTAL, after, PAGE):
        for cid, row in page:
            held = read_row(row)
            if held is not None and held.ends is not None and held.ends < now:
                await drop_claims(core, cid, [row])
                count += 1
        after = page[-1]
    return count


def _lock(cid: bytes) -> bytes:
    return b"claims " + cid
