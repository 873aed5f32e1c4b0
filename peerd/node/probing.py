"""Who is there: members are probed, also through others, buried, tried again, looked for and remembered.

Each is a loop with a jittered interval from the settings. Not here: the rules (trust.membership), turning addresses
into members (joining), what is known of each (members), news (gossip), what is kept (maintaining).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from loguru import logger

from peerd.errors import RefusedError, RemoteError, UnreachableError, WireError
from peerd.ids import PeerId, distance, peer_id_text
from peerd.io.store.remembered import RememberedPeer
from peerd.kad.contact import Contact
from peerd.kad.size import SAMPLES_MIN
from peerd.logs import short
from peerd.node.asking import Asking
from peerd.node.core import Core
from peerd.node.gossip import LEFT, Gossip
from peerd.node.joining import Joining
from peerd.node.lanes import Candidate
from peerd.node.members import LINGER_S
from peerd.node.nearest import search
from peerd.node.tasks import every
from peerd.records.life import lives
from peerd.wire import limits
from peerd.wire.messages import FindNode, Members, Ping, Pong, Refused, Relay, Reply, Vouch, Vouched

# A probe waits so long for its answer, less where suspicions are set to be short, more while we are slow ourselves.
PROBE_TIMEOUT_S = 1.0
PROBE_TIMEOUT_MIN_S = 0.1
PROBE_SENT_MAX = 3
SUSPECT_SENT_MAX = 2
SUSPECTS_AT_ONCE = 8
# Peers that others miss are looked for at once, each so rarely and so many at a time.
LOOKED_EACH_S = 2.0
LOOKED_AT_ONCE = 4
LOOKED_MAX = 1024
# Peers that others ask us for, at a time; and signatures that others may have from us in a second.
RELAYS_MAX = 32
VOUCHES_PER_S = 64
# Who came so short a time ago and asks for members is news.
NEWCOMER_S = 5.0
REMEMBER_INTERVAL_S = 30.0
# Two overlays become one within 15 s.
CONFIGURED_AGAIN_S = 10.0
# Whoever is killed soon after it met somebody must not come back as one that never knew others.
REMEMBER_NEW_S = 1.0

REFUSED_UNKNOWN = "unknown"
REFUSED_BUSY = "busy"


class Probing:
    """The background loops of membership of one peer, and what it answers about others."""

    def __init__(self, core: Core, joining: Joining) -> None:
        self._core = core
        self._joining = joining
        self.gossip = core.gossip = Gossip(core, joining, missed=self._look_for, gone=self._left)
        self._resolve: Callable[[], Awaitable[None]] | None = None
        self._probe_at = 0.0
        self._looked: OrderedDict[PeerId, float] = OrderedDict()
        self._looking = 0
        self._resolved_at = 0.0
        self._remembered: set[PeerId] = set()
        self._looked_at_epoch = -1
        self._relaying = 0
        self._vouched_in = 0
        self._vouched = 0

    def start(self, *, bootstrap: Callable[[], Awaitable[None]]) -> None:
        """Begin all loops; `bootstrap` offers the configured peers again."""
        settings = self._core.settings
        self._resolve = bootstrap
        self._core.tasks.spawn(self._probe_loop(), "probe")
        self._every(min(1.0, settings.probe_interval_s), self._retry, "retry")
        self._every(settings.lonely_interval_s, self._be_found, "bootstrap")
        self._every(settings.refresh_interval_s, self._refresh, "refresh")
        self._every(REMEMBER_INTERVAL_S, self.remember, "remember")
        self._every(REMEMBER_NEW_S, self._remember_new, "remember new")

    def _every(self, interval_s: float, work: Callable[[], Awaitable[None]], name: str) -> None:
        self._core.tasks.spawn(every(self._core.environment.rng, interval_s, work), name)

    # Probing.

    async def _probe_loop(self) -> None:
        """Bury, probe suspects, and probe one member, the next of a shuffled round."""
        core = self._core
        detector = core.members.detector
        while True:
            pause_s = core.settings.probe_interval_s * core.environment.rng.uniform(0.9, 1.1)
            slept_at = core.now()
            await asyncio.sleep(pause_s)
            now = core.now()
            detector.stood_still(now - slept_at - pause_s)
            self._bury()
            for peer, ask_others in detector.to_probe(now, SUSPECTS_AT_ONCE):
                contact = core.members.contact(peer)
                if contact is not None:
                    core.tasks.spawn(self._probe_suspect(contact, ask_others=ask_others), "probe suspect")
            if now >= self._probe_at:
                self._probe_at = now + core.settings.probe_interval_s * detector.health
                following = self._next_in_round()
                if following is not None:
                    core.tasks.spawn(self._probe(following), "probe member")

    def _next_in_round(self) -> Contact | None:
        peer = self._core.members.detector.next_probe(self._core.environment.rng)
        return self._core.members.contact(peer) if peer is not None else None

    def _bury(self) -> None:
        core = self._core
        for member in core.members.bury():
            peer = member.contact.peer
            core.endpoint.drop_session(peer)
            core.bulk.drop(peer)
            self._joining.died(peer, member.contact.address)
            self.gossip.tell_no_more(peer)
            logger.info("a peer is gone", peer=short(peer))
            core.events.emit("peer", id=peer_id_text(peer), state="dead")
            self.gossip.buried(peer)

    @property
    def _timeout_s(self) -> float:
        settings = self._core.settings
        usual_s = min(PROBE_TIMEOUT_S, max(PROBE_TIMEOUT_MIN_S, settings.suspect_timeout_s / 5))
        return usual_s * (1 + self._core.members.detector.health / 4)

    async def _probe(self, contact: Contact) -> bool:
        """Ask a member whether it is there; return whether it answered."""
        core = self._core
        missed = contact.peer in core.members.doubted
        news = self.gossip.about(contact.peer) if missed else self.gossip.take()
        padding = bytes(max(0, limits.PING_PADDING_BYTES - sum(map(len, news))))
        timeout_s = self._timeout_s
        try:
            reply = await core.endpoint.ask(
                contact,
                Ping,
                padding,
                news,
                timeout_s=timeout_s,
                tries_max=SUSPECT_SENT_MAX if missed else PROBE_SENT_MAX,
                wait_min_s=timeout_s / 4,
            )
        except RemoteError:
            core.members.unanswered(contact.peer)
            if core.members.detector.silent(contact.peer):
                self.gossip.tell_missed(contact.peer)
            return False
        core.members.heard(contact.peer)
        core.members.detector.probed(well=True)
        self.gossip.tell_no_more(contact.peer)
        if isinstance(reply, Pong):
            self.gossip.hear(contact.peer, reply.news)
            self._joining.compare(contact, reply.members)
        return True

    async def _probe_suspect(self, contact: Contact, *, ask_others: bool) -> None:
        """Probe a member that was silent, and where it still is, have others try."""
        core = self._core
        if await self._probe(contact):
            return
        unheard = 0
        if ask_others:
            shown, unheard = await self._ask_others(contact)
            if shown:
                core.members.spoke(contact.peer)
                return
        core.members.detector.probed(well=False, unheard=unheard)
        if core.members.detector.failed(contact.peer, core.now(), asked=ask_others):
            self.gossip.tell_missed(contact.peer)

    async def _ask_others(self, target: Contact) -> tuple[bool, int]:
        """Have others reach a member (SWIM 3.1); return whether one showed that it lives, and how many were not heard.

        What counts is the target's own signature over a nonce that we chose now: nobody keeps the dead alive.
        """
        core = self._core
        nonce = core.environment.entropy(8)
        detector = core.members.detector
        unheard = 0
        timeout_s = self._timeout_s
        with Asking(core.endpoint, timeout_s=timeout_s * 2) as asking:
            for helper in detector.helpers(target.peer, core.environment.rng):
                contact = core.members.contact(helper)
                if contact is not None:
                    # Who waits for somebody else is not silent itself before that wait is over.
                    asking.ask(contact, Relay, target.peer, nonce, silent_after_s=0, wait_min_s=timeout_s * 1.25)
            while (answer := await asking.next()) is not None:
                if isinstance(answer.reply, Vouched):
                    if self._is_shown(target.peer, nonce, answer.contact.peer, answer.reply.statement):
                        return True, 0
                    if not answer.reply.statement:
                        detector.confirm(target.peer, answer.contact.peer)
                elif isinstance(answer.error, UnreachableError):
                    unheard += 1
        return False, unheard

    def _is_shown(self, peer: PeerId, nonce: bytes, teller: PeerId, statement: bytes) -> bool:
        core = self._core
        if not statement:
            return False
        try:
            said = lives.verify(statement, core.verifier)
        except WireError as error:
            if error.reason != "malformed":
                core.counts.rejected[error.reason] += 1
                return False
            self.gossip.hear(teller, [bytes([LEFT]) + statement])
            return False
        if said.peer != peer or said.nonce != nonce:
            core.counts.rejected["vouch"] += 1
            return False
        core.members.refuted(peer, said.stamp)
        return True

    def spoke(self, peer: PeerId) -> None:
        """A suspect asked us something: it lives; look whether it hears us as well."""
        if self._core.members.spoke(peer):
            self._look(peer)

    def _look_for(self, peer: PeerId) -> None:
        """Others miss a member: see for ourselves, and let it know."""
        now = self._core.now()
        each_s = min(LOOKED_EACH_S, self._core.settings.suspect_timeout_s / 4)
        if self._looked.get(peer, float("-inf")) > now - each_s:
            return
        self._looked[peer] = now
        self._looked.move_to_end(peer)
        if len(self._looked) > LOOKED_MAX:
            self._looked.popitem(last=False)
        self._look(peer)

    def _look(self, peer: PeerId) -> None:
        contact = self._core.members.contact(peer)
        if contact is None or self._looking >= LOOKED_AT_ONCE:
            return
        self._looking += 1
        if not self._core.tasks.spawn(self._look_once(contact), "look for a member"):
            self._looking -= 1

    async def _look_once(self, contact: Contact) -> None:
        try:
            await self._probe(contact)
        finally:
            self._looking -= 1

    # Answering.

    def on_ping(self, peer: PeerId, request: Ping) -> Reply:
        """Answer that we are here, with what news we have."""
        self.gossip.hear(peer, request.news)
        return Pong(request.rid, self._core.members.digest(), self.gossip.take())

    async def on_relay(self, request: Relay) -> Reply:
        """Have another sign that it lives, for somebody whom it does not answer."""
        core = self._core
        target = PeerId(request.target)
        if target == core.peer:
            return Vouched(request.rid, await self.gossip.life(request.nonce))
        member = core.members.all.get(target)
        if member is not None and member.state == "left" and member.farewell:
            return Vouched(request.rid, member.farewell)
        contact = core.members.contact(target)
        if contact is None:
            return Refused(request.rid, REFUSED_UNKNOWN)
        if target in core.members.doubted:
            return Vouched(request.rid, b"")
        if self._relaying >= RELAYS_MAX:
            return Refused(request.rid, REFUSED_BUSY)
        self._relaying += 1
        try:
            return await self._relay(contact, request)
        finally:
            self._relaying -= 1

    async def _relay(self, contact: Contact, request: Relay) -> Reply:
        timeout_s = self._timeout_s * 0.75
        try:
            reply = await self._core.endpoint.ask(
                contact, Vouch, request.nonce, timeout_s=timeout_s, tries_max=2, wait_min_s=timeout_s / 2
            )
        except RefusedError:
            return Refused(request.rid, REFUSED_BUSY)
        except RemoteError:
            self._core.members.unanswered(contact.peer)
            return Vouched(request.rid, b"")
        return Vouched(request.rid, reply.statement if isinstance(reply, Vouched) else b"")

    async def on_vouch(self, request: Vouch) -> Reply:
        """Sign that we live; not so often that signing could be a burden."""
        second = int(self._core.now())
        if second != self._vouched_in:
            self._vouched_in, self._vouched = second, 0
        self._vouched += 1
        if self._vouched > VOUCHES_PER_S:
            return Refused(request.rid, REFUSED_BUSY)
        return Vouched(request.rid, await self.gossip.life(request.nonce))

    def on_members(self, peer: PeerId, request: Members) -> None:
        """A member asks whom we know: a newcomer is news, and may know others whom we do not."""
        core = self._core
        member = core.members.all.get(peer)
        contact = core.members.contact(peer)
        if contact is None or member is None or any(request.after) or member.came_at < core.now() - NEWCOMER_S:
            return
        self.gossip.tell_joined(contact)
        self.gossip.tell_newcomer(contact)
        core.convicting.tell_newcomer(contact)
        if request.have and not core.members.knows_all(request.have):
            self._joining.ask_back(contact)

    # Who comes and goes.

    def came(self, contact: Contact, *, initiated: bool) -> None:
        """A handshake showed that a peer is here that was not."""
        self.gossip.came(contact.peer)
        if initiated:  # else it asks us, and looks for the others itself
            self.gossip.tell_joined(contact)
            self._joining.met(contact)

    def _left(self, peer: PeerId) -> None:
        self._core.tasks.spawn(self._forget_later(peer), "forget who left")

    async def _forget_later(self, peer: PeerId) -> None:
        """Drop the session of a peer that left once it can have handed over, unless it is back."""
        await asyncio.sleep(LINGER_S)
        member = self._core.members.all.get(peer)
        if member is None or member.state == "left":
            self._core.endpoint.drop_session(peer)
            self._core.bulk.drop(peer)

    async def _retry(self) -> None:
        """Try silent members again, each at its own pace, with one datagram."""
        for member in self._core.members.to_retry():
            contact = member.contact
            self._joining.offer(Candidate(contact.address, contact.peer, member.source, hellos_max=1, again=True))

    async def _be_found(self) -> None:
        """Try the configured peers again (names are looked up anew): while nobody answers, and now and then in company.

        Those found meanwhile may never have met who is configured, and be an overlay of their own.
        """
        lonely = self._core.members.alive_count() == 0
        if self._resolve is not None and (lonely or self._core.now() >= self._resolved_at + CONFIGURED_AGAIN_S):
            self._resolved_at = self._core.now()
            await self._resolve()

    async def _refresh(self) -> None:
        """Look up a random place in each bucket without a recent look-up (Kademlia 2.3)."""
        core = self._core
        if core.members.complete:
            return
        following = self._next_in_round()
        if following is not None:
            await self._joining.exchange(following)  # the network may have become small
        await self._joining.refresh_own()
        for _ in range(SAMPLES_MIN if core.members.samples.size is None else 0):
            await self._joining.sample()
        for span in core.members.table.stale_buckets(core.now(), core.settings.refresh_interval_s):
            target = span.random_target(core.environment.entropy)
            found = await search(core, target, FindNode)
            core.members.samples.note([distance(contact.place, target) for contact in found.contacts])
            for contact in found.contacts:
                self._joining.offer_named(contact, None)

    async def remember(self) -> None:
        """Write the members to disk, to be tried again after a restart, and what was read."""
        core = self._core
        await core.seen.flush()
        lived, now = core.store.now_s(), core.now()
        recent = core.members.to_remember(core.settings.remembered_max)
        entries = [
            RememberedPeer(m.contact.peer, *m.contact.address, lived - max(0.0, now - m.last_seen), m.lived_s)
            for m in recent
        ]
        if entries:
            await core.store.remember_peers(entries)
        self._remembered = {entry.peer for entry in entries}

    async def _remember_new(self) -> None:
        """Write the members to disk soon where one is among them for the first time."""
        members = self._core.members
        if members.epoch != self._looked_at_epoch:
            self._looked_at_epoch = members.epoch
            recent = members.to_remember(self._core.settings.remembered_max)
            if any(member.contact.peer not in self._remembered for member in recent):
                await self.remember()
