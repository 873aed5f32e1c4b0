"""Content that others say they keep: they show a leaf that a nonce chooses, with all blocks above it.

Used where copies are counted (restoring) and now and then by the auditor (watchdog). Costs both sides a leaf for each
root, so of many roots some are asked for, by chance. Not here: what the asked answer (proving).
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from loguru import logger

from peerd.content.cid import Cid
from peerd.errors import PeerdError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.interface import Root
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node.auditing import kept_by
from peerd.node.challenge import NONCE_BYTES
from peerd.node.core import Core
from peerd.node.proving import content_proof
from peerd.records.attestation import HAS, HAS_NOT, UNKNOWN, attestations
from peerd.records.evidence import BROKEN_PROMISE, pack_evidence
from peerd.records.receipt import OF_CONTENT, receipts
from peerd.trust.evidence import breaks
from peerd.wire import frames
from peerd.wire.fields import PROOF_BYTES
from peerd.wire.limits import PROVEN_ROOTS_MAX

if TYPE_CHECKING:
    from peerd.node.restoring import Restoring

PAGE = 128

Question = Callable[[Contact, int, bytes, bytes], Awaitable[bytes]]


async def unproven(core: Core, contact: Contact, roots: Sequence[bytes]) -> list[bytes]:
    """Ask for proofs of some roots that are whole here (36 bytes each); return those of which there was none.

    Of more than PROVEN_ROOTS_MAX some are asked for, by chance; where one of these has no proof the others have none
    either. Who cannot be asked has none.
    """
    chosen = list(roots)
    core.environment.rng.shuffle(chosen)
    chosen = chosen[:PROVEN_ROOTS_MAX]
    missing = await _without_proof(core, contact, chosen)
    if not missing:
        return []
    shown = set(chosen).difference(missing)
    return [cid for cid in roots if cid not in shown]


async def _without_proof(core: Core, contact: Contact, cids: list[bytes]) -> list[bytes]:
    nonce = core.environment.entropy(NONCE_BYTES)
    try:
        connection = await core.bulk.get(contact)
        told = await connection.ask(frames.PROVE, nonce + b"".join(cids))
        if len(told) != PROOF_BYTES * len(cids):
            raise WireError("proved")
    except WireError as error:
        core.counts.rejected[error.reason] += 1
        return cids
    except PeerdError as error:
        logger.debug("no proof could be had", peer=short(contact.peer), reason=str(error))
        return cids
    missing = []
    for at, cid in enumerate(cids):
        expected = await content_proof(core.store.block, Cid.from_bytes(cid), nonce)
        if expected is not None and told[at * PROOF_BYTES : (at + 1) * PROOF_BYTES] != expected:
            missing.append(cid)
    return missing


class ContentAudit:
    """The auditor's half for content; `restoring` counts what is lost anew."""

    def __init__(self, core: Core, restoring: "Restoring", *, question: Question) -> None:
        self._core = core
        self._restoring = restoring
        self._question = question

    async def round(self) -> bool:
        """Audit a share of the roots; return whether some copy was not there. Raises StoreError."""
        lost = False
        for contact, cids in (await self._pick()).items():
            for cid in await unproven(self._core, contact, cids):
                lost = True
                self._restoring.recount(cid)
                with suppress(PeerdError):  # it went, or says nothing: that is for others to find
                    await self._look_into(contact, cid)
        return lost

    async def _pick(self) -> dict[Contact, list[bytes]]:
        core = self._core
        picked: dict[Contact, list[bytes]] = {}
        after = None
        while roots := await core.store.roots(after, PAGE):
            for root in roots:
                for peer in self._counted(root):
                    contact = core.members.contact(peer)
                    if contact is not None and core.environment.rng.random() < core.settings.audit_share:
                        picked.setdefault(contact, []).append(root.cid)
            after = roots[-1].cid
        return picked

    def _counted(self, root: Root) -> list[PeerId]:
        living = self._restoring.living(root.cid) if root.complete and root.class_ != "cache" else None
        return sorted((living or frozenset()) - {self._core.peer})

    async def _look_into(self, contact: Contact, cid: bytes) -> None:
        """Have it sign what it has; what that proves is acted upon."""
        core, peer = self._core, contact.peer
        root = Cid.from_bytes(cid)
        raw = await self._question(contact, OF_CONTENT, root.digest, root.digest)
        said = attestations.read(raw)
        if said.said == HAS and said.proof == await content_proof(core.store.block, root, said.nonce):
            return  # it could not be asked over a connection, and has it
        promise = await core.proofs.raw(Key(root.digest), peer)
        receipt = receipts.read(promise) if promise is not None else None
        if promise is not None and receipt is not None and breaks(receipt, said):
            await core.convicting.convict(pack_evidence(BROKEN_PROMISE, peer, promise, raw))
            return
        told = await kept_by(core, [contact], [cid])
        claims = told.get(peer, b"\x00")[0] in (frames.PROMISED, frames.PINNED)
        promised = receipt is not None and receipt.store == said.store and said.said in (HAS_NOT, UNKNOWN)
        if claims or promised or said.said == HAS:
            core.trust.note(peer, "denied_held")
