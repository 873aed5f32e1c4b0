"""What a holder does with a record that arrives: check it, compare, keep it durably, promise it.

One path for records that others send, that we wrote ourselves, and that a read found here to be stale.
"""

from dataclasses import dataclass, replace
from functools import partial

from loguru import logger

from peerd.content.block import raw_block
from peerd.errors import DamagedError, StoreError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.bounds import record_bytes
from peerd.io.store.interface import MISS, Floor, RecordRow
from peerd.node.claims import floor_laid, record_changed
from peerd.node.core import Core
from peerd.records.claim import Claim
from peerd.records.floor import ABOVE, BELOW, NOTHING, OVER, FloorVersion
from peerd.records.receipt import OF_RECORD, receipts
from peerd.records.record import DIRECTORY, FILE, INLINE, Record, read_record, verify_record
from peerd.trust.evidence import equivocates
from peerd.wire.limits import SEQUENCE_JUMP_MAX, SEQUENCE_MAX
from peerd.wire.messages import Newer, Reply, Value


@dataclass(frozen=True, slots=True)
class Kept:
    """The record is on our disk (or was); the receipt says so."""

    receipt: bytes
    lost: Record | None = None
    """What was here and lost a tie against it: others want to know of the conflict."""


@dataclass(frozen=True, slots=True)
class Outdone:
    """We have a newer one."""

    newer: Record


