"""Why content is kept, and its end: claims of names and of peers that added it (DESIGN.md 7).

A name's claim ends with proof: a newer version or tombstone of that name, signed. An adder's claim ends on its word.
What nobody claims any more and is not pinned becomes a cached copy: it goes when room is needed, or by age.
"""

from dataclasses import replace

from peerd.errors import WireError
from peerd.ids import PeerId
from peerd.node.core import Core
from peerd.node.holding import check_incoming, record_cid_bytes
from peerd.records.record import Record

PINNED = b"pinned"
_NAME = b"name:"
_ADDED = b"added:"


def name_claim(key: bytes) -> bytes:
    """Return the claim of a name's current version."""
    return _NAME + key


def added_claim(peer: PeerId) -> bytes:
    """Return the claim of the peer that added content without a name."""
    return _ADDED + peer


async def end_claim(core: Core, sender: PeerId, cid: bytes, raw_record: bytes) -> None:
    """End a claim on content held here, as a member asks.

    With `raw_record` (a version of the name that claims `cid`, which names something else) the name's claim ends;
    without it that of the sender. Raises WireError where the proof is none.
    """
    if not raw_record:
        await drop_claim(core, cid, added_claim(sender))
        return
    record = check_incoming(core, raw_record)
    if record_cid_bytes(record) == cid:
        raise WireError("claim_stands")
    await drop_claim(core, cid, name_claim(record.key))


async def end_claim_of_older(core: Core, older: Record | None, newer: Record) -> None:
    """End the claim of a version that was replaced here."""
    if older is None:
        return
    cid = record_cid_bytes(older)
    if cid is not None and cid != record_cid_bytes(newer):
        await drop_claim(core, cid, name_claim(newer.key))


async def drop_claim(core: Core, cid: bytes, claim: bytes) -> None:
    """Remove one claim; content without any is a cached copy from then on."""
    await core.store.remove_claim(cid, claim)
    root = await core.store.root(cid)
    if root is None or root.class_ in ("cache", "pinned"):
        return
    if not await core.store.claims(cid):
        await core.store.put_root(replace(root, class_="cache", name=""))
