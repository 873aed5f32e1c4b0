"""Why content is kept, and its end: claims of names' versions and of peers that added it (DESIGN.md 7).

A name's claim ends with proof: a signed version of that name above the one that claims, which names something else. An
adder's claim ends on its word. What nobody claims any more and is not pinned becomes a cached copy: it goes when room
is needed.
"""

from dataclasses import replace

from peerd.content.cid import Cid
from peerd.errors import WireError
from peerd.ids import ID_BYTES, Key, PeerId
from peerd.node.core import Core
from peerd.node.holding import check_incoming, record_cid_bytes
from peerd.node.providing import CACHE, announce

PINNED = b"pinned"
_NAME = b"name:"
_ADDED = b"added:"
_SEQUENCE_BYTES = 8


def name_claim(key: bytes, sequence: int) -> bytes:
    """Return the claim of a version of a name."""
    return _NAME + key + sequence.to_bytes(_SEQUENCE_BYTES, "big")


def read_name_claim(claim: bytes) -> tuple[Key, int] | None:
    """Return (key, sequence) of a name's claim, None of any other."""
    if not claim.startswith(_NAME):
        return None
    key, sequence = claim[len(_NAME) : len(_NAME) + ID_BYTES], claim[len(_NAME) + ID_BYTES :]
    return Key(key), int.from_bytes(sequence, "big")


def added_claim(peer: PeerId) -> bytes:
    """Return the claim of the peer that added content without a name."""
    return _ADDED + peer


async def end_claim(core: Core, sender: PeerId, cid: bytes, raw_record: bytes) -> None:
    """End a claim on content held here, as a member asks.

    With `raw_record`, a version of a name that names something else than `cid`, the claims of that name's older
    versions end; without it that of the sender. Raises WireError where the proof is none.
    """
    if not raw_record:
        await drop_claim(core, cid, added_claim(sender))
        return
    record = check_incoming(core, raw_record)
    if record_cid_bytes(record) == cid:
        raise WireError("claim_stands")
    await drop_name_claims(core, cid, record.key, below=record.body.sequence)


async def drop_name_claims(core: Core, cid: bytes, key: Key, *, below: int) -> None:
    """Remove the claims of a name's versions below a sequence."""
    for claim in await core.store.claims(cid):
        named = read_name_claim(claim)
        if named is not None and named[0] == key and named[1] < below:
            await drop_claim(core, cid, claim)


async def forget_older_claims(core: Core, cid: bytes, key: Key, *, below: int) -> None:
    """Remove the claims of a name's versions below a sequence that claims the same content itself."""
    for claim in await core.store.claims(cid):
        named = read_name_claim(claim)
        if named is not None and named[0] == key and named[1] < below:
            await core.store.remove_claim(cid, claim)


async def drop_claim(core: Core, cid: bytes, claim: bytes) -> None:
    """Remove one claim; content without any is a cached copy from then on."""
    await core.store.remove_claim(cid, claim)
    root = await core.store.root(cid)
    if root is None or root.class_ in ("cache", "pinned"):
        return
    if not await core.store.claims(cid):
        # No copies are wanted any more: how an unclaimed copy is told from one that was fetched (collecting).
        used_at = core.store.now_s()
        await core.store.put_root(replace(root, class_="cache", name="", copies=0, used_at=used_at))
        core.tasks.spawn(announce(core, Cid.from_bytes(cid), CACHE), "announce")
