"""Putting: content in, copies placed, the name's next version acknowledged by a majority of its holders."""

from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace as with_fields

from peerd.content.cid import RAW, Cid
from peerd.errors import NoRoomError, NotFoundError, StoreError, TooFewCopiesError, UsageError, WireError
from peerd.ids import peer_id_text
from peerd.io.store.interface import Root, RootKind
from peerd.node import results
from peerd.node.blocks import link_whole
from peerd.node.claims import PINNED, add_claims, change_root, make_claim, record_changed, with_life
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.holding import record_cid_bytes
from peerd.node.ingest import Ingested, ingest, keep_blocks, store_small
from peerd.node.names import Name, removable_name, writable_name
from peerd.node.placing import Content, Placed, place
from peerd.node.results import Form, Kind, PutOptions
from peerd.node.withdrawing import tell_release, withdraw
from peerd.node.writing import Value, Written, draft_sequence, write
from peerd.records.claim import content_of
from peerd.records.record import DIRECTORY, FILE, INLINE, TOMBSTONE, Record
from peerd.wire.limits import COPIES_MAX, RECORD_MAX_BYTES, STRONG_RECORD_MAX_BYTES, TTL_MAX_S


async def put(core: Core, text: str, body: AsyncIterator[bytes], form: Form, options: PutOptions) -> results.Put:
    """Store a file or directory under a name; returns once it is acknowledged (INTERFACE.md).

    Raises UsageError, NoRoomError, TimedOutError, TooFewCopiesError, ConflictError, StoreError.
    """
    check_options(options)
    name = writable_name(core, text, own=options.own)
    try:
        with core.intake.one():
            return await _put(core, name, body, form, options)
    finally:
        core.tasks.spawn(core.intake.sweep(), "sweep")


async def _put(core: Core, name: Name, body: AsyncIterator[bytes], form: Form, options: PutOptions) -> results.Put:
    started = core.now()
    ingested = await ingest(core, body, form)
    if ingested.small is not None and len(ingested.small) <= _inline_room(name, strong=_level(options) == "strong"):
        try:
            return await _put_inline(core, name, ingested, ingested.small, options=options, started=started)
        except WireError:  # with the signature it is a little too long after all
            pass
    if ingested.small is not None:
        await store_small(core, ingested)
    return await _put_content(core, name, ingested, options, started)


async def add(core: Core, body: AsyncIterator[bytes], form: Form, options: PutOptions) -> results.Put:
    """Store content without a name; it is kept for as long as this peer does not withdraw it."""
    started = core.now()
    check_options(options)
    if options.ttl_s is not None:
        raise UsageError("content without a name has no life to be limited", hint="put it under a key, with --ttl")
    try:
        with core.intake.one():
            ingested = await ingest(core, body, form)
            if ingested.small is not None:
                await store_small(core, ingested)
            return await add_ingested(core, ingested, options, started)
    finally:
        core.tasks.spawn(core.intake.sweep(), "sweep")


async def add_ingested(core: Core, ingested: Ingested, options: PutOptions, started: float) -> results.Put:
    """Keep what came in, all of which is here and surrounded by `core.intake.one`, as added by this peer."""
    await core.store.note_addition(ingested.node.cid.to_bytes(), None)
    placed = await _place(core, ingested, None, 0, options)
    result = results.Put(
        cid=ingested.node.cid.text,
        size=ingested.node.size,
        kind=_kind(ingested),
        copies=len(placed.holders),
        copies_wanted=placed.wanted,
        holders=[peer_id_text(peer) for peer in placed.holders],
        sha256=_plain_digest(ingested),
        elapsed_ms=elapsed_ms(core, started),
    )
    _check_copies(result, placed.wanted, options, no_room=placed.no_room)
    return result


