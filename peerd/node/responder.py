"""What this peer answers to the requests of others. Each kind of request is one short function.

Only members with a session come here. Contacts told to others are proven ones, nearest first, cut to fit the datagram.
"""

from collections.abc import Awaitable

from loguru import logger

from peerd.errors import NoRoomError, RefusedError, StoreError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.interface import MISS
from peerd.kad.contact import Address, Contact, pack_contacts
from peerd.kad.crowd import RECORD_HOLDERS, divide
from peerd.logs import short
from peerd.node import accepting, announced, holding, proving
from peerd.node.claims import end_claim
from peerd.node.core import Core
from peerd.node.holding import Outdone, Over
from peerd.node.members import places_of
from peerd.node.probing import Probing
from peerd.node.reading import REFUSED_RETURNING
from peerd.node.waiting_out import REFUSED_LEASED, WaitingOut
from peerd.records.alias import read_announcement
from peerd.records.floor import pack_version, unpack_floors
from peerd.records.record import Record, is_mortal
from peerd.wire import limits, messages
from peerd.wire.envelope import PLAINTEXT_MAX_BYTES
from peerd.wire.messages import (
    Done,
    Floors,
    Newer,
    Nodes,
    Providers,
    Refused,
    Reply,
    Request,
    Stored,
    Value,
)

# What the fields beside contacts and record take at most in a reply: tag, request id, lengths, seconds left.
_REPLY_FIELDS_BYTES = 32
_CONTACTS_ROOM_BYTES = PLAINTEXT_MAX_BYTES - _REPLY_FIELDS_BYTES

REFUSED_NO_ROOM = "no_room"
REFUSED_STORE = "store"
REFUSED_JUMP = "sequence_jump"
REFUSED_STRONG = "strong"
REFUSED_BAD = "bad"
REFUSED_FLOOR = "floor"
REFUSED_DIFFERS = "differs"


# A record is kept without more where so many at most are nearer to its key: views differ, and holders may be away.
NEAR_HOLDERS = 3 * RECORD_HOLDERS


