"""Showing: what is known of a name or content, how a look-up goes, who is there. Not here: listings (listing)."""

from dataclasses import dataclass
from itertools import groupby

from msgspec.structs import replace as with_fields

from peerd.content.cid import RAW, Cid
from peerd.errors import NotFoundError, PeerdError, RefusedError, UnreachableError, UsageError, WireError
from peerd.ids import PeerId, distance, parse_peer_id, peer_id_text
from peerd.io.store.interface import HistoryRow, RecordRow
from peerd.kad.contact import Contact
from peerd.kad.lookup import Hop, State
from peerd.node import results
from peerd.node.asking import Asking
from peerd.node.auditing import kept_by
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.found import need
from peerd.node.get import open_target
from peerd.node.holding import own_record, record_cid_bytes, record_of
from peerd.node.names import Digest, Name, target_of
from peerd.node.nearest import copy_holders_of, holders_of
from peerd.node.providing import CACHE, REPLICA, find_providers
from peerd.node.put import kind_of
from peerd.node.reading import read
from peerd.node.results import GetOptions
from peerd.records.record import INLINE
from peerd.records.version import version_text
from peerd.wire import frames
from peerd.wire.frames import VersionBody
from peerd.wire.messages import FindProviders, FindValue, Ping, Providers

PAGE = 256
LISTED_MAX = 100_000
# Holders asked for the versions they know beside our own: which versions lost a tie not all of them know.
HISTORIES_ASKED = 3


async def stat(core: Core, target: str) -> results.Stat:
    """Return what is known of a name or content: size, version, copies found, who holds them, who should and does not.

    Raises NotFoundError, TimedOutError.
    """
    found = target_of(core, target)
    if isinstance(found, Digest):
        found = (await core.digests.open(found, GetOptions())).root
    if isinstance(found, Cid):
        return await _stat_content(core, found)
    reading = await read(core, found.key, consistency="quorum", timeout_s=30.0)
    record = need(reading, found.shown)
    raw = record_cid_bytes(record)
    assert raw is not None, "a tombstone is not shown"
    cid = Cid.from_bytes(raw)
    version = record.version.text
    of_record = await _record_holders(core, found)
    if record.body.kind == INLINE:
        holders, missing = of_record.holders, of_record.missing
        wanted = min(RECORD_HOLDERS, core.members.alive_count() + 1)
    else:
        of_content = await content_holders(core, cid)
        holders = [with_fields(holder, version=version) for holder in of_content.holders]
        missing = of_content.missing
        wanted = min(record.body.copies, core.members.alive_count() + 1)
    return results.Stat(
        key=found.shown,
        cid=cid.text,
        kind=kind_of(record),
        size=record.body.size,
        version=version,
        writer=peer_id_text(PeerId(record.body.writer)),
        copies=_copies(holders, version),
        copies_wanted=wanted,
        holders=holders,
        missing=missing,
        silent=of_record.silent,
        record_holders=of_record.holders,
        agreed=await _agreed(core, found),
        conflicts=[e for e, conflict in await _versions(core, found) if conflict],
    )


async def _agreed(core: Core, name: Name) -> results.Agreed | None:
    """Return who has to agree on a key, as this peer knows it; None where it is no strong one, or not ours to know."""
    _, acceptor = await core.registers.load(name.key)
    if acceptor.state is None:
        return None
    return results.Agreed(
        epoch=acceptor.state.epoch, holders=sorted(peer_id_text(peer) for peer in acceptor.state.peers)
    )


def _copies(holders: list[results.Holder], version: str | None) -> int:
    """Count the promised copies: caches and older versions are none."""
    return sum(1 for holder in holders if holder.kind == "replica" and holder.version == version)


@dataclass(slots=True)
class HeldBy:
    """Who has something, who should and said that it has not, and who did not answer; peer ids sorted."""

    holders: list[results.Holder]
    missing: list[str]
    silent: list[str]


