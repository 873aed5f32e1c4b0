"""Who has content: signed provider records, told to the peers nearest to the root, and found there again."""

from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest

from peerd.content.cid import Cid
from peerd.errors import NoRoomError, StoreError, WireError
from peerd.ids import Key, PeerId
from peerd.kad.contact import Contact
from peerd.node import announced
from peerd.node.asking import Asking
from peerd.node.core import Core
from peerd.node.nearest import contacts_in, holders_of
from peerd.node.nearness import by_nearness
from peerd.records.alias import aliases
from peerd.records.provider import CACHE, GONE, REPLICA, Provider, providers
from peerd.wire.messages import AddProvider, FindProviders
from peerd.wire.messages import Providers as ProvidersReply

# An announcement outlives two missed renewals.
LIFE_IN_REPUBLISH_INTERVALS = 3

FIND_TIMEOUT_S = 4.0


@dataclass(slots=True)
class Found:
    """The peers that say they have some content, with the kind of their copy; and who said that nobody has."""

    providers: dict[PeerId, int]
    contacts: dict[PeerId, Contact]
    answered: set[PeerId]


async def announce(core: Core, root: Cid, kind: int, *, told: Container[PeerId] = ()) -> list[Contact]:
    """Tell the peers nearest to `root` that we have it (REPLICA, CACHE) or have it no more (GONE).

    Those `told` before are left out. Returns who is nearest now.
    """
    life_s = int(core.settings.republish_interval_s * LIFE_IN_REPUBLISH_INTERVALS) + 60
    try:
        stamp = await core.store.next_stamp()
    except (NoRoomError, StoreError):
        return []
    statement = Provider(
        format=1,
        root=root.to_bytes(),
        provider=core.peer,
        kind=kind,
        stamp=stamp,
        life_s=min(life_s, 2 * 86400),
    )
    raw = providers.sign(core.identity, statement)
    try:
        before = await announced.live(core, Key(root.digest)) if kind == GONE else []
        expires = 0.0 if kind == GONE else core.store.now_s() + statement.life_s
        await core.store.put_provider(Key(root.digest), core.peer, raw, expires)
    except (NoRoomError, StoreError):
        return []
    core.lapsing.gone(statement, before)
    holders = await holders_of(core, root.digest)
    with Asking(core.endpoint, timeout_s=FIND_TIMEOUT_S) as asking:
        for contact in holders.contacts:
            if contact.peer not in told:
                asking.ask(contact, AddProvider, raw, silent_after_s=0)
        while (answer := await asking.next()) is not None:
            core.lapsing.refused(statement, answer.error)
    return holders.contacts


async def find_providers(core: Core, root: Cid, *, enough: int | None = None) -> Found:
    """Ask the peers nearest to `root` who has it; with `enough`, return as soon as so many are known."""
    found = Found({}, {}, set())
    with suppress(StoreError):  # where our disk fails the others say who has it
        for raw in await core.store.providers(Key(root.digest), core.store.now_s()):
            _note(core, found, root, raw)
    found.providers.pop(core.peer, None)  # what we have we know better
    holders = await holders_of(core, root.digest)
    if holders.ours:
        found.answered.add(core.peer)
    if enough is not None and len(found.providers) >= enough:
        return found
    with Asking(core.endpoint, timeout_s=FIND_TIMEOUT_S) as asking:
        for contact in (*holders.contacts, *holders.doubtful):
            asking.ask(contact, FindProviders, root.digest, silent_after_s=core.silent_after_s(contact))
        waiting = {contact.peer for contact in holders.contacts or holders.doubtful}
        while waiting:
            answer = await asking.next()
            if answer is None:
                break
            waiting.discard(answer.contact.peer)
            if answer.reply is not None:
                _take(core, found, root, answer.contact, answer.reply)
            if enough is not None and len(found.providers) >= enough:
                break
    return found


async def sources_of(core: Core, root: Cid) -> list[Contact]:
    """Return peers to fetch `root` from: those that say they have it and those that should, nearest in time first.

    By turns, so that any number of peers that only say so leave half of the places to the others. Who was caught lying
    comes last.
    """
    found = await find_providers(core, root)
    named = [contact for peer in found.providers if (contact := _contact(core, found, peer)) is not None]
    alleged = by_nearness(core, named)
    holders = by_nearness(core, core.members.copy_holders(root.digest, core.settings.copies).contacts)
    by_turns = {
        contact.peer: contact for pair in zip_longest(alleged, holders) for contact in pair if contact is not None
    }
    return sorted(by_turns.values(), key=lambda contact: core.trust.shunned(contact.peer))


def _contact(core: Core, found: Found, peer: PeerId) -> Contact | None:
    return core.members.contact(peer) or core.members.lingering(peer) or found.contacts.get(peer)


def _take(core: Core, found: Found, root: Cid, asked: Contact, reply: object) -> None:
    if not isinstance(reply, ProvidersReply):
        core.counts.rejected["reply_kind"] += 1
        return
    found.answered.add(asked.peer)
    try:
        contacts = contacts_in(core, reply)
    except WireError as error:
        core.counts.rejected[error.reason] += 1
        return
    for contact in contacts:
        found.contacts.setdefault(contact.peer, contact)
    for raw in reply.providers:
        _note(core, found, root, raw)


def _note(core: Core, found: Found, root: Cid, raw: bytes) -> None:
    if aliases.is_whole(raw):
        return  # of a file whose digest happens to be asked for as a block's
    try:
        statement = providers.verify(raw, core.verifier)
    except WireError as error:
        core.counts.rejected[error.reason] += 1
        return
    if statement.root != root.to_bytes():
        core.counts.rejected["other_root"] += 1
        return
    peer = PeerId(statement.provider)
    if statement.kind == GONE or core.trust.is_out(peer):
        return
    if found.providers.get(peer) != REPLICA:
        found.providers[peer] = statement.kind


__all__ = ["CACHE", "GONE", "REPLICA", "Found", "announce", "find_providers", "sources_of"]
