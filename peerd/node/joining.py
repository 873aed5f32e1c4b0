"""Finding the others and staying found: candidates become members by a handshake, members tell of members.

A candidate is only an address, from mDNS, bootstrap, memory or another peer's answer; it counts for nothing until a
handshake shows who lives there. Joining is a look-up for oneself (Kademlia 2.3) and, in small networks, pages of
members until everybody knows everybody.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace

from loguru import logger

from peerd.config import HostPort
from peerd.errors import PeerdError, UnreachableError, WireError
from peerd.ids import ID_BYTES, PeerId, distance
from peerd.kad.buckets import EVERYWHERE
from peerd.kad.contact import Address, Contact, unpack_contacts
from peerd.logs import short
from peerd.node.core import Core
from peerd.node.handshakes import HANDSHAKE_TIMEOUT_S
from peerd.node.lanes import CANDIDATES_MAX, Candidate, Lanes
from peerd.node.nearest import search
from peerd.node.vicinity import Source
from peerd.wire import limits
from peerd.wire.messages import FindNode, Members, Nodes

# An address that did not answer is left alone for this long, unless somebody waits for it.
REFUSAL_S = 2.0
# One that has not answered for this long gets a single datagram, and no more than one in so many seconds, whoever
# names it: the dead are not knocked up by hints, memory, bootstrap and others all at once. Where somebody died that we
# knew, whose turn it is of all members tries (`Members.to_retry`), and whoever hears from a member that it lives; hints
# may be old, and who returns calls us.
SILENT_S = 60.0
SILENT_REFUSAL_S = 10.0
# So long a contact has to answer whose referrer named hardly anybody who did, and to one hello.
DOUBTFUL_TIMEOUT_S = 1.0
# So many members are asked at once whether all can be known, where one says that they cannot.
OPINIONS_MIN = 4
# Addresses remembered of one living member beside that at which it answers.
OTHERS_MAX = 8
PAGES_MAX = 32
# Pages are asked at most this often, whatever digests say, and up to so much more rarely while nothing comes of it:
# whom one has buried and another not yet is nothing to learn.
EXCHANGE_PAUSE_S = 2.0
EXCHANGE_PAUSE_MAX_S = 32.0
# Our own place is looked up at most this often because somebody came: newcomers look for us themselves.
REFRESH_PAUSE_S = 10.0
# How long a peer that was just started looks for others before it says that something is not there.
SETTLE_MAX_S = 3.0
MDNS_ANSWERS_S = 1.2


@dataclass(slots=True)
class _Silence:
    """An address that did not answer: since when, and when it was last tried."""

    since: float
    tried_at: float
    died: bool = False


class Joining:
    """Turns candidates into members."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lanes = Lanes()
        self._sources: dict[Address, Source] = {}
        self._silences: OrderedDict[Address, _Silence] = OrderedDict()
        self._others: OrderedDict[PeerId, OrderedDict[Address, None]] = OrderedDict()
        self._ours: set[Address] = set()
        self._exchanging: set[PeerId] = set()
        self._exchange_at = float("-inf")
        self._refreshed_at = float("-inf")
        self._compare_at = float("-inf")
        self._compare_pause_s = EXCHANGE_PAUSE_S
        self.idle = asyncio.Event()
        """Set while no address is tried or waits to be."""
        self.idle.set()

    def source_of(self, address: Address) -> Source:
        """Return where an address that was just proven came from."""
        return self._sources.get(address, "overlay")

    def offer(self, candidate: Candidate) -> bool:
        """Take a candidate; known living members, addresses just tried and whatever is too many are dropped.

        Return whether it is tried and was not before, as far as we remember.
        """
        if candidate.expected == self._core.peer and candidate.source == "mdns":
            candidate = replace(candidate, expected=None)  # another with our key, perhaps: see twins
        address, peer = candidate.address, candidate.expected
        if peer == self._core.peer or address in self._ours or address in self._lanes or self._is_known(candidate):
            return False
        if peer is not None and self._core.members.contact(peer) is not None:
            self._note_other(peer, address)
            return False
        silence = self._silences.get(address)
        now = self._core.now()
        if silence is not None:
            is_long = silence.since <= now - SILENT_S
            if is_long and (silence.died or self._is_dead(peer)) and self._is_old(candidate):
                return False
            if silence.tried_at > now - (SILENT_REFUSAL_S if is_long else REFUSAL_S):
                return False
            if is_long:
                candidate = replace(candidate, hellos_max=1)
        if not self._lanes.put(candidate):
            return False
        self.idle.clear()
        self._start()
        return silence is None

    def offer_named(self, contact: Contact, referrer: PeerId | None) -> bool:
        """Take whom a member names; not who said goodbye a moment ago, which that one may not have heard.

        While it hands over it still answers handshakes, and would be taken for one that is back. Who is back comes to
        us, or is news.
        """
        core = self._core
        if core.members.lingering(contact.peer) is not None:
            return False
        if core.absent.has(contact.peer, contact.address, core.now()):
            return False
        return self.offer(Candidate(contact.address, contact.peer, "overlay", referrer=referrer))

    def _is_known(self, candidate: Candidate) -> bool:
        """Whether a configured address is a member's: it is offered again and again; members have their own pace."""
        members = self._core.members
        if candidate.source != "bootstrap" or candidate.again or members.alive_count() == 0:
            return False
        return any(each.contact.address == candidate.address for each in members.all.values())

    def _is_dead(self, peer: PeerId | None) -> bool:
        """Whether we saw this peer die; it may have had other addresses than the one that we knew."""
        member = self._core.members.all.get(peer) if peer is not None else None
        return member is not None and member.verified and member.state == "dead"

    @staticmethod
    def _is_old(candidate: Candidate) -> bool:
        return not candidate.again and candidate.source != "overlay"

    def _start(self) -> None:
        while (candidate := self._lanes.take()) is not None:
            if not self._core.tasks.spawn(self._try(candidate), "try candidate"):
                self._lanes.done(candidate, answered=False, tried=False)

    async def _try(self, candidate: Candidate) -> None:
        address, peer = candidate.address, candidate.expected
        self._sources[address] = candidate.source
        answered, tried = False, False
        try:
            if peer is not None and self._core.members.contact(peer) is not None:
                self._note_other(peer, address)
                return  # it came to us while it waited here
            tried_at = self._core.now()
            hellos_max, timeout_s = candidate.hellos_max, HANDSHAKE_TIMEOUT_S
            if not candidate.fresh and self._lanes.is_doubtful(candidate.referrer):
                hellos_max, timeout_s = 1, DOUBTFUL_TIMEOUT_S
            tried = True
            if self._was_absent(candidate):
                return  # a look-up waited for it meanwhile
            await self._core.endpoint.connect(address, candidate.expected, timeout_s=timeout_s, hellos_max=hellos_max)
            answered = True
            self._silences.pop(address, None)
        except UnreachableError as error:
            self._note_silence(address, tried_at)
            logger.debug(
                "a candidate did not answer",
                address=HostPort(*address).text,
                source=candidate.source,
                reason=str(error),
            )
        finally:
            self._sources.pop(address, None)
            self._done(candidate, answered=answered, tried=tried)
            self._start()
            if not len(self._lanes):
                self.idle.set()

    def _was_absent(self, candidate: Candidate) -> bool:
        peer, core = candidate.expected, self._core
        if peer is None or candidate.referrer is None or candidate.fresh:
            return False
        return core.absent.has(peer, candidate.address, core.now())

    def _done(self, candidate: Candidate, *, answered: bool, tried: bool) -> None:
        core, peer, referrer = self._core, candidate.expected, candidate.referrer
        known = peer is None or peer in core.members.all
        if tried and not answered and peer is not None and not known:
            core.nobody_at(peer, candidate.address)
            known = not core.absent.counts(peer, candidate.address)  # each counts once
        if self._lanes.done(candidate, answered=answered, tried=tried, known=known) and referrer is not None:
            core.trust.note(referrer, "invented")

    def _note_silence(self, address: Address, tried_at: float) -> None:
        silence = self._silences.setdefault(address, _Silence(tried_at, tried_at))
        silence.tried_at = tried_at if silence.since <= tried_at - SILENT_S else self._core.now()
        self._silences.move_to_end(address)
        if len(self._silences) > CANDIDATES_MAX:
            self._silences.popitem(last=False)

    def _note_other(self, peer: PeerId, address: Address) -> None:
        """A living member is said to be at this address as well; when it dies it is dead there too."""
        others = self._others.setdefault(peer, OrderedDict())
        others[address] = None
        if len(others) > OTHERS_MAX:
            others.popitem(last=False)
        self._others.move_to_end(peer)
        if len(self._others) > CANDIDATES_MAX:
            self._others.popitem(last=False)

    def died(self, peer: PeerId, address: Address) -> None:
        """A peer is dead; from now on its addresses are silent, though we have not tried them anew."""
        for each in [address, *self._others.pop(peer, ())]:
            self._note_silence(each, self._core.now())
            self._silences[each].died = True

    def heard_from(self, peer: PeerId, address: Address) -> None:
        """A peer lives at this address."""
        self._silences.pop(address, None)
        self._core.absent.heard(peer, address)
        self._note_other(peer, address)

    async def settle(self) -> None:
        """Let it be known when those that are there have been met, as far as that is a matter of moments."""
        core = self._core
        try:
            async with asyncio.timeout(SETTLE_MAX_S):
                await self.idle.wait()
                if core.settings.mdns and core.members.alive_count() == 0:
                    await asyncio.sleep(MDNS_ANSWERS_S)
                    await self.idle.wait()
                await core.revoking.caught_up()
        except TimeoutError:
            pass
        finally:
            core.settled.set()

    @property
    def has_own_address(self) -> bool:
        """Whether an address of our own was noted."""
        return bool(self._ours)

    def ourselves(self, address: Address) -> None:
        """Note that an address is our own: it is never tried again."""
        if len(self._ours) < 64:
            self._ours.add(address)

    def met(self, contact: Contact) -> None:
        """Somebody came (back): ask whom it knows, unless another was asked just now; digests tell the rest."""
        if self._exchange_at > self._core.now() - EXCHANGE_PAUSE_S:
            return
        self._exchange_at = self._core.now()
        self._core.tasks.spawn(self._greet(contact), "greet")

    async def _greet(self, contact: Contact) -> None:
        await self.exchange(contact)
        if not self._core.members.complete and self._refreshed_at < self._core.now() - REFRESH_PAUSE_S:
            await self.refresh_own()

    async def refresh_own(self) -> None:
        """Look up our own place: the nearest peers learn of us and we of them."""
        self._refreshed_at = self._core.now()
        holders = await search(self._core, self._core.members.own_place, FindNode, count=self._core.members.table.ksize)
        for contact in holders.contacts:
            self.offer_named(contact, None)
        if self._core.members.samples.size is None:
            await self.sample()

    async def sample(self) -> None:
        """Look up a place of chance: it shows how large the network is."""
        target = EVERYWHERE.random_target(self._core.environment.entropy)
        found = await search(self._core, target, FindNode)
        self._core.members.samples.note([distance(contact.place, target) for contact in found.contacts])

    def compare(self, contact: Contact, digest: bytes) -> None:
        """A member's digest of the members came: where it differs from ours, ask whom it knows.

        Also where somebody said that the network is too large for that: it may have become small.
        """
        members = self._core.members
        unsure = members.partial and members.sizes.says(contact.peer) is not False
        if not members.table.complete or (digest == members.digest() and not unsure):
            return
        now = self._core.now()
        if self._compare_at > now:
            return
        self._compare_at = now + self._compare_pause_s
        self._core.tasks.spawn(self._compare(contact), "exchange members")

    async def _compare(self, contact: Contact) -> None:
        fruitful = await self.exchange(contact)
        self._compare_pause_s = EXCHANGE_PAUSE_S if fruitful else min(EXCHANGE_PAUSE_MAX_S, 2 * self._compare_pause_s)

    def ask_back(self, contact: Contact) -> None:
        """A newcomer knows somebody whom we do not."""
        self._core.tasks.spawn(self.exchange(contact), "ask back")

    async def exchange(self, contact: Contact) -> bool:
        """Ask a member for those it knows and we do not, page by page, and try them; return whether there were any."""
        if contact.peer in self._exchanging:
            return False
        self._exchanging.add(contact.peer)
        try:
            return await self._pages(contact)
        except (UnreachableError, WireError) as error:
            logger.debug("members were not exchanged", peer=short(contact.peer), reason=str(error))
        except PeerdError:
            pass
        finally:
            self._exchanging.discard(contact.peer)
            self._ask_another()
        return False

    def _ask_another(self) -> None:
        """Where one has said that the network is too large to be known whole, hear what others say of it."""
        members = self._core.members
        if not members.table.complete or not members.partial or members.sizes.count >= OPINIONS_MIN:
            return
        unheard = [contact for contact in members.alive() if contact.peer not in members.sizes]
        if unheard:
            self._core.tasks.spawn(
                self.exchange(unheard[self._core.environment.rng.randrange(len(unheard))]), "ask another"
            )

    async def _pages(self, contact: Contact) -> bool:
        core = self._core
        after = bytes(ID_BYTES)
        fruitful = False
        for number in range(PAGES_MAX):
            if not core.members.table.complete:
                break
            have = core.members.prefixes(after, limits.MEMBERS_HAVE_MAX)
            reply = await core.endpoint.ask(contact, Members, after, have, timeout_s=core.settings.request_timeout_s)
            if not isinstance(reply, Nodes):
                raise WireError("reply_kind")
            named = unpack_contacts(reply.contacts, limits.CONTACTS_MAX)
            if number == 0:
                core.members.size_said(contact.peer, large=not named)
            if not named:
                break
            contacts = [Contact.of(core.identity.network, peer, address) for peer, address in named]
            if contacts[-1].place <= after:
                raise WireError("page_order")
            after = contacts[-1].place
            for found in contacts:
                fruitful |= self.offer_named(found, contact.peer)
            if self._lanes.is_doubtful(contact.peer):
                break  # it names whom nobody finds
            await asyncio.sleep(0)
        return fruitful
