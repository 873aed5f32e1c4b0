"""Asking beyond the holders: where these lie, or show only what is older than what this peer has read.

Whoever stands next to a key may have held it before others came nearer, or takes the share of the silent. What it shows
is signed; that it has nothing says nothing.
"""

from collections.abc import Collection

from peerd.errors import WireError
from peerd.ids import Key, PeerId
from peerd.io.store.seen import Seen
from peerd.node import holding
from peerd.node.asking import Asking
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.node.seen import is_older
from peerd.records.record import Record
from peerd.wire.messages import FindValue

# So many of the next nearest are asked, for so long: the read has taken its time already.
FURTHER_MAX = 8
FURTHER_S = 1.0


async def ask_further(
    core: Core, key: Key, asked: Collection[PeerId], least: Seen | None
) -> tuple[Record, PeerId] | None:
    """Return the newest version of a key that the next nearest show, and who; none older than `least`."""
    near = core.members.closest(key, RECORD_HOLDERS + len(asked) + FURTHER_MAX)
    others = [contact for contact in near if contact.peer not in asked][:FURTHER_MAX]
    found: tuple[Record, PeerId] | None = None
    with Asking(core.endpoint, timeout_s=FURTHER_S) as asking:
        for contact in others:
            asking.ask(contact, FindValue, key, False, silent_after_s=0)
        while (answer := await asking.next()) is not None:
            if answer.reply is None:
                continue
            peer = answer.contact.peer
            try:
                record = holding.record_of(core, answer.reply, key)
            except WireError as error:
                core.counts.rejected[error.reason] += 1
                core.trust.note(peer, "wrong_record")
                continue
            if record is None or (least is not None and is_older(record, least)):
                continue
            if found is None or record.version > found[0].version:
                found = record, peer
    return found
