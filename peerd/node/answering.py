"""Short answers over a bulk connection: what this peer has of keys and roots, as it stands on its disk.

It is told unsigned, to be shown, counted and compared; nothing here is a promise. Not here: holding content (placing).
"""

from peerd.errors import WireError
from peerd.ids import Key, PeerId
from peerd.io.store.interface import Root
from peerd.node import proving
from peerd.node.core import Core
from peerd.node.holding import standing
from peerd.records.record import Record
from peerd.wire import frames
from peerd.wire.codec import encode
from peerd.wire.frames import AuditedBody, VersionBody

DIGEST_BYTES = 16
VALUE, TOMBSTONE, FLOOR = range(3)
"""What an AuditedBody's `known` says."""

_KEPT = {"cache": frames.CACHED, "own": frames.PROMISED, "replica": frames.PROMISED, "pinned": frames.PINNED}


async def answer(  # noqa: PLR0911  one line a question
    core: Core, peer: PeerId, kind: int, payload: bytes
) -> bytes:
    """Return the answer to a peer's question of that kind.

    Raises WireError for a payload that is no question, RefusedError, StoreError.
    """
    match kind:
        case frames.RECONCILE | frames.PULL | frames.OFFER | frames.GIVE:
            return await core.reconciling.exchanging.answer(peer, kind, payload)
        case frames.VERSIONS:
            return encode(await _versions(core, payload))
        case frames.AUDIT:
            return encode([await known_of(core, Key(key)) for key in frames.split_keys(payload)])
        case frames.ROOTS:
            return bytes([kept(await core.store.root(cid)) for cid in frames.split_cids(payload)])
        case frames.PROVE:
            return await proving.prove_roots(core, payload)
        case frames.EVIDENCE:
            return encode(core.convicting.shown(frames.split_digests(payload)))
        case frames.REVOCATIONS:
            return encode(core.revoking.page(payload))
    raise WireError("frame_kind")


async def known_of(core: Core, key: Key) -> AuditedBody | None:
    """Return what this peer has under a key."""
    here = await standing(core, key)
    if here.floor is not None:
        return AuditedBody(here.floor.sequence, here.floor.writer, here.floor.nonce, b"", FLOOR)
    return audited(here.record) if here.record is not None else None


def audited(record: Record) -> AuditedBody:
    """Return what is told of a record."""
    body = record.body
    digest = record.version.digest[:DIGEST_BYTES]
    return AuditedBody(body.sequence, body.writer, body.nonce, digest, TOMBSTONE if record.deleted else VALUE)


def kept(root: Root | None) -> int:
    """Return how much of a root this peer has, and why."""
    if root is None:
        return frames.ABSENT
    return _KEPT[root.class_] if root.complete else frames.INCOMPLETE


async def _versions(core: Core, key: bytes) -> list[VersionBody]:
    rows = await core.store.history(Key(key))
    return [
        VersionBody(
            sequence=entry.row.sequence,
            writer=entry.row.writer,
            nonce=entry.row.nonce,
            cid=entry.row.cid,
            size=entry.row.size,
            deleted=entry.row.deleted,
            conflict=entry.conflict,
        )
        for entry in rows
    ]
