"""Auditing: every holder of a key is asked what it has, and the answers are compared.

Many keys at once cost one question for each holder and page, over the bulk connections. What is told is unsigned: an
audit shows, it convicts and mends nobody. Not here: what a holder answers (answering), restoring copies (repairing).
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from peerd.content.cid import Cid
from peerd.errors import NotFoundError, PeerdError, TimedOutError, UsageError, WireError
from peerd.ids import Key, PeerId, peer_id_text
from peerd.kad.contact import Contact
from peerd.node import results
from peerd.node.answering import FLOOR, TOMBSTONE, known_of
from peerd.node.core import Core
from peerd.node.holding import left_s
from peerd.node.names import Name, target_of
from peerd.node.nearest import holders_of
from peerd.node.providing import Found
from peerd.records.record import read_record
from peerd.records.version import version_text
from peerd.wire import frames
from peerd.wire.frames import AuditedBody
from peerd.wire.limits import AUDITED_PER_FRAME_MAX

# Keys compared at a time: one question for each holder.
PAGE = AUDITED_PER_FRAME_MAX
# A holder that has not answered a page by then is silent.
ANSWER_TIMEOUT_S = 5.0
# Holders asked at a time.
ASKED_MAX = 16
# Keys of which an audit that is not read page by page tells.
KEYS_MAX = 100_000


@dataclass(slots=True)
class _Audited:
    """One key while its holders are asked; `known` has an entry for each that answered."""

    shown: str
    key: Key
    contacts: list[Contact] = field(default_factory=list)
    expected: list[PeerId] = field(default_factory=list)
    known: dict[PeerId, AuditedBody | None] = field(default_factory=dict)


async def audit(core: Core, target: str | None) -> results.Audit:
    """Ask every holder of a name what it has; with nothing named, those of all keys that this peer keeps.

    At most KEYS_MAX keys. Raises NotFoundError where the holders of a name know nothing of it, TimedOutError where too
    few of them answered to say so.
    """
    keys: list[results.AuditedKey] = []
    async for page in audit_pages(core, target):
        keys += page
        if len(keys) >= KEYS_MAX:
            break
    return results.Audit(keys=keys, divergent=sum(each.divergent for each in keys))


async def audit_pages(core: Core, target: str | None) -> AsyncIterator[list[results.AuditedKey]]:
    """Yield what an audit finds, at most PAGE keys at a time; raises as `audit`."""
    if target is not None:
        found = target_of(core, target)
        if not isinstance(found, Name):
            raise UsageError("an audit compares versions of keys", hint="`peer stat` shows who holds content")
        yield [await _audit_name(core, found)]
        return
    after = None
    while page := await core.store.records(after, PAGE):
        named = []
        for key, raw in page:
            record = read_record(raw)
            if await left_s(core, record) != 0:
                owner = PeerId(record.body.owner) if record.body.owner is not None else None
                named.append(_Audited(Name(key, record.body.name, owner).shown, key))
        yield await _compare(core, named)
        after = page[-1][0]


async def _audit_name(core: Core, name: Name) -> results.AuditedKey:
    one = _Audited(name.shown, name.key)
    [result] = await _compare(core, [one])
    if not any(one.known.values()):
        if 2 * len(one.known) <= len(one.expected):
            raise TimedOutError("too few of the key's holders answered to know whether it exists")
        raise NotFoundError(f"not found: {name.shown}")
    return result


async def _compare(core: Core, audited: list[_Audited]) -> list[results.AuditedKey]:
    """Ask the holders of some keys, each holder once, and return what they have."""
    asked: dict[PeerId, tuple[Contact, list[_Audited]]] = {}
    for one in audited:
        holders = await holders_of(core, one.key)
        one.contacts = [*holders.contacts, *holders.doubtful]
        if core.members.complete:
            one.expected = core.members.expected_holders(one.key)
        else:
            one.expected = [*(c.peer for c in one.contacts), *([core.peer] if holders.ours else [])]
        for contact in one.contacts:
            asked.setdefault(contact.peer, (contact, []))[1].append(one)
        ours = await known_of(core, one.key)
        if holders.ours or ours is not None:
            one.known[core.peer] = ours
    room = asyncio.Semaphore(ASKED_MAX)

    async def ask(contact: Contact, about: list[_Audited]) -> None:
        async with room:
            told = await _ask(core, contact, [one.key for one in about])
        for one, body in zip(about, told, strict=False):
            one.known[contact.peer] = body

    async with asyncio.TaskGroup() as group:
        for contact, about in asked.values():
            group.create_task(ask(contact, about))
    return [_result(one) for one in audited]


async def _ask(core: Core, contact: Contact, keys: list[Key]) -> list[AuditedBody | None]:
    """Return what a holder has under each key; an empty list where it does not answer."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            connection = await core.bulk.get(contact)
            told = frames.audited_codec.decode_canonical(await connection.ask(frames.AUDIT, b"".join(keys)))
        if len(told) != len(keys):
            raise WireError("audited")
    except WireError as error:
        core.counts.rejected[error.reason] += 1
        return []
    except (PeerdError, TimeoutError):
        return []
    return told


