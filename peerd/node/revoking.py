"""Keys that count no more, for good: kept on disk, told in passing and at meeting, compared with others now and then.

A revocation is believed for its signature, whoever tells it, and acted on at once: who is revoked is put out
(node.trusting). It has no end, so what one liar can make us keep is bounded: of keys that nobody here knows only so
many are taken, and of one teller a few. A peer that hears of its own revocation stops. Not here: what one is
(records.revocation), what becomes of who is out (expelling), and of what it wrote (holding).
"""

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress

from loguru import logger

from peerd.errors import LocalError, PeerdError, RevokedError, UsageError, WireError
from peerd.ids import ID_BYTES, PeerId, peer_id_text
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node import results
from peerd.node.core import Core
from peerd.node.gossip import REVOKED
from peerd.node.tasks import every
from peerd.node.telling import tell
from peerd.records.revocation import REASONS, Revocation, nobody_else, parse_text, revocations, verify_revocation
from peerd.wire import frames, limits
from peerd.wire.messages import Tell

# Keys that were never members here, of which as many are kept, and so many that one teller named: a liar that revokes
# thousands of key pairs of its own neither fills the disk nor keeps us from hearing of those that matter.
STRANGERS_MAX = 4096
STRANGERS_TOLD_MAX = 64
KNOWN_MAX = 8192
# Told to directly by who is given a revocation; in larger networks the news does the rest.
PUSHED_MAX = 256
# Who says that it knows others is asked which: so many at a time, so that one that stalls keeps nobody from answering,
# and so many wait. A peer that was just started waits a moment for them before it says that something is not there.
ASKED_AT_ONCE = 3
TO_ASK_MAX = 64
HEARD_WITHIN_S = 0.05
CATCHING_UP_MAX_S = 1.0
# Statements that are verified without letting anything else run.
VERIFIED_AT_ONCE = 32


