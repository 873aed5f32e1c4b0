"""What convicts a peer: kept on disk, told in passing, fetched from who tells, checked by everybody for himself.

News names evidence and whom it accuses; it is believed by nobody before the evidence is here and good. Who is convicted
is put out for good (node.trusting). Not here: what convicts (trust.evidence), finding it (watchdog, holding).
"""

from collections import Counter
from collections.abc import Sequence

from loguru import logger

from peerd.errors import LocalError, PeerdError, WireError
from peerd.ids import ID_BYTES, PeerId, peer_id_text
from peerd.io.store.bounds import EVIDENCE_MAX
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node import results
from peerd.node.core import Core
from peerd.node.gossip import CONVICTED
from peerd.node.telling import tell
from peerd.records.evidence import (
    DIGEST_BYTES,
    EQUIVOCATION,
    KIND_NAMES,
    digest_of,
    pack_evidence,
    read_evidence,
)
from peerd.records.record import Record
from peerd.trust.evidence import convicts
from peerd.wire import frames

# Of peers that were never members here as many are kept: a liar that convicts thousands of its own key pairs neither
# fills the disk nor makes us forget whom we know. What is kept stays.
STRANGERS_MAX = EVIDENCE_MAX * 3 // 4
# Strangers that one peer may tell us of.
STRANGERS_TOLD_MAX = 64
# Fetched at a time, one from each teller: what does not fit is told again.
FETCHED_AT_ONCE = 4
# Told to somebody who comes, in two datagrams: the others that it meets tell it other ones.
TOLD_AT_MEETING = 12
# Told to directly by who has found it out; in larger networks the news does the rest.
PUSHED_MAX = 256


