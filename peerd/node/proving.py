"""What this peer answers when it is asked to prove what it has: hashes keyed by the asker's nonce, and signed words.

Proofs are cheap and unsigned; an attestation is asked for where one is missing, and then what it says counts
(node.promising has the rule that keeps who is honest safe). Not here: asking others (challenge, watchdog).
"""

import hashlib
from collections.abc import Awaitable, Callable

from peerd.content.cid import DAG_PB, Cid
from peerd.content.dagpb import decode_node
from peerd.errors import DamagedError, StoreError, WireError
from peerd.ids import Key
from peerd.node.core import Core
from peerd.node.holding import standing
from peerd.records.attestation import HAS, HAS_NOT, NEWER, OVER, UNKNOWN, keyed_hash, proof_of
from peerd.records.receipt import OF_RECORD
from peerd.records.record import body_bytes, read_record
from peerd.wire import frames
from peerd.wire.fields import CID_DAG_PB, CID_RAW, PROOF_BYTES
from peerd.wire.messages import Attest, Attested, Prove, Proven, Refused, Reply

BlockReader = Callable[[Cid], Awaitable[bytes | None]]

# Blocks read for one proof: a file of any size is four deep, a large directory eight.
PROOF_DEPTH_MAX = 16

NO_PROOF = bytes(PROOF_BYTES)


async def prove(core: Core, request: Prove) -> Reply:
    """Answer with a proof for each version that is here."""
    try:
        proofs = [await _record_proof(core, key, digest, request.nonce) for key, digest in request.split()]
    except WireError as error:
        core.counts.rejected[error.reason] += 1
        return Refused(request.rid, "bad")
    except StoreError:
        return Refused(request.rid, "store")
    return Proven(request.rid, b"".join(proofs))


async def prove_roots(core: Core, payload: bytes) -> bytes:
    """Answer a PROVE frame: a proof for each root of which everything that was asked for is here."""
    nonce, cids = frames.split_prove(payload)
    return b"".join([await content_proof(core.store.block, Cid.from_bytes(cid), nonce) or NO_PROOF for cid in cids])


async def attest(core: Core, request: Attest) -> Reply:
    """Answer with our signed word."""
    try:
        look = _look_at_record if request.kind == OF_RECORD else _look_at_content
        said, proof = await look(core, request)
        statement = await core.promises.attest(
            request.kind, request.key, request.digest, nonce=request.nonce, said=said, proof=proof
        )
    except StoreError:
        return Refused(request.rid, "store")
    return Attested(request.rid, statement)


async def _record_proof(core: Core, key: Key, digest: bytes, nonce: bytes) -> bytes:
    try:
        raw = await core.store.record(key)
    except DamagedError:
        return NO_PROOF
    if raw is None or read_record(raw).version.digest != digest:
        return NO_PROOF
    return proof_of(nonce, body_bytes(raw))


async def _look_at_record(core: Core, request: Attest) -> tuple[int, bytes]:
    key = Key(request.key)
    async with core.locks.hold(key):  # what is being put is there, or is not yet
        try:
            here = await standing(core, key)
        except DamagedError:
            return UNKNOWN, b""
    if here.record is not None and here.record.version.digest == request.digest:
        return HAS, proof_of(request.nonce, body_bytes(here.record.raw))
    if here.floor is not None:
        return OVER, b""
    if here.record is not None and core.promises.may_have_promised(request.kind, key, request.digest):
        return NEWER, b""
    return (HAS_NOT if core.returning.confirmed(key) else UNKNOWN), b""


async def _look_at_content(core: Core, request: Attest) -> tuple[int, bytes]:
    for prefix in (CID_DAG_PB, CID_RAW):
        raw = prefix + request.digest
        root = await core.store.root(raw)
        if root is not None and root.complete:
            proof = await content_proof(core.store.block, Cid.from_bytes(raw), request.nonce)
            return (HAS, proof) if proof is not None else (UNKNOWN, b"")
    return HAS_NOT, b""


async def content_proof(block: BlockReader, root: Cid, nonce: bytes) -> bytes | None:
    """Return the proof over the blocks from a root down to one leaf, which the nonce chooses.

    None where one of them is not here. What is deeper than PROOF_DEPTH_MAX is not looked at.
    """
    keyed = keyed_hash(nonce)
    cid = root
    for depth in range(PROOF_DEPTH_MAX):
        data = await block(cid)
        if data is None:
            return None
        keyed.update(data)
        try:
            links = decode_node(data)[0] if cid.codec == DAG_PB else []
        except WireError:
            return None
        if not links:
            break
        chosen = hashlib.blake2b(nonce + bytes([depth]), digest_size=8).digest()
        cid = links[int.from_bytes(chosen, "big") % len(links)].cid
    return keyed.digest()
