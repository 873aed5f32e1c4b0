"""Deleted content leaves caches: who cached it is told that nobody promises it any more, and looks into it.

A promised copy whose last claim ended is announced as gone. Where a peer that keeps a root's announcements hears that
of the last promised copy that it knows, the content is *withdrawn* there: it tells those that announced cached copies,
and takes no announcement of one from then on, so that one that was away hears of it when it announces its copy anew.
Nobody takes anybody's word: whoever has a cached copy asks all that keep the root's announcements, and lets go of it
only where most of them answer and nobody names a promised copy. Content that another claim keeps has one, and stays; so
does what is pinned or claimed here. A wrong word costs some questions.

A copy that was promised itself stays on its disk for `unclaimed_grace_s`, which nobody is told of. Not here: ends of
claims (claims, withdrawing), announcements (announced, providing).
"""

import asyncio
from collections import OrderedDict

from loguru import logger

from peerd.content.cid import Cid
from peerd.errors import RefusedError, StoreError
from peerd.ids import PeerId
from peerd.node.asking import Asking
from peerd.node.auditing import kept_by
from peerd.node.core import Core
from peerd.node.providing import GONE, REPLICA, announce, find_providers
from peerd.records.provider import CACHE, Provider
from peerd.trust.quorum import majority
from peerd.wire import frames
from peerd.wire.messages import Release

REFUSED_WITHDRAWN = "withdrawn"
# Roots that are known to be withdrawn, the last ones: of others an announcement is taken, as of content never seen.
WITHDRAWN_MAX = 4096
# Of several that let go of one root the last is waited for; what is just being read is looked at again.
LOOK_AFTER_S = 0.5
LOOKS = 4
# Cached copies that are looked into at a time: what floods of wrong words cost.
LOOKING_MAX = 16
TELL_TIMEOUT_S = 4.0


class Lapsing:
    """What is withdrawn, as this peer keeps announcements; and our cached copies of which that was said."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._withdrawn: OrderedDict[bytes, None] = OrderedDict()
        self._looking: set[bytes] = set()

    # As one that keeps announcements.

    def check(self, statement: Provider) -> None:
        """Raise RefusedError (`withdrawn`) for a cached copy of what is withdrawn; a promised one ends that."""
        if statement.kind == REPLICA:
            self._withdrawn.pop(statement.root, None)
        elif statement.kind == CACHE and statement.root in self._withdrawn:
            raise RefusedError(REFUSED_WITHDRAWN)

    def gone(self, statement: Provider, known: list[Provider]) -> None:
        """A copy is announced as gone; `known` was kept of this root before, with what has ended left out."""
        promised = {each.provider for each in known if each.kind == REPLICA}
        if statement.kind != GONE or promised != {statement.provider}:
            return
        self._withdrawn[statement.root] = None
        if len(self._withdrawn) > WITHDRAWN_MAX:
            self._withdrawn.popitem(last=False)
        caching = [PeerId(each.provider) for each in known if each.kind == CACHE]
        if self._core.peer in caching:
            self.look(statement.root)
        self._core.tasks.spawn(self._tell(statement.root, caching), "tell caches of a deletion")

    async def _tell(self, cid: bytes, caching: list[PeerId]) -> None:
        core = self._core
        with Asking(core.endpoint, timeout_s=TELL_TIMEOUT_S) as asking:
            for peer in caching:
                contact = core.members.contact(peer)
                if contact is not None:
                    asking.ask(contact, Release, cid, b"", silent_after_s=0)
            while await asking.next() is not None:
                pass

    # As one that has a cached copy.

    def refused(self, statement: Provider, error: Exception | None) -> None:
        """What became of our announcement: that of a cached copy is refused where its content is withdrawn."""
        if isinstance(error, RefusedError) and error.reason == REFUSED_WITHDRAWN and statement.kind == CACHE:
            self.look(statement.root)

    def look(self, cid: bytes, *, unclaimed: bool = False) -> None:
        """Look soon whether anybody promises some content, of which a cached copy may be here.

        One without claims that was a promised copy stays for its grace, unless `unclaimed` is to go too.
        """
        if cid not in self._looking and len(self._looking) < LOOKING_MAX:
            self._looking.add(cid)
            if not self._core.tasks.spawn(self._look(cid, unclaimed), "look into a cached copy"):
                self._looking.discard(cid)

    async def _look(self, cid: bytes, unclaimed: bool) -> None:
        core, root = self._core, Cid.from_bytes(cid)
        try:
            for look in range(LOOKS):
                held = await core.store.root(cid)
                if held is None or held.class_ != "cache" or await core.store.claims(cid, limit=1):
                    return
                if held.copies == 0 and not unclaimed:
                    return
                await asyncio.sleep(LOOK_AFTER_S * 2**look)
                if await self._is_promised(root):
                    continue
                if await core.room.let_go(cid) is not None:
                    logger.info("a cached copy of deleted content is gone", cid=root.text)
                    await announce(core, root, GONE)
                    return
        except StoreError as error:
            logger.warning("a cached copy cannot be looked into", cid=root.text, reason=str(error))
        finally:
            self._looking.discard(cid)

    async def _is_promised(self, root: Cid) -> bool:
        """Return whether somebody promises a copy, or too few say that nobody does."""
        core = self._core
        found = await find_providers(core, root)
        expected = core.members.expected_holders(root.digest)
        if sum(1 for peer in expected if peer in found.answered) < majority(len(expected)):
            return True
        # Announcements that were not heard to end go on for hours: who is named is asked itself.
        named = [peer for peer, kind in found.providers.items() if kind == REPLICA and peer != core.peer]
        contacts = [contact for peer in named if (contact := core.members.contact(peer)) is not None]
        told = await kept_by(core, contacts, [root.to_bytes()]) if contacts else {}
        let_go = (bytes([frames.ABSENT]), bytes([frames.CACHED]))
        return any(told.get(peer) not in let_go for peer in named)