async def _record_holders(core: Core, name: Name) -> HeldBy:
    """Ask every holder of a record, also those that the read did not wait for."""
    have: dict[PeerId, str | None] = {}
    holders = await holders_of(core, name.key)
    own = await own_record(core, name.key)
    if own is not None or holders.ours:
        have[core.peer] = own.version.text if own is not None else None
    contacts = [*holders.contacts, *holders.doubtful]
    with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
        for contact in contacts:
            asking.ask(contact, FindValue, name.key, False, silent_after_s=0)
        waiting = {contact.peer for contact in holders.contacts or holders.doubtful}
        while waiting and (answer := await asking.next()) is not None:
            waiting.discard(answer.contact.peer)
            if answer.reply is None:
                continue
            try:
                told = record_of(core, answer.reply, name.key)
            except WireError:
                continue
            have[answer.contact.peer] = told.version.text if told is not None else None
    silent = {contact.peer for contact in contacts}
    if core.members.complete:
        silent.update(core.members.expected_holders(name.key))
    return HeldBy(
        [
            results.Holder(id=peer_id_text(peer), address=_address(core, peer), kind="replica", version=shown)
            for peer, shown in sorted(have.items())
            if shown is not None
        ],
        sorted(peer_id_text(peer) for peer, shown in have.items() if shown is None),
        sorted(peer_id_text(peer) for peer in silent - have.keys()),
    )


async def _stat_content(core: Core, cid: Cid) -> results.Stat:
    opened = await open_target(core, cid.text, GetOptions())
    found = await content_holders(core, cid)
    root = await core.store.root(cid.to_bytes())
    copies = root.copies if root is not None and root.copies else core.settings.copies
    return results.Stat(
        cid=cid.text,
        kind=opened.kind,
        size=opened.size,
        copies=_copies(found.holders, None),
        copies_wanted=min(copies, core.members.alive_count() + 1),
        holders=found.holders,
        missing=found.missing,
        silent=found.silent,
        record_holders=[],
        conflicts=[],
    )


async def content_holders(core: Core, cid: Cid) -> HeldBy:
    """Return who has all of some content: those that say so when asked now, promised replicas apart from caches.

    Asked are those that announced it and the nearest, which should have it. Who announced it and cannot be asked over a
    connection now is shown as it announced itself, as long as it is there at all.
    """
    found = await find_providers(core, cid)
    root = await core.store.root(cid.to_bytes())
    copies = root.copies if root is not None and root.copies else core.settings.copies
    nearest = (await copy_holders_of(core, cid.digest, copies)).contacts
    asked = {contact.peer: contact for contact in nearest}
    asked |= {peer: contact for peer in found.providers if (contact := core.members.contact(peer)) is not None}
    doubted = core.members.doubted
    told = await kept_by(core, [c for peer, c in asked.items() if peer not in doubted], [cid.to_bytes()])
    unasked = asked.keys() - told.keys() - doubted.keys()
    kinds = {peer: kind for peer, kind in found.providers.items() if peer in unasked}
    for peer, (state,) in told.items():
        if state >= frames.CACHED:
            kinds[peer] = CACHE if state == frames.CACHED else REPLICA
    if root is not None and root.complete:
        kinds[core.peer] = REPLICA if root.class_ != "cache" else CACHE
    return HeldBy(
        [
            results.Holder(
                id=peer_id_text(peer), address=_address(core, peer), kind="replica" if kind == REPLICA else "cache"
            )
            for peer, kind in sorted(kinds.items())
        ],
        sorted(peer_id_text(peer) for peer in told if peer not in kinds),
        sorted(peer_id_text(peer) for peer in asked if peer not in told and peer not in kinds),
    )