async def remove(core: Core, target: str, options: PutOptions) -> results.Put:
    """Delete a name everywhere, by a version that says so; or withdraw content that this peer added.

    Raises NotFoundError where there is nothing, and what writing raises.
    """
    started = core.now()
    check_options(options)
    found = removable_name(core, target, own=options.own)
    if isinstance(found, Cid):
        return await _withdraw(core, found, started)
    written = await write(
        core,
        found.key,
        found.text,
        found.owner,
        Value(TOMBSTONE, b"", 0),
        consistency=options.consistency,
        require=options.require,
        ttl_s=None,
        timeout_s=options.timeout_s,
        only_existing=True,
        if_version=options.if_version,
    )
    before = written.before
    assert before is not None, "only what exists is removed"
    await _release_older(core, before, written.record)
    cid = record_cid_bytes(before)
    assert cid is not None, "only what exists is removed"
    result = results.Put(
        key=found.shown,
        cid=Cid.from_bytes(cid).text,
        size=before.body.size,
        kind=kind_of(before),
        version=written.record.version.text,
        copies=len(written.holders),
        copies_wanted=_record_copies_wanted(core),
        holders=[peer_id_text(peer) for peer in written.holders],
        created=False,
        elapsed_ms=elapsed_ms(core, started),
    )
    _check_copies(result, 1, options, no_room=False)
    return result


async def _put_inline(
    core: Core, name: Name, ingested: Ingested, data: bytes, *, options: PutOptions, started: float
) -> results.Put:
    written = await _write(core, name, Value(INLINE, data, len(data)), options)
    await _after_write(core, written)
    if options.pin:
        await store_small(core, ingested)
        await _pin(core, ingested, name.shown)
    result = _result(
        core,
        name,
        ingested,
        written,
        copies=len(written.holders),
        wanted=_record_copies_wanted(core),
        started=started,
    )
    _check_copies(result, 1, options, no_room=False)
    return result


async def _put_content(core: Core, name: Name, ingested: Ingested, options: PutOptions, started: float) -> results.Put:
    sequence = await draft_sequence(core, name.key, consistency=_level(options), timeout_s=options.timeout_s)
    placed = await _place(core, ingested, name, sequence, options)
    kind = DIRECTORY if ingested.node.kind == "directory" else FILE
    value = Value(kind, ingested.node.cid.to_bytes(), ingested.node.size, sequence)
    written = await _write(core, name, value, options)
    if written.record.body.sequence > sequence:
        # Others wrote meanwhile, and proof of their versions may end our claim: claim again by what was written.
        placed = await _place(core, ingested, name, written.record.body.sequence, options)
    await _after_write(core, written)
    result = _result(core, name, ingested, written, copies=len(placed.holders), wanted=placed.wanted, started=started)
    result = _with_holders(result, placed)
    _check_copies(result, placed.wanted, options, no_room=placed.no_room)
    return result


def _with_holders(result: results.Put, placed: Placed) -> results.Put:
    return with_fields(result, holders=[peer_id_text(peer) for peer in placed.holders])


async def _place(core: Core, ingested: Ingested, name: Name | None, sequence: int, options: PutOptions) -> Placed:
    kind: RootKind = "directory" if ingested.node.kind == "directory" else "file"
    copies = min(max(core.settings.copies, options.require or 1), COPIES_MAX)
    root, key, shown = ingested.node.cid, name.key if name is not None else None, name.shown if name is not None else ""
    claim = make_claim(core, root, key=key, sequence=sequence, copies=copies, name=shown)
    content = Content(root, kind, ingested.node.size, (with_life(core, claim, options.ttl_s),))
    await add_claims(core, root.to_bytes(), content.claims)  # from now on what is here stays
    if not await link_whole(core.store, root, ingested.cids):
        raise StoreError("some blocks did not stay while the others came")
    placed = await place(core, content)
    if ingested.digest is not None:
        await core.digests.note(ingested.digest, root)
    if options.pin:
        await _pin(core, ingested, shown)
    return placed


async def _pin(core: Core, ingested: Ingested, name: str) -> None:
    raw = ingested.node.cid.to_bytes()
    await core.store.add_claim(raw, PINNED)
    await keep_blocks(core, ingested)

    def pinned(root: Root | None) -> Root | None:
        if root is None:
            return None
        return replace(root, class_="pinned", name=name, size=ingested.node.size, complete=True, kind=_kind(ingested))

    await change_root(core, raw, pinned)


async def _write(core: Core, name: Name, value: Value, options: PutOptions) -> Written:
    return await write(
        core,
        name.key,
        name.text,
        name.owner,
        value,
        consistency=options.consistency,
        require=options.require,
        ttl_s=options.ttl_s,
        timeout_s=options.timeout_s,
        if_version=options.if_version,
    )


