"""The Peer: everything of one daemon but its outer shell. Made, started, asked, stopped; embedded or run by `peerd`.

    peer = Peer(settings, identity, environment, store)
    await peer.start()
    ...
    await peer.stop()

`crash` ends it as a power cut would: no goodbye. Not here: sockets, files (io), HTTP (api).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from loguru import logger

from peerd.config import HostPort, Settings, parse_host_port
from peerd.errors import NotFoundError, PeerdError, UsageError
from peerd.identity import Identity
from peerd.ids import NetworkId, PeerId, network_digest, peer_id_text
from peerd.io.environment import Datagrams, Environment
from peerd.io.store.interface import Store
from peerd.kad.contact import Address
from peerd.logs import short
from peerd.node import auditing, expelling, listing, remembering, results, showing, stating
from peerd.node.blocks import Intake, Room
from peerd.node.build_cache import BuildCache
from peerd.node.bulk_pool import BulkPool
from peerd.node.changes import Changes
from peerd.node.claims import claimant_of, pin_root, unpin_root
from peerd.node.collecting import collect
from peerd.node.convicting import Convicting
from peerd.node.core import Core
from peerd.node.endpoint import Endpoint, admission_of
from peerd.node.events import Event, Events
from peerd.node.forgetting import forget
from peerd.node.formats import Formats
from peerd.node.get import Opened, open_target
from peerd.node.joining import Joining
from peerd.node.lanes import Candidate
from peerd.node.lapsing import Lapsing
from peerd.node.leaving import hand_over
from peerd.node.locking import Locks
from peerd.node.maintaining import Maintaining
from peerd.node.members import Members
from peerd.node.placing import Holding
from peerd.node.probing import Probing
from peerd.node.promising import Promises
from peerd.node.proofs import Proofs
from peerd.node.put import add, put, remove
from peerd.node.reconciling import Reconciling
from peerd.node.record_cache import RecordCache
from peerd.node.registers import Registers
from peerd.node.reholding import Reholding
from peerd.node.responder import Responder
from peerd.node.results import Form, GetOptions, PutOptions
from peerd.node.revoking import Revoking
from peerd.node.safety import Counting
from peerd.node.scrubbing import verify
from peerd.node.tasks import Tasks
from peerd.node.tombstones import Tombstones
from peerd.node.trusting import Trusting
from peerd.node.twins import Twins
from peerd.node.versions import Versions
from peerd.node.vicinity import Source
from peerd.node.watching import Strangers, Watching
from peerd.node.withdrawing import tell_newcomer
from peerd.records.statement import Verifier
from peerd.wire.messages import Leave

GOODBYE_TIMEOUT_S = 0.5

# Work on the whole store is done once at a time, whoever asks for it.
COLLECTING, VERIFYING = b"collect", b"verify"

__all__ = ["Opened", "Peer"]


class Peer:
    """One peer of one network."""

    def __init__(self, settings: Settings, identity: Identity, environment: Environment, store: Store) -> None:
        self._environment = environment
        self._tasks = Tasks()
        members = Members(identity.network, identity.peer, settings, environment.clock, changed=self._members_changed)
        intake = Intake(store, environment.clock)
        room = Room(store, intake, environment.entropy, settings.cache_max_bytes)
        registers = Registers(store, environment.clock)
        room.shares.claimant = claimant_of
        room.shares.proposer = registers.proposer
        room.shares.group_of, room.shares.groups = members.budget_of, members.budgets
        self._core = Core(
            settings=settings,
            identity=identity,
            environment=environment,
            store=store,
            tasks=self._tasks,
            members=members,
            verifier=Verifier(identity),
            events=Events(),
            intake=intake,
            room=room,
            registers=registers,
            promises=Promises(identity, store, environment.entropy, environment.clock),
            proofs=Proofs(store),
            trust=Trusting(environment.clock),
            admission=admission_of(settings),
        )
        self._core.reconciling, self._core.lapsing = Reconciling(self._core), Lapsing(self._core)
        self._core.cached, self._core.changes = RecordCache(self._core), Changes(self._core)
        self._core.tombstones, self._core.convicting = Tombstones(self._core), Convicting(self._core)
        self.revoking = self._core.revoking = Revoking(self._core)
        self.formats, self.versions = Formats(self._core), Versions(self._core)
        self.build_cache = self._core.build_cache = BuildCache(self._core)
        members.returned = self._missed
        self._joining = Joining(self._core)
        self._probing = Probing(self._core, self._joining)
        self._maintaining = Maintaining(self._core)
        self._counting = Counting(self._core, self._maintaining.restoring.living, compare=self._members_changed)
        self._reholding, self._locks = Reholding(self._core), Locks(self._core)
        self._datagrams: Datagrams | None = None
        self._started_at = 0.0
        self.strangers, self._watching = Strangers(self._core), Watching(self._core)
        self._twins = Twins(self._core, self._joining)
        self._watching.watched.append(self._twins.reason)
        self.watched = self._watching.watched
        """Each says why something outside this peer does not work as it should, None while it does."""

    # Life.

    async def start(self) -> None:
        """Bind, begin to answer, and try the members remembered; raises UsageError where an address is taken."""
        core = self._core
        responder = Responder(core, self._probing)
        core.endpoint = Endpoint(
            core.identity,
            self._environment,
            self._tasks,
            handler=responder.handle,
            proven=self._proven,
            heard=core.members.heard,
            spoke=self._probing.spoke,
            unanswered=core.members.unanswered,
            digest=core.members.digest,
            sessions_max=core.settings.sessions_max,
            admission=core.admission,
            spare=core.members.table,
            is_known=core.members.lives_at,
        )
        core.endpoint.doubted = core.members.doubted
        core.endpoint.tell_twin(self._twins.noted)
        core.endpoint.nobody_at = core.nobody_at
        core.bulk = BulkPool(core.identity, self._environment, core.settings, self._tasks, Holding(core))
        await expelling.begin(core)
        await core.returning.begin()
        self._datagrams = await self._environment.transports.open_datagrams(core.endpoint.receive)
        core.endpoint.attach(self._datagrams)
        core.own_address = core.own_address or self.listen_text
        try:
            await core.bulk.listen()
        except BaseException:
            self._datagrams.close()
            raise
        await core.store.drop_unlinked(0.0)  # nothing is coming in yet: it is left from before
        self._started_at = core.now()
        offer_bootstrap = partial(remembering.offer_bootstrap, core, self._joining)
        self._probing.start(bootstrap=offer_bootstrap)
        self._maintaining.start()
        self._tasks.spawn(self._reholding.run(), "holders of registers")
        core.reconciling.start()
        core.revoking.start()
        await remembering.offer_remembered(core, self._joining)
        await offer_bootstrap()
        self._tasks.spawn(self._joining.settle(), "settle")

    async def stop(self) -> None:
        """Say goodbye to all members, hand over what others should hold now, and end.

        The goodbye first: of many that stop at once nobody hands over to the others. Until the end others still get
        from us what only we have.
        """
        if self.revoking.ours.is_set():
            await self._end()  # there is nobody who would listen
            return
        try:
            async with asyncio.timeout(self._core.settings.leave_timeout_s):
                with suppress(PeerdError):  # a disk that fails is no reason to go without a word
                    await self._probing.remember()
                await self._say_goodbye()
                await self._reholding.leave()
                await hand_over(self._core)
        except (PeerdError, TimeoutError) as error:
            logger.warning("not everything was handed over", reason=str(error) or "no time")
        finally:
            await self._end()

    async def crash(self) -> None:
        """End at once, saying nothing."""
        await self._end()

    async def _end(self) -> None:
        self._core.endpoint.close()
        await self._core.bulk.close()
        await self._tasks.close()

    async def _say_goodbye(self) -> None:
        core = self._core
        notice = await core.gossip.farewell()
        asked = [core.endpoint.ask(c, Leave, notice, timeout_s=GOODBYE_TIMEOUT_S) for c in core.members.alive()]
        await asyncio.gather(*asked, return_exceptions=True)

    # Who and where.

    @property
    def id_text(self) -> str:
        """Return the peer's id as people see it."""
        return peer_id_text(self._core.peer)

    @property
    def peer_id(self) -> PeerId:
        """Return the peer's id."""
        return self._core.peer

    @property
    def network_id(self) -> NetworkId:
        """Return the id of the network."""
        return self._core.identity.network

    @property
    def network_digest(self) -> str:
        """Return what mDNS shows of the network."""
        return network_digest(self._core.identity.network)

    @property
    def addresses(self) -> list[Address]:
        """Return what the peer listens on."""
        return self._datagrams.addresses if self._datagrams is not None else []

    @property
    def sent_kinds(self) -> Mapping[str, int]:
        """Return the bytes sent in datagrams, by kind of message."""
        return self._core.endpoint.counts.sent_kinds

    @property
    def sent_messages(self) -> Mapping[str, int]:
        """Return the number of datagrams sent, by kind of message."""
        return self._core.endpoint.counts.sent_messages

    @property
    def listen_text(self) -> str:
        """Return the main listening address as people write it."""
        return HostPort(*self.addresses[0]).text if self.addresses else self._core.settings.listen.text

    @property
    def lonely(self) -> bool:
        """Whether no member answers."""
        return self._core.members.alive_count() == 0

    def offer(self, peer: PeerId | None, address: Address, source: Source) -> None:
        """Take an address where a peer may live; it counts only once a handshake proves it."""
        self._joining.offer(Candidate(address, peer, source))

    def own_address(self, address: Address) -> None:
        """Note an address of our own: the first is shown to people, none is ever tried."""
        if not self._joining.has_own_address:
            self._core.own_address = HostPort(*address).text
        self._joining.ourselves(address)

    def set_drop_list(self, addresses: list[str]) -> None:
        """Drop all traffic with these addresses ("ip:port"); for the harness's partitions. Replaces the last list."""
        parsed = [parse_host_port(text) for text in addresses]
        self._core.endpoint.drop_list = frozenset((each.host, each.port) for each in parsed)
        for member in self._core.members.all.values():
            if member.contact.address in self._core.endpoint.drop_list:
                self._core.bulk.drop(member.contact.peer)

    # The verbs.

    async def put(self, name: str, body: AsyncIterator[bytes], *, form: Form, options: PutOptions) -> results.Put:
        """Store a file or directory under a name."""
        return await put(self._core, name, body, form, options)

    async def add(self, body: AsyncIterator[bytes], *, form: Form, options: PutOptions) -> results.Put:
        """Store content without a name."""
        return await add(self._core, body, form, options)

    async def open(self, target: str, options: GetOptions) -> Opened:
        """Find a name or content and return it ready to be read."""
        return await open_target(self._core, target, options)

    async def remove(self, target: str, options: PutOptions) -> results.Put:
        """Delete a name everywhere, or withdraw content that this peer added."""
        return await remove(self._core, target, options)

    async def stat(self, target: str) -> results.Stat:
        """Return what is known of a name or content."""
        return await showing.stat(self._core, target)

    async def list(self, target: str | None, prefix: str = "") -> Sequence[results.Entry]:
        """Return the entries of a directory, or what this peer keeps; of names only those that begin so."""
        return await listing.list_target(self._core, target, prefix)

    async def history(self, name: str) -> Sequence[results.HistoryEntry]:
        """Return the versions known of a name."""
        return await showing.history(self._core, name)

    async def audit(self, name: str | None) -> results.Audit:
        """Ask every holder of a name, or of all keys that this peer keeps, what it has."""
        return await auditing.audit(self._core, name)

    def audit_pages(self, name: str | None) -> AsyncIterator[Sequence[results.AuditedKey]]:
        """Yield what an audit finds, some keys at a time."""
        return auditing.audit_pages(self._core, name)

    async def forget(self, peer: str) -> results.Forgotten:
        """No longer count a peer that will not come back, given by its id or the beginning of it."""
        return results.Forgotten(id=peer_id_text(await forget(self._core, peer)), forgotten=True)

    async def collect(self) -> results.Collected:
        """Free what may go now."""
        async with self._core.locks.hold(COLLECTING):
            return await collect(self._core)

    async def verify(self) -> results.Verified:
        """Re-hash all that is kept and mend what is damaged."""
        async with self._core.locks.hold(VERIFYING):
            return await verify(self._core)

    async def find(self, target: str) -> results.Find:
        """Do a lookup and return it hop by hop."""
        return await showing.find(self._core, target)

    async def ping(self, peer: str) -> results.Ping:
        """Measure one round trip to a peer."""
        return await showing.ping(self._core, peer)

    async def peers(self) -> Sequence[results.PeerInfo]:
        """Return all members known."""
        return await showing.peers(self._core)

    def evidence(self) -> Sequence[results.Evidence]:
        """Return what convicts others."""
        return self._core.convicting.listed()

    async def lock(self, name: str, timeout_s: float) -> results.Lock:
        """Take a lock, waiting for it."""
        return await self._locks.acquire(name, timeout_s)

    async def renew_lock(self, name: str, fence: int) -> results.Lock:
        """Hold a lock for another lease."""
        return await self._locks.renew(name, fence)

    async def unlock(self, name: str, fence: int) -> results.Lock:
        """Give a lock back."""
        return await self._locks.release(name, fence)

    def abandon_lock(self, name: str, fence: int) -> None:
        """Give a lock back that nobody here will hold or give back."""
        self._locks.abandon(name, fence)

    async def pin(self, target: str) -> results.Pinned:
        """Get something and keep it here whatever happens."""
        opened = await open_target(self._core, target, GetOptions(pin=True))
        if opened.inline is not None:
            raise UsageError(
                "a short value rides in its record and needs no pin", hint="its record is kept by up to 8 peers"
            )
        stream = opened.tar() if opened.kind == "directory" else opened.body(0, None)
        size = 0
        async for piece in stream:
            size += len(piece)
        await pin_root(self._core, opened.root.to_bytes())
        return results.Pinned(cid=opened.root.text, size=opened.size or size, pinned=True)

    async def unpin(self, target: str) -> results.Pinned:
        """Let go of what was pinned; it is a cached copy from then on unless something claims it."""
        opened = await open_target(self._core, target, GetOptions())
        raw = opened.root.to_bytes()
        root = await self._core.store.root(raw)
        if root is None or not await unpin_root(self._core, raw):
            raise NotFoundError(f"not pinned here: {opened.root.text}")
        return results.Pinned(cid=opened.root.text, size=root.size, pinned=False)

    async def status(self) -> results.Status:
        """Return how the daemon is."""
        usage = await self._watching.usage()
        safety = await self._counting.safety()
        return stating.status(
            self._core,
            usage,
            safety,
            uptime_s=self._core.now() - self._started_at,
            listen=self.listen_text,
            degraded=[*self.degraded],
        )

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens from now on."""
        return self._core.events.listen()

    @property
    def degraded(self) -> Sequence[str]:
        """Return why something does not work as it should; empty where all is well."""
        return self._watching.reasons

    @property
    def unready(self) -> str | None:
        """Return why this peer can keep nothing now; None where it can."""
        return self._watching.unready

    def watch(self) -> None:
        """Tell by events and in the log when something begins and ends not to work as it should."""
        self._tasks.spawn(self._watching.run(), "watch")

    # What the parts tell us.

    def _proven(self, peer: PeerId, address: Address, initiated: bool) -> None:
        core = self._core
        source = self._joining.source_of(address) if initiated else "overlay"
        self._joining.heard_from(peer, address)
        came = core.members.proven(peer, address, source, sought=initiated)
        core.copies.forget(peer)  # it may have been started again, with another store
        core.changes.leases.met(peer)
        core.backoff.answered(peer)
        core.bulk.renew(peer)
        member = core.members.all.get(peer)
        if member is not None:
            member.came_at = core.now()  # and then it is others that have to give it what it lacks
        core.tasks.spawn(tell_newcomer(core, peer), "tell withdrawals")
        if not came:
            return
        logger.info("a peer is here", peer=short(peer), address=HostPort(*address).text, source=source)
        core.events.emit("peer", id=peer_id_text(peer), state="alive")
        core.returning.came()
        contact = core.members.contact(peer)
        if contact is not None:
            self._probing.came(contact, initiated=initiated)
            core.revoking.came(contact)

    def _missed(self, peer: PeerId) -> None:
        """A peer is there again, or answers again: others may have written without it, and it without them."""
        self._core.copies.forget(peer)
        self._core.backoff.returned(peer, self._core.now())
        self._core.reconciling.missed(peer)

    def _members_changed(self) -> None:
        self._maintaining.members_changed()
        self._reholding.members_changed()
        self._core.reconciling.changed()
