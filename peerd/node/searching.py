"""Reading by `one` where not all members are known: hop by hop, until the first valid record.

Not here: reads that ask the holders, known at once (reading).
"""

from dataclasses import dataclass

from peerd.errors import TimedOutError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.seen import Seen
from peerd.kad.contact import Contact
from peerd.kad.lookup import Hop
from peerd.node.core import Core
from peerd.node.holding import record_of
from peerd.node.nearest import search
from peerd.node.seen import is_older
from peerd.records.record import Record
from peerd.wire.messages import FindValue, Reply, Value


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search came to: the first record and who showed it, or nothing."""

    record: Record | None
    holder: PeerId | None
    hops: int
    trace: list[Hop]
    crowded: bool = False
    """Nothing was found, and those that said so stand at the key in a crowd: its region is to be asked."""


def _cached_will_do(rid: int, key: Key) -> FindValue:
    return FindValue(rid, key, True, True)


async def search_for(core: Core, key: Key, least: Seen | None, *, cached: bool) -> Searched:
    """Search for a record that is not older than `least`; where `cached`, one that is only cached will do.

    Raises TimedOutError where too few answered to know whether there is one.
    """
    kind = _cached_will_do if cached else FindValue
    found: list[tuple[Record, Contact, Value]] = []
    denials: dict[PeerId, Contact] = {}

    def on_reply(contact: Contact, reply: Reply) -> str | None:
        try:
            record = record_of(core, reply, key)
        except WireError as error:
            core.counts.rejected[error.reason] += 1
            core.trust.note(contact.peer, "wrong_record")
            return "malformed"
        if record is not None and least is not None and is_older(record, least):
            return "older"
        if record is None:
            denials[contact.peer] = contact
            return "nothing"
        assert isinstance(reply, Value)
        found.append((record, contact, reply))
        return None

    holders = await search(core, key, kind, on_reply=on_reply)
    if not found:  # those on the way may have led it astray
        holders = await search(core, key, kind, on_reply=on_reply, after=holders)
    if found:
        record, holder, value = found[0]
        core.cached.take(record, holder, value)
        if value.keep_s and value.age_s is None:
            core.cached.place(key, holder, denials.values())
        hops = next(hop.hop for hop in holders.trace if hop.contact.peer == holder.peer)
        return Searched(record, holder.peer, hops, holders.trace)
    rule = core.members.rule()
    if rule is not None and holders.seems_crowded(key, rule):
        return Searched(None, None, holders.hops, holders.trace, crowded=True)
    nearest = [contact.peer for contact in holders.contacts]
    if len([peer for peer in nearest if peer in denials]) * 2 <= len(nearest):
        raise TimedOutError("too few of the key's holders answered to know whether it exists")
    return Searched(None, None, holders.hops, holders.trace)
