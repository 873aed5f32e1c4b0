"""Records that reconciliation moves: giving what the other lacks, taking what it has, never the same one from two.

Serves the questions of PROTOCOL.md, "Reconciliation". Nothing is kept for the asker between its questions but which
keys are on their way from it. Not here: with whom and when (reconciling), the comparison itself (swarm.ranges).
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from peerd.errors import NoRoomError, RefusedError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.interface import Floor
from peerd.node.core import Core
from peerd.node.holding import check_incoming, keep_record, left_s, standing
from peerd.records.floor import ABOVE, LEFT_MAX_S, OVER, PackedFloor, pack_floors, unpack_floors
from peerd.records.record import read_record
from peerd.swarm.ranges import Answered, answer
from peerd.wire import frames
from peerd.wire.codec import encode
from peerd.wire.frames import split_keys
from peerd.wire.reconcile import (
    ACCEPTED,
    DECLINED,
    FLOOR,
    KNOWN,
    NEWER,
    NOTHING,
    RECORD,
    UNCONFIRMED,
    WISHED,
    EntryBody,
    entries_codec,
    mark_sequence,
    ranges_codec,
    split_items,
)

# A record that was asked for is asked of nobody else for so long.
COMING_S = 5.0
# Keys on their way at a time: more are asked for later. Of one peer fewer, so that it keeps nobody else from giving.
COMING_MAX = 32_768
COMING_PER_PEER_MAX = 1_024
# Questions of one peer that are answered at once, and how many more in each second: a peer that asks without end waits.
BURST = 512
PER_S = 256.0
ASKERS_MAX = 1024
# After so many ranges of a question others get their turn.
RANGES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Claim:
    """Who is to give something, until when, and whether it offered to; else it was asked for it."""

    peer: PeerId
    until: float
    offered: bool


@dataclass(slots=True)
class _Allowance:
    """Questions that a peer may still ask now (a token bucket), as of an instant."""

    left: float
    at: float


class Coming:
    """Keys that somebody was asked for, or promised to give: nobody else is, until it came or took too long.

    Who promised and did not give leaves the key to others for as long again: no liar keeps it from coming.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, _Claim] = OrderedDict()
        self._counts: Counter[PeerId] = Counter()
        self._failed: OrderedDict[bytes, tuple[PeerId, float]] = OrderedDict()

    def claim(self, key: bytes, peer: PeerId, now: float, *, offered: bool = False) -> bool:
        """Return whether that peer may give it now, as it was asked to or `offered`; then it is to."""
        self._expire(now)
        if key in self._keys:
            # Who offered it and offers it again has lost the connection meanwhile. What it offers while it is asked
            # for it, or the other way round (both may have a session under way), would come twice.
            return offered and self.offered_by(key, peer)
        if self._failed.get(key, (None, 0.0))[0] == peer:
            return False
        if len(self._keys) >= COMING_MAX or self._counts[peer] >= COMING_PER_PEER_MAX:
            return False
        self._keys[key] = _Claim(peer, now + COMING_S, offered)
        self._counts[peer] += 1
        return True

    def done(self, key: bytes, peer: PeerId) -> bool:
        """It came, or did not; return whether it was that peer's to give."""
        if not self.claimed_by(key, peer):
            return False
        self._drop(key)
        return True

    def claimed_by(self, key: bytes, peer: PeerId) -> bool:
        """Return whether it is on its way from that peer."""
        return key in self._keys and self._keys[key].peer == peer

    def offered_by(self, key: bytes, peer: PeerId) -> bool:
        """Return whether it is on its way from that peer, which offered it."""
        return self.claimed_by(key, peer) and self._keys[key].offered

    def busy(self, key: bytes, now: float) -> bool:
        """Return whether it is on its way from anybody."""
        return key in self._keys and self._keys[key].until > now

    def _expire(self, now: float) -> None:
        while self._failed and next(iter(self._failed.values()))[1] <= now:
            self._failed.popitem(last=False)
        while self._keys and next(iter(self._keys.values())).until <= now:
            key = next(iter(self._keys))
            self._failed[key] = (self._drop(key), now + COMING_S)
            self._failed.move_to_end(key)
            if len(self._failed) > COMING_MAX:
                self._failed.popitem(last=False)

    def _drop(self, key: bytes) -> PeerId:
        peer = self._keys.pop(key).peer
        self._counts[peer] -= 1
        if not self._counts[peer]:
            del self._counts[peer]
        return peer