class Revoking:
    """The revocations that one peer knows. `authority` says who else may revoke: nobody, without a coordinator."""

    def __init__(self, core: Core, authority: Callable[[PeerId], bool] = nobody_else) -> None:
        self._core = core
        self._authority = authority
        self._kept: dict[PeerId, bytes] = {}
        self._kept_digest: tuple[int, bytes] | None = None
        """How many were kept when their digest was made, and it: nothing is ever let go of."""
        self._strangers = 0
        self._strangers_of: Counter[PeerId] = Counter()
        self._to_ask: OrderedDict[PeerId, None] = OrderedDict()
        self._asking = 0
        self._caught_up = asyncio.Event()
        self._caught_up.set()
        self.ours = asyncio.Event()
        """Set once this peer itself is revoked: then it must stop."""

    async def begin(self) -> None:
        """Put out who is revoked, before anybody is met. Raises RevokedError where this peer is; StoreError."""
        for raw, known in await self._core.store.revocations():
            if not revocations.is_whole(raw):
                # It is heard again from the first that is met.
                logger.warning("what the disk has damaged is passed over", what="a revocation")
                continue
            said = revocations.read(raw)
            self._kept[PeerId(said.peer)] = raw
            self._strangers += not known
            if said.peer == self._core.peer:
                raise is_revoked(self._core.peer)
            self._core.trust.put_out(PeerId(said.peer), "revoked")

    def start(self) -> None:
        """Begin to compare with others, now and then."""
        core = self._core
        compare = every(core.environment.rng, core.settings.repair_interval_s, self._compare)
        core.tasks.spawn(compare, "compare revocations")

    def listed(self) -> list[results.Revoked]:
        """Return what people are shown."""
        return [_shown(raw) for raw in self._kept.values()]

    async def revoke(self, text: bytes) -> results.Revoked:
        """Take a revocation from this peer's own user and tell everybody.

        Raises UsageError where it is none of this network, StoreError and NoRoomError where it cannot be kept.
        """
        try:
            raw = parse_text(text)
            said = verify_revocation(raw, self._core.verifier, self._authority)
        except WireError as error:
            raise UsageError(
                f"this is no revocation of this network ({error.reason})",
                hint="make one: peerd identity revoke, with the --network and --network-key of its peer",
            ) from None
        if PeerId(said.peer) not in self._kept:
            await self._core.store.put_revocation(PeerId(said.peer), raw, known=True)
            self._act(said, raw)
        return _shown(raw)

    # Told by others.

    def hear(self, teller: PeerId, raw: bytes) -> None:
        """Take news of a revocation, or the mark of all that the teller knows; raises WireError where it is neither."""
        if len(raw) == limits.REVOKED_DIGEST_BYTES:
            if raw != self._digest():
                self._ask_later(teller)
            return
        said = revocations.read(raw)
        if PeerId(said.peer) in self._kept or not self._has_room(teller, PeerId(said.peer)):
            return
        verify_revocation(raw, self._core.verifier, self._authority)
        known = self._is_known(PeerId(said.peer))
        if not known:
            self._strangers += 1
            self._strangers_of[teller] += 1
        self._core.tasks.spawn(self._keep(PeerId(said.peer), raw, known=known), "keep a revocation")
        self._act(said, raw)

    def came(self, contact: Contact) -> None:
        """Somebody is here, perhaps after an absence: let it see whether it knows the same."""
        if self._kept:
            self._core.tasks.spawn(tell(self._core, [contact], [self._mark()]), "tell of revocations")

    async def caught_up(self) -> None:
        """Return once those that were met and know others than we have said which, or have taken too long."""
        if self._core.members.alive_count():
            await asyncio.sleep(HEARD_WITHIN_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCHING_UP_MAX_S):
                await self._caught_up.wait()

    def page(self, payload: bytes) -> list[bytes]:
        """Return revocations in order of the peers, after the one named; none where the asker knows the same."""
        after, digest = payload[:ID_BYTES], payload[ID_BYTES:]
        if digest == self._digest():
            return []
        peers = sorted(peer for peer in self._kept if peer > after)
        return [self._kept[peer] for peer in peers[: limits.REVOCATIONS_PER_FRAME_MAX]]

    # What comes of it.

    def _act(self, said: Revocation, raw: bytes) -> None:
        core, peer = self._core, PeerId(said.peer)
        self._kept[peer] = raw
        item = bytes([REVOKED]) + raw
        core.gossip.tell_revoked(item, peer)
        alive = list(core.members.alive())[:PUSHED_MAX]
        if peer == core.peer:
            logger.warning("this peer is revoked: it stops", reason=REASONS[said.reason])
            core.tasks.spawn(self._stop(alive, item), "tell of a revocation")
            return
        contact = core.members.contact(peer)
        if contact is not None:
            # Once, and without waiting: it may be an honest peer that should know why nobody answers it.
            core.endpoint.ask(contact, Tell, (item,), tries_max=1).cancel()
        core.trust.put_out(peer, "revoked")
        core.events.emit("revoked", id=peer_id_text(peer), reason=REASONS[said.reason])
        core.tasks.spawn(tell(core, [each for each in alive if each.peer != peer], [item]), "tell of a revocation")

    async def _stop(self, contacts: Sequence[Contact], item: bytes) -> None:
        """Tell the others that we are revoked, and then that we have to stop."""
        try:
            await tell(self._core, contacts, [item])
        finally:
            self.ours.set()

    async def _keep(self, peer: PeerId, raw: bytes, *, known: bool) -> None:
        try:
            await self._core.store.put_revocation(peer, raw, known=known)
        except LocalError as error:
            logger.warning("a revocation could not be kept", peer=short(peer), reason=str(error))

    def _has_room(self, teller: PeerId, peer: PeerId) -> bool:
        if self._is_known(peer):
            return len(self._kept) - self._strangers < KNOWN_MAX
        return self._strangers < STRANGERS_MAX and self._strangers_of[teller] < STRANGERS_TOLD_MAX

    def _is_known(self, peer: PeerId) -> bool:
        return peer == self._core.peer or peer in self._core.members.all

    async def _compare(self) -> None:
        alive = list(self._core.members.alive())
        if alive and self._kept:
            await tell(self._core, [alive[self._core.environment.rng.randrange(len(alive))]], [self._mark()])

    def _mark(self) -> bytes:
        return bytes([REVOKED]) + self._digest()

    def _ask_later(self, teller: PeerId) -> None:
        """Ask a peer for what it knows, once those asked before have answered."""
        if len(self._to_ask) < TO_ASK_MAX:
            self._to_ask[teller] = None
        if self._asking < ASKED_AT_ONCE and self._core.tasks.spawn(self._ask(), "ask for revocations"):
            self._asking += 1
            self._caught_up.clear()

    async def _ask(self) -> None:
        try:
            while self._to_ask:
                contact = self._core.members.contact(self._to_ask.popitem(last=False)[0])
                if contact is not None:
                    await self._fetch(contact)
        finally:
            self._asking -= 1
            if not self._asking:
                self._caught_up.set()

    async def _fetch(self, contact: Contact) -> None:
        """Ask somebody for what is not known here, page by page, and take it in."""
        core, after, taken = self._core, bytes(ID_BYTES), 0
        try:
            connection = await core.bulk.get(contact)
            while taken < STRANGERS_MAX + KNOWN_MAX:
                asked = connection.ask(frames.REVOCATIONS, after + self._digest())
                page = frames.revoked_codec.decode_canonical(await asked)
                for number, raw in enumerate(page):
                    self.hear(contact.peer, raw)
                    after = revocations.read(raw).peer
                    if number % VERIFIED_AT_ONCE == VERIFIED_AT_ONCE - 1:
                        await asyncio.sleep(0)
                taken += len(page)
                if len(page) < limits.REVOCATIONS_PER_FRAME_MAX:
                    return
        except WireError as error:
            core.counts.rejected[error.reason] += 1
            core.trust.note(contact.peer, "malformed")
        except PeerdError as error:
            logger.debug("revocations could not be had", peer=short(contact.peer), reason=str(error))

    def _digest(self) -> bytes:
        if self._kept_digest is None or self._kept_digest[0] != len(self._kept):
            digest = hashlib.sha256(b"".join(sorted(self._kept))).digest()
            self._kept_digest = len(self._kept), digest[: limits.REVOKED_DIGEST_BYTES]
        return self._kept_digest[1]


def is_revoked(peer: PeerId) -> RevokedError:
    """Return the error that ends a peer whose key counts no more."""
    return RevokedError(
        f"this peer, {peer_id_text(peer)}, is revoked: no other has anything to do with it",
        hint="move the data directory away and start again, to become another peer",
    )


def _shown(raw: bytes) -> results.Revoked:
    said = revocations.read(raw)
    return results.Revoked(
        id=peer_id_text(PeerId(said.peer)), reason=REASONS[said.reason], at_s=said.stamp / 1000, revocation=raw.hex()
    )
