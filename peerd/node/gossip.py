"""What members tell each other in passing, and what is made of it: who joined, left, is missed, lives, was forgotten.

An item is a kind and what it says. What is signed is checked and passed on as it came; what is not is only a reason to
look for oneself: a newcomer is worth one handshake, somebody's suspicion one probe. So that news ends, an item is
passed on by those to whom it was new. Not here: which items are told when (trust.news), probing.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress

from loguru import logger

from peerd.errors import PeerdError, RefusedError, RemoteError, StoreError, WireError
from peerd.ids import PeerId, peer_id_text
from peerd.kad.contact import Contact, pack_contacts, unpack_contacts
from peerd.logs import short
from peerd.node.core import Core
from peerd.node.joining import Joining
from peerd.node.lanes import Candidate
from peerd.node.telling import tell
from peerd.records.life import Forgotten, Life, forgotten_notices, lives
from peerd.records.notice import LeaveNotice, leave_notices
from peerd.trust.news import News
from peerd.wire import limits
from peerd.wire.messages import Vouch, Vouched

JOINED, LEFT, MISSED, LIVES, FORGOTTEN, CONVICTED, REVOKED = 1, 2, 3, 4, 5, 6, 7

_STAMP_BYTES = 8
# Peers of which others said that they miss them.
_MISSED_MAX = 256
_CONTACT_MAX_BYTES = 64
# News of newcomers is told by those that were in company for so long: a newcomer does not tell old members of others.
SETTLED_S = 3.0
# A suspicion of this peer is answered by a new signature at most so often.
REFUTED_EACH_S = 0.5
# Members that others say have left and that are asked whether they have, at a time: replayed notices cost no more.
DEPARTURES_MAX = 64
DEPARTURE_TIMEOUT_S = 1.0
DEPARTURE_SENT_MAX = 3
_NONCE_BYTES = 8
# Notices about peers that are still believed to be there wait so long for their death to be noticed, so many of them.
EARLY_S = 60.0
EARLY_MAX = 64


class Gossip:
    """The news that one peer tells and hears."""

    def __init__(
        self, core: Core, joining: Joining, *, missed: Callable[[PeerId], None], gone: Callable[[PeerId], None]
    ) -> None:
        self._core = core
        self._joining = joining
        self._news = News()
        self._missed = missed
        self._gone = gone
        self._life: bytes | None = None
        self._stamp = 0
        self._refuted_at = float("-inf")
        self._refuting = False
        self._missed_by_others: OrderedDict[PeerId, None] = OrderedDict()
        self._departures: set[PeerId] = set()
        self._early: OrderedDict[tuple[PeerId, PeerId], tuple[bytes, float]] = OrderedDict()
        """Who will not come back, by whom, said before we had noticed that it is gone; and when."""
        self._leaving = False

    def take(self) -> tuple[bytes, ...]:
        """Return what to tell whom we are speaking to."""
        return tuple(self._news.take(limits.NEWS_MAX_BYTES, limits.NEWS_MAX, self._core.members.alive_count() + 1))

    def about(self, peer: PeerId) -> tuple[bytes, ...]:
        """Return what to tell a peer that does not answer: that it is missed, so that it says it lives."""
        return (self._missed_item(peer),)

    # Telling.

    def tell_joined(self, contact: Contact) -> None:
        """Somebody came; the others should look for it."""
        since = self._core.members.company_since
        packed = pack_contacts([contact], _CONTACT_MAX_BYTES)
        if packed and since is not None and since < self._core.now() - SETTLED_S:
            self._news.add((JOINED, contact.peer), bytes([JOINED]) + packed)

    def tell_missed(self, peer: PeerId) -> None:
        """Somebody does not answer us, nor those that we asked."""
        self._news.add((MISSED, peer), self._missed_item(peer))

    def tell_left(self, notice: bytes, peer: PeerId) -> None:
        """Somebody said goodbye."""
        self._news.add((LEFT, peer), bytes([LEFT]) + notice)

    def tell_forgotten(self, notice: bytes, peer: PeerId, signer: PeerId) -> None:
        """Somebody will not come back."""
        self._news.add((FORGOTTEN, peer, signer), bytes([FORGOTTEN]) + notice)

    def tell_convicted(self, item: bytes, peer: PeerId) -> None:
        """There is evidence against somebody."""
        self._news.add((CONVICTED, peer), item)

    def tell_revoked(self, item: bytes, peer: PeerId) -> None:
        """Somebody's key counts no more."""
        self._news.add((REVOKED, peer), item)

    def tell_no_more(self, peer: PeerId) -> None:
        """Nobody misses this peer any more, or nobody should."""
        self._news.drop((MISSED, peer))

    def _missed_item(self, peer: PeerId) -> bytes:
        standing = self._core.members.detector.standings.get(peer)
        stamp = standing.stamp if standing is not None else 0
        return bytes([MISSED]) + peer + stamp.to_bytes(_STAMP_BYTES, "big")

    async def life(self, nonce: bytes = b"") -> bytes:
        """Return our signed word that we live, made now."""
        core = self._core
        if not self._stamp:
            await self._draw_stamp()
        return lives.sign(core.identity, Life(format=1, peer=core.peer, stamp=self._stamp, nonce=nonce))

    async def _draw_stamp(self) -> None:
        with suppress(StoreError):  # a disk that fails is no reason to be taken for dead
            self._stamp = await self._core.next_stamp()

    async def farewell(self) -> bytes:
        """Return our leave notice. What this peer signs of its life from then on is older than it."""
        core = self._core
        self._leaving = True
        if not self._stamp:
            await self._draw_stamp()
        try:
            stamp = await core.next_stamp()
        except PeerdError:  # a disk that fails is no reason to go without a word
            stamp = max(self._stamp + 1, int(core.environment.clock.wall() * 1000))
        return leave_notices.sign(core.identity, LeaveNotice(format=1, peer=core.peer, stamp=stamp))

    # Hearing.

    def hear(self, teller: PeerId, items: Sequence[bytes]) -> None:
        """Take in what a member tells; what makes no sense is counted and dropped."""
        for item in items:
            try:
                self._hear(teller, item[0], item[1:])
            except WireError as error:
                self._core.counts.rejected[error.reason] += 1

    def _hear(self, teller: PeerId, kind: int, body: bytes) -> None:
        if kind == JOINED:
            self._on_joined(teller, body)
        elif kind == LEFT:
            self.on_left(teller, body)
        elif kind == MISSED:
            self._on_missed(teller, body)
        elif kind == LIVES:
            self._on_lives(body)
        elif kind == FORGOTTEN:
            self.on_forgotten(body)
        elif kind == CONVICTED:
            self._core.convicting.hear(teller, body)
        elif kind == REVOKED:
            self._core.revoking.hear(teller, body)
        else:
            raise WireError("news_kind")

    def _on_joined(self, teller: PeerId, body: bytes) -> None:
        for peer, address in unpack_contacts(body, 1):
            if self._core.members.complete:
                self._joining.offer(Candidate(address, peer, "overlay", referrer=teller, fresh=True))

    def on_left(self, teller: PeerId, notice: bytes) -> None:
        """Take a leave notice: of its signer at once; of others, about somebody that is there, once that was asked.

        It may be from an earlier life of a member that came back, replayed to one that restarted and knows no stamps.
        Raises WireError for an unacceptable one.
        """
        core = self._core
        said = leave_notices.verify(notice, core.verifier)
        peer = PeerId(said.peer)
        contact = core.members.contact(peer)
        if peer == teller or contact is None:
            self._left(peer, said.stamp, notice, passed_on=peer != teller)
            return
        standing = core.members.detector.know(peer)
        known = said.stamp <= max(standing.stamp, standing.leave_stamp)
        if known or peer in self._departures or len(self._departures) >= DEPARTURES_MAX:
            return
        self._departures.add(peer)
        if not core.tasks.spawn(self._ask_whether_left(contact, said.stamp, notice), "ask who is said to have left"):
            self._departures.discard(peer)

    async def _ask_whether_left(self, contact: Contact, stamp: int, notice: bytes) -> None:
        """Believe a leave notice that others brought, unless its signer shows that it has lived since."""
        core, peer = self._core, contact.peer
        nonce = core.environment.entropy(_NONCE_BYTES)
        try:
            reply = await core.endpoint.ask(
                contact, Vouch, nonce, timeout_s=DEPARTURE_TIMEOUT_S, tries_max=DEPARTURE_SENT_MAX
            )
            if isinstance(reply, Vouched):
                said = lives.verify(reply.statement, core.verifier)
                if said.peer == peer and said.nonce == nonce and said.stamp > stamp:
                    core.members.refuted(peer, said.stamp)
                    return
        except RefusedError:
            return  # it is there, and busy
        except WireError as error:
            core.counts.rejected[error.reason] += 1
            return
        except RemoteError:
            pass
        finally:
            self._departures.discard(peer)
        self._left(peer, stamp, notice, passed_on=True)

    def _left(self, peer: PeerId, stamp: int, notice: bytes, *, passed_on: bool) -> None:
        core = self._core
        if not core.members.left(peer, stamp, notice):
            return
        self.tell_no_more(peer)
        if passed_on:
            self.tell_left(notice, peer)
        core.events.emit("peer", id=peer_id_text(peer), state="left")
        self._gone(peer)
        self.buried(peer)

    def _on_missed(self, teller: PeerId, body: bytes) -> None:
        core = self._core
        if len(body) != len(teller) + _STAMP_BYTES:
            raise WireError("news_size")
        peer, stamp = PeerId(body[:-_STAMP_BYTES]), int.from_bytes(body[-_STAMP_BYTES:], "big")
        if peer == core.peer:
            self._refute(stamp)
            return
        member = core.members.all.get(peer)
        if member is not None and member.state == "left" and member.farewell:
            self.tell_left(member.farewell, peer)
            return
        self._missed_by_others[peer] = None
        if len(self._missed_by_others) > _MISSED_MAX:
            self._missed_by_others.popitem(last=False)
        if core.members.detector.confirm(peer, teller):
            self._missed(peer)

    def _on_lives(self, statement: bytes) -> None:
        core = self._core
        said = lives.verify(statement, core.verifier)
        peer = PeerId(said.peer)
        missed = peer in core.members.doubted or self._missed_by_others.pop(peer, 0) is None
        if peer != core.peer and core.members.refuted(peer, said.stamp):
            self.tell_no_more(peer)
            if missed:  # whoever never heard that it is missed need not know that it is not
                self._news.add((LIVES, peer), bytes([LIVES]) + statement)

    def on_forgotten(self, notice: bytes) -> bool:
        """Take somebody's word that a peer will not come back, and pass it on; return whether it is new."""
        core = self._core
        said: Forgotten = forgotten_notices.verify(notice, core.verifier)
        peer, signer = PeerId(said.peer), PeerId(said.signer)
        before = core.members.forgotten(peer)
        if not core.members.forget(peer, signer, notice):
            if core.members.contact(peer) is not None:
                self._early[peer, signer] = notice, core.now()
                if len(self._early) > EARLY_MAX:
                    self._early.popitem(last=False)
            return False
        logger.info("a peer will not come back, somebody says", peer=short(peer), by=short(signer))
        if core.members.forgotten(peer) and not before:
            core.events.emit("forgotten", id=peer_id_text(peer))
        core.tasks.spawn(core.store.note_forgotten(peer, notice), "note who is forgotten")
        self.tell_forgotten(notice, peer, signer)
        return True

    def buried(self, peer: PeerId) -> None:
        """A member was silent for too long: what was said of it a little too early counts now."""
        since = self._core.now() - EARLY_S
        for key in [key for key in self._early if key[0] == peer]:
            notice, at = self._early.pop(key)
            if at >= since:
                self.on_forgotten(notice)

    async def push_forgotten(self, notice: bytes) -> None:
        """Tell all that are there at once, so that who asks a moment later finds it known; news tells the others."""
        await self._push(list(self._core.members.alive()), [notice])

    def tell_newcomer(self, contact: Contact) -> None:
        """Tell somebody who was away who will not come back."""
        notices = self._core.members.forgotten_notices()
        if notices:
            self._core.tasks.spawn(self._push([contact], notices), "tell who is forgotten")

    async def _push(self, contacts: Sequence[Contact], notices: Sequence[bytes]) -> None:
        await tell(self._core, contacts, [bytes([FORGOTTEN]) + notice for notice in notices])

    def came(self, peer: PeerId) -> None:
        """A peer is there (again): nobody misses it, and it is not forgotten."""
        self.tell_no_more(peer)
        for key in [key for key in self._early if key[0] == peer]:
            del self._early[key]
        if self._core.members.unforget(peer):
            self._news.drop_all((FORGOTTEN, peer))
            self._core.tasks.spawn(self._core.store.note_forgotten(peer, None), "note who is back")

    # We are missed.

    def _refute(self, stamp: int) -> None:
        """Say, signed and with a stamp above the suspicion's, that we live (SWIM 4.2)."""
        core = self._core
        if self._leaving:
            return
        if self._life is not None and stamp < self._stamp:
            if (LIVES, core.peer) not in self._news:
                self._news.add((LIVES, core.peer), bytes([LIVES]) + self._life)
            return
        if self._refuting or self._refuted_at > core.now() - REFUTED_EACH_S:
            return
        self._refuting = True
        if not core.tasks.spawn(self._refute_later(stamp), "refute"):
            self._refuting = False

    async def _refute_later(self, stamp: int) -> None:
        core = self._core
        try:
            if stamp >= self._stamp:
                self._stamp = await core.next_stamp()
            self._life = lives.sign(core.identity, Life(format=1, peer=core.peer, stamp=self._stamp, nonce=b""))
            self._refuted_at = core.now()
            self._news.add((LIVES, core.peer), bytes([LIVES]) + self._life)
        finally:
            self._refuting = False
