"""Before a peer goes: others get what they should hold once it is gone."""

import asyncio

from loguru import logger

from peerd.content.cid import Cid
from peerd.errors import PeerdError
from peerd.ids import Key
from peerd.io.store.interface import Root
from peerd.node import placing
from peerd.node.asking import Asking
from peerd.node.core import Core
from peerd.node.holding import left_s
from peerd.records.record import read_record
from peerd.wire.messages import Store

PAGE = 128
HANDED_OVER_AT_ONCE = 8


async def hand_over(core: Core) -> None:
    """See that others hold what this peer holds, as if it were gone already."""
    if core.members.alive_count() == 0:
        return
    after = None
    while page := await core.store.records(after, PAGE):
        await _hand_over_records(core, page)
        after = page[-1][0]
    await core.tombstones.hand_over()
    root_after = None
    while roots := await core.store.roots(root_after, PAGE):
        owed = [root for root in roots if root.complete and root.class_ in ("own", "replica")]
        for at in range(0, len(owed), HANDED_OVER_AT_ONCE):
            if core.members.alive_count() == 0:
                return
            async with asyncio.TaskGroup() as group:
                for root in owed[at : at + HANDED_OVER_AT_ONCE]:
                    group.create_task(_hand_over_root(core, root))
        root_after = roots[-1].cid


async def _hand_over_root(core: Core, root: Root) -> None:
    try:
        content = await placing.content_of(core, root)
        if content is not None:
            await placing.hand_over(core, content)
    except PeerdError as error:
        logger.warning("some content was not handed over", cid=Cid.from_bytes(root.cid).text, reason=str(error))


async def _hand_over_records(core: Core, page: list[tuple[Key, bytes]]) -> None:
    with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
        for key, raw in page:
            if not core.returning.confirmed(key):
                continue  # we are hardly back, and it may be old or deleted
            record = read_record(raw)
            life_s = await left_s(core, record)
            have = core.copies.of(key, record.version.digest) or ()
            heirs = core.members.heirs(key)
            for contact in heirs if life_s != 0 else ():
                if contact.peer not in have:
                    asking.ask(contact, Store, record.raw, life_s, silent_after_s=0)
        while await asking.next() is not None:
            pass
