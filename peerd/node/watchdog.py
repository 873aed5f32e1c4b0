"""The auditor: now and then each holder has the others prove that they have what they share with it.

A share of the keys and roots, by fresh chance and with fresh nonces, asked as repair asks. Who has no proof is asked
for its signed word. That convicts it or excuses it, or neither: then it is a fault. In any case the copy counts no more
and is restored. One that acknowledged and dropped is found within R rounds with the probability 1-(1-q)^R for each key.
Not here: what the asked answer (proving), and content (content_audit).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from loguru import logger

from peerd.errors import NoRoomError, PeerdError, RefusedError, StoreError, UnreachableError, WireError
from peerd.ids import Key, PeerId
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node.challenge import NONCE_BYTES, PROVEN, Challenge
from peerd.node.content_audit import ContentAudit
from peerd.node.core import Core
from peerd.node.endpoint import REFUSED_BUSY
from peerd.node.holding import check_record_receipt, keep_record, record_of
from peerd.node.restoring import Restoring
from peerd.records.attestation import HAS, HAS_NOT, UNKNOWN, Attestation, attestations
from peerd.records.evidence import BROKEN_PROMISE, FALSE_PROOF, RETRACTION, pack_evidence
from peerd.records.receipt import OF_RECORD, receipts
from peerd.records.record import Record, read_record
from peerd.trust.evidence import breaks, pretends, retracts
from peerd.wire import limits
from peerd.wire.messages import Attest, Attested, Newer, Prove, Store, Stored

PAGE = 128
# Of one peer in one round: more is work for it, and finds no more liars.
AUDITED_MAX = 64
# Of those so many are asked for a signed word, where none of theirs is here yet.
QUESTIONED_MAX = 16
AT_ONCE = 8
# Signed words of others, about 300 bytes each; of more the oldest go.
WORDS_MAX = 4096


class Watchdog:
    """Audits those that share keys with this peer."""

    def __init__(self, core: Core, restoring: Restoring, *, mend: Callable[[], None]) -> None:
        self._core = core
        self._mend = mend
        self._content = ContentAudit(core, restoring, question=self.question)
        self._words: OrderedDict[tuple[Key, PeerId], bytes] = OrderedDict()

    async def round(self) -> None:
        """Audit everybody once; what is found is acted upon. Raises StoreError."""
        core = self._core
        await core.proofs.save()
        core.convicting.tell_somebody()
        room = asyncio.Semaphore(AT_ONCE)

        async def audit(contact: Contact, records: list[Record]) -> None:
            async with room:
                await self._audit(contact, records)

        async with asyncio.TaskGroup() as group:
            for contact, records in (await self._pick()).items():
                group.create_task(audit(contact, records))
        if await self._content.round():
            self._mend()

    async def _pick(self) -> dict[Contact, list[Record]]:
        """Return of each that shares keys with us the records that it is asked about."""
        core, rng = self._core, self._core.environment.rng
        share = core.settings.audit_share
        picked: dict[Contact, list[Record]] = {}
        after = None
        while page := await core.store.records(after, PAGE):
            for key, raw in page:
                found = core.members.responsible(key)
                if not found.ours or not core.returning.confirmed(key):
                    continue
                for contact in found.contacts:
                    if rng.random() < share:
                        picked.setdefault(contact, []).append(read_record(raw))
            after = page[-1][0]
            await asyncio.sleep(0)
        for records in picked.values():
            rng.shuffle(records)
            del records[AUDITED_MAX:]
        return picked

    async def _audit(self, contact: Contact, records: list[Record]) -> None:
        try:
            silent = [record for record in records if await self._promise(contact.peer, record) is None]
            for record in silent[:QUESTIONED_MAX]:
                await self._ask_for_word(contact, record)
            bound = [record for record in records if record not in silent]
            for at in range(0, len(bound), limits.PROVEN_MAX):
                if not await self._challenge(contact, bound[at : at + limits.PROVEN_MAX]):
                    return  # one disk that stalls is one fault
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1
            self._core.trust.note(contact.peer, "malformed")
        except (PeerdError, TimeoutError) as error:
            logger.debug("a peer could not be audited", peer=short(contact.peer), reason=str(error))

    async def _challenge(self, contact: Contact, records: list[Record]) -> bool:
        """Have a peer prove some records; return whether it answered."""
        core = self._core
        challenge = Challenge(core.environment.entropy, records)
        asked_at = core.now()
        try:
            reply = await core.endpoint.ask(
                contact, Prove, challenge.nonce, challenge.versions, timeout_s=core.settings.request_timeout_s
            )
        except UnreachableError:
            answered_at = core.endpoint.sessions.answered_at(contact.peer)
            if answered_at is not None and answered_at > asked_at:  # it hears us, and is silent to this alone
                core.trust.note(contact.peer, "unproven")
            return False
        for record, shown in zip(records, challenge.judge(reply), strict=True):
            if shown == PROVEN:
                core.copies.note(record.key, record.version.digest, (contact.peer,))
            else:
                await self._ask_for_word(contact, record)
        return True

    async def _ask_for_word(self, contact: Contact, record: Record) -> None:
        """Ask what became of a record, and act on the answer. Raises WireError for one that is none."""
        core, peer = self._core, contact.peer
        try:
            raw = await self.question(contact, OF_RECORD, record.key, record.version.digest)
        except RefusedError as error:  # its disk fails, it says; then it has none to count on
            if error.reason == REFUSED_BUSY:
                return  # we have asked it for much: that says nothing of what it has
            if self._showed(peer, record):
                core.trust.note(peer, "unproven")
            await self._lost(contact, record)
            return
        said = attestations.read(raw)
        if pretends(said, record):
            await core.convicting.convict(pack_evidence(FALSE_PROOF, peer, raw, record.raw))
            return
        if said.said == HAS:
            core.copies.note(record.key, record.version.digest, (peer,))
            self._keep_word(Key(said.key), peer, raw)
            return
        if not await self._is_still_here(record):
            return
        if await self._is_convicted_by(peer, record, raw, said):
            return
        if await self._promise(peer, record) == said.store or self._showed(peer, record):
            excused = said.said not in (HAS_NOT, UNKNOWN) and not await self._excuse_is_false(contact, record)
            if not excused:
                core.trust.note(peer, "denied_held")
        await self._lost(contact, record)

    def _showed(self, peer: PeerId, record: Record) -> bool:
        """Return whether a peer showed that it has a record since it was last away."""
        return peer in (self._core.copies.of(record.key, record.version.digest) or ())

    async def question(self, contact: Contact, kind: int, key: bytes, digest: bytes) -> bytes:
        """Return the attestation of a peer; raises WireError where it is none of what was asked."""
        core = self._core
        nonce = core.environment.entropy(NONCE_BYTES)
        reply = await core.endpoint.ask(
            contact, Attest, kind, key, digest, nonce, timeout_s=core.settings.request_timeout_s
        )
        if not isinstance(reply, Attested):
            raise WireError("reply_kind")
        said = attestations.verify(reply.statement, core.verifier)
        if (said.kind, said.holder, said.key, said.digest, said.nonce) != (kind, contact.peer, key, digest, nonce):
            raise WireError("attested_other")
        return reply.statement

    async def _is_convicted_by(self, peer: PeerId, record: Record, raw: bytes, said: Attestation) -> bool:
        """Put out who denies what it promised or attested before; return whether it did."""
        promise = await self._core.proofs.raw(record.key, peer)
        if promise is not None and breaks(receipts.read(promise), said):
            return await self._core.convicting.convict(pack_evidence(BROKEN_PROMISE, peer, promise, raw)) is not None
        word = self._words.get((record.key, peer))
        if word is not None and retracts(attestations.read(word), said):
            return await self._core.convicting.convict(pack_evidence(RETRACTION, peer, word, raw)) is not None
        return False

    async def _promise(self, peer: PeerId, record: Record) -> bytes | None:
        """Return the run in which a peer signed that it has this very version, None where it did not."""
        receipt = await self._core.proofs.of(record.key, peer)
        if receipt is not None and receipt.digest == record.version.digest:
            return receipt.store
        word = self._words.get((record.key, peer))
        said = attestations.read(word) if word is not None else None
        return said.store if said is not None and said.digest == record.version.digest else None

    def _keep_word(self, key: Key, peer: PeerId, raw: bytes) -> None:
        self._words[key, peer] = raw
        self._words.move_to_end((key, peer))
        if len(self._words) > WORDS_MAX:
            self._words.popitem(last=False)

    async def _is_still_here(self, record: Record) -> bool:
        """Return whether we still have that version: else who has it not may be right."""
        raw = await self._core.store.record(record.key)
        return raw == record.raw and self._core.returning.confirmed(record.key)

    async def _excuse_is_false(self, contact: Contact, record: Record) -> bool:
        """Have a peer that says that a record was replaced, or is over, show it: return whether it takes it again."""
        core = self._core
        if record.body.ttl_s is not None:
            return False  # its end may be a moment apart there and here
        try:
            reply = await core.endpoint.ask(contact, Store, record.raw, None, timeout_s=core.settings.request_timeout_s)
            if isinstance(reply, Stored):
                check_record_receipt(core, reply.receipt, record, contact.peer)
                return True
            newer = record_of(core, reply, record.key) if isinstance(reply, Newer) else None
            if newer is not None:
                await keep_record(core, newer, None)
        except RefusedError as error:
            if error.reason == "floor":
                await core.tombstones.check(record)
        except (NoRoomError, StoreError) as error:
            logger.warning("a newer version could not be kept", reason=str(error))
        return False

    async def _lost(self, contact: Contact, record: Record) -> None:
        """What it had counts no more; this peer sees to it that it is restored."""
        core = self._core
        core.copies.lost(record.key, contact.peer)
        if await self._is_still_here(record):
            core.missing_since.setdefault(record.key, core.now())
            self._mend()
