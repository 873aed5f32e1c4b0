"""The acceptor of registers: what this peer promises and accepts, on its disk before it answers (trust.register)."""

from collections.abc import Iterable

from peerd.errors import RefusedError, StoreError, WireError
from peerd.ids import Key, PeerId, distance, node_id
from peerd.io.store.bounds import REGISTER_ROW_BYTES
from peerd.node import holding
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.reading import REFUSED_RETURNING
from peerd.trust.register import (
    Acceptor,
    Ballot,
    Shown,
    State,
    fits,
    pack_peers,
    unpack_past,
    unpack_peers,
)
from peerd.wire.messages import Accept, Accepted, Prepare, Promise


def nearest_first(core: Core, key: Key, peers: Iterable[PeerId]) -> list[PeerId]:
    """Return the peers in the order of their distance from the key."""
    return sorted(peers, key=lambda peer: distance(node_id(core.identity.network, peer), key))


async def prepare(core: Core, peer: PeerId, request: Prepare) -> Promise:
    """Answer a prepare of `peer`, or its question (counter 0).

    Raises WireError for what is no list of peers; RefusedError (`returning`) where this peer is back, has no state of
    the register and does not know yet what it missed; StoreError, NoRoomError.
    """
    key, named = Key(request.key), unpack_peers(request.holders)
    ballot = Ballot(request.counter, peer)
    async with core.locks.hold(b"register " + key):
        raw, acceptor = await core.registers.load(key)
        if acceptor.state is None and not acceptor.lost:
            if not core.returning.confirmed(key):
                raise RefusedError(REFUSED_RETURNING)  # the plain record here may be an old one
            if core.store.is_copy and await _is_strong_here(core, key):
                raw, acceptor = None, await core.registers.keep_lost(key)
        if acceptor.state is None and not acceptor.lost:
            view = core.members.expected_holders(key, RECORD_HOLDERS, within_grace=False)
            if not _fits(core, key, named, view):
                return _promise(request, Acceptor(acceptor.promised), ok=False, holders=pack_peers(view))
        if not request.counter:
            return await _shown(core, request, acceptor, ok=not acceptor.lost)
        promised = acceptor.promise(ballot)
        if promised is None:
            return await _shown(core, request, acceptor, ok=False)
        if promised.state is None:
            if raw is None:
                await core.room.require_row(peer, REGISTER_ROW_BYTES)
            core.registers.creating(key)
        if promised != acceptor and not await core.registers.keep(key, promised, over=raw):
            raise StoreError("the register changed under its lock")
        return await _shown(core, request, promised, ok=True)


async def accept(core: Core, peer: PeerId, request: Accept) -> Accepted | Promise:
    """Accept a state proposed by `peer`, or show why not.

    Raises WireError for what is no state of a register; StoreError, NoRoomError.
    """
    record = holding.check_incoming(core, request.record)
    state = state_of(request)
    if not record.body.strong or state is None or not state.holders or not request.counter:
        raise WireError("register_state")
    ballot = Ballot(request.counter, peer)
    async with core.locks.hold(b"register " + record.key):
        raw, acceptor = await core.registers.load(record.key)
        accepted = acceptor.accept(core.peer, ballot, state)
        if accepted is None:
            return _promise(request, acceptor, ok=False)
        if accepted != acceptor and not await core.registers.keep(record.key, accepted, over=raw):
            raise StoreError("the register changed under its lock")
        lost = acceptor.state
        if lost is not None and not lost.is_related(state) and lost.record != state.record:
            await core.store.add_history(record.key, holding.row_of(core, lost.value, None), conflict=True)
    return Accepted(request.rid)


def shown_in(core: Core, key: Key, reply: Promise) -> Shown:
    """Return what a promise shows; raises WireError where it shows nothing that can be."""
    state = state_of(reply)
    if state is not None:
        record = holding.check_incoming(core, reply.record)
        if record.key != key or not record.body.strong or not state.holders:
            raise WireError("register_state")
    return Shown(reply.ok, reply.counter, Ballot(reply.accepted_counter, reply.accepted_peer), state)


def state_of(message: Accept | Promise) -> State | None:
    """Return the state in a message, None where it has none; raises WireError."""
    if not message.epoch:
        return None
    return State(
        message.record,
        message.origin,
        message.epoch,
        unpack_peers(message.holders),
        unpack_peers(message.previous),
        unpack_past(message.past),
    )


async def _is_strong_here(core: Core, key: Key) -> bool:
    """Whether a version is kept here that only a register can have chosen."""
    known = await holding.standing(core, key)
    return known.record is not None and known.record.body.strong


def _fits(core: Core, key: Key, named: tuple[PeerId, ...], view: list[PeerId]) -> bool:
    network = core.identity.network
    far = {peer: distance(node_id(network, peer), key) for peer in {*named, *view}}
    return fits(named, view, full=RECORD_HOLDERS, far=far)


async def _shown(core: Core, request: Prepare, acceptor: Acceptor, *, ok: bool) -> Promise:
    if acceptor.state is not None or acceptor.lost:
        return _promise(request, acceptor, ok=ok, beneath=await _beyond(core, Key(request.key), acceptor))
    async with core.locks.hold(Key(request.key)):  # a plain write that was let in is over now
        known = await holding.standing(core, Key(request.key))
    record = known.record.raw if known.record is not None else b""
    beneath = known.floor.sequence if known.floor is not None else 0
    return _promise(request, acceptor, ok=ok, record=record, beneath=beneath)


async def _beyond(core: Core, key: Key, acceptor: Acceptor) -> int:
    """Return the sequence of the chosen version that is kept here where it is newer than the state here, else 0."""
    if acceptor.state is None or acceptor.lost:
        return 0
    record = (await holding.standing(core, key)).record
    newer = record is not None and record.body.strong and record.version > acceptor.state.value.version
    return record.body.sequence if record is not None and newer else 0


def _promise(
    request: Prepare | Accept,
    acceptor: Acceptor,
    *,
    ok: bool,
    record: bytes = b"",
    holders: bytes = b"",
    beneath: int = 0,
) -> Promise:
    state = acceptor.state if not acceptor.lost else None
    return Promise(
        request.rid,
        ok,
        acceptor.promised.counter if not acceptor.lost else 0,
        acceptor.accepted.counter if state is not None else 0,
        acceptor.accepted.peer if state is not None else b"",
        state.record if state is not None else record,
        state.origin if state is not None else b"",
        state.epoch if state is not None else 0,
        pack_peers(state.holders) if state is not None else holders,
        pack_peers(state.previous) if state is not None else b"",
        b"".join(state.past) if state is not None else b"",
        beneath,
    )