class Convicting:
    """The evidence of one peer."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kept: dict[bytes, bytes] = {}
        self._by_accused: dict[PeerId, bytes] = {}
        self._strangers = 0
        self._strangers_of: Counter[PeerId] = Counter()
        self._fetching: set[PeerId] = set()

    async def begin(self) -> None:
        """Put out whom the evidence on disk convicts, before anybody is met. Raises StoreError."""
        for raw in await self._core.store.evidence():
            try:
                self._take(raw, convicts(raw, self._core.identity.network, self._core.verifier))
            except WireError as error:  # kept by an earlier form of the protocol, or damaged
                self._core.counts.rejected[error.reason] += 1
        self._strangers = len(self._by_accused)  # who of them was a member is not known any more

    def shown(self, digests: Sequence[bytes]) -> list[bytes]:
        """Return the evidence of these digests, as far as it is here."""
        return [self._kept[digest] for digest in digests if digest in self._kept]

    def listed(self, peer: PeerId | None = None) -> list[results.Evidence]:
        """Return what people are shown of the evidence, against one peer or all."""
        found = []
        for accused, digest in self._by_accused.items():
            if peer is None or accused == peer:
                raw = self._kept[digest]
                kind = KIND_NAMES[read_evidence(raw).kind]
                found.append(results.Evidence(id=peer_id_text(accused), kind=kind, evidence=raw.hex()))
        return found

    async def convict(self, raw: bytes) -> PeerId | None:
        """Take evidence that was found here: put the accused out and tell everybody.

        Returns whom, None where it is known or there is no room for it. Raises WireError where it convicts nobody.
        """
        is_member = (claimed := PeerId(read_evidence(raw).accused)) in self._core.members.all
        accused = await self._believe(raw) if self._has_room(claimed) else None
        if accused is not None and is_member:  # of others, who are made by the thousand, news is enough
            contacts = list(self._core.members.alive())[:PUSHED_MAX]
            self._core.tasks.spawn(self._push(contacts, [accused]), "tell of evidence")
        return accused

    async def equivocated(self, one: Record, other: Record) -> None:
        """Convict who wrote two contents of one version, where it is not known."""
        if PeerId(one.body.writer) not in self._by_accused:
            await self.convict(pack_evidence(EQUIVOCATION, one.body.writer, one.raw, other.raw))

    def hear(self, teller: PeerId, body: bytes) -> None:
        """Take news of evidence; raises WireError where it is none."""
        if len(body) != DIGEST_BYTES + ID_BYTES:
            raise WireError("news_size")
        digest, accused = body[:DIGEST_BYTES], PeerId(body[DIGEST_BYTES:])
        if accused in self._by_accused or accused == self._core.peer or self._is_full(teller, accused):
            return
        if teller in self._fetching or len(self._fetching) >= FETCHED_AT_ONCE or self._core.trust.shunned(teller):
            return
        self._fetching.add(teller)
        if not self._core.tasks.spawn(self._fetch(teller, digest, accused), "fetch evidence"):
            self._fetching.discard(teller)

    def tell_newcomer(self, contact: Contact) -> None:
        """Tell somebody who came of some of the convicted, by chance."""
        accused = list(self._by_accused)
        if accused:
            self._core.environment.rng.shuffle(accused)
            told = accused[:TOLD_AT_MEETING]
            self._core.tasks.spawn(self._push([contact], told), "tell of evidence")

    def tell_somebody(self) -> None:
        """Tell one member of some: what the news missed comes round in time."""
        alive = list(self._core.members.alive())
        if alive:
            self.tell_newcomer(alive[self._core.environment.rng.randrange(len(alive))])

    def _is_full(self, teller: PeerId, accused: PeerId) -> bool:
        if accused not in self._core.members.all and self._strangers_of[teller] >= STRANGERS_TOLD_MAX:
            return True
        return not self._has_room(accused)

    def _has_room(self, accused: PeerId) -> bool:
        if len(self._by_accused) >= EVIDENCE_MAX:
            return False
        return accused in self._core.members.all or self._strangers < STRANGERS_MAX

    async def _fetch(self, teller: PeerId, digest: bytes, accused: PeerId) -> None:
        core = self._core
        try:
            contact = core.members.contact(teller)
            if contact is None:
                return
            connection = await core.bulk.get(contact)
            told = frames.shown_codec.decode_canonical(await connection.ask(frames.EVIDENCE, digest))
            if len(told) != 1 or digest_of(told[0]) != digest:
                raise WireError("evidence")
            accused = PeerId(read_evidence(told[0]).accused)  # the teller may have named somebody else
            if self._is_full(teller, accused):
                return
            is_stranger = accused not in core.members.all
            if await self._believe(told[0]) is not None and is_stranger:
                self._strangers_of[teller] += 1
        except WireError as error:
            core.counts.rejected[error.reason] += 1
            core.trust.note(teller, "malformed")
        except PeerdError as error:
            logger.debug("evidence could not be had", peer=short(teller), reason=str(error))
        finally:
            self._fetching.discard(teller)

    async def _believe(self, raw: bytes) -> PeerId | None:
        """Check evidence and act on it; returns whom it convicts where that is new. Raises WireError."""
        core = self._core
        accused = convicts(raw, core.identity.network, core.verifier)
        if accused in self._by_accused:
            return None
        if accused == core.peer:
            logger.error("evidence convicts this peer: has somebody else its identity?")
            return None
        self._strangers += accused not in core.members.all
        self._take(raw, accused)
        core.gossip.tell_convicted(self._item(accused), accused)
        core.events.emit("convicted", id=peer_id_text(accused), how=KIND_NAMES[read_evidence(raw).kind])
        try:
            await core.store.put_evidence(accused, raw)
        except LocalError as error:
            logger.warning("evidence could not be kept", reason=str(error))
        return accused

    def _take(self, raw: bytes, accused: PeerId) -> None:
        digest = digest_of(raw)
        self._kept[digest] = raw
        self._by_accused[accused] = digest
        self._core.trust.put_out(accused, "convicted")

    def _item(self, accused: PeerId) -> bytes:
        return bytes([CONVICTED]) + self._by_accused[accused] + accused

    async def _push(self, contacts: Sequence[Contact], told: Sequence[PeerId]) -> None:
        await tell(self._core, contacts, [self._item(accused) for accused in told])
