"""What a read sees to beyond its answer: old versions are looked into, stale holders given the newest, lives mended.

Nobody waits for any of it. Not here: what the read must do before it returns (reading).
"""

from collections.abc import Collection, Iterable

from loguru import logger

from peerd.errors import NoRoomError, StoreError
from peerd.ids import PeerId
from peerd.kad.contact import Contact
from peerd.node import holding
from peerd.node.asking import Asking
from peerd.node.core import Core
from peerd.records.floor import FloorVersion, PackedFloor, pack_floors
from peerd.records.record import Record
from peerd.wire.messages import KeepFloors, Store

# How often a version is sent to who does not answer: repair comes too.
SENT_MAX = 3


async def spread_floor(
    core: Core, floor: FloorVersion | None, showing: Iterable[Contact], *, own: Record | None, over: Record
) -> None:
    """Have the holders that showed an old version, us too, look into it."""
    try:
        if own is not None and own.version <= over.version and not await core.tombstones.check(own):
            return
    except (NoRoomError, StoreError) as error:
        logger.warning("a floor could not be kept", reason=str(error))
    if floor is None:
        return
    told = pack_floors([PackedFloor(over.key, floor)])
    with Asking(core.endpoint) as asking:
        for contact in showing:
            asking.ask(contact, KeepFloors, told, silent_after_s=0)
        while await asking.next() is not None:
            pass


async def give(core: Core, record: Record, left_s: int | None, stale: Iterable[Contact]) -> None:
    """Give holders that showed less the newest version, as far as reads do.

    Not to who is not relied on, nor again at once to who was given it and denies it still.
    """
    now, each_s = core.now(), core.settings.repair_interval_s
    with Asking(core.endpoint) as asking:
        for contact in stale:
            if core.trust.shunned(contact.peer) or not core.given.may(contact.peer, record.version.digest, now, each_s):
                continue
            if core.given.affords(now, each_s):
                asking.ask(contact, Store, record.raw, left_s, silent_after_s=0, tries_max=SENT_MAX)
        while await asking.next() is not None:
            pass


async def mend_life(core: Core, record: Record, life_s: int) -> None:
    """Let our copy live as long as most say."""
    try:
        await holding.mend_life(core, record, life_s)
    except (NoRoomError, StoreError) as error:
        logger.warning("the life of a record could not be mended", reason=str(error))


def those(contacts: Iterable[Contact], peers: Collection[PeerId]) -> list[Contact]:
    """Return the contacts of some peers."""
    return [contact for contact in contacts if contact.peer in peers]