async def history(core: Core, target: str) -> list[results.HistoryEntry]:
    """Return the versions known of a name, newest first; of what its holders know where this peer is none."""
    found = target_of(core, target)
    if not isinstance(found, Name):
        raise UsageError("content has no history: its id is its only version", hint="name a key")
    versions = await _versions(core, found)
    if not versions:
        raise NotFoundError(f"not found: {found.shown}")
    return [entry for entry, _ in versions]


async def _versions(core: Core, name: Name) -> list[tuple[results.HistoryEntry, bool]]:
    """Return (version, lost a tie) of all that the holders know, newest first."""
    rows = {row.row.version: row for row in await core.store.history(name.key)}
    holders = await holders_of(core, name.key)
    for contact in holders.contacts[:HISTORIES_ASKED]:
        try:
            connection = await core.bulk.get(contact)
            told = frames.history_codec.decode_canonical(await connection.ask(frames.VERSIONS, name.key))
        except (UnreachableError, RefusedError, WireError):
            continue
        for version in told:
            row = row_of_body(version)
            known = rows.setdefault(row.row.version, row)
            if row.conflict and not known.conflict:
                rows[row.row.version] = HistoryRow(known.row, conflict=True)
    ordered = [rows[version] for version in sorted(rows, reverse=True)]
    lost = lost_ties(ordered)
    conflicts = [row.conflict or row.row.version in lost for row in ordered]
    return [(entry_of(row.row, conflict), conflict) for row, conflict in zip(ordered, conflicts, strict=True)]


def lost_ties(rows: list[HistoryRow]) -> set[tuple[int, bytes, bytes]]:
    """Return which versions, the newest first, lost a tie, whether or not anybody ever saw both at once.

    Of those with one sequence the highest did not. Where nobody saw the tie, as when sides that were cut apart wrote
    each as often as they liked, that is the one which the writer of the next version went on from: its own.
    """
    lost: set[tuple[int, bytes, bytes]] = set()
    above: HistoryRow | None = None
    for _, group in groupby(rows, key=lambda row: row.row.sequence):
        tied = list(group)
        own = [row for row in tied if above is not None and row.row.writer == above.row.writer]
        unseen = not any(row.conflict for row in tied)
        kept = own[0] if unseen and len(own) == 1 else tied[0]
        lost.update(row.row.version for row in tied if row is not kept)
        above = kept
    return lost


def row_of_body(version: VersionBody) -> HistoryRow:
    """Return a version as another peer tells it."""
    row = RecordRow(
        name="",
        owner=None,
        sequence=version.sequence,
        writer=version.writer,
        nonce=version.nonce,
        cid=version.cid,
        size=version.size,
        deleted=version.deleted,
        expires=None,
        written_at=0.0,
    )
    return HistoryRow(row, version.conflict)


def entry_of(row: RecordRow, conflict: bool) -> results.HistoryEntry:
    """Return a version as users see it."""
    return results.HistoryEntry(
        version=version_text(row.sequence, row.writer, row.nonce),
        writer=peer_id_text(PeerId(row.writer)),
        cid=Cid.from_bytes(row.cid).text if row.cid is not None else None,
        size=row.size,
        deleted=row.deleted,
        conflict=conflict,
    )


async def find(core: Core, target: str) -> results.Find:
    """Do the lookup of a name or content id and return it hop by hop."""
    found = target_of(core, target)
    if isinstance(found, Digest):
        found = Cid(RAW, found.digest)  # the key is the same
    started = core.now()
    if isinstance(found, Name):
        try:
            trace = (await read(core, found.key, consistency="quorum", timeout_s=30.0)).trace
        except PeerdError:
            trace = []
        ours = await own_record(core, found.key)
        here = "value" if ours is not None else "nothing"
    else:
        trace = await _find_content(core, found)
        root = await core.store.root(found.to_bytes())
        here = "value" if root is not None and root.complete else "nothing"
    hops = [results.Hop(id=peer_id_text(core.peer), asked_ms=0.0, answered_ms=0.0, result=f"{here} (this peer)")]
    for hop in sorted(trace, key=lambda hop: hop.asked_at):
        answered = round((hop.answered_at - started) * 1000, 3) if hop.answered_at is not None else None
        asked = round((hop.asked_at - started) * 1000, 3)
        result = "not awaited" if hop.result == State.WAITING.value else hop.result
        hops.append(results.Hop(id=peer_id_text(hop.contact.peer), asked_ms=asked, answered_ms=answered, result=result))
    return results.Find(hops=hops)