async def kept_by(core: Core, contacts: list[Contact], roots: list[bytes]) -> dict[PeerId, bytes]:
    """Ask peers what they have of some roots (36 bytes each, at most AUDITED_PER_FRAME_MAX).

    Returns of each that answered a byte for each root: frames.ABSENT, INCOMPLETE, CACHED, PROMISED or PINNED.
    """
    told: dict[PeerId, bytes] = {}

    async def ask(contact: Contact) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                connection = await core.bulk.get(contact)
                answer = await connection.ask(frames.ROOTS, b"".join(roots))
        except (PeerdError, TimeoutError):
            return
        if len(answer) == len(roots) and max(answer) <= frames.PINNED:
            told[contact.peer] = answer
        else:
            core.counts.rejected["kept"] += 1

    async with asyncio.TaskGroup() as group:
        for contact in contacts:
            group.create_task(ask(contact))
    return told


def _result(one: _Audited) -> results.AuditedKey:
    newest = max((body for body in one.known.values() if body is not None), key=_order, default=None)
    same: list[str] = []
    missing: list[str] = []
    differing: dict[str, str] = {}
    for peer, body in one.known.items():
        text = peer_id_text(peer)
        if newest is None:
            continue
        if body is None:
            # That nothing is there is what a floor says too; a tombstone is needed where an old value may come back.
            (same if newest.known == FLOOR else missing).append(text)
        elif _same(body, newest):
            same.append(text)
        else:
            differing[text] = version_text(body.sequence, body.writer, body.nonce)
    return results.AuditedKey(
        key=one.shown,
        version=version_text(newest.sequence, newest.writer, newest.nonce) if newest is not None else None,
        deleted=newest is not None and newest.known >= TOMBSTONE,
        holders=sorted(same),
        missing=sorted(missing),
        differing=sorted(differing),
        silent=sorted(peer_id_text(peer) for peer in one.expected if peer not in one.known),
        versions=dict(sorted(differing.items())),
    )


def _order(body: AuditedBody) -> tuple[int, bytes, bytes, bytes]:
    return body.sequence, body.writer, body.nonce, body.digest


def _same(one: AuditedBody, other: AuditedBody) -> bool:
    """Whether two holders agree; a floor and the tombstone that it stands for do."""
    either_is_floor = FLOOR in (one.known, other.known)
    return _order(one)[:3] == _order(other)[:3] and (either_is_floor or one.digest == other.digest)


async def some_have(core: Core, root: Cid, found: Found) -> bool:
    """Return whether of those that once said to have some content one has any of it yet, or does not answer."""
    others = found.providers.keys() - {core.peer}
    contacts = [contact for peer in others if (contact := core.members.contact(peer)) is not None]
    if len(contacts) < len(others):
        return True
    told = await kept_by(core, contacts, [root.to_bytes()])
    return any(told.get(contact.peer) != bytes([frames.ABSENT]) for contact in contacts)