@dataclass(frozen=True, slots=True)
class Over:
    """A floor says that this version is over: its key was deleted, or its life ended."""

    floor: Floor


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known here of a key: its record (a tombstone too), else its floor, else nothing."""

    record: Record | None
    floor: Floor | None

    def of(self, version: FloorVersion) -> int:
        """Return what this says of a version: NOTHING, BELOW, ABOVE or OVER (records.floor)."""
        if self.record is not None:
            if self.record.version[:3] < version and not self.record.body.strong:
                return BELOW
            return OVER if self.record.deleted else ABOVE
        if self.floor is None:
            return NOTHING
        return OVER if self.floor.version >= version else BELOW

    def ends(self, claim: Claim) -> bool:
        """Return whether this shows that a claim of the key has ended."""
        if self.record is not None:
            return claim.ended_by(self.record)
        return self.floor is not None and claim.over_by(self.floor.version)


async def standing(core: Core, key: Key) -> Standing:
    """Return what is known here of a key; a record whose life is over is a floor."""
    peeked = core.store.peek_record(key)
    raw = await core.store.record(key) if peeked is MISS else peeked
    if raw is None:
        return Standing(None, await core.store.floor(key) if core.store.peek_floor(key) is not None else None)
    record = read_record(raw)
    if record.body.ttl_s is not None and await left_s(core, record) == 0:
        return Standing(None, floor_of(record, ends=core.store.now_s() + core.settings.tombstone_grace_s))
    return Standing(record, None)


def floor_of(record: Record, *, ends: float | None) -> Floor:
    """Return the floor that a record leaves."""
    return Floor(record.body.sequence, record.body.writer, record.body.nonce, ends)


async def lay_floor(core: Core, key: Key, floor: Floor) -> bool:
    """Keep a floor in place of what it is above; return False where the record here is newer.

    Raises NoRoomError, StoreError.
    """
    async with core.locks.hold(key):
        raw = await core.store.record(key)
        record = read_record(raw) if raw is not None else None
        if record is not None and record.version[:3] > floor.version:
            return False
        if record is not None and record.body.strong and record.version[:3] != floor.version:
            return False  # it outdoes all plain versions; its own life alone may end it
        async with core.changes.granting.turning(key):
            await core.store.put_floor(key, floor)
        core.copies.drop(key)
    core.changes.happened(key)
    core.tasks.spawn(floor_laid(core, key, floor.version, record), "end claims")
    if record is not None and not record.deleted:
        core.events.emit("record", name=record.body.name, version=record.version.text, deleted=True)
    return True


async def keep_record(
    core: Core, record: Record, left_s: int | None, *, sender: PeerId | None = None
) -> Kept | Outdone | Over:
    """Keep a verified record unless we have a newer one, or know it to be over.

    One with a sequence far above what is here is kept only where the other holders have it. Raises WireError:
    `sequence_jump` for a version out of reach, `revoked` for one that a revoked key may sign only now, `life` for one
    said to live longer than its writer gave it, or to end where it gave no end, `strong` for a plain one of a key that
    has a register. NoRoomError, StoreError. Waits for those that have a lease of it from here, `sender` left out where
    it is the writer.
    """
    if left_s is not None and (record.body.ttl_s is None or left_s > record.body.ttl_s):
        raise WireError("life")
    if core.trust.is_doubted(record) and not await _is_standing(core, record):
        raise WireError("revoked")
    knows = sender if sender == record.body.writer else None
    outcome = await _keep(core, record, left_s, reach=SEQUENCE_JUMP_MAX, knows=knows)
    if outcome is None and await core.tombstones.vouched(record):
        outcome = await _keep(core, record, left_s, reach=SEQUENCE_MAX, knows=knows)
    if outcome is None:
        raise WireError("sequence_jump")
    return outcome


async def _is_standing(core: Core, record: Record) -> bool:
    """Return whether a revoked writer's record is here, or with most of its holders: one that stands stays (DESIGN 9).

    Whoever stole the key signs what it likes, and can have others bring it.
    """
    here = await own_record(core, record.key)
    return (here is not None and here.version == record.version) or await core.tombstones.is_with_most(record)


async def _keep(
    core: Core, record: Record, left_s: int | None, *, reach: int, knows: PeerId | None
) -> Kept | Outdone | Over | None:
    """As `keep_record`; returns None where the sequence is more than `reach` above what is here."""
    lost: Record | None = None
    async with core.locks.hold(record.key):
        raw = await _whole_record(core, record.key)
        present = read_record(raw) if raw is not None else None
        if present is not None and present.version > record.version:
            return await _outdone(core, present, record)
        changed = present is None or present.version != record.version
        if changed and not record.body.strong and await core.registers.is_strong(record.key):
            raise WireError("strong")
        if changed:
            floor = None if core.store.peek_floor(record.key) is None else await core.store.floor(record.key)
            # Of a strong record only the end of its own life counts: it outdoes all plain versions.
            ended = floor is not None and floor.version == record.version[:3]
            if floor is not None and (ended or (not record.body.strong and floor.version >= record.version[:3])):
                return Over(floor)
            base = present.body.sequence if present is not None else floor.sequence if floor is not None else 0
            if record.body.sequence > base + reach:
                return None
            row = row_of(core, record, left_s)
            put = partial(core.store.put_record, record.key, record.raw, row=row, only_if=raw)
            size, writer = _growth_bytes(record, raw), PeerId(record.body.writer)
            async with core.changes.granting.turning(record.key, knows):
                if not await core.room.put_record(put, writer=writer, size=size):
                    raise StoreError("the record changed under its lock")
            if present is not None and present.body.sequence >= record.body.sequence:
                await _note_conflict(core, record, present)
                lost = present
            core.events.emit("record", name=record.body.name, version=record.version.text, deleted=record.deleted)
            core.cached.held(record)
            core.changes.happened(record.key)
            # Claims are also of puts that failed, and of versions that never came here.
            if present is not None or record.deleted:
                core.tasks.spawn(record_changed(core, present, record), "end claims")
    return Kept(await record_receipt(core, record), lost)


def _growth_bytes(record: Record, before: bytes | None) -> int:
    """Return by how much what is kept grows with a record; a deletion is always let in."""
    if record.deleted:
        return 0
    return len(record.raw) - len(before) if before is not None else record_bytes(record.raw)


async def _whole_record(core: Core, key: Key) -> bytes | None:
    """Return the record kept here; none where it is damaged, so that a whole one takes its place."""
    try:
        return await core.store.record(key)
    except DamagedError:
        return None


async def _outdone(core: Core, present: Record, record: Record) -> Outdone:
    same = present.body.sequence == record.body.sequence and present.version != record.version
    overruled = present.body.strong and not record.body.strong and present.body.sequence < record.body.sequence
    if same or overruled:
        await _note_conflict(core, present, record)
    return Outdone(present)


async def _note_conflict(core: Core, winner: Record, loser: Record) -> None:
    row = row_of(core, loser, None)
    if equivocates(winner, loser):
        core.tasks.spawn(core.convicting.equivocated(winner, loser), "convict a writer")
    is_new = not any(e.conflict and e.row.version == row.version for e in await core.store.history(loser.key))
    await core.store.add_history(loser.key, row, conflict=True)
    if is_new:
        core.events.emit("conflict", name=winner.body.name, version=winner.version.text, lost=loser.version.text)


async def record_receipt(core: Core, record: Record) -> bytes:
    """Return our signed promise to have this version. Raises StoreError."""
    return await core.promises.receipt(OF_RECORD, record.key, record.version.digest, record.body.sequence)


def record_of(core: Core, reply: Reply, key: Key, seen: Record | None = None) -> Record | None:
    """Return the record in a reply to FindValue or Store, verified and of that key as `seen` was; raises WireError."""
    if not isinstance(reply, Value | Newer):
        raise WireError("reply_kind")
    if not reply.record:
        return None
    if seen is not None and reply.record == seen.raw:  # most holders of a key send the same bytes
        return seen
    record = check_incoming(core, reply.record)
    if record.key != key:
        raise WireError("other_key")
    return record


def check_record_receipt(core: Core, raw: bytes, record: Record, holder: PeerId) -> None:
    """Raise WireError where `raw` is not that holder's promise of this version."""
    receipt = receipts.verify(raw, core.verifier)
    matches = (
        receipt.kind == OF_RECORD
        and receipt.holder == holder
        and receipt.key == record.key
        and receipt.digest == record.version.digest
    )
    if not matches:
        raise WireError("receipt")
    core.proofs.keep(receipt, raw)