async def _find_content(core: Core, cid: Cid) -> list[Hop]:
    holders = await holders_of(core, cid.digest)
    hops = {contact.peer: Hop(contact, 1, core.now()) for contact in holders.contacts}
    with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
        for contact in holders.contacts:
            asking.ask(contact, FindProviders, cid.digest, silent_after_s=0)
        while (answer := await asking.next()) is not None:
            hop = hops[answer.contact.peer]
            if isinstance(answer.reply, Providers):
                hop.answered_at = core.now()
                count = len(answer.reply.providers)
                hop.result = f"{count} provider{'s' if count != 1 else ''}" if count else "nothing"
            else:
                hop.result = "failed"
    return list(hops.values())


async def ping(core: Core, text: str) -> results.Ping:
    """Measure one round trip to a peer, given by its id or the beginning of it.

    Raises UsageError for an unknown or ambiguous id, UnreachableError.
    """
    contact = _named_peer(core, text)
    if contact.peer not in core.endpoint.sessions:
        await core.endpoint.connect(contact.address, contact.peer)
    started = core.now()
    await core.endpoint.ask(contact, Ping, timeout_s=core.settings.request_timeout_s)
    rtt_ms = round((core.now() - started) * 1000, 3)
    return results.Ping(id=peer_id_text(contact.peer), address=_text(contact.address), rtt_ms=rtt_ms)


def _named_peer(core: Core, text: str) -> Contact:
    matches = [m.contact for p, m in core.members.all.items() if peer_id_text(p).startswith(text.lower())]
    if len(matches) == 1 and len(text) >= 4:
        return matches[0]
    if len(matches) > 1:
        raise UsageError(f"several peers begin with {text[:52]!r}", hint="give more letters of the id")
    if parse_peer_id(text) == core.peer:
        raise UsageError("that is this peer itself")
    raise NotFoundError("no such peer is known", hint="`peer peers` lists those that are")


async def peers(core: Core) -> list[results.PeerInfo]:
    """Return every member known, the alive first, then by distance."""
    order = {"alive": 0, "suspect": 1, "left": 2, "dead": 3}
    now = core.now()
    shown = []
    for peer, member in core.members.all.items():
        if member.state == "left" and now - member.last_seen > core.settings.left_shown_s:
            continue
        srtt_s = core.endpoint.roundtrips.srtt_s(peer)
        heard_at = core.endpoint.sessions.heard_at(peer)
        seen_at = max(member.last_seen, heard_at or 0.0) if member.state == "alive" else member.last_seen
        place = distance(member.contact.place, core.members.own_place)
        info = results.PeerInfo(
            id=peer_id_text(peer),
            address=_text(member.contact.address),
            rtt_ms=round(srtt_s * 1000, 3) if srtt_s is not None else None,
            source=member.source,
            last_seen_s=round(max(0.0, now - seen_at), 3),
            verified=member.verified,
            state=member.state,
            forgotten=core.members.forgotten(peer),
            trust=core.trust.trust_of(peer),
            faults=dict(core.trust.faults_of(peer)),
        )
        shown.append(((order[member.state], place), info))
    return [info for _, info in sorted(shown, key=lambda item: item[0])]


def _address(core: Core, peer: PeerId) -> str:
    if peer == core.peer:
        return core.own_address
    member = core.members.all.get(peer)
    return _text(member.contact.address) if member is not None else ""


def _text(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
