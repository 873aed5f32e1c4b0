"""Whom a peer tries first when it starts: those it knew before, and those that its user named."""

import asyncio

from loguru import logger

from peerd.ids import PeerId
from peerd.kad.groups import is_address
from peerd.node.core import Core
from peerd.node.joining import Joining
from peerd.node.lanes import Candidate
from peerd.node.resolving import resolve
from peerd.records.life import forgotten_notices

REMEMBERED_ASKED_MAX = 256
REMEMBERED_HELLOS_MAX = 3


async def offer_remembered(core: Core, joining: Joining) -> None:
    """Note who was here before and who was forgotten, and try the former. Raises StoreError."""
    for notice in await core.store.forgotten():
        if not forgotten_notices.is_whole(notice):
            logger.warning("what the disk has damaged is passed over", what="who was forgotten")
            continue
        said = forgotten_notices.read(notice)
        core.members.forget(PeerId(said.peer), PeerId(said.signer), notice)
    now = core.store.now_s()
    anchors = await core.store.anchors(REMEMBERED_ASKED_MAX // 2)
    for known in dict.fromkeys([*anchors, *await core.store.remembered_peers(REMEMBERED_ASKED_MAX)]):
        address = (known.host, known.port)
        if core.trust.is_out(known.peer) or not is_address(address):
            continue
        core.members.remember(known.peer, address, max(0.0, now - known.last_seen), known.lived_s)
        if not core.members.forgotten(known.peer):
            joining.offer(Candidate(address, known.peer, "remembered", REMEMBERED_HELLOS_MAX))


async def offer_bootstrap(core: Core, joining: Joining) -> None:
    """Try those that the settings name."""
    loop = asyncio.get_running_loop()
    for host, port in core.settings.bootstrap:
        for address in await resolve(loop, host, port):
            joining.offer(Candidate(address, None, "bootstrap"))