class Responder:
    """Answers requests out of the members and the store."""

    def __init__(self, core: Core, probing: Probing) -> None:
        self._core = core
        self._probing = probing
        self._waiting_out = WaitingOut(core)

    def handle(  # noqa: PLR0911, PLR0912  one line a request
        self, peer: PeerId, address: Address, request: Request
    ) -> Reply | Awaitable[Reply]:
        """Return the reply, or an awaitable of it where the disk must be asked."""
        match request:
            case messages.FindValue():
                return self._find_value(peer, request)
            case messages.Ping():
                return self._probing.on_ping(peer, request)
            case messages.FindNode():
                return Nodes(request.rid, self._nearest(request.target, peer, _CONTACTS_ROOM_BYTES))
            case messages.Store():
                return self._store(peer, request)
            case messages.FindProviders():
                return self._find_providers(peer, request)
            case messages.AddProvider():
                return self._add_provider(peer, request)
            case messages.Members():
                return self._members(peer, request)
            case messages.Relay():
                return self._probing.on_relay(request)
            case messages.Vouch():
                return self._probing.on_vouch(request)
            case messages.Tell():
                self._probing.gossip.hear(peer, request.news)
                return Done(request.rid)
            case messages.Leave():
                return self._leave(peer, request)
            case messages.Release():
                return self._release(peer, request)
            case messages.Prepare():
                return self._agree(peer, request, accepting.prepare(self._core, peer, request))
            case messages.Accept():
                return self._agree(peer, request, accepting.accept(self._core, peer, request))
            case messages.Agree():
                return self._same(peer, request)
            case messages.Prove():
                return proving.prove(self._core, request)
            case messages.Attest():
                return proving.attest(self._core, request)
            case messages.FindEntry():
                return self._core.build_cache.serving.on_find(request)
            case messages.KeepEntry():
                return self._core.build_cache.serving.on_keep(peer, request)
            case messages.KeepCached():
                return self._keep_cached(peer, request)
            case messages.Place():
                return self._core.cached.on_place(request)
            case messages.Follow():
                return self._core.changes.granting.on_follow(peer, request)
            case messages.Changed():
                return self._core.changes.on_changed(peer, request)
            case messages.FindFloors():
                return self._find_floors(request)
            case messages.KeepFloors():
                return self._keep_floors(peer, request)

    def _members(self, peer: PeerId, request: messages.Members) -> Reply:
        # An empty first page, without even the asker, says that the network is too large to be paged.
        members = self._core.members
        if not members.table.complete:  # what we know ourselves: word of a large network does not feed itself
            return Nodes(request.rid, b"")
        self._probing.on_members(peer, request)
        page = members.page(request.after, limits.CONTACTS_MAX, places_of(request.have), peer)
        return Nodes(request.rid, pack_contacts(page, _CONTACTS_ROOM_BYTES))

    def _nearest(self, target: bytes, asker: PeerId, room: int) -> bytes:
        contacts = self._core.members.closest(target, limits.CONTACTS_MAX, (asker,))
        return pack_contacts(contacts, room)

    def _find_value(self, peer: PeerId, request: messages.FindValue) -> Reply | Awaitable[Reply]:
        core, key = self._core, Key(request.key)
        raw = core.store.peek_record(key)
        unconfirmed = core.returning.active and not core.returning.confirmed(key)
        if unconfirmed and (raw is not None or core.members.responsible(key).ours):
            return Refused(request.rid, REFUSED_RETURNING)
        if raw is MISS:
            return self._find_value_later(peer, request)
        if raw is None:
            if self._core.store.peek_floor(Key(request.key)) is not None:
                return self._find_value_later(peer, request)
            return self._value(peer, request, b"", None)
        if is_mortal(raw):
            return self._find_value_later(peer, request)
        return self._value(peer, request, raw, None)

    async def _find_value_later(self, peer: PeerId, request: messages.FindValue) -> Reply:
        try:
            here = await holding.standing(self._core, Key(request.key))
            record = here.record
            left_s = await holding.left_s(self._core, record) if record is not None else None
        except StoreError:
            return Refused(request.rid, REFUSED_STORE)
        if record is None:
            floor = pack_version(here.floor.version) if here.floor is not None else b""
            return self._value(peer, request, b"", None, floor)
        return self._value(peer, request, record.raw, left_s or None)

    def _value(
        self, peer: PeerId, request: messages.FindValue, raw: bytes, left_s: int | None, floor: bytes = b""
    ) -> Reply:
        cached = self._core.cached
        if request.cached and not raw and not floor and (value := cached.answer(Key(request.key), peer, request.rid)):
            return value
        # Who gets the record asks nobody else, and who knows all members needs no contacts.
        told = request.near and not raw
        contacts = b"" if not told else self._nearest(request.key, peer, _CONTACTS_ROOM_BYTES - len(floor))
        keep_s = cached.grant(Key(request.key), peer) if raw and request.cached else 0
        return Value(request.rid, raw, left_s, contacts, floor, keep_s)

    async def _store(self, peer: PeerId, request: messages.Store) -> Reply:
        core = self._core
        try:
            record = holding.check_incoming(core, request.record)
            if not self._is_near(record.key):
                await core.room.require_small(PeerId(record.body.writer), len(record.raw))
            outcome = await self._waiting_out.keep(peer, record, request.left_s)
        except WireError as error:
            core.counts.rejected[error.reason] += 1
            return Refused(request.rid, error.reason if error.reason in (REFUSED_JUMP, REFUSED_STRONG) else REFUSED_BAD)
        except NoRoomError:
            return Refused(request.rid, REFUSED_NO_ROOM)
        except StoreError as error:
            logger.error("a record could not be stored", reason=str(error), peer=short(peer))
            return Refused(request.rid, REFUSED_STORE)
        if isinstance(outcome, Outdone):
            return Newer(request.rid, outcome.newer.raw)
        if outcome is None or isinstance(outcome, Over):
            return Refused(request.rid, REFUSED_LEASED if outcome is None else REFUSED_FLOOR)
        core.returning.wrote(record.key)
        contact = core.members.contact(peer)
        if outcome.lost is not None and contact is not None:
            # The sender has the winner; that it had a rival is only known here.
            core.tasks.spawn(self._tell_of_rival(contact, outcome.lost), "tell of a conflict")
        return Stored(request.rid, outcome.receipt)

    def _is_near(self, key: Key) -> bool:
        members = self._core.members
        nearest = members.closest(key, NEAR_HOLDERS)
        return divide(nearest, members.own_place, key, NEAR_HOLDERS).ours or members.responsible(key).ours

    async def _tell_of_rival(self, contact: Contact, lost: Record) -> None:
        await self._core.endpoint.ask(contact, messages.Store, lost.raw, None)

    async def _find_providers(self, peer: PeerId, request: messages.FindProviders) -> Reply:
        core = self._core
        try:
            found = await announced.named(core, Key(request.key))
        except StoreError:
            return Refused(request.rid, REFUSED_STORE)
        told: list[bytes] = []
        contacts = []
        room = _CONTACTS_ROOM_BYTES
        for raw in found:
            provider = PeerId(read_announcement(raw).provider)
            room -= len(raw) + 3
            if room < 0:
                break
            told.append(raw)
            contact = core.members.contact(provider)
            if contact is not None:
                contacts.append(contact)
        if not told:
            contacts = core.members.closest(request.key, limits.CONTACTS_MAX, (peer,))
        return Providers(request.rid, told, pack_contacts(contacts, max(0, room)))

    async def _add_provider(self, peer: PeerId, request: messages.AddProvider) -> Reply:
        core = self._core
        try:
            await announced.keep(core, peer, request.provider)
        except WireError as error:
            core.counts.rejected[error.reason] += 1
            return Refused(request.rid, REFUSED_BAD)
        except RefusedError as error:
            return Refused(request.rid, error.reason)
        except NoRoomError:
            return Refused(request.rid, REFUSED_NO_ROOM)
        except StoreError:
            return Refused(request.rid, REFUSED_STORE)
        return Done(request.rid)

    async def _agree(self, peer: PeerId, request: Request, answer: Awaitable[Reply]) -> Reply:
        try:
            return await answer
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return Refused(request.rid, REFUSED_BAD)
        except RefusedError as error:
            return Refused(request.rid, error.reason)
        except NoRoomError:
            return Refused(request.rid, REFUSED_NO_ROOM)
        except StoreError as error:
            logger.warning("a register could not be stored", reason=str(error), peer=short(peer))
            return Refused(request.rid, REFUSED_STORE)

    def _leave(self, peer: PeerId, request: messages.Leave) -> Reply:
        try:
            self._probing.gossip.on_left(peer, request.notice)
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return Refused(request.rid, REFUSED_BAD)
        return Done(request.rid)

    def _same(self, peer: PeerId, request: messages.Agree) -> Reply:
        try:
            same = self._core.reconciling.asked_to_agree(peer, request.scope, request.fingerprint)
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return Refused(request.rid, REFUSED_BAD)
        return Done(request.rid) if same else Refused(request.rid, REFUSED_DIFFERS)

    async def _find_floors(self, request: messages.FindFloors) -> Reply:
        try:
            return Floors(request.rid, await self._core.tombstones.find(unpack_floors(request.floors)))
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return Refused(request.rid, REFUSED_BAD)
        except StoreError:
            return Refused(request.rid, REFUSED_STORE)

    def _keep_cached(self, peer: PeerId, request: messages.KeepCached) -> Reply:
        try:
            return self._core.cached.on_keep(peer, request)
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return Refused(request.rid, REFUSED_BAD)

    def _keep_floors(self, peer: PeerId, request: messages.KeepFloors) -> Reply:
        try:
            self._core.tombstones.take(unpack_floors(request.floors), peer)
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return Refused(request.rid, REFUSED_BAD)
        return Done(request.rid)

    async def _release(self, peer: PeerId, request: messages.Release) -> Reply:
        try:
            await end_claim(self._core, peer, request.cid, request.record)
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            return Refused(request.rid, REFUSED_BAD)
        except (StoreError, NoRoomError):
            return Refused(request.rid, REFUSED_STORE)
        self._core.lapsing.look(request.cid)
        return Done(request.rid)
