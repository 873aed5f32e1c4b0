"""Who is there: members are probed, buried, tried again, looked for and remembered.

Each is a loop with a jittered interval from the settings. Not here: turning addresses into members (joining), what is
known of each (members), what is kept (maintaining).
"""

from collections.abc import Awaitable, Callable

from loguru import logger

from peerd.errors import RemoteError
from peerd.ids import PeerId, peer_id_text
from peerd.kad.contact import Contact
from peerd.logs import short
from peerd.node.core import Core
from peerd.node.joining import Candidate, Joining
from peerd.node.nearest import search
from peerd.node.tasks import every
from peerd.wire.messages import FindNode, Ping, Pong

PROBE_TIMEOUT_S = 1.0
REMEMBER_INTERVAL_S = 30.0


class Probing:
    """The background loops of membership of one peer."""

    def __init__(self, core: Core, joining: Joining) -> None:
        self._core = core
        self._joining = joining
        self._round: list[PeerId] = []
        self._resolve: Callable[[], Awaitable[None]] | None = None

    def start(self, *, bootstrap: Callable[[], Awaitable[None]]) -> None:
        """Begin all loops; `bootstrap` offers the configured peers again while we are lonely."""
        settings = self._core.settings
        self._resolve = bootstrap
        self._every(settings.probe_interval_s, self._probe, "probe")
        self._every(min(1.0, settings.probe_interval_s), self._retry, "retry")
        self._every(settings.lonely_interval_s, self._be_found, "bootstrap")
        self._every(settings.refresh_interval_s, self._refresh, "refresh")
        self._every(REMEMBER_INTERVAL_S, self.remember, "remember")

    def _every(self, interval_s: float, work: Callable[[], Awaitable[None]], name: str) -> None:
        self._core.tasks.spawn(every(self._core.environment.rng, interval_s, work), name)

    async def _probe(self) -> None:
        """Ask one member, the next of a shuffled round, whether it is there; bury those silent for too long."""
        core = self._core
        for member in core.members.bury():
            core.endpoint.drop_session(member.contact.peer)
            core.bulk.drop(member.contact.peer)
            logger.info("a peer is gone", peer=short(member.contact.peer))
            core.events.emit("peer", id=peer_id_text(member.contact.peer), state="dead")
        doubted = [c for p in core.members.doubted if (c := core.members.contact(p)) is not None]
        for contact in doubted[:8]:
            core.tasks.spawn(self._probe_one(contact), "probe suspect")
        following = self._next_in_round()
        if following is not None:
            await self._probe_one(following)

    def _next_in_round(self) -> Contact | None:
        core = self._core
        while True:
            if not self._round:
                self._round = [contact.peer for contact in core.members.alive()]
                core.environment.rng.shuffle(self._round)  # type: ignore[arg-type]
                if not self._round:
                    return None
            contact = core.members.contact(self._round.pop())
            if contact is not None:
                return contact

    async def _probe_one(self, contact: Contact) -> None:
        core = self._core
        try:
            reply = await core.endpoint.ask(contact, Ping, timeout_s=PROBE_TIMEOUT_S)
        except RemoteError:
            core.members.unanswered(contact.peer)
            return
        core.members.heard(contact.peer)
        if isinstance(reply, Pong):
            self._joining.compare(contact, reply.members)

    async def _retry(self) -> None:
        """Try silent members again, each at its own pace."""
        for member in self._core.members.to_retry():
            self._joining.offer(Candidate(member.contact.address, member.contact.peer, member.source))

    async def _be_found(self) -> None:
        """While nobody answers: try the configured peers again (names are looked up anew)."""
        if self._core.members.alive_count() == 0 and self._resolve is not None:
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
        for span in core.members.table.stale_buckets(core.now(), core.settings.refresh_interval_s):
            target = span.random_target(core.environment.entropy)
            found = await search(core, target, FindNode)
            for contact in found.contacts:
                self._joining.offer(Candidate(contact.address, contact.peer, "overlay"))

    async def remember(self) -> None:
        """Write the members to disk, to be tried again after a restart."""
        core = self._core
        lived, now = core.store.now_s(), core.now()
        recent = core.members.recent(core.settings.remembered_max)
        entries = [
            (m.contact.peer, m.contact.address[0], m.contact.address[1], lived - max(0.0, now - m.last_seen))
            for m in recent
        ]
        if entries:
            await core.store.remember_peers(entries)
