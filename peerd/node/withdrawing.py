"""Telling holders that a claim has ended, again and again where some may have missed it.

A name's claim: the holders are shown the newer version once; those that were away look for it themselves, by reading
the names for which they keep content and whose records they do not keep, or what floors are left of them. An adder's
claim: the adder remembers what it withdrew and tells it to whoever still says to have a copy, and to peers that come,
until the grace for deletions ends.
"""

import asyncio

from loguru import logger

from peerd.content.cid import Cid
from peerd.errors import PeerdError
from peerd.ids import Key, PeerId
from peerd.kad.contact import Contact
from peerd.node.asking import Asking
from peerd.node.claims import claims_on, drop_claims, end_added
from peerd.node.core import Core
from peerd.node.holding import standing
from peerd.node.nearest import holders_of
from peerd.node.providing import REPLICA, find_providers
from peerd.node.reading import read
from peerd.wire.messages import Release

PAGE = 64
# Withdrawals told to a peer that comes; more are told in the next round.
TOLD_ON_MEETING_MAX = 256
# Withdrawals that are remembered; of more those withdrawn first are forgotten.
WITHDRAWALS_MAX = 4_096
TELL_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 10.0
# Names looked up in one round, and the pause after each: holders of very much content are no burden to others.
NAMES_PER_ROUND_MAX = 2_048
NAME_PAUSE_S = 0.05


async def tell_release(core: Core, cid: bytes, proof: bytes) -> None:
    """Tell the holders of content that claims on it ended: by a newer version of a name, or (empty) our own."""
    holders = await holders_of(core, cid[4:])
    await _tell(core, [*holders.contacts, *holders.doubtful], cid, proof)


async def _tell(core: Core, contacts: list[Contact], cid: bytes, proof: bytes) -> None:
    with Asking(core.endpoint, timeout_s=TELL_TIMEOUT_S) as asking:
        for contact in contacts:
            asking.ask(contact, Release, cid, proof, silent_after_s=0)
        while await asking.next() is not None:
            pass


async def withdraw(core: Core, cid: bytes) -> None:
    """End this peer's claim on what it added, here and at all holders that can be reached; the others hear it later."""
    await core.store.note_addition(cid, core.store.now_s())
    await end_added(core, core.peer, cid)
    await tell_release(core, cid, b"")


async def tell_withdrawals(core: Core) -> None:
    """Tell what was withdrawn to all that say to have a copy yet; forget what is older than the grace for deletions."""
    after: bytes | None = None
    kept: list[tuple[float, bytes]] = []
    while page := await core.store.withdrawals(after, PAGE):
        for cid, withdrawn_at in page:
            found = await find_providers(core, Cid.from_bytes(cid))
            have = [peer for peer, kind in found.providers.items() if kind == REPLICA and peer != core.peer]
            await _tell(core, [c for peer in have if (c := core.members.contact(peer)) is not None], cid, b"")
            if core.store.now_s() - withdrawn_at > core.settings.tombstone_grace_s:
                await core.store.drop_addition(cid)
            else:
                kept.append((withdrawn_at, cid))
        after = page[-1][0]
    for _, cid in sorted(kept)[: max(0, len(kept) - WITHDRAWALS_MAX)]:
        await core.store.drop_addition(cid)


async def tell_newcomer(core: Core, peer: PeerId) -> None:
    """Tell a peer with which a session was begun anew what was withdrawn: it may have been away and missed it."""
    for cid, _ in await core.store.withdrawals(None, TOLD_ON_MEETING_MAX):
        contact = core.members.contact(peer)
        if contact is None:
            return
        await _tell(core, [contact], cid, b"")


class Rechecking:
    """Looks whether the names for which content is kept here still name it; goes on where the last round ended."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._after: bytes | None = None

    async def round(self) -> int:
        """Check some names' claims; returns how many names were looked up elsewhere."""
        asked = 0
        while asked < NAMES_PER_ROUND_MAX:
            roots = await self._core.store.roots(self._after, PAGE)
            for root in roots:
                if root.class_ != "cache":
                    asked += await self._check(root.cid)
            self._after = roots[-1].cid if roots else None
            if not roots:
                break
        return asked

    async def _check(self, cid: bytes) -> int:
        core, asked = self._core, 0
        for held in await claims_on(core, cid):
            if held.claim.key is None:
                continue
            key = Key(held.claim.key)
            here = await standing(core, key)
            ended = here.ends(held.claim)
            if here.record is None and not ended and core.members.alive_count():
                asked += 1
                await asyncio.sleep(NAME_PAUSE_S)
                try:
                    reading = await read(core, key, consistency="quorum", timeout_s=READ_TIMEOUT_S)
                    ended = reading.ends(held.claim)
                except PeerdError as error:
                    logger.debug("a name for which content is kept could not be read", reason=str(error))
            if ended:
                await drop_claims(core, cid, [held.row])
        return asked