class Exchanging:
    """What this peer gives and takes in reconciliation."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.coming = Coming()
        self._allowances: OrderedDict[PeerId, _Allowance] = OrderedDict()

    # Serving.

    async def answer(self, peer: PeerId, kind: int, payload: bytes) -> bytes:
        """Return the answer to a peer's question.

        Raises WireError where it breaks the rules, RefusedError while what is here is still being read, StoreError.
        """
        if not self._core.known.ready.is_set():
            raise RefusedError("busy")
        await self._allow(peer)
        match kind:
            case frames.RECONCILE:
                return await self._ranges(peer, payload)
            case frames.PULL:
                return encode([await self.entry(Key(key)) for key in split_keys(payload)])
            case frames.OFFER:
                return bytes([self._wish(peer, key, mark) for key, mark in split_items(payload)])
            case frames.GIVE:
                return await self._given(peer, payload)
        raise WireError("frame_kind")

    async def _allow(self, peer: PeerId) -> None:
        """Let a peer wait that asks too much."""
        now = self._core.now()
        allowance = self._allowances.pop(peer, None) or _Allowance(BURST, now)
        allowance.left = min(BURST, allowance.left + (now - allowance.at) * PER_S) - 1
        allowance.at = now
        self._allowances[peer] = allowance
        if len(self._allowances) > ASKERS_MAX:
            self._allowances.popitem(last=False)
        if allowance.left < 0:
            await asyncio.sleep(-allowance.left / PER_S)

    async def _ranges(self, peer: PeerId, payload: bytes) -> bytes:
        core = self._core
        asked = ranges_codec.decode_canonical(payload)
        done = Answered()
        for number, step in enumerate(answer(core.known.items, asked)):
            done = step
            if number % RANGES_AT_ONCE == RANGES_AT_ONCE - 1:
                await asyncio.sleep(0)
        core.reconciling.served(peer, done)
        return encode(done.answer)

    async def entry(self, key: Key) -> EntryBody:
        """Return what is known here of a key, to be given to another."""
        core = self._core
        here = await standing(core, key)
        if here.record is not None:
            kind = RECORD if core.returning.confirmed(key) else UNCONFIRMED
            return EntryBody(kind, here.record.raw, await left_s(core, here.record) or None)
        if here.floor is None:
            return EntryBody(NOTHING, b"", None)
        ends = here.floor.ends
        life_s = 0 if ends is None else max(1, min(LEFT_MAX_S, int(ends - core.store.now_s())))
        return EntryBody(FLOOR, pack_floors([PackedFloor(key, here.floor.version, life_s)]), None)

    def _wish(self, peer: PeerId, key: bytes, mark: bytes) -> int:
        core = self._core
        own = core.known.items.mark(key)
        if own is not None and mark_sequence(own) > mark_sequence(mark):
            return NEWER
        if own == mark:
            return KNOWN
        if self.coming.claim(key, peer, core.now(), offered=True):
            return WISHED
        # Of a tie each side shows the loser: what that peer is asked for just now may be the winner meanwhile.
        tied = own is not None and mark_sequence(own) == mark_sequence(mark)
        return WISHED if tied and self.coming.claimed_by(key, peer) else KNOWN

    # Taking.

    async def _given(self, peer: PeerId, payload: bytes) -> bytes:
        """Take what was wished for; what was not is declined."""
        entries = entries_codec.decode_canonical(payload)
        wished: dict[Key, EntryBody] = {}
        keys: list[Key | None] = []
        for entry in entries:
            key = self._key_of(entry)
            keys.append(key)
            if key is not None and self.coming.done(key, peer):
                wished[key] = entry
        taken = await self.take(peer, wished)
        return bytes(ACCEPTED if key in taken else DECLINED for key in keys)

    def _key_of(self, entry: EntryBody) -> Key | None:
        try:
            if entry.kind == FLOOR:
                return unpack_floors(entry.data)[0].key if entry.data else None
            return read_record(entry.data).key if entry.data else None
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return None

    async def take(self, peer: PeerId, entries: Mapping[Key, EntryBody]) -> set[Key]:
        """Keep what a peer knows of keys, where that is newer; return those of which we know as much as it now.

        Raises WireError where it is a forgery or of another key, StoreError.
        """
        core = self._core
        records = {k: e for k, e in entries.items() if e.kind in (RECORD, UNCONFIRMED)}
        if not core.returning.active:
            records = {key: entry for key, entry in records.items() if entry.kind == RECORD}
        outcomes = await asyncio.gather(*(self._take_record(key, entry) for key, entry in records.items()))
        taken = {key for key, known in zip(records, outcomes, strict=True) if known}
        taken |= await self._take_floors(peer, {k: e for k, e in entries.items() if e.kind == FLOOR})
        deleted = [key for key in records if key in taken and read_record(records[key].data).deleted]
        if deleted:
            await core.tombstones.confirmed_by(peer, deleted)
        return taken

    async def _take_record(self, key: Key, entry: EntryBody) -> bool:
        core = self._core
        record = check_incoming(core, entry.data)
        if record.key != key:
            raise WireError("other_key")
        try:
            await keep_record(core, record, entry.left_s)
        except WireError as error:
            core.counts.rejected[error.reason] += 1
            return False
        except NoRoomError:
            return False
        return True

    async def _take_floors(self, peer: PeerId, entries: Mapping[Key, EntryBody]) -> set[Key]:
        core = self._core
        now = core.store.now_s()
        floors: list[tuple[Key, Floor]] = []
        for key, entry in entries.items():
            packed = unpack_floors(entry.data)
            if len(packed) != 1 or packed[0].key != key:
                raise WireError("other_key")
            floors.append((key, Floor(*packed[0].version, now + packed[0].left_s if packed[0].left_s else None)))
        if floors:
            with suppress(NoRoomError):  # as of records: those that found no room are not taken
                await core.tombstones.keep_floors(floors, peer)
        return {key for key, floor in floors if (await standing(core, key)).of(floor.version) in (ABOVE, OVER)}