def row_of(core: Core, record: Record, left_s: int | None) -> RecordRow:
    """Return the metadata that the store keeps beside a record."""
    body = record.body
    life_s = min(left_s, body.ttl_s) if left_s is not None and body.ttl_s is not None else body.ttl_s
    return RecordRow(
        name=body.name,
        owner=body.owner,
        sequence=body.sequence,
        writer=body.writer,
        nonce=body.nonce,
        cid=record_cid_bytes(record),
        size=body.size,
        deleted=record.deleted,
        expires=core.store.now_s() + life_s if life_s is not None else None,
        written_at=core.environment.clock.wall(),
    )


def record_cid_bytes(record: Record) -> bytes | None:
    """Return the CID of what the record names, in 36 bytes; None of a tombstone."""
    if record.body.kind in (FILE, DIRECTORY):
        return record.body.value
    if record.body.kind == INLINE:
        return raw_block(record.body.value).cid.to_bytes()
    return None


async def own_record(core: Core, key: Key) -> Record | None:
    """Return the record this peer keeps under `key`, where its life has not ended."""
    return (await standing(core, key)).record


async def mend_life(core: Core, record: Record, life_s: int) -> None:
    """Let a record kept here live so many seconds more: what most of its holders say. Raises StoreError."""
    async with core.locks.hold(record.key):
        for entry in await core.store.history(record.key):
            if entry.row.version == record.version[:3]:
                row = replace(entry.row, expires=core.store.now_s() + life_s)
                await core.store.put_record(record.key, record.raw, row=row, only_if=record.raw)


async def readable(core: Core, key: Key) -> tuple[Standing, bool]:
    """Return `standing` and True, or nothing and False where our disk cannot say: then we are as one that is silent."""
    try:
        return await standing(core, key), True
    except StoreError as error:
        logger.warning("a record cannot be read here", reason=str(error))
        return Standing(None, None), False


async def left_s(core: Core, record: Record) -> int | None:
    """Return the seconds of life that a record kept here has left: None for ever, 0 when it is over."""
    if record.body.ttl_s is None:
        return None
    for entry in await core.store.history(record.key):
        if (entry.row.sequence, entry.row.writer, entry.row.nonce) == record.version[:3]:
            if entry.row.expires is None:
                return None
            return max(0, int(entry.row.expires - core.store.now_s() + 0.999))
    return record.body.ttl_s


def check_incoming(core: Core, raw: bytes) -> Record:
    """Return a record that came from another peer, verified; raises WireError."""
    return verify_record(raw, core.identity.network, core.verifier)
