"""Moving what differs in one session of reconciliation: pulled where we lack it, offered where the other does.

Ties go both ways. What others are giving us just now is not asked for again before the end. Not here: finding what
differs (swarm.ranges), with whom and when (reconciling), what is kept (exchanging).
"""

import asyncio

from peerd.errors import RefusedError, WireError
from peerd.ids import Key
from peerd.node.bulk import BulkConnection
from peerd.node.core import Core
from peerd.node.exchanging import Exchanging
from peerd.records.record import read_record
from peerd.wire import frames, limits
from peerd.wire.codec import encode
from peerd.wire.reconcile import (
    ACCEPTED,
    FLOOR,
    NEWER,
    NOTHING,
    RECORD,
    UNCONFIRMED,
    WISHED,
    EntryBody,
    entries_codec,
    mark_sequence,
)

# What a peer may name and not deliver, beside a quarter of what it did: more, and it is cut off.
USELESS_MAX = 256
# Records asked for in a second, so that one that comes back leaves others their share.
PULLED_PER_S = 4096
# For what others were asked for it is looked this often.
COMING_POLL_S = 0.25


class Moving:
    """What one session has moved."""

    def __init__(self, core: Core, exchanging: Exchanging, connection: BulkConnection) -> None:
        self.peer = connection.peer
        self.received = 0
        self.sent = 0
        self.useless = 0
        self.held_back = False
        """Something that the other lacks was not offered, as it is not confirmed since we returned."""
        self._core = core
        self._exchanging = exchanging
        self._connection = connection
        self._elsewhere: dict[bytes, bytes] = {}
        """What others are giving us just now; asked for at the end where it did not come."""

    async def move(self, differing: dict[bytes, bytes | None]) -> None:
        """Ask for what we lack, and offer what the other lacks. Ties go both ways: each side shows the loser."""
        core = self._core
        offered: list[tuple[bytes, bytes]] = []
        ties: dict[bytes, EntryBody] = {}
        needed: dict[bytes, bytes] = {}
        for key, theirs in differing.items():
            own = core.known.items.mark(key)
            if own == theirs:
                continue
            ours_at = mark_sequence(own) if own is not None else 0
            theirs_at = mark_sequence(theirs) if theirs is not None else 0
            if theirs is not None and theirs_at >= ours_at:
                needed[key] = theirs
            if own is not None and ours_at >= theirs_at:
                if not core.returning.confirmed(Key(key)):
                    self.held_back = True
                    continue
                offered.append((key, own))
                if key in needed:
                    ties[key] = await self._exchanging.entry(Key(key))
        await self._need(needed)
        for at in range(0, len(offered), limits.ENTRIES_MAX):
            await self._offer(offered[at : at + limits.ENTRIES_MAX], ties)

    async def _need(self, needed: dict[bytes, bytes]) -> None:
        """Ask for what nobody else is giving us just now, the rest at the end."""
        core = self._core
        peer = self.peer
        claimed: list[bytes] = []
        for key, mark in needed.items():
            if self._core.known.items.mark(key) == mark:
                continue  # it came meanwhile, from somebody else
            if self._exchanging.coming.claim(key, peer, core.now()):
                claimed.append(key)
            else:
                self._elsewhere[key] = mark
            if len(claimed) == limits.ENTRIES_MAX:
                await self._pull(claimed)
                claimed = []
        if claimed:
            await self._pull(claimed)

    async def _pull(self, keys: list[bytes]) -> None:
        core, peer = self._core, self.peer
        started = core.now()
        try:
            payload = await self._connection.ask(frames.PULL, b"".join(keys))
            entries = entries_codec.decode_canonical(payload)
            if len(entries) != len(keys):
                raise WireError("entries")
            if not core.returning.active and any(entry.kind == UNCONFIRMED for entry in entries):
                raise RefusedError("returning")  # it will offer what others confirm
            pulled = {Key(key): entry for key, entry in zip(keys, entries, strict=True)}
            taken = await self._exchanging.take(peer, pulled)
        finally:
            for key in keys:
                self._exchanging.coming.done(key, peer)
        self.received += len(taken)
        # A floor is believed on the word of others; who shows one that is not yet is no liar.
        self.useless += sum(key not in taken and entry.kind != FLOOR for key, entry in pulled.items())
        if self.useless > USELESS_MAX + self.received // 4:
            raise WireError("session_useless")
        await asyncio.sleep(max(0.0, len(keys) / PULLED_PER_S - (core.now() - started)))

    async def _offer(self, offered: list[tuple[bytes, bytes]], ties: dict[bytes, EntryBody]) -> None:
        """Offer what the other seems to lack; it says what it wants, and is given that."""
        wishes = await self._connection.ask(frames.OFFER, b"".join(key + mark for key, mark in offered))
        if len(wishes) != len(offered) or max(wishes) > NEWER:
            raise WireError("wishes")
        wished = [key for (key, _), wish in zip(offered, wishes, strict=True) if wish == WISHED]
        entries = [ties.get(key) or await self._exchanging.entry(Key(key)) for key in wished]
        given = [entry for entry in entries if entry.kind != NOTHING]
        if given:
            taken = await self._connection.ask(frames.GIVE, encode(given))
            if len(taken) != len(given):
                raise WireError("taken")
            self.sent += taken.count(ACCEPTED)
            have = [
                entry for entry, said in zip(given, taken, strict=True) if said == ACCEPTED and entry.kind == RECORD
            ]
            deleted = [record.key for record in map(read_record, (entry.data for entry in have)) if record.deleted]
            if deleted:
                await self._core.tombstones.confirmed_by(self.peer, deleted)

    async def rest(self) -> bool:
        """See that what others were giving us came; ask for the rest. Return whether we know all that the other did."""
        core, coming = self._core, self._exchanging.coming
        while True:
            left = {key: mark for key, mark in self._elsewhere.items() if self._lacks(key, mark)}
            self._elsewhere = {}
            if not left:
                return True
            free = {key: mark for key, mark in left.items() if not coming.busy(key, core.now())}
            if not free:
                self._elsewhere = left
                await asyncio.sleep(COMING_POLL_S)
                continue
            before = self.received
            await self._need(free)
            self._elsewhere |= {key: mark for key, mark in left.items() if key not in free}
            if self.received == before:
                if not self._elsewhere:
                    return all(not self._lacks(key, mark) for key, mark in free.items())
                await asyncio.sleep(COMING_POLL_S)

    def _lacks(self, key: bytes, mark: bytes) -> bool:
        own = self._core.known.items.mark(key)
        return own is None or mark_sequence(own) < mark_sequence(mark)