async def _after_write(core: Core, written: Written) -> None:
    if written.before is not None:
        await _release_older(core, written.before, written.record)


async def _release_older(core: Core, older: Record, newer: Record) -> None:
    """Withdraw the name's claim on the content of its last version, here and at that content's holders."""
    cid = content_of(older)
    if cid is None or cid == content_of(newer):
        return
    await record_changed(core, older, newer)
    core.tasks.spawn(tell_release(core, cid, newer.raw), "release")


async def _withdraw(core: Core, cid: Cid, started: float) -> results.Put:
    raw = cid.to_bytes()
    added = await core.store.addition(raw)
    if added is None or added[0] is not None:
        raise NotFoundError(
            f"this peer did not add {cid.text}", hint="content of a name goes when the name is removed or overwritten"
        )
    root = await core.store.root(raw)
    await withdraw(core, raw)
    return results.Put(
        cid=cid.text,
        size=root.size if root is not None else 0,
        kind="directory" if root is not None and root.kind == "directory" else "file",
        copies=0,
        copies_wanted=0,
        holders=[],
        created=False,
        elapsed_ms=elapsed_ms(core, started),
    )


def _result(
    core: Core, name: Name, ingested: Ingested, written: Written, *, copies: int, wanted: int, started: float
) -> results.Put:
    return results.Put(
        key=name.shown,
        cid=ingested.node.cid.text,
        size=ingested.node.size,
        kind=_kind(ingested),
        version=written.record.version.text,
        copies=copies,
        copies_wanted=wanted,
        holders=[peer_id_text(peer) for peer in written.holders],
        created=written.before is None or written.before.deleted,
        sha256=_plain_digest(ingested),
        elapsed_ms=elapsed_ms(core, started),
    )


def check_options(options: PutOptions) -> None:
    """Raise UsageError for options that this version cannot honour or that make no sense."""
    if options.ttl_s is not None and not 1 <= options.ttl_s <= TTL_MAX_S:
        raise UsageError(f"--ttl is 1 to {TTL_MAX_S} seconds")
    if options.require is not None and options.require < 1:
        raise UsageError("--require is at least 1 copy")


def _check_copies(result: results.Put, wanted: int, options: PutOptions, *, no_room: bool) -> None:
    """Raise where fewer copies were acknowledged than were promised or asked for."""
    needed = max(wanted if options.require is None else 0, options.require or 0)
    if result.copies >= needed:
        return
    if no_room and options.require is None:
        raise NoRoomError(
            f"stored on {result.copies} of {needed} peers: the others have no room",
            hint="free some with `peer rm`, or raise --quota on the other peers",
        )
    raise TooFewCopiesError(
        f"stored, but on {result.copies} of {needed} copies asked for",
        reached=msgspec.to_builtins(result),
        hint="`peer peers` shows who is there; copies are added when more are",
    )


def _record_copies_wanted(core: Core) -> int:
    return min(RECORD_HOLDERS, core.members.alive_count() + 1)


def _level(options: PutOptions) -> str:
    """Return whose answers a write goes by; a condition on the version is `strong`."""
    return "strong" if options.if_version is not None else options.consistency


def _inline_room(name: Name, *, strong: bool = False) -> int:
    """Return how many bytes of value fit beside this name for sure, and perhaps a few more do."""
    return (
        (STRONG_RECORD_MAX_BYTES if strong else RECORD_MAX_BYTES)
        - 64
        - 2 * 34
        - len(name.text.encode())
        - (34 if name.owner is not None else 1)
        - 48
    )


def _plain_digest(ingested: Ingested) -> str | UnsetType:
    """Return the SHA-256 of a file's bytes, as far as it is known: one raw block has it in its CID."""
    cid = ingested.node.cid
    digest = ingested.digest if cid.codec != RAW else cid.digest
    return digest.hex() if digest is not None else UNSET


def _kind(ingested: Ingested) -> Kind:
    return "directory" if ingested.node.kind == "directory" else "file"


def kind_of(record: Record) -> Kind:
    """Return what a record names."""
    return "directory" if record.body.kind == DIRECTORY else "file"


def elapsed_ms(core: Core, started: float) -> float:
    """Return the milliseconds since a monotonic instant."""
    return round((core.now() - started) * 1000, 3)
