"""Liars about records: altered, cut, of another key or network, rolled back, denied, over, not what was asked for.

In answers to reads, and where records are given in reconciliation.
"""

from collections.abc import Awaitable, Sequence

from msgspec.structs import replace

from peerd.identity import Identity
from peerd.ids import Key, PeerId, name_key, network_id
from peerd.node import holding
from peerd.node.core import Core
from peerd.records.floor import PackedFloor, pack_floors, pack_version
from peerd.records.record import INLINE, NONCE_BYTES, Record, RecordBody, make_record, read_record
from peerd.wire import frames
from peerd.wire.codec import encode
from peerd.wire.messages import Done, FindValue, Reply, Request, Store, Stored, Value
from peerd.wire.reconcile import FLOOR, RECORD, UNCONFIRMED, EntryBody, entries_codec
from tests.hostile.base import Answer, Honest, HonestBytes, Liar, flipped, replied
from tests.hostile.clan import Clan

REMEMBERED_MAX = 4096


class Alters(Liar):
    """Sends something else in place of each record, wherever it sends one."""

    name = "altered record"

    def altered(self, raw: bytes) -> bytes:
        """Return what is sent in place of a record."""
        return flipped(raw, len(raw) // 2)

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        answer = honest()
        if isinstance(request, FindValue) and answer is not None:
            return self._lie(request, answer)
        return answer

    async def _lie(self, request: FindValue, answer: Reply | Awaitable[Reply]) -> Reply:
        reply = await replied(answer)
        if isinstance(reply, Value) and reply.record and self.clan.wants(request.key):
            return replace(reply, record=self.altered(reply.record))
        return reply

    async def tell(self, peer: PeerId, kind: int, payload: bytes, honest: HonestBytes) -> bytes:
        answer: bytes = await honest()
        if kind != frames.PULL:
            return answer
        entries = entries_codec.decode_canonical(answer)
        return encode([self._entry(entry) for entry in entries])

    def _entry(self, entry: EntryBody) -> EntryBody:
        if entry.kind not in (RECORD, UNCONFIRMED):
            return entry
        return EntryBody(entry.kind, self.altered(entry.data), entry.left_s)


class AltersSignature(Alters):
    """Turns a bit of the signature."""

    name = "altered signature"

    def altered(self, raw: bytes) -> bytes:
        return flipped(raw, len(raw) - 20)


class Cuts(Alters):
    """Leaves the last byte of each record out."""

    name = "cut record"

    def altered(self, raw: bytes) -> bytes:
        return raw[:-1]


class OtherKey(Alters):
    """Sends a record of another name, which it has signed validly."""

    name = "other key"

    def altered(self, raw: bytes) -> bytes:
        return _signed(self.core.identity, read_record(raw), "another name").raw


class OtherName(Alters):
    """Signs validly that another name has this key."""

    name = "other name"

    def altered(self, raw: bytes) -> bytes:
        known = read_record(raw)
        return _signed(self.core.identity, known, "another name", key=known.key).raw


class OtherNetwork(Alters):
    """Sends the same name's record as signed in another network."""

    name = "other network"

    def altered(self, raw: bytes) -> bytes:
        own = self.core.identity
        other = Identity(own.key, network_id("another network"), own.suite)
        known = read_record(raw)
        return _signed(other, known, known.body.name).raw


class RollsBack(Alters):
    """Goes on sending the first version of each key that it was ever given."""

    name = "rolled back"

    def install(self, core: Core, clan: Clan) -> None:
        self.first: dict[bytes, bytes] = {}
        super().install(core, clan)

    def heard(self, peer: PeerId, request: Request) -> None:
        if isinstance(request, Store) and len(self.first) < REMEMBERED_MAX:
            self.first.setdefault(read_record(request.record).key, request.record)

    def altered(self, raw: bytes) -> bytes:
        return self.first.get(read_record(raw).key, raw)


class Denies(Liar):
    """Says that there is nothing under any key, having signed for it."""

    name = "denied record"

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        if isinstance(request, FindValue) and self.clan.wants(request.key):
            return Value(request.rid, b"", None, b"")
        return honest()


class Floors(Liar):
    """Says of any key that all its versions are over, as far as numbers go."""

    name = "invented floor"

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        if isinstance(request, FindValue) and self.clan.wants(request.key):
            version = (2**61, self.core.peer, bytes(NONCE_BYTES))
            return Value(request.rid, b"", None, b"", pack_version(version))
        return honest()

    async def tell(self, peer: PeerId, kind: int, payload: bytes, honest: HonestBytes) -> bytes:
        answer: bytes = await honest()
        if kind != frames.PULL:
            return answer
        keys = frames.split_keys(payload)
        version = (2**61, self.core.peer, bytes(NONCE_BYTES))
        return encode([EntryBody(FLOOR, pack_floors([PackedFloor(Key(key), version, 0)]), None) for key in keys])


class Babbles(Liar):
    """Answers a read with a reply of another kind."""

    name = "another reply"

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        return Done(request.rid) if isinstance(request, FindValue) else honest()


class Forgets(Liar):
    """Signs for each record, and keeps none."""

    name = "forgets"

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        return self._sign(request) if isinstance(request, Store) else honest()

    async def _sign(self, request: Store) -> Reply:
        record = holding.check_incoming(self.core, request.record)
        return Stored(request.rid, await holding.record_receipt(self.core, record))


def _signed(identity: Identity, known: Record, name: str, *, key: Key | None = None) -> Record:
    body = RecordBody(
        format=known.body.format,
        key=key or name_key(identity.network, name),
        name=name,
        owner=None,
        sequence=known.body.sequence,
        writer=identity.peer,
        nonce=bytes(NONCE_BYTES),
        kind=INLINE,
        value=b"lie",
        size=3,
        copies=known.body.copies,
        ttl_s=None,
    )
    return make_record(identity, body)


WAYS: Sequence[type[Liar]] = (
    Alters,
    AltersSignature,
    Cuts,
    OtherKey,
    OtherName,
    OtherNetwork,
    RollsBack,
    Denies,
    Floors,
    Babbles,
    Forgets,
)
"""All ways to lie about records."""
